# Nothing of it is seen from Python: the mock's compiled modules use it by its .pxd.
