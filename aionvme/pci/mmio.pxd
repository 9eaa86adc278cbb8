# Register accesses and barriers; the reasons stand in the header.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "aionvme/pci/mmio.h" nogil:
    uint32_t aio_mmio_read32(const volatile void *address)
    void aio_mmio_write32(volatile void *address, uint32_t value)
    uint64_t aio_mmio_read64(const volatile void *address)
    void aio_mmio_write64(volatile void *address, uint64_t value)
    void aio_barrier_sqe_before_doorbell()
    void aio_barrier_phase_before_cqe()
    void aio_barrier_cqe_before_doorbell()
    void aio_barrier_full()
    void aio_cpu_relax()
