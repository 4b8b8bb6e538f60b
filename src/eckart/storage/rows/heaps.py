"""What is looked at in an HDF5 file before its own library opens it."""

import mmap
import struct
from pathlib import Path
from typing import Final

from eckart.storage.whole import damaged

SIGNATURE: Final = b"GCOL\x01\x00\x00\x00"
"""How a global heap begins, in which texts of any length are kept."""
OBJECT: Final = struct.Struct("<HHIQ")
"""The head of what lies in it: its number, 0 of free space, and its size."""
LARGEST: Final = 2**28
"""Bytes of a file that is looked through; a larger one takes longer to read than to look at."""


def check_heaps(path: Path) -> None:
    """Refuse a file in which a piece of a global heap has no size: the library never ends there.

    Raises:
        FormatError: If so.

    Cost:
        One look through a file of up to 256 MiB, at the speed of memory.
    """
    if not 0 < path.stat().st_size <= LARGEST:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(SIGNATURE)
        while place >= 0:
            if _is_endless(content, place):
                raise damaged(path, "a piece of its global heap has no size")
            place = content.find(SIGNATURE, place + 1)


def _is_endless(content: mmap.mmap, start: int) -> bool:
    """Whether the walk over the pieces of a heap stands still."""
    head = len(SIGNATURE) + 8
    if start + head > len(content):
        return False
    size = int.from_bytes(content[start + len(SIGNATURE) : start + head], "little")
    place, end = start + head, min(start + size, len(content))
    while place + OBJECT.size <= end:
        number, _, _, length = OBJECT.unpack_from(content, place)
        # free space counts its own head, the others do not, and are padded to 8 bytes
        step = (length if number == 0 else OBJECT.size + (length + 7) // 8 * 8) % 2**64
        if step == 0:
            return True
        place += step
    return False
