# The seam as a class diagram: what a VFIO function, a vfio-user socket and the mock each are to the driver.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class Function:
    # BAR 0 as mapped memory, or NULL where register accesses go by message (read32 and the rest are then overridden).
    cdef volatile uint8_t *bar
    cdef size_t bar_size
    # Not NULL where the device side can sleep: after a doorbell store and a full barrier, a nonzero value here asks for
    # kick().
    cdef const volatile uint32_t *sleeping
    cdef readonly object pci_dev
    cdef bint _mapped_here
    cdef list _more_bars            # (address, nbytes) of further BARs that are mapped
    cdef bint _closed

    # Where a doorbell is rung by a store; NULL where it is rung by write32, from any thread.
    cdef volatile uint8_t *doorbell(self, size_t offset) noexcept
    cdef void kick(self) noexcept nogil
    cpdef uint32_t read32(self, size_t offset) except? 0xFFFFFFFF
    cpdef int write32(self, size_t offset, uint32_t value) except -1
    cpdef uint64_t read64(self, size_t offset) except? 0xFFFFFFFF
    cpdef int write64(self, size_t offset, uint64_t value) except -1
    cdef int _check(self, size_t offset, size_t width) except -1
    cdef _unmap(self)
