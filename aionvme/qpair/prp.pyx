# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Physical region page entries: from memory of this process to PRP1, PRP2 and the PRP list."""

from libc.stdint cimport uint8_t, uint64_t


cdef PrpResult prp_build(
    DmaSpace space, const uint8_t *address, size_t nbytes, size_t page_size,
    uint64_t *entries, uint64_t entries_iova, size_t capacity, uint64_t *prp1, uint64_t *prp2,
) noexcept nogil:
    """Describes `nbytes` at `address`, as NVMe Base 2.0, 4.1.1 says.

    PRP1 is the first page, with an offset; PRP2 the second page if there are two, else the address of a list of all but
    the first. `entries` is that list: `capacity` entries within one memory page, at `entries_iova` for the device.
    """
    cdef uint64_t iova = 0, page
    cdef size_t run, offset, done, count = 0
    prp1[0] = prp2[0] = 0
    if nbytes == 0:
        return PRP_OK
    run = space.translate(address, nbytes, &iova)
    if run == 0:
        return PRP_NOT_MAPPED
    offset = iova & (page_size - 1)
    if offset & 3:
        return PRP_UNALIGNED
    prp1[0] = iova
    done = page_size - offset
    while done < nbytes:
        if done < run:
            page = iova + done
        else:
            # The run of device addresses ends here: on a page boundary, or PRPs cannot say it.
            if done > run:
                return PRP_UNALIGNED
            address += run
            nbytes -= run
            done = 0
            run = space.translate(address, nbytes, &iova)
            if run == 0:
                return PRP_NOT_MAPPED
            if iova & (page_size - 1):
                return PRP_UNALIGNED
            page = iova
        if count == capacity:
            return PRP_TOO_LONG
        entries[count] = page
        count += 1
        done += page_size
    if run < nbytes:
        # The last page is not mapped to its end.
        return PRP_NOT_MAPPED
    if count == 1:
        prp2[0] = entries[0]
    elif count > 1:
        prp2[0] = entries_iova
    return PRP_OK


def describe(space: DmaSpace, size_t address, size_t nbytes, size_t page_size, size_t capacity, uint64_t list_iova):
    """For tests: (result, PRP1, PRP2, list), where a result other than 0 is a reason why PRPs cannot say it."""
    cdef uint64_t prp1 = 0, prp2 = 0
    cdef uint64_t[512] entries
    cdef PrpResult result
    if capacity > 512:
        raise ValueError("the list of this test entry has at most 512 entries")
    result = prp_build(space, <const uint8_t *>address, nbytes, page_size, entries, list_iova, capacity, &prp1, &prp2)
    npages = 0
    if result == PRP_OK and nbytes:
        npages = (nbytes + (prp1 & (page_size - 1)) + page_size - 1) // page_size - 1
    return int(result), prp1, prp2, [entries[i] for i in range(npages)]
