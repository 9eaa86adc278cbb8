"""Protection information the slow way: bit by bit, block by block, in integers. It shares no code with the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aionvme import pi

# Width, polynomial, least significant bit first, start and final inversion.
_PARAMETERS = {
    pi.Guard.CRC16: (16, 0x8BB7, False, 0),
    pi.Guard.CRC32C: (32, 0x1EDC6F41, True, 0xFFFF_FFFF),
    pi.Guard.CRC64: (64, 0xAD93D235_94C93659, True, 0xFFFF_FFFF_FFFF_FFFF),
}
_SPACE_BYTES = {pi.Guard.CRC16: 4, pi.Guard.CRC32C: 10, pi.Guard.CRC64: 6}


def crc(guard: pi.Guard, data: bytes) -> int:
    """Divide the message by the polynomial, bit by bit."""
    width, polynomial, reflected, inversion = _PARAMETERS[guard]
    remainder = inversion
    for byte in data:
        for place in range(8):
            bit = byte >> (place if reflected else 7 - place) & 1
            out = remainder >> (width - 1)
            remainder = remainder << 1 & ((1 << width) - 1)
            if bit ^ out:
                remainder ^= polynomial
    if reflected:
        remainder = int(f"{remainder:0{width}b}"[::-1], 2)
    return remainder ^ inversion


@dataclass
class Block:
    """One block, and where its bytes are in the buffers."""

    data: bytes
    metadata: bytes
    at: int
    metadata_at: int


def cut(fmt: pi.Format, data: bytes, metadata: bytes) -> Iterator[Block]:
    """Cut buffers into blocks; `metadata` is empty if the format is extended."""
    unit = fmt.block_size + fmt.metadata_size if fmt.extended else fmt.block_size
    for number in range(len(data) // unit):
        at = number * unit
        block = data[at : at + fmt.block_size]
        if fmt.extended:
            metadata_at = at + fmt.block_size
            yield Block(block, data[metadata_at : metadata_at + fmt.metadata_size], at, metadata_at)
        else:
            metadata_at = number * fmt.metadata_size
            yield Block(block, metadata[metadata_at : metadata_at + fmt.metadata_size], at, metadata_at)


def sizes(guard: pi.Guard) -> tuple[int, int, int]:
    """Bytes of guard, application tag, and storage and reference space."""
    return _PARAMETERS[guard][0] // 8, 2, _SPACE_BYTES[guard]


def generate(
    fmt: pi.Format, data: bytes, metadata: bytes, *, ref_tag: int, app_tag: int, storage_tag: int
) -> tuple[bytes, bytes]:
    """The two buffers with the protection information in its place."""
    new_data, new_metadata = bytearray(data), bytearray(metadata)
    size = sum(sizes(fmt.guard))
    ref_bits = _SPACE_BYTES[fmt.guard] * 8 - fmt.storage_tag_bits
    for number, block in enumerate(cut(fmt, data, metadata)):
        offset = 0 if fmt.pi_first else fmt.metadata_size - size
        covered = block.data if fmt.pi_first else block.data + block.metadata[:offset]
        tag = (ref_tag + (0 if fmt.pi_type == 3 else number)) % 2**ref_bits
        information = (
            crc(fmt.guard, covered).to_bytes(sizes(fmt.guard)[0], "big")
            + app_tag.to_bytes(2, "big")
            + (storage_tag * 2**ref_bits + tag).to_bytes(_SPACE_BYTES[fmt.guard], "big")
        )
        where = block.metadata_at + offset
        (new_data if fmt.extended else new_metadata)[where : where + size] = information
    return bytes(new_data), bytes(new_metadata)
