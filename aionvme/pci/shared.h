/* What several threads use at once without a lock: counters and flags, and tables that one changes while others look.
 *
 * Where the interpreter has its lock, counters and flags are only touched by who holds it, and plain accesses do. On a
 * free-threaded one they are atomic, and each change is a full barrier, so that of two threads that each change one word
 * and then look at the other's at least one sees the other's change.
 */
#ifndef AIONVME_SHARED_H
#define AIONVME_SHARED_H

#include <Python.h>
#include <sched.h>
#include <stdint.h>

#include "mmio.h"

/* Adds to a counter; what it then is. */
static inline Py_ssize_t aio_shared_add(Py_ssize_t *count, Py_ssize_t by)
{
#ifdef Py_GIL_DISABLED
    return __atomic_add_fetch(count, by, __ATOMIC_SEQ_CST);
#else
    return *count += by;
#endif
}

/* Sets a flag; what it was. */
static inline int aio_shared_swap(int *flag, int value)
{
#ifdef Py_GIL_DISABLED
    return __atomic_exchange_n(flag, value, __ATOMIC_SEQ_CST);
#else
    int was = *flag;

    *flag = value;
    return was;
#endif
}

/* A table has a version, odd while its only writer (whoever holds its lock) changes it. A reader begins with a version
 * and looks again if it was another by the end. Nothing that a reader may still look at is freed.
 */

/* Orders: the load of the version before the loads from the table. */
static inline uint32_t aio_read_begin(const uint32_t *version)
{
    uint32_t now, looks = 0;

    while ((now = __atomic_load_n(version, __ATOMIC_ACQUIRE)) & 1) {
        /* The writer is a few stores from its end, unless it lost its processor. */
        if (++looks & 63)
            aio_cpu_relax();
        else
            sched_yield();
    }
    return now;
}

/* Orders: the loads from the table before the second load of the version. */
static inline int aio_read_was_disturbed(const uint32_t *version, uint32_t begun)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(version, __ATOMIC_RELAXED) != begun;
}

/* Orders: the store of the odd version before the stores to the table. */
static inline void aio_write_begin(uint32_t *version)
{
    __atomic_store_n(version, *version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Orders: the stores to the table before the store of the even version. */
static inline void aio_write_end(uint32_t *version)
{
    __atomic_store_n(version, *version + 1, __ATOMIC_RELEASE);
}

#endif
