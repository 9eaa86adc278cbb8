# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the reservation commands of an I/O queue pair (NVMe Base 2.0, 7.2 to 7.5 and 8.19)."""

from libc.stdint cimport uint64_t

from aionvme.errors import UsageError
from aionvme.pci.dma cimport DmaBuffer
from aionvme.qpair.commands cimport CommandQueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.raw cimport prepare_raw, send_raw
from aionvme.qpair.request cimport Request
from aionvme.qpair.transfer cimport as_unsigned
from aionvme.spec import reservation
from aionvme.spec.reservation import AcquireAction, Cptpl, RegisterAction, ReleaseAction, ReservationType

cdef enum:
    # Room for 255 registrants in the extended form, 681 in the other.
    REPORT_BYTES = 16384


cdef uint64_t ANY_KEY = 0xFFFFFFFFFFFFFFFF


cdef object _member(object kind, object value, str name):
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(f"{member.name} ({int(member)})" for member in kind)
        raise UsageError(f"{name} must be one of {names}, not {value!r}") from None


cdef class ReservingQueuePair(CommandQueuePair):
    """Reservation Register, Acquire, Release and Report."""

    def _reserve(self, Namespace ns, sqe, payload, cb_fn, cb_arg, timeout, when_full):
        cdef DmaBuffer buffer
        cdef Request request
        self.check_usable()
        self.check_namespace(ns)
        self.limits.require(sqe[0])
        buffer = self.dma.alloc(len(payload))
        memoryview(buffer)[:len(payload)] = payload
        request = prepare_raw(self, sqe, buffer, None, True, cb_fn, cb_arg)
        return send_raw(self, request, timeout, when_full)

    def reservation_register(self, Namespace ns not None, action, *, crkey=0, nrkey=0, ignore_key=False,
                             cptpl=Cptpl.NO_CHANGE, timeout=None):
        """Registers, unregisters or replaces this host's key (7.3); awaitable.

        Args:
            ns: A namespace of the same controller.
            action: `RegisterAction`.
            crkey, nrkey: The current and the new key, 64 bits each.
            ignore_key: Whatever the current key is (IEKEY).
            cptpl: `Cptpl`: whether registrations outlive a loss of power.
        """
        return self.submit_reservation_register(
            ns, action, crkey=crkey, nrkey=nrkey, ignore_key=ignore_key, cptpl=cptpl, timeout=timeout)

    def submit_reservation_register(self, Namespace ns not None, action, cb_fn=None, cb_arg=None, *, crkey=0, nrkey=0,
                                    ignore_key=False, cptpl=Cptpl.NO_CHANGE, timeout=None, when_full=None):
        """`reservation_register` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        sqe = reservation.reservation_register(
            ns.nsid, _member(RegisterAction, action, "action"), ignore_key=bool(ignore_key),
            cptpl=_member(Cptpl, cptpl, "cptpl"))
        keys = reservation.RegisterKeys(
            crkey=as_unsigned(crkey, "crkey", ANY_KEY), nrkey=as_unsigned(nrkey, "nrkey", ANY_KEY))
        return self._reserve(ns, sqe, keys.encode(), cb_fn, cb_arg, timeout, when_full)

    def reservation_acquire(self, Namespace ns not None, action, rtype, *, crkey=0, prkey=0, ignore_key=False,
                            timeout=None):
        """Acquires a reservation, or preempts that of another host (7.2); awaitable.

        Args:
            ns: A namespace of the same controller.
            action: `AcquireAction`.
            rtype: `ReservationType`.
            crkey, prkey: This host's key, and the key that is preempted.
            ignore_key: Whatever this host's key is (IEKEY).
        """
        return self.submit_reservation_acquire(
            ns, action, rtype, crkey=crkey, prkey=prkey, ignore_key=ignore_key, timeout=timeout)

    def submit_reservation_acquire(self, Namespace ns not None, action, rtype, cb_fn=None, cb_arg=None, *, crkey=0,
                                   prkey=0, ignore_key=False, timeout=None, when_full=None):
        """`reservation_acquire` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        sqe = reservation.reservation_acquire(
            ns.nsid, _member(AcquireAction, action, "action"), _member(ReservationType, rtype, "rtype"),
            ignore_key=bool(ignore_key))
        keys = reservation.AcquireKeys(
            crkey=as_unsigned(crkey, "crkey", ANY_KEY), prkey=as_unsigned(prkey, "prkey", ANY_KEY))
        return self._reserve(ns, sqe, keys.encode(), cb_fn, cb_arg, timeout, when_full)

    def reservation_release(self, Namespace ns not None, action, rtype, *, crkey=0, ignore_key=False, timeout=None):
        """Releases this host's reservation, or clears all reservations and registrations (7.4); awaitable.

        Args:
            ns: A namespace of the same controller.
            action: `ReleaseAction`.
            rtype: `ReservationType` of what is released.
            crkey: This host's key.
            ignore_key: Whatever this host's key is (IEKEY).
        """
        return self.submit_reservation_release(
            ns, action, rtype, crkey=crkey, ignore_key=ignore_key, timeout=timeout)

    def submit_reservation_release(self, Namespace ns not None, action, rtype, cb_fn=None, cb_arg=None, *, crkey=0,
                                   ignore_key=False, timeout=None, when_full=None):
        """`reservation_release` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        sqe = reservation.reservation_release(
            ns.nsid, _member(ReleaseAction, action, "action"), _member(ReservationType, rtype, "rtype"),
            ignore_key=bool(ignore_key))
        key = reservation.ReleaseKey(crkey=as_unsigned(crkey, "crkey", ANY_KEY))
        return self._reserve(ns, sqe, key.encode(), cb_fn, cb_arg, timeout, when_full)

    def reservation_report(self, Namespace ns not None, *, extended=None, timeout=None):
        """Who is registered, and who holds a reservation (7.5); awaitable; `cpl.value` is a `ReservationStatus`.

        Args:
            ns: A namespace of the same controller.
            extended: The form with host identifiers of 128 bits. None for the one that goes with the identifier that
                the controller was given; the other ends in Host Identifier Inconsistent Format.
        """
        return self.submit_reservation_report(ns, extended=extended, timeout=timeout)

    def submit_reservation_report(self, Namespace ns not None, cb_fn=None, cb_arg=None, *, extended=None, timeout=None,
                                  when_full=None):
        """`reservation_report` with a callback: `cb_fn(cb_arg, cpl)`. Returns the `Request`."""
        cdef DmaBuffer buffer
        cdef Request request
        self.check_usable()
        self.check_namespace(ns)
        form = self.limits.host_id_extended if extended is None else bool(extended)
        nbytes = min(<size_t>REPORT_BYTES, self.max_transfer)
        sqe = reservation.reservation_report(ns.nsid, nbytes=nbytes, extended=form)
        self.limits.require(sqe[0])
        buffer = self.dma.alloc(nbytes)
        request = prepare_raw(self, sqe, buffer, None, False, cb_fn, cb_arg)
        request.decode = lambda _cpl: reservation.decode_reservation_status(bytes(buffer), form)
        return send_raw(self, request, timeout, when_full)
