"""Several processes on one controller: each of them real, and each of them killed."""
