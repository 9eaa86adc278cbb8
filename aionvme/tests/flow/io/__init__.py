"""Every I/O command on the mock, in both spellings, with the data on both sides looked at."""
