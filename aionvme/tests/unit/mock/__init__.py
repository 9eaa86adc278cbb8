"""Tests of the mock controller, by a raw driver of their own."""
