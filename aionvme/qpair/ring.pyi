# Nothing of the rings is for Python: see ring.pxd.
