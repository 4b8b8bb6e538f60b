"""A cheap identity of files: their sizes and the digests of chosen bytes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from eckart.storage.whole import reading

PAGE: Final = 4096
"""Bytes that are sampled at a time."""

SAMPLES: Final = 4096
"""Pages that stand for a file, at most."""


def fingerprint(path: Path, samples: Iterable[tuple[int, int]]) -> str:
    """The size of a file and the SHA-256 of chosen bytes, as `SIZE:DIGEST`.

    Args:
        path: The file.
        samples: Pairs of start and stop.

    Raises:
        ArgumentError: If there is no such file.
        StorageError: If the system refuses to read it.
    """
    digest = hashlib.sha256()
    with reading(path), path.open("rb", buffering=0) as file:
        for start, stop in samples:
            file.seek(start)
            digest.update(file.read(stop - start))
        return f"{path.stat().st_size}:{digest.hexdigest()}"
