/* Memory order on the device's side of the queues, and how its thread sleeps and is woken.
 *
 * The mirror of pci/mmio.h: each barrier names the two accesses that it orders.
 */
#ifndef AIONVME_MOCK_ORDER_H
#define AIONVME_MOCK_ORDER_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Orders: the load of a tail doorbell before the loads of the entries that it announces; and the load of a head
 * doorbell before the stores to the entries that it gives back.
 */
static inline void mock_order_doorbell_before_entries(void)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/* Orders: stores of data and of a completion's first three dwords before the store of the dword that has its phase. */
static inline void mock_order_cqe_before_phase(void)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void mock_add(volatile uint32_t *counter, int32_t by)
{
    __atomic_fetch_add(counter, (uint32_t)by, __ATOMIC_SEQ_CST);
}

static inline uint32_t mock_load(const volatile uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void mock_store(volatile uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static inline uint32_t mock_exchange(volatile uint32_t *word, uint32_t value)
{
    return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

/* Sleeps while *word is `value`, for at most `nanoseconds` (0: for any time). May return early. */
static inline void mock_sleep(volatile uint32_t *word, uint32_t value, uint64_t nanoseconds)
{
    struct timespec limit = {(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};

    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, value, nanoseconds ? &limit : NULL, NULL, 0);
}

/* Wakes who sleeps on this word. */
static inline void mock_wake(volatile uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static inline uint64_t mock_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
