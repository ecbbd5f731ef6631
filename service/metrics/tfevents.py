"""A job's curves as TensorBoard reads them: a file of records, each an Event with one scalar.

The few fields are encoded here by hand, after TensorFlow's `event.proto`, `summary.proto` and `record_writer.cc`: a
record is the length of its data (8 bytes), that length's checksum, the data, and the data's checksum.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

from service.db import Sessions
from service.metrics.exports import pieces, series_of

VERSION = b"brain.Event:2"
NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5
"""Protocol Buffers' wire types."""


def events(sessions: Sessions, job_id: str) -> Iterator[bytes]:
    """All curves of a job, one after another. Values are rounded to float32, which is all that the format holds."""
    first = True
    for series_id, name in series_of(sessions, job_id):
        tag = _field(1, BYTES, name.encode())
        for rows in pieces(sessions, series_id, None):
            if first:
                yield _record(_field(1, DOUBLE, rows[0][3]) + _field(3, BYTES, VERSION))
                first = False
            yield b"".join(
                _record(_event(step, NONFINITE[kind] if kind else value, at, tag))
                for step, value, kind, at, _ in rows
            )


def _event(step: int, value: float, at: float, tag: bytes) -> bytes:
    """Event{1: wall_time, 2: step, 5: Summary{1: Value{1: tag, 2: simple_value}}}"""
    one = tag + _field(2, FLOAT, value)
    return _field(1, DOUBLE, at) + _field(2, VARINT, step) + _field(5, BYTES, _field(1, BYTES, one))


def _field(number: int, kind: int, value: float | bytes) -> bytes:
    key = _varint(number << 3 | kind)
    if isinstance(value, bytes):
        return key + _varint(len(value)) + value
    if kind == VARINT:
        return key + _varint(int(value))
    return key + (struct.pack("<d", value) if kind == DOUBLE else _float32(value))


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # finite, and beyond what float32 holds
        return struct.pack("<f", math.copysign(math.inf, value))


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, turned and shifted so that a checksum of data that holds checksums is no trouble."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C: Final = _table()
