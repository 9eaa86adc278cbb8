# cython: language_level=3
"""A namespace, as the I/O commands need it: identifier, block size, capacity, boundary."""


cdef class Namespace:
    """A namespace of one controller, as Identify Namespace described it when it was read.

    Attributes:
        nsid: Namespace identifier.
        block_size: Bytes of data in a logical block.
        nblocks: Logical blocks (NSZE).
        metadata_size: Bytes of metadata per block, 0 for none.
        extended: The metadata of each block follows its data in the same buffer (FLBAS bit 4).
        boundary: Optimal I/O boundary in blocks (NOIOB), 0 for none; transfers are split there.
        data: The `IdentifyNamespace` structure.
    """

    def __init__(self, *, nsid, block_size, nblocks, metadata_size=0, extended=False, boundary=0, data=None,
                 controller=None):
        self.nsid = nsid
        self.block_size = block_size
        self.nblocks = nblocks
        self.metadata_size = metadata_size
        self.extended = extended and metadata_size > 0
        self.boundary = boundary
        self.unit = block_size + (metadata_size if self.extended else 0)
        self.data = data
        self.controller = controller

    @property
    def nbytes(self):
        """Bytes of data that the namespace holds."""
        return self.nblocks * self.block_size

    def __repr__(self):
        return f"<Namespace {self.nsid}: {self.nblocks} blocks of {self.block_size} bytes>"
