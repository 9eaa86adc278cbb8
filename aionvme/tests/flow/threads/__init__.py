"""Queue pairs in other loops and threads than their controller's."""
