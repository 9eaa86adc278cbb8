# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the lock, the thread, the registers and the I/O addresses of a mock controller.

Two locks meet here, the interpreter's and the machine's, and one rule keeps them apart: nobody waits for the
machine's lock while holding the interpreter's. So the data plane, which needs the interpreter's for an admin
command, lets go of its own first, takes the interpreter's, and then its own again by `lock`, which waits
without the interpreter's.
"""

import os
import sys
import threading

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE,
    mmap, munmap,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno

from aionvme.errors import UsageError

from aionvme.mock.iommu cimport IOVA_BOTH, iova_add, iova_clear, iova_remove, iova_switch
from aionvme.mock.faults cimport faults_free
from aionvme.mock.plane cimport begin, look_at_stray_doorbells, signal_interrupts, turn
from aionvme.mock.rings cimport (
    PTHREAD_MUTEX_RECURSIVE, Sqe, ask_for_doorbells, core_free, core_init, look_at_all, mock_add,
    mock_exchange, mock_load, mock_nanoseconds, mock_sleep, mock_store, mock_wake, pthread_mutex_destroy,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, pthread_mutexattr_destroy,
    pthread_mutexattr_init, pthread_mutexattr_settype, pthread_mutexattr_t, shadow_all,
)
from aionvme.mock.shelf cimport Shelf
from aionvme.pci.mmio cimport (
    aio_barrier_full, aio_cpu_relax, aio_mmio_read32, aio_mmio_read64, aio_mmio_write32, aio_mmio_write64,
)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void *data, size_t nbytes)

cdef enum:
    TURN = 256                  # commands between two looks at what else there is to do
    SPIN_LEAST = 50_000         # nanoseconds without work before the thread sleeps
    SPIN_MOST = 800_000
    SOON = 200_000              # a sleep shorter than this was not worth it
    NAP_LEAST = 20_000          # where a doorbell may be rung that wakes nobody
    NAP_MOST = 900_000          # with what the kernel adds to it, 1 ms

# Spinning on the only processor keeps the driver from ringing.
cdef bint _one_cpu = len(os.sched_getaffinity(0)) == 1


cdef class Engine:
    """What drives the core. `with engine:` has the data plane stand still inside.

    Args:
        nqueues: Queue identifiers, the admin queue's 0 among them.
        shelf: The namespaces.
        member: Which controller of its subsystem it is, from 0.
        max_transfer: Bytes that one command may move.
        doorbell_stride: Bytes from one doorbell to the next.
        nirqs: Interrupt vectors.
        bar_size: Bytes of BAR 0.
    """

    def __cinit__(self, uint32_t nqueues, Shelf shelf, uint32_t member, size_t max_transfer,
                  size_t doorbell_stride, uint32_t nirqs, size_t bar_size):
        cdef void *bar
        self.wake_fd = -1
        self.spin_ns = 0 if _one_cpu else SPIN_LEAST
        core_init(&self.core, nqueues, max_transfer)
        self.core.cut = -1
        self.shelf = shelf
        self.core.namespaces, self.core.nn, self.core.member = shelf.namespaces, shelf.nn, member
        self.mutex_made = self._make_mutex()
        bar = mmap(NULL, bar_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if bar == MAP_FAILED or not self.mutex_made:
            raise MemoryError("no memory for the registers of a mock controller")
        self.core.bar, self.bar_size = <volatile uint8_t *>bar, bar_size
        self.core.doorbell_stride = doorbell_stride
        self.core.irqs = <int *>calloc(max(nirqs, <uint32_t>1), sizeof(int))
        if self.core.irqs == NULL:
            raise MemoryError("no memory for the interrupts of a mock controller")

    def __dealloc__(self):
        if self.core.bar != NULL:
            munmap(<void *>self.core.bar, self.bar_size)
        faults_free(&self.core)
        core_free(&self.core)
        if self.mutex_made:
            pthread_mutex_destroy(&self.mutex)

    cdef void lock(self) noexcept:
        with nogil:
            mock_add(&self.core.want, 1)
            pthread_mutex_lock(&self.mutex)
            mock_add(&self.core.want, -1)

    cdef void unlock(self) noexcept:
        pthread_mutex_unlock(&self.mutex)

    def __enter__(self):
        self.lock()
        return self

    def __exit__(self, *_exc):
        self.unlock()
        self.wake()

    # -- what drives it --------------------------------------------------------------------------------------

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        if mock_exchange(&self.sleeping, 0):
            if self.wake_fd >= 0:
                # A nonblocking eventfd whose count is at its end is readable all the same.
                if write(self.wake_fd, &one, 8) < 0:
                    return
            else:
                mock_wake(&self.sleeping)

    def start_thread(self, str name):
        """Starts the thread that drives the machine until `stop_thread`."""
        self.stopping = 0
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._main, name=name, daemon=True)
        self.thread.start()

    def stop_thread(self):
        """Ends the thread, and waits for it (unless this is it, or a child process)."""
        thread, self.thread = self.thread, None
        if thread is None or self.pid != os.getpid():
            return
        mock_store(&self.stopping, 1)
        self.wake()
        if thread is not threading.current_thread():
            thread.join()

    def after_fork(self):
        """In a child process: its thread is not there, and the lock may be held by nobody."""
        self.thread = None
        self._make_mutex()
        self.core.want = 0
        self.core.running = False

    cdef bint _make_mutex(self) noexcept:
        cdef pthread_mutexattr_t attr
        pthread_mutexattr_init(&attr)
        # A finalizer that the collector runs inside may come back to this mock.
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE)
        made = pthread_mutex_init(&self.mutex, &attr) == 0
        pthread_mutexattr_destroy(&attr)
        return made

    def _main(self):
        with nogil:
            self._loop()

    cdef void _loop(self) noexcept nogil:
        cdef uint32_t done
        cdef uint64_t idle_since = 0
        cdef uint32_t look = 0
        pthread_mutex_lock(&self.mutex)
        while not mock_load(&self.stopping):
            done = turn(&self.core, TURN)
            if self._wants_python():
                pthread_mutex_unlock(&self.mutex)
                with gil:
                    self._serve()
                pthread_mutex_lock(&self.mutex)
                done = 1
            if mock_load(&self.core.want):
                pthread_mutex_unlock(&self.mutex)
                while mock_load(&self.core.want):
                    sched_yield()
                pthread_mutex_lock(&self.mutex)
            if done or self.core.nlate and self.core.running:
                idle_since = 0
                continue
            # The clock costs more than a look at the doorbells.
            look += 1
            if idle_since and look & 15:
                aio_cpu_relax()
            elif idle_since == 0:
                idle_since = mock_nanoseconds()
            elif mock_nanoseconds() - idle_since >= self.spin_ns:
                self._idle(idle_since)
                idle_since = 0
        pthread_mutex_unlock(&self.mutex)

    cdef void _idle(self, uint64_t since) noexcept nogil:
        """Sleeps until somebody rings. Entered and left with the machine's lock."""
        cdef uint64_t slept
        if self.core.running:
            look_at_stray_doorbells(&self.core)
        ask_for_doorbells(&self.core)
        mock_store(&self.sleeping, 1)
        # Pairs with the barrier between a driver's doorbell and its look at `sleeping`: either it sees the
        # flag, or the turn below sees its doorbell.
        aio_barrier_full()
        if turn(&self.core, TURN) or mock_load(&self.stopping) or self._wants_python():
            mock_store(&self.sleeping, 0)
            return
        self.parked += 1
        pthread_mutex_unlock(&self.mutex)
        slept = mock_nanoseconds()
        self._sleep()
        slept = mock_nanoseconds() - slept
        if not _one_cpu:
            if slept < SOON:
                self.spin_ns = min(self.spin_ns * 2, <uint64_t>SPIN_MOST)
            else:
                self.spin_ns = max(self.spin_ns // 2, <uint64_t>SPIN_LEAST)
        pthread_mutex_lock(&self.mutex)

    cdef void _sleep(self) noexcept nogil:
        """Until somebody wakes it; or, where a store to a doorbell wakes nobody, until a look in between finds one.
        The looks become rarer."""
        cdef uint64_t nap = NAP_LEAST
        cdef bint found
        while mock_load(&self.sleeping):
            # Who enables the controller wakes it.
            if not mock_load(&self.polled) or not self.core.running:
                mock_sleep(&self.sleeping, 1, 0)
                continue
            mock_sleep(&self.sleeping, 1, nap)
            nap = min(nap * 2, <uint64_t>NAP_MOST)
            pthread_mutex_lock(&self.mutex)
            found = turn(&self.core, TURN) or self._wants_python()
            pthread_mutex_unlock(&self.mutex)
            if found:
                mock_store(&self.sleeping, 0)

    cdef int _serve(self) except -1:
        """Executes the admin command that waits; the interpreter's lock is held, the machine's is not."""
        cdef Sqe sqe
        cdef uint32_t bad
        self.lock()
        try:
            bad = self._bad_doorbells()
            if bad != self.bad_told:
                self.bad_told = bad
                self._tell(self.handler.bad_doorbell, self.core.bad_values != self.bad_values_told)
                self.bad_values_told = self.core.bad_values
            if mock_exchange(&self.news, 0):
                self._tell(self.handler.hear_news)
            if not self.core.admin_waiting:
                return 0
            sqe = self.core.admin
            self.core.admin_waiting = False
            if self.core.told_rule:
                told, self.core.told_rule = self.core.told_rule, 0
                self._tell(self.handler.strike, told)
                if self.core.running:
                    begin(&self.core, self.core.sqs[self.core.admin_qid], &sqe)
                return 0
            self._tell(self.handler.execute, self.core.admin_qid,
                       PyBytes_FromStringAndSize(<char *>&sqe, sizeof(Sqe)))
            self.core.cut = -1
        finally:
            self.unlock()
        return 0

    cdef bint _wants_python(self) noexcept nogil:
        return self.core.admin_waiting or mock_load(&self.news) or self._bad_doorbells() != self.bad_told

    cdef uint32_t _bad_doorbells(self) noexcept nogil:
        return self.core.bad_values + self.core.bad_registers

    def _tell(self, hear, *what):
        try:
            hear(*what)
        except BaseException as error:
            sys.unraisablehook(_Unraisable(error, self.handler))
            self.core.fatal = True

    def step(self, uint64_t max_commands=0):
        """Executes what the doorbells announce, `max_commands` at most (0: all); how many it took."""
        cdef uint64_t total = 0
        cdef uint32_t done, limit
        self.lock()
        try:
            while max_commands == 0 or total < max_commands:
                limit = TURN if max_commands == 0 else <uint32_t>min(max_commands - total, <uint64_t>TURN)
                with nogil:
                    done = turn(&self.core, limit)
                total += done
                if self.core.admin_waiting:
                    self._serve()
                elif done == 0:
                    break
            if self.core.running:
                look_at_stray_doorbells(&self.core)
            if self._wants_python():
                self._serve()
            # An admin command was executed after the last turn.
            turn(&self.core, 0)
            ask_for_doorbells(&self.core)
        finally:
            self.unlock()
        return total

    def prepare_to_sleep(self, uint64_t limit):
        """For an event loop: says that nobody looks, then looks a last time. 0: there is nothing to do, sleep."""
        self.lock()
        ask_for_doorbells(&self.core)
        self.unlock()
        mock_store(&self.sleeping, 1)
        aio_barrier_full()
        done = self.step(limit) or self.core.nlate and self.core.running
        if done:
            mock_store(&self.sleeping, 0)
        return done

    def set_wake_fd(self, int fd):
        """The eventfd by which an event loop is woken; -1 for none, and nobody is then asked to kick."""
        self.wake_fd = fd
        mock_store(&self.sleeping, 0)

    # -- registers and DMA -----------------------------------------------------------------------------------

    def get32(self, size_t offset):
        """A register as it stands in BAR 0."""
        return aio_mmio_read32(self.core.bar + offset)

    def set32(self, size_t offset, uint32_t value):
        """Gives a register a value, as the controller."""
        aio_mmio_write32(self.core.bar + offset, value)

    def get64(self, size_t offset):
        """A register as it stands in BAR 0."""
        return aio_mmio_read64(self.core.bar + offset)

    def set64(self, size_t offset, uint64_t value):
        """Gives a register a value, as the controller."""
        aio_mmio_write64(self.core.bar + offset, value)

    def share_bar(self, int fd, size_t offset, size_t nbytes):
        """Has whole pages of BAR 0 be those of a file at the same offset, where others may write; a negative `fd`: of
        no file any more. What is in them stays."""
        cdef int kind = MAP_SHARED if fd >= 0 else MAP_PRIVATE | MAP_ANONYMOUS
        cdef uint8_t *place = <uint8_t *>self.core.bar + offset
        cdef void *made
        if offset > self.bar_size or nbytes > self.bar_size - offset:
            raise UsageError(f"{nbytes:#x} bytes at {offset:#x} are not within BAR 0 ({self.bar_size:#x} bytes)")
        kept = PyBytes_FromStringAndSize(<char *>place, <Py_ssize_t>nbytes)
        made = mmap(place, nbytes, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, <long>offset if fd >= 0 else 0)
        if made == MAP_FAILED:
            PyErr_SetFromErrno(OSError)
        memcpy(place, PyBytes_AS_STRING(kept), nbytes)

    def set_polled(self, bint on):
        """Whether doorbells may be rung without a word; its thread then looks at them while it sleeps."""
        mock_store(&self.polled, on)

    def set_peer(self, peer):
        """Who is asked for memory without an address (`remote.pyx`); None for nobody."""
        self.peer = peer
        self.core.peer = <void *>peer if peer is not None else NULL

    def fill_bar(self, uint8_t byte):
        """All of BAR 0 reads as this byte."""
        memset(<void *>self.core.bar, byte, self.bar_size)

    def map_dma(self, size_t address, uint64_t nbytes, uint64_t iova, uint32_t access=IOVA_BOTH):
        """Lets the controller reach memory: read it (1), write it (2). Without an address the peer is asked for it."""
        iova_add(&self.core.map, iova, nbytes, <uint8_t *>address, access)

    def unmap_dma(self, uint64_t iova, uint64_t nbytes):
        """Takes back what one `map_dma` gave."""
        iova_remove(&self.core.map, iova, nbytes)
        self._map_changed()

    def unmap_all(self):
        """Takes back all."""
        self.core.cmb = NULL
        iova_clear(&self.core.map)
        self._map_changed()

    def set_bus_master(self, bint on):
        """Whether the controller reaches memory at all."""
        iova_switch(&self.core.map, on)
        self._map_changed()

    def set_irqs(self, list fds):
        """The eventfds of the vectors, which the caller keeps open."""
        cdef uint32_t i
        self.core.nirqs = <uint32_t>len(fds)
        for i in range(self.core.nirqs):
            self.core.irqs[i] = fds[i]

    def set_irq_mask(self, uint32_t mask):
        """INTMS as it now is; what waited for a vector that is no longer masked is signalled."""
        self.core.irq_mask = mask
        signal_interrupts(&self.core)

    cdef void _map_changed(self) noexcept:
        """Shadow doorbells are reached by a pointer, which must not outlive their mapping."""
        if self.core.shadow_iova:
            shadow_all(&self.core, self.core.shadow_iova, self.core.eventidx_iova)

    def set_shadow(self, uint64_t iova, uint64_t eventidx):
        """Doorbells of I/O queues are taken from the host's memory; 0 for none. False: it is not mapped."""
        if iova:
            look_at_all(&self.core)
        shadow_all(&self.core, iova, eventidx)
        return self.core.shadow != NULL

    def set_cmb(self, size_t offset, size_t nbytes, uint64_t iova):
        """Has a part of BAR 0 be memory at an I/O address; 0 bytes for none. False: something is there."""
        if self.core.cmb != NULL:
            iova_remove(&self.core.map, self.cmb_iova, self.core.cmb_bytes)
            self.core.cmb = NULL
        if nbytes == 0:
            return True
        try:
            iova_add(&self.core.map, iova, nbytes, <uint8_t *>self.core.bar + offset, IOVA_BOTH)
        except UsageError:
            return False
        self.core.cmb, self.core.cmb_bytes = <uint8_t *>self.core.bar + offset, nbytes
        self.cmb_iova = iova
        return True

    def in_cmb(self, uint64_t iova):
        """Whether this I/O address is in the controller memory buffer."""
        return self.core.cmb != NULL and self.cmb_iova <= iova < self.cmb_iova + self.core.cmb_bytes

    def share(self):
        """From now on other controllers use the namespaces too."""
        self.core.lock = &self.shelf.mutex

    def tell_news(self):
        """Has the controller look, in its own time, at what another controller of its subsystem has for it."""
        mock_store(&self.news, 1)
        self.wake()

    def preempt(self):
        """Another controller has commands that are kept here aborted (`Shelf.preempt`)."""
        mock_store(&self.core.attention, 1)
        self.wake()


class _Unraisable:
    """What `sys.unraisablehook` is told."""

    def __init__(self, error, where):
        self.exc_type = type(error)
        self.exc_value = error
        self.exc_traceback = error.__traceback__
        self.err_msg = "Exception ignored in an admin command of the mock controller"
        self.object = where
