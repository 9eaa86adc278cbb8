"""The tables of the specification: against captured bytes, and against what other people's headers say."""
