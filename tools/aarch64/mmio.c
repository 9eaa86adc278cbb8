/* The unit test of aionvme/pci/mmio.h: each accessor and barrier as a function of its own, to be looked at, and used.
 *
 * Returns 0 if all is well; else it says what was not.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>

#include "aionvme/pci/mmio.h"

#define ROUNDS 2000

/* What is disassembled; `check` in __main__.py has what each must consist of. */
uint32_t read32(const volatile void *address) { return aio_mmio_read32(address); }
void write32(volatile void *address, uint32_t value) { aio_mmio_write32(address, value); }
uint64_t read64(const volatile void *address) { return aio_mmio_read64(address); }
void write64(volatile void *address, uint64_t value) { aio_mmio_write64(address, value); }
void sqe_before_doorbell(void) { aio_barrier_sqe_before_doorbell(); }
void phase_before_cqe(void) { aio_barrier_phase_before_cqe(); }
void cqe_before_doorbell(void) { aio_barrier_cqe_before_doorbell(); }
void full(void) { aio_barrier_full(); }

/* An entry is stored, then its doorbell. */
void post(uint64_t *entry, uint64_t value, volatile uint32_t *doorbell, uint32_t tail)
{
    *entry = value;
    aio_barrier_sqe_before_doorbell();
    aio_mmio_write32(doorbell, tail);
}

/* A phase is loaded, then the rest of its entry, then the head doorbell is stored. */
uint64_t reap(const volatile uint32_t *phase, const uint64_t *rest, volatile uint32_t *doorbell, uint32_t head)
{
    uint64_t value;

    if (!(aio_mmio_read32(phase) & 1))
        return 0;
    aio_barrier_phase_before_cqe();
    value = *rest;
    aio_barrier_cqe_before_doorbell();
    aio_mmio_write32(doorbell, head);
    return value;
}

/* A doorbell is stored, then the other side's sleep flag loaded. */
uint32_t tell(volatile uint32_t *doorbell, uint32_t tail, const volatile uint32_t *sleeping)
{
    aio_mmio_write32(doorbell, tail);
    aio_barrier_full();
    return aio_mmio_read32(sleeping);
}

static uint64_t entry;
static volatile uint32_t tail_doorbell, head_doorbell;

static void *device(void *unused)
{
    uint32_t head = 0, bad = 0;

    while (head < ROUNDS) {
        if (aio_mmio_read32(&tail_doorbell) == head) {
            sched_yield();
            continue;
        }
        aio_barrier_phase_before_cqe();
        head++;
        bad += *(volatile uint64_t *)&entry != head * UINT64_C(0x100000001);
        aio_barrier_cqe_before_doorbell();
        aio_mmio_write32(&head_doorbell, head);
    }
    (void)unused;
    return (void *)(uintptr_t)bad;
}

static int failed(const char *what)
{
    printf("mmio: %s\n", what);
    return 1;
}

int main(void)
{
    uint64_t memory[3] = {0, 0, 0};
    uint32_t phase = 1, doorbell = 0, tail;
    pthread_t thread;
    void *bad;

    write32((char *)memory + 12, 0x89ABCDEF);
    if (memory[1] != UINT64_C(0x89ABCDEF00000000) || memory[0] || memory[2])
        return failed("a store of 32 bits stores something else");
    if (read32((char *)memory + 12) != 0x89ABCDEF)
        return failed("a load of 32 bits loads something else");
    write64(&memory[1], UINT64_C(0x0123456789ABCDEF));
    if (memory[1] != UINT64_C(0x0123456789ABCDEF) || memory[0] || memory[2])
        return failed("a store of 64 bits stores something else");
    if (read64(&memory[1]) != UINT64_C(0x0123456789ABCDEF))
        return failed("a load of 64 bits loads something else");
    if (reap(&phase, &memory[1], &doorbell, 7) != memory[1] || doorbell != 7)
        return failed("an entry is not reaped");
    if (tell(&doorbell, 8, &phase) != 1 || doorbell != 8)
        return failed("a doorbell is not told");
    full();
    sqe_before_doorbell();
    phase_before_cqe();
    cqe_before_doorbell();
    aio_cpu_relax();

    if (pthread_create(&thread, NULL, device, NULL))
        return failed("there is no thread");
    for (tail = 1; tail <= ROUNDS; tail++) {
        post(&entry, tail * UINT64_C(0x100000001), &tail_doorbell, tail);
        while (aio_mmio_read32(&head_doorbell) != tail)
            sched_yield();
    }
    pthread_join(thread, &bad);
    return bad ? failed("an entry was seen after its doorbell") : 0;
}
