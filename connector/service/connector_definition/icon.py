"""The connector's icon, drawn: a square PNG, a check mark on the brand colour (1:1, never white)."""

from __future__ import annotations

import struct
import zlib

SIDE = 160
"""Pixels of one side; between 100 and 230 is accepted."""

_INK = (255, 255, 255)
_STROKES = (((0.26, 0.52), (0.43, 0.69)), ((0.43, 0.69), (0.76, 0.33)))
"""The check mark's two strokes, in parts of the side; the mark fills less than 70 % of it."""
_WIDTH = 0.055


def icon_png(color: str) -> bytes:
    """Return the icon on a background of `color` (`#rrggbb`) as PNG."""
    ground = (int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16))
    rows = b"".join(b"\x00" + b"".join(bytes(_pixel(x, y, ground)) for x in range(SIDE)) for y in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _pixel(x: int, y: int, ground: tuple[int, int, int]) -> tuple[int, ...]:
    """Mix ink and ground by how far the pixel is from the nearest stroke, over one pixel at the edge."""
    point = ((x + 0.5) / SIDE, (y + 0.5) / SIDE)
    distance = min(_distance(point, start, end) for start, end in _STROKES)
    ink = min(1.0, max(0.0, (_WIDTH - distance) * SIDE + 0.5))
    return tuple(round(g + (i - g) * ink) for g, i in zip(ground, _INK, strict=True))


def _distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the distance of a point from a stroke between two points."""
    along = (end[0] - start[0], end[1] - start[1])
    offset = (point[0] - start[0], point[1] - start[1])
    part = (offset[0] * along[0] + offset[1] * along[1]) / (along[0] ** 2 + along[1] ** 2)
    part = min(1.0, max(0.0, part))
    return float(((offset[0] - part * along[0]) ** 2 + (offset[1] - part * along[1]) ** 2) ** 0.5)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
