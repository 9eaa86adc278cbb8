# cython: language_level=3
"""A namespace, as the I/O commands need it: identifier, block size, capacity, boundary, protection information."""


cdef class Namespace:
    """A namespace of one controller, as Identify Namespace described it when it was read.

    It never changes but in one way: once the controller does not have this namespace any more, or has it in another
    format or size, `active` is false for good and every command raises `UsageError`. The controller's `namespaces` then
    has a new object, or none. Whoever holds the old one can so never address blocks of the wrong size.

    Attributes:
        nsid: Namespace identifier.
        block_size: Bytes of data in a logical block.
        nblocks: Logical blocks (NSZE).
        metadata_size: Bytes of metadata per block, 0 for none.
        extended: The metadata of each block follows its data in the same buffer (FLBAS bit 4).
        boundary: Optimal I/O boundary in blocks (NOIOB), 0 for none; transfers are split there.
        pi_type: Type of end-to-end protection, 1 to 3; 0 for none (DPS).
        pi_size: Bytes of protection information per block, a part of the metadata: 8, or 16 with a guard of 32 or 64
            bits.
        tag_bits: That storage tag and reference tag have together: 32, 80 or 48 with a guard of 16, 32 or 64 bits.
        storage_tag_bits: Of the storage tag among them (STS).
        data: The `IdentifyNamespace` structure.
        nvm: The `IdentifyNvmNamespace` structure (CNS 05h), None where the controller does not have it.
        active: Whether commands may be sent to it.
        gone: Where it is not: why.
    """

    def __init__(self, *, nsid, block_size, nblocks, metadata_size=0, extended=False, boundary=0, pi_type=0, pi_size=0,
                 tag_bits=0, storage_tag_bits=0, data=None, nvm=None, controller=None):
        self.nsid = nsid
        self.block_size = block_size
        self.nblocks = nblocks
        self.metadata_size = metadata_size
        self.extended = extended and metadata_size > 0
        self.boundary = boundary
        self.pi_type = pi_type
        self.pi_size = pi_size
        self.tag_bits = tag_bits or (48 if pi_size == 16 else 32)
        self.storage_tag_bits = storage_tag_bits
        self.unit = block_size + (metadata_size if self.extended else 0)
        self.data = data
        self.nvm = nvm
        self.controller = controller

    def retire(self, str why not None):
        """Takes no more commands: a call raises `UsageError` with this reason. For the controller."""
        if self.gone is None:
            self.gone = why
            self.controller = None

    @property
    def active(self):
        """Whether commands may be sent to it."""
        return self.gone is None

    @property
    def nbytes(self):
        """Bytes of data that the namespace holds."""
        return self.nblocks * self.block_size

    def __repr__(self):
        return f"<Namespace {self.nsid}: {self.nblocks} blocks of {self.block_size} bytes>"
