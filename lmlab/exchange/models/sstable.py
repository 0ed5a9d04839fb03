"""Sorted string tables of LevelDB, which TensorFlow's checkpoints use as their index: all keys and values of a small file.

    block    entries: shared and other bytes of the key, bytes of the value (varints), rest of the key, value; then offsets of
             entries with whole keys (uint32 each) and their number (uint32); after it 1 byte of compression and a checksum
    index    a block whose values are the place of each block: offset and size (varints)
    footer   the last 48 bytes: places of the metaindex and the index, zeros, and 8 bytes by which the format is known

(leveldb, doc/table_format.md.) Only uncompressed blocks are read, as TensorFlow writes them; checksums are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
MOST_ENTRIES = 1 << 20
LONGEST_KEY = 1 << 12
NOT_COMPRESSED = 0


def read_table(content: bytes) -> dict[bytes, bytes]:
    """Return the keys and values of a table; ValueError, in one line, where it is damaged or compressed."""
    if len(content) < FOOTER_BYTES or int.from_bytes(content[-8:], "little") != MAGIC:
        raise ValueError("it is no table: expected a file that ends with its footer")
    footer = content[-FOOTER_BYTES:]
    at = 0
    for _ in range(2):  # the place of the metaindex, which isn't needed
        _, at = varint(footer, at)
    offset, at = varint(footer, at)
    size, _ = varint(footer, at)
    found: dict[bytes, bytes] = {}
    for _, place in _block(content, offset, size):
        begin, after = varint(place, 0)
        length, _ = varint(place, after)
        for key, value in _block(content, begin, length):
            if key in found or len(found) >= MOST_ENTRIES:
                raise ValueError("it has a key twice, or too many")
            found[key] = value
    return found


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if size < 4 or offset + size >= len(content):
        raise ValueError("a block is not in the file")
    if content[offset + size] != NOT_COMPRESSED:
        raise ValueError("its blocks are compressed")
    block = content[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block has more offsets than bytes")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        other, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or shared + other > LONGEST_KEY or at + other + length > end:
            raise ValueError("an entry is not in its block")
        key = key[:shared] + block[at : at + other]
        yield key, block[at + other : at + other + length]
        at += other + length


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, 7 bits a byte, and the place after it. ValueError where it doesn't end within 64 bits."""
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number has no end")
