# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the lock, the thread and the memory of a mock controller, and hands its core to Python.

Two locks meet here, the interpreter's and the machine's, and one rule keeps them apart: nobody waits for the machine's
lock while holding the interpreter's. So the data plane, which needs the interpreter's for an admin command, lets go of
its own first, takes the interpreter's, and then its own again by `lock`, which waits without the interpreter's.
"""

import os
import sys
import threading

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from aionvme.errors import UsageError

from aionvme.mock.faults cimport kept_find, kept_forget, kept_take, rule_add, rule_find, rule_remove
from aionvme.mock.iommu cimport iova_add, iova_clear, iova_remove, iova_switch
from aionvme.mock.nvm cimport copy_from_segments, copy_to_segments, map_prps, read_storage, write_storage
from aionvme.mock.plane cimport begin, look_at_stray_doorbells, signal_interrupts, turn
from aionvme.mock.rings cimport (
    ABORT_REQUESTED, ABORTED_SQ_DELETION, ERRORS_KEPT, Cqe, ErrorNote, Kept, Namespace, Rule, RuleKind, Sq, Sqe,
    arbiter_rebuild, core_free, core_init, cq_create, cq_delete, cq_post, is_busy, mock_add, mock_exchange, mock_load,
    mock_nanoseconds, mock_sleep, mock_store, mock_wake, note_error, post_status, sq_clear_busy, sq_create, sq_delete,
    sq_set_busy,
)
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
    ONE_CPU_SPIN = 0

DOORBELLS = 0x1000
_ONE_CPU = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) == 1


cdef class Machine:
    """The compiled half of a mock controller. `with machine:` has the data plane stand still inside.

    Args:
        nqueues: Queue identifiers, the admin queue's 0 among them.
        nn: How many namespaces there may be.
        max_transfer: Bytes that one command may move.
        doorbell_stride: Bytes from one doorbell to the next.
        nirqs: Interrupt vectors.
        bar_size: Bytes of BAR 0.
    """

    def __cinit__(self, uint32_t nqueues, uint32_t nn, size_t max_transfer, size_t doorbell_stride, uint32_t nirqs,
                  size_t bar_size):
        cdef void *bar
        self.wake_fd = -1
        self.spin_ns = SPIN_LEAST
        core_init(&self.core, nqueues, nn, max_transfer)
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
        self._free_storage()
        if self.core.bar != NULL:
            munmap(<void *>self.core.bar, self.bar_size)
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

    # -- what drives it ----------------------------------------------------------------------------------------------

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
            if self.core.admin_waiting or self._bad_doorbells() != self.bad_told:
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
            if done:
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
        mock_store(&self.sleeping, 1)
        # Pairs with the barrier between a driver's doorbell and its look at `sleeping`: either it sees the flag, or
        # the turn below sees its doorbell.
        aio_barrier_full()
        if (turn(&self.core, TURN) or self.core.admin_waiting or mock_load(&self.stopping)
                or self._bad_doorbells() != self.bad_told):
            mock_store(&self.sleeping, 0)
            return
        self.parked += 1
        pthread_mutex_unlock(&self.mutex)
        slept = mock_nanoseconds()
        while mock_load(&self.sleeping):
            mock_sleep(&self.sleeping, 1, 0)
        slept = mock_nanoseconds() - slept
        if not _ONE_CPU_C:
            if slept < SOON:
                self.spin_ns = min(self.spin_ns * 2, <uint64_t>SPIN_MOST)
            else:
                self.spin_ns = max(self.spin_ns // 2, <uint64_t>SPIN_LEAST)
        pthread_mutex_lock(&self.mutex)

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
            if not self.core.admin_waiting:
                return 0
            sqe = self.core.admin
            self.core.admin_waiting = False
            self._tell(self.handler.execute, PyBytes_FromStringAndSize(<char *>&sqe, sizeof(Sqe)))
        finally:
            self.unlock()
        return 0

    cdef uint32_t _bad_doorbells(self) noexcept nogil:
        return self.core.bad_values + self.core.bad_registers

    def _tell(self, hear, what):
        try:
            hear(what)
        except BaseException as error:
            sys.unraisablehook(_Unraisable(error, self.handler))
            self.core.fatal = True

    def step(self, uint64_t max_commands=0):
        """Executes what the doorbells announce, `max_commands` at most (0: all); how many commands it took."""
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
            if self._bad_doorbells() != self.bad_told:
                self._serve()
            # An admin command was executed after the last turn.
            turn(&self.core, 0)
        finally:
            self.unlock()
        return total

    def prepare_to_sleep(self, uint64_t limit):
        """For an event loop: says that nobody looks, then looks a last time. What `step` gives; 0 means sleep."""
        mock_store(&self.sleeping, 1)
        aio_barrier_full()
        done = self.step(limit)
        if done:
            mock_store(&self.sleeping, 0)
        return done

    def set_wake_fd(self, int fd):
        """The eventfd by which an event loop is woken; -1 for none, and nobody is then asked to kick."""
        self.wake_fd = fd
        mock_store(&self.sleeping, 0)

    # -- registers and DMA -------------------------------------------------------------------------------------------

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

    def fill_bar(self, uint8_t byte):
        """All of BAR 0 reads as this byte."""
        memset(<void *>self.core.bar, byte, self.bar_size)

    def map_dma(self, size_t address, uint64_t nbytes, uint64_t iova):
        """Lets the controller reach memory."""
        iova_add(&self.core.map, iova, nbytes, <uint8_t *>address)

    def unmap_dma(self, uint64_t iova, uint64_t nbytes):
        """Takes back what one `map_dma` gave."""
        iova_remove(&self.core.map, iova, nbytes)

    def unmap_all(self):
        """Takes back all."""
        iova_clear(&self.core.map)

    def set_bus_master(self, bint on):
        """Whether the controller reaches memory at all."""
        iova_switch(&self.core.map, on)

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

    # -- queues ------------------------------------------------------------------------------------------------------

    def run(self, uint32_t page_shift, bint weighted):
        """The controller is ready: commands are taken."""
        self.core.page_shift = page_shift
        self.core.arbiter.weighted = weighted
        arbiter_rebuild(&self.core)
        self.core.running = True

    def halt(self):
        """No command is taken any more; queues stay."""
        self.core.running = False

    @property
    def running(self):
        """Whether commands are taken."""
        return bool(self.core.running)

    @property
    def fatal(self):
        """Whether the controller met something that it can't go on from."""
        return bool(self.core.fatal)

    def drop_queues(self):
        """Controller reset: every queue goes, and every command that was not completed."""
        cdef uint32_t i
        self.core.running = False
        kept_forget(&self.core, -1)
        for i in range(self.core.nqueues):
            if self.core.sqs[i] != NULL and self.core.sqs[i].live:
                sq_delete(&self.core, self.core.sqs[i])
        for i in range(self.core.nqueues):
            if self.core.cqs[i] != NULL and self.core.cqs[i].live:
                cq_delete(&self.core, self.core.cqs[i])
        self.core.admin_waiting = False
        self.core.fatal = False

    def has_sq(self, uint32_t qid):
        """Whether this submission queue exists."""
        return qid < self.core.nqueues and self.core.sqs[qid] != NULL and bool(self.core.sqs[qid].live)

    def has_cq(self, uint32_t qid):
        """Whether this completion queue exists."""
        return qid < self.core.nqueues and self.core.cqs[qid] != NULL and bool(self.core.cqs[qid].live)

    def cq_users(self, uint32_t qid):
        """How many submission queues complete into this queue."""
        return self.core.cqs[qid].users

    def create_cq(self, uint32_t qid, uint64_t base, uint32_t entries, uint32_t vector, bint ien):
        """Makes a completion queue."""
        cq_create(&self.core, <uint16_t>qid, base, entries, <uint16_t>vector, ien,
                  self.core.bar + 0x1000 + (2 * qid + 1) * self.core.doorbell_stride)

    def create_sq(self, uint32_t qid, uint32_t cqid, uint64_t base, uint32_t entries, uint32_t qprio):
        """Makes a submission queue."""
        sq_create(&self.core, <uint16_t>qid, <uint16_t>cqid, base, entries, <uint16_t>qprio,
                  self.core.bar + 0x1000 + 2 * qid * self.core.doorbell_stride)

    def delete_sq(self, uint32_t qid):
        """Ends a submission queue: kept commands are aborted, those that were not fetched go with it."""
        cdef Kept kept
        cdef size_t i = 0
        while i < self.core.nkept:
            if self.core.kept[i].qid != qid:
                i += 1
            elif kept_take(&self.core, i, &kept):
                post_status(&self.core, self.core.sqs[qid], kept.sqe.cid, ABORTED_SQ_DELETION, 0, 0)
        sq_delete(&self.core, self.core.sqs[qid])

    def delete_cq(self, uint32_t qid):
        """Ends a completion queue."""
        cq_delete(&self.core, self.core.cqs[qid])

    def set_arbitration(self, uint32_t burst, uint32_t low, uint32_t medium, uint32_t high):
        """Commands from a queue in its turn (0: no limit), and the classes' weights."""
        self.core.arbiter.burst = burst if burst else 64
        self.core.arbiter.weights[2], self.core.arbiter.weights[3], self.core.arbiter.weights[4] = high, medium, low
        arbiter_rebuild(&self.core)

    def queue(self, uint32_t qid):
        """What is counted of a queue, as a dict; None when it never existed."""
        cdef Sq *sq = self.core.sqs[qid] if qid < self.core.nqueues else NULL
        if sq == NULL:
            return None
        return {
            "qid": qid, "live": bool(sq.live), "entries": sq.entries, "qprio": sq.qprio, "cqid": sq.cqid,
            "head": sq.head, "tail": sq.tail, "fetched": sq.fetched, "doorbells": sq.doorbells,
            "opcodes": {i: sq.opcodes[i] for i in range(256) if sq.opcodes[i]},
        }

    def completion_queue(self, uint32_t qid):
        """What is counted of a completion queue, as a dict; None when it never existed."""
        if qid >= self.core.nqueues or self.core.cqs[qid] == NULL:
            return None
        cq = self.core.cqs[qid]
        return {
            "live": bool(cq.live), "cq_entries": cq.entries, "cq_head": cq.head, "cq_tail": cq.tail,
            "posted": cq.posted, "waiting": cq.nbacklog, "interrupts": cq.interrupts, "vector": cq.vector,
            "ien": bool(cq.ien),
        }

    def counters(self):
        """What is counted of all queues together."""
        return {
            "reads": self.core.reads, "writes": self.core.writes, "bytes_read": self.core.bytes_read,
            "bytes_written": self.core.bytes_written, "bad_doorbell_registers": self.core.bad_registers,
            "bad_doorbell_values": self.core.bad_values, "parked": self.parked,
            "errors": self.core.nerrors,
        }

    # -- commands ----------------------------------------------------------------------------------------------------

    def note_error(self, uint32_t cid, uint32_t nsid, uint32_t status):
        """An admin command failed: for the error information log."""
        cdef Sqe sqe
        sqe.cid, sqe.nsid = <uint16_t>cid, nsid
        note_error(&self.core, 0, &sqe, <uint16_t>status, 0)

    def errors(self):
        """What failed, the last first: (count, sqid, cid, status, lba, nsid)."""
        cdef int i
        cdef ErrorNote *note
        notes = []
        for i in range(ERRORS_KEPT):
            note = &self.core.errors[i]
            if note.count:
                notes.append((note.count, note.sqid, note.cid, note.status, note.lba, note.nsid))
        return sorted(notes, reverse=True)

    def complete(self, uint32_t qid, uint32_t cid, uint32_t status, uint32_t dw0, uint32_t dw1):
        """Completes a command of a queue that exists."""
        sq_clear_busy(self.core.sqs[qid], <uint16_t>cid)
        post_status(&self.core, self.core.sqs[qid], <uint16_t>cid, <uint16_t>status, dw0, dw1)

    def set_busy(self, uint32_t qid, uint32_t cid):
        """This command stays outstanding: its CID may not be used again."""
        sq_set_busy(&self.core, self.core.sqs[qid], <uint16_t>cid)

    def inject(self, uint32_t cqid, uint32_t cid, uint32_t sqid, uint32_t sqhd, uint32_t status, uint32_t dw0, uint32_t dw1):
        """Posts a completion that no command asked for."""
        cdef Cqe cqe
        cqe.dw0, cqe.dw1, cqe.sqhd, cqe.sqid = dw0, dw1, <uint16_t>sqhd, <uint16_t>sqid
        cqe.cid_status = cid | status << 17
        cq_post(&self.core, self.core.cqs[cqid], &cqe)
        turn(&self.core, 0)

    def data_in(self, uint64_t prp1, uint64_t prp2, bytes data):
        """Gives the host data; the command's status."""
        cdef uint16_t status = map_prps(&self.core, prp1, prp2, <size_t>len(data))
        if status == 0:
            copy_to_segments(&self.core, <const uint8_t *>PyBytes_AS_STRING(data))
        return status

    def data_out(self, uint64_t prp1, uint64_t prp2, size_t nbytes):
        """Takes the host's data: the command's status, and the bytes."""
        cdef uint16_t status = map_prps(&self.core, prp1, prp2, nbytes)
        if status:
            return status, b""
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
        copy_from_segments(&self.core, <uint8_t *>PyBytes_AS_STRING(data))
        return 0, data

    def set_silent(self, bint silent):
        """Fetches everything and completes nothing."""
        self.core.silent = silent
        self.core.special = silent or self.core.nrules != 0

    def add_rule(self, uint32_t rule_id, uint32_t kind, int32_t qid, int32_t opcode, int64_t nsid, uint64_t skip, uint64_t left,
                 uint32_t status):
        """Adds a rule for commands that are fetched from now on."""
        cdef Rule rule
        rule.id, rule.kind, rule.qid, rule.opcode, rule.nsid = rule_id, <RuleKind>kind, qid, opcode, nsid
        rule.skip, rule.left, rule.status = skip, left, <uint16_t>status
        rule_add(&self.core, &rule)

    def remove_rule(self, uint32_t rule_id):
        """Ends a rule; what it kept stays kept."""
        rule_remove(&self.core, rule_id)

    def rule_left(self, uint32_t rule_id):
        """How many commands a rule will still take."""
        cdef Rule *rule = rule_find(&self.core, rule_id)
        return 0 if rule == NULL else rule.left

    def kept(self, uint32_t rule_id):
        """What a rule has kept, as (qid, cid, opcode)."""
        return [
            (self.core.kept[i].qid, self.core.kept[i].sqe.cid, self.core.kept[i].sqe.opcode)
            for i in range(self.core.nkept)
            if self.core.kept[i].rule == rule_id
        ]

    def release(self, uint32_t rule_id, size_t most):
        """Executes what a rule has kept, the oldest first; how many."""
        cdef size_t i = 0
        cdef size_t done = 0
        cdef Kept kept
        while i < self.core.nkept and done < most:
            if self.core.kept[i].rule != rule_id:
                i += 1
                continue
            if kept_take(&self.core, i, &kept) and self.core.running:
                begin(&self.core, self.core.sqs[kept.qid], &kept.sqe)
                if self.core.admin_waiting:
                    self._serve()
                    i = 0  # an Abort may have taken out what stood before
            done += 1
        turn(&self.core, 0)
        return done

    def count_kept(self, uint32_t qid, uint32_t opcode):
        """How many commands of this kind are kept, by whatever rule."""
        cdef size_t i, count = 0
        for i in range(self.core.nkept):
            if self.core.kept[i].qid == qid and self.core.kept[i].sqe.opcode == opcode:
                count += 1
        return count

    def abort_kept(self, uint32_t qid, uint32_t cid):
        """Aborts a command that is kept; False when there is none."""
        cdef Kept kept
        cdef size_t index = kept_find(&self.core, <uint16_t>qid, <uint16_t>cid)
        if index == self.core.nkept or not kept_take(&self.core, index, &kept):
            return False
        post_status(&self.core, self.core.sqs[qid], <uint16_t>cid, ABORT_REQUESTED, 0, 0)
        return True

    # -- storage -----------------------------------------------------------------------------------------------------

    def add_namespace(self, uint32_t nsid, uint32_t shift, uint64_t nblocks, int fd, uint64_t offset,
                      bint active):
        """Gives a namespace storage: memory that is touched when it is used, or a part of a file (`fd` not negative)."""
        cdef Namespace *ns = &self.core.namespaces[nsid - 1]
        cdef void *memory
        ns.fd, ns.shift, ns.nblocks, ns.offset = fd, shift, nblocks, offset
        if fd < 0:
            memory = mmap(NULL, nblocks << shift, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if memory == MAP_FAILED:
                raise MemoryError(f"no address space for a namespace of {nblocks << shift} bytes")
            ns.memory = <uint8_t *>memory
        ns.active = active

    def free_storage(self):
        """Gives the memory of the namespaces back."""
        self._free_storage()

    cdef void _free_storage(self) noexcept:
        cdef uint32_t i
        cdef Namespace *ns
        for i in range(self.core.nn if self.core.namespaces != NULL else 0):
            ns = &self.core.namespaces[i]
            if ns.memory != NULL:
                munmap(ns.memory, ns.nblocks << ns.shift)
            ns.active = False
            ns.memory = NULL

    cdef int check_namespace(self, uint32_t nsid, uint64_t offset, uint64_t nbytes) except -1:
        if nsid == 0 or nsid > self.core.nn or not self.core.namespaces[nsid - 1].active:
            raise UsageError(f"there is no namespace {nsid}")
        size = self.core.namespaces[nsid - 1].nblocks << self.core.namespaces[nsid - 1].shift
        if offset > size or nbytes > size - offset:
            raise UsageError(f"{nbytes} bytes at {offset} are not within namespace {nsid} of {size} bytes")
        return 0

    def peek(self, uint32_t nsid, uint64_t offset, uint64_t nbytes):
        """Bytes of a namespace."""
        self.check_namespace(nsid, offset, nbytes)
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
        if read_storage(&self.core.namespaces[nsid - 1], offset, <uint8_t *>PyBytes_AS_STRING(data), nbytes) < 0:
            raise OSError("the mock's storage could not be read")
        return data

    def poke(self, uint32_t nsid, uint64_t offset, bytes data):
        """Gives bytes of a namespace another value."""
        self.check_namespace(nsid, offset, len(data))
        if write_storage(&self.core.namespaces[nsid - 1], offset, <uint8_t *>PyBytes_AS_STRING(data), len(data)) < 0:
            raise OSError("the mock's storage could not be written")


cdef bint _ONE_CPU_C = _ONE_CPU


class _Unraisable:
    """What `sys.unraisablehook` is told."""

    def __init__(self, error, where):
        self.exc_type = type(error)
        self.exc_value = error
        self.exc_traceback = error.__traceback__
        self.err_msg = "Exception ignored in an admin command of the mock controller"
        self.object = where
