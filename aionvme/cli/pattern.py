"""Owns the data that `hello` writes: readable in a hex dump, different for each block and each run."""

from __future__ import annotations

__all__ = ["difference", "looks_like", "pattern"]

_TEXT_SHOWN = 32


def pattern(lba: int, nblocks: int, block_size: int, seed: int) -> bytes:
    """The data for some blocks: lines of 64 characters that say where they belong and when they were made.

    The seed keeps what an earlier run left from passing for this one's; block and offset keep a block, or a
    part of one, that went to another place from passing for the right one.

    Args:
        lba: First block.
        nblocks: How many blocks.
        block_size: Bytes in a block.
        seed: 64 bits, another one in each run.
    """
    blocks = []
    for block in range(lba, lba + nblocks):
        lines = (
            f"aionvme hello lba {block:016x} +{offset:05x} seed {seed:016x}\n"
            for offset in range(0, block_size, 64)
        )
        blocks.append("".join(lines).encode()[:block_size])
    return b"".join(blocks)


def difference(wanted: bytes, got: bytes, lba: int, block_size: int) -> str | None:
    """Where what was read is not what was written; None where it is the same."""
    if wanted == got:
        return None
    if len(wanted) != len(got):
        return f"{len(got)} bytes were read, {len(wanted)} were written"
    nblocks = len(wanted) // block_size
    wrong = [
        block
        for block in range(nblocks)
        if _block(wanted, block, block_size) != _block(got, block, block_size)
    ]
    first = wrong[0]
    byte = next(index for index in range(first * block_size, len(wanted)) if wanted[index] != got[index])
    return (
        f"{len(wrong)} of {nblocks} blocks are not what was written, first LBA {lba + first} from byte "
        f"{byte % block_size} on: {_text(wanted[byte:])} was written, {_text(got[byte:])} was read"
    )


def looks_like(data: bytes) -> str:
    """A few words on what is in some blocks, for whoever is about to overwrite them."""
    if not any(data):
        return "all zero"
    return f"data, beginning with {_text(data)}"


def _block(data: bytes, block: int, block_size: int) -> bytes:
    return data[block * block_size : (block + 1) * block_size]


def _text(data: bytes) -> str:
    head = data[:_TEXT_SHOWN]
    return '"' + "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in head) + '"'
