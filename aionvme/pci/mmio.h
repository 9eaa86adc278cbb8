/* Register accesses and the barriers between them and ordinary memory.
 *
 * Each barrier names the two accesses that it orders. A register access is one load or store of its full width: the
 * compiler may not split, merge or repeat it (volatile), and the device sees exactly that transaction.
 */
#ifndef AIONVME_MMIO_H
#define AIONVME_MMIO_H

#include <stdint.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "aionvme knows the memory order of x86-64 and aarch64 only"
#endif

static inline uint32_t aio_mmio_read32(const volatile void *address)
{
    return *(const volatile uint32_t *)address;
}

static inline void aio_mmio_write32(volatile void *address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

static inline uint64_t aio_mmio_read64(const volatile void *address)
{
    return *(const volatile uint64_t *)address;
}

static inline void aio_mmio_write64(volatile void *address, uint64_t value)
{
    *(volatile uint64_t *)address = value;
}

/* Orders: stores to the submission queue entry (and its PRP list and data) before the store to the tail doorbell.
 * x86 keeps stores to write-back memory in order before a store to uncached memory; only the compiler must be held.
 */
static inline void aio_barrier_sqe_before_doorbell(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("" ::: "memory");
#else
    __asm__ __volatile__("dmb oshst" ::: "memory");
#endif
}

/* Orders: the load of a completion's phase bit before the loads of the rest of the entry and of the data it announces. */
static inline void aio_barrier_phase_before_cqe(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("" ::: "memory");
#else
    __asm__ __volatile__("dmb oshld" ::: "memory");
#endif
}

/* Orders: the last load from completion entries before the store to the head doorbell that gives them back. */
static inline void aio_barrier_cqe_before_doorbell(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("" ::: "memory");
#else
    __asm__ __volatile__("dmb osh" ::: "memory");
#endif
}

/* Orders: a store before a later load, both ways round: the doorbell (or its shadow) before the load of the other
 * side's sleep flag (or EventIdx); and that flag's store before its owner's last look at the doorbell. Without it each
 * side may read the other's old value, and a wake-up is lost. A fence of the language orders among processors only
 * (`dmb ish`); a device is in the outer shareable domain (Linux: __dma_mb, arch/arm64/include/asm/barrier.h).
 */
static inline void aio_barrier_full(void)
{
#if defined(__x86_64__)
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#else
    __asm__ __volatile__("dmb osh" ::: "memory");
#endif
}

/* Tells the core that this is a spin loop. Orders nothing. */
static inline void aio_cpu_relax(void)
{
#if defined(__x86_64__)
    __asm__ __volatile__("pause");
#else
    __asm__ __volatile__("yield");
#endif
}

#endif
