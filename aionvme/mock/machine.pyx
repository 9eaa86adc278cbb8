# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what Python does to the core of a mock controller: queues, commands, rules, storage.

Every method is called with the machine standing still (`with machine:`), or by an admin command.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from aionvme.mock.engine cimport Engine
from aionvme.mock.faults cimport (
    faults_forget, haunt, is_special, kept_find, kept_forget, kept_take, return_ghosts, rule_add, rule_find,
    rule_remove,
)
from aionvme.mock.plane cimport begin, turn
from aionvme.mock.pointers cimport copy_from_segments, copy_to_segments, map_data, map_prps
from aionvme.mock.remote cimport remote_end
from aionvme.mock.rings cimport (
    ABORT_REQUESTED, ABORTED_SQ_DELETION, CLASS_HIGH, CLASS_LOW, CLASS_MEDIUM, ERRORS_KEPT, ErrorNote, Limits,
    Sq, arbiter_rebuild, cq_create, cq_delete, cq_post, note_error, post_status, sq_clear_busy, sq_create,
    sq_delete, sq_set_busy,
)
from aionvme.mock.rules cimport Cqe, Kept, Rule, RuleKind, Sqe


cdef class Machine(Engine):
    """The compiled half of a mock controller. `with machine:` has the data plane stand still inside."""

    # -- queues ----------------------------------------------------------------------------------------------

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
        faults_forget(&self.core)
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
        cdef Sq *sq = sq_create(
            &self.core, <uint16_t>qid, <uint16_t>cqid, base, entries, <uint16_t>qprio,
            self.core.bar + 0x1000 + 2 * qid * self.core.doorbell_stride)
        if self.core.nghosts:
            return_ghosts(&self.core, sq)

    def delete_sq(self, uint32_t qid):
        """Ends a submission queue: kept commands are aborted, those that were not fetched go with it."""
        cdef Kept kept
        cdef size_t i = 0
        while i < self.core.nkept:
            if self.core.kept[i].qid != qid:
                i += 1
            elif kept_take(&self.core, i, &kept):
                post_status(&self.core, self.core.sqs[qid], kept.sqe.cid, ABORTED_SQ_DELETION, 0, 0)
        if self.core.sqs[qid].fused:
            post_status(&self.core, self.core.sqs[qid], self.core.sqs[qid].first.cid, ABORTED_SQ_DELETION, 0, 0)
        sq_delete(&self.core, self.core.sqs[qid])

    def delete_cq(self, uint32_t qid):
        """Ends a completion queue."""
        cq_delete(&self.core, self.core.cqs[qid])

    def set_arbitration(self, uint32_t burst, uint32_t low, uint32_t medium, uint32_t high):
        """Commands from a queue in its turn (0: no limit), and the classes' weights."""
        self.core.arbiter.burst = burst if burst else 64
        self.core.arbiter.weights[<int>CLASS_HIGH] = high
        self.core.arbiter.weights[<int>CLASS_MEDIUM] = medium
        self.core.arbiter.weights[<int>CLASS_LOW] = low
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

    # -- commands --------------------------------------------------------------------------------------------

    def note_error(self, uint32_t qid, uint32_t cid, uint32_t nsid, uint32_t status):
        """A command that Python executed failed: for the error information log."""
        cdef Sqe sqe
        sqe.cid, sqe.nsid = <uint16_t>cid, nsid
        note_error(&self.core, <uint16_t>qid, &sqe, <uint16_t>status, 0)

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

    def inject(self, uint32_t cqid, uint32_t cid, uint32_t sqid, uint32_t sqhd, uint32_t status, uint32_t dw0,
               uint32_t dw1):
        """Posts a completion that no command asked for."""
        cdef Cqe cqe
        cqe.dw0, cqe.dw1, cqe.sqhd, cqe.sqid = dw0, dw1, <uint16_t>sqhd, <uint16_t>sqid
        cqe.cid_status = cid | status << 17
        cq_post(&self.core, self.core.cqs[cqid], &cqe)
        turn(&self.core, 0)

    def data_in(self, uint64_t prp1, uint64_t prp2, bytes data):
        """Gives the host data; the command's status."""
        cdef uint16_t status
        if self.core.cut >= 0:
            data, self.core.cut = data[:self.core.cut], -1
            if not data:
                return 0
        status = map_prps(&self.core, prp1, prp2, <size_t>len(data), False)
        if status == 0:
            copy_to_segments(&self.core.data, <const uint8_t *>PyBytes_AS_STRING(data))
        return remote_end(&self.core, status)

    def data_out(self, uint64_t prp1, uint64_t prp2, size_t nbytes):
        """Takes the host's data: the command's status, and the bytes."""
        return self._take(map_prps(&self.core, prp1, prp2, nbytes, True), nbytes)

    cdef _take(self, uint16_t status, size_t nbytes):
        """What was mapped with this status, as bytes."""
        data = b""
        if status == 0:
            data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>nbytes)
            copy_from_segments(&self.core.data, <uint8_t *>PyBytes_AS_STRING(data))
        return remote_end(&self.core, status), data

    def command_in(self, bytes raw, bytes data):
        """Gives the host the data of a command of an I/O queue; the command's status."""
        cdef uint16_t status = map_data(&self.core, <const Sqe *>PyBytes_AS_STRING(raw), <size_t>len(data), False)
        if status == 0:
            copy_to_segments(&self.core.data, <const uint8_t *>PyBytes_AS_STRING(data))
        return remote_end(&self.core, status)

    def command_out(self, bytes raw, size_t nbytes):
        """Takes the host's data of a command of an I/O queue: its status, and the bytes."""
        return self._take(map_data(&self.core, <const Sqe *>PyBytes_AS_STRING(raw), nbytes, True), nbytes)

    @property
    def max_transfer(self):
        """Bytes that one command may move."""
        return self.core.max_transfer

    @max_transfer.setter
    def max_transfer(self, size_t nbytes):
        self.core.max_transfer = nbytes

    def set_limits(self, dict limits):
        """What it can be told to do: some or all of the fields of `Limits`."""
        cdef Limits *own = &self.core.limits
        cdef dict now = own[0]
        now.update(limits)
        own[0] = now

    def set_silent(self, bint silent):
        """Fetches everything and completes nothing."""
        self.core.silent = silent
        is_special(&self.core)

    def set_latency(self, double seconds):
        """How long commands of I/O queues take from their fetch to their execution."""
        self.core.latency = <uint64_t>(seconds * 1e9)
        is_special(&self.core)

    def add_rule(self, uint32_t rule_id, uint32_t kind, int32_t qid, int32_t opcode, int64_t nsid, uint64_t skip,
                 uint64_t left, uint32_t status, uint64_t every, uint64_t chance, int64_t value, uint64_t delay_ns):
        """Adds a rule for commands that are fetched from now on."""
        cdef Rule rule
        rule.id, rule.kind, rule.qid, rule.opcode, rule.nsid = rule_id, <RuleKind>kind, qid, opcode, nsid
        rule.skip, rule.left, rule.status, rule.every, rule.chance = skip, left, <uint16_t>status, every, chance
        rule.value, rule.delay, rule.taken, rule.at = value, delay_ns, 0, 0
        rule_add(&self.core, &rule)

    def set_seed(self, uint64_t seed):
        """From here on chance goes as this number fixes it."""
        self.core.random = seed

    def due_ns(self):
        """When the first is due of what takes its time, by the clock's nanoseconds; 0 for nothing."""
        cdef uint64_t due = self.core.torn.due if self.core.tearing else 0
        cdef size_t i
        if not self.core.running:
            return 0  # A controller that stands still (CSTS.CFS) does none of it.
        for i in range(self.core.nkept):
            if self.core.kept[i].due and (not due or self.core.kept[i].due < due):
                due = self.core.kept[i].due
        for i in range(self.core.nghosts):
            if self.core.ghosts[i].due and (not due or self.core.ghosts[i].due < due):
                due = self.core.ghosts[i].due
        return due

    def remove_rule(self, uint32_t rule_id):
        """Ends a rule; what it kept stays kept."""
        rule_remove(&self.core, rule_id)

    def rule_left(self, uint32_t rule_id):
        """How many commands a rule will still take."""
        cdef Rule *rule = rule_find(&self.core, rule_id)
        return 0 if rule == NULL else rule.left

    def rule_taken(self, uint32_t rule_id):
        """How many commands a rule has taken."""
        cdef Rule *rule = rule_find(&self.core, rule_id)
        return 0 if rule == NULL else rule.taken

    def kept(self, uint32_t rule_id):
        """What a rule has kept, as (qid, cid, opcode)."""
        return [
            (self.core.kept[i].qid, self.core.kept[i].sqe.cid, self.core.kept[i].sqe.opcode)
            for i in range(self.core.nkept)
            if self.core.kept[i].rule == rule_id
        ]

    def outstanding(self):
        """What was fetched and is not complete, by whatever rule, as (qid, cid, opcode)."""
        return [
            (self.core.kept[i].qid, self.core.kept[i].sqe.cid, self.core.kept[i].sqe.opcode)
            for i in range(self.core.nkept)
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
            if self.core.admin_waiting:
                # The mock's thread has fetched one and waits for the interpreter: there is room for one alone.
                self._serve()
                i = 0
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
        haunt(&self.core, &kept)
        post_status(&self.core, self.core.sqs[qid], <uint16_t>cid, ABORT_REQUESTED, 0, 0)
        return True
