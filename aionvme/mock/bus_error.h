/* What happens when a client shrinks a file that we have mapped: SIGBUS at the next access to what is gone.
 *
 * The handler puts zeros in the place of the whole mapping, ends the client's connection by shutdown(2), and has the
 * access done again. It takes no lock and calls only what is safe in a handler (signal-safety(7); mmap is a system call
 * without state of its own in the process). A fault anywhere else goes to the handler that was there before.
 */
#ifndef AIONVME_MOCK_BUS_ERROR_H
#define AIONVME_MOCK_BUS_ERROR_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BUS_MAPPINGS = 65536 };

struct bus_mapping {
    uint32_t taken;     /* the place is somebody's */
    uintptr_t start;    /* 0: nothing here; stored last, and cleared first */
    size_t nbytes;
    int socket;         /* of the client's connection */
};

static struct bus_mapping bus_mappings[BUS_MAPPINGS];
static uint32_t bus_used;           /* places up to here were ever taken */
static struct sigaction bus_before; /* the handler that was there */

/* The mapping that has this address, or NULL. */
static struct bus_mapping *bus_find(uintptr_t address)
{
    uint32_t used = __atomic_load_n(&bus_used, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < used; i++) {
        uintptr_t start = __atomic_load_n(&bus_mappings[i].start, __ATOMIC_ACQUIRE);

        if (start != 0 && address >= start && address - start < bus_mappings[i].nbytes)
            return &bus_mappings[i];
    }
    return NULL;
}

static void bus_chain(int number, siginfo_t *info, void *context)
{
    if (bus_before.sa_flags & SA_SIGINFO) {
        bus_before.sa_sigaction(number, info, context);
    } else if (bus_before.sa_handler != SIG_DFL && bus_before.sa_handler != SIG_IGN) {
        bus_before.sa_handler(number);
    } else {
        /* The access is done again, and ends the process as it would have without us. */
        signal(SIGBUS, SIG_DFL);
        if (info->si_code <= 0)
            raise(SIGBUS);
    }
}

static void bus_handler(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    /* Of the kernel, about an access: not sent by somebody (kill). */
    struct bus_mapping *found = info->si_code > 0 ? bus_find((uintptr_t)info->si_addr) : NULL;

    if (found != NULL && mmap((void *)found->start, found->nbytes, PROT_READ | PROT_WRITE,
                              MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
        shutdown(found->socket, SHUT_RDWR);
        errno = saved;
        return;
    }
    bus_chain(number, info, context);
    errno = saved;
}

/* Has our handler be the first, if it is not. By one thread at a time. */
static int bus_install(void)
{
    struct sigaction now, ours;

    if (sigaction(SIGBUS, NULL, &now) < 0)
        return -1;
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == bus_handler)
        return 0;
    memset(&ours, 0, sizeof(ours));
    ours.sa_sigaction = bus_handler;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&ours.sa_mask);
    bus_before = now;
    return sigaction(SIGBUS, &ours, NULL);
}

/* The number of a place that was free, or -1 when none is. */
static int bus_enter(void *start, size_t nbytes, int socket)
{
    for (uint32_t i = 0; i < BUS_MAPPINGS; i++) {
        uint32_t used = __atomic_load_n(&bus_used, __ATOMIC_ACQUIRE);

        if (__atomic_load_n(&bus_mappings[i].taken, __ATOMIC_RELAXED) ||
            __atomic_exchange_n(&bus_mappings[i].taken, 1, __ATOMIC_ACQ_REL))
            continue;
        bus_mappings[i].nbytes = nbytes;
        bus_mappings[i].socket = socket;
        __atomic_store_n(&bus_mappings[i].start, (uintptr_t)start, __ATOMIC_RELEASE);
        while (i >= used &&
               !__atomic_compare_exchange_n(&bus_used, &used, i + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            ;
        return (int)i;
    }
    return -1;
}

/* Nobody touches that mapping any more. */
static void bus_leave(int place)
{
    __atomic_store_n(&bus_mappings[place].start, (uintptr_t)0, __ATOMIC_RELEASE);
    __atomic_store_n(&bus_mappings[place].taken, 0, __ATOMIC_RELEASE);
}

#endif
