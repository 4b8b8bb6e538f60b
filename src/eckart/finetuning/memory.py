"""Memory of a fine-tune: how much a run takes at most, found from passes over one and two texts."""

import ctypes
import os
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eckart.errors import MatrixError

COPIES: Final = 12
"""Numbers that are held at most for each one that is learnt: itself, its gradient, two means, the
best and the first values, the copy that is saved, and what a step of the optimiser makes."""
LIBRARIES: Final = 192 * 2**20
"""Bytes of the libraries that are loaded after the run: those that draw the report."""
WORK: Final = 1 / 4
"""Share of the bytes of a pass that operations hold inside, where they are not seen, and that is
lost in the gaps between tensors."""
CGROUP: Final = Path("/sys/fs/cgroup")
"""Where Linux keeps what the processes of a container may hold."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a run holds at most.

    Fields:
        held: Bytes that the process held before the first step, with the model.
        learnt: Bytes of what is learnt, its gradients, and what the optimiser remembers.
        passes: Bytes of the activations of a step or an evaluation over the longest texts.
        kept: Bytes of the outputs of blocks that are not learnt.
        free: Bytes that are free, or None if the system does not tell.
    """

    held: int
    learnt: int
    passes: int
    kept: int
    free: int | None

    @property
    def most(self) -> int:
        """Bytes of the process at most."""
        return self.held + self.more

    @property
    def between_passes(self) -> int:
        """Bytes that the process may hold between two passes; see `give_back`."""
        return self.most - LIBRARIES // 2

    @property
    def more(self) -> int:
        """Bytes beyond those that it holds already."""
        return self.learnt + self.passes + self.kept + LIBRARIES

    def check(self, batch: int) -> None:
        """Refuse a run that does not fit.

        Raises:
            MatrixError: The message says what it needs and what is free.
        """
        if self.free is None or self.more <= self.free:
            return
        room = self.free - self.more + self.passes
        fewer = max(1, int(batch * room / self.passes)) if room > 0 else 1
        raise MatrixError(
            f"The run takes {self.more / 1e9:.1f} GB more, and {self.free / 1e9:.1f} GB are free.",
            hint=f"Lower `batch` to {fewer}, or `length`."
            if fewer < batch
            else "Lower `length` or `rank`, or adapt fewer layers.",
            code="too-little-memory",
        )


def peak_of(passed: Callable[[int], Any], known: Iterable[Any], rows: int) -> int:
    """Bytes of tensors that a pass over so many rows makes at most.

    Args:
        passed: A function that makes the pass over a number of rows.
        known: Tensors that exist already.
        rows: The number of rows; the peak grows by as much with each as from one to two.
    """
    peaks: list[int] = []
    for count in (1, 2):
        with _Counting(known) as counting:
            passed(count)
        peaks.append(counting.peak)
    return int((1 + WORK) * (peaks[0] + (rows - 1) * max(0, peaks[1] - peaks[0])))


class _Counting(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside, as long as they live."""

    def __init__(self, known: Iterable[Any]) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self._add(one.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self._seen or not size:
            return
        self._seen.add(place)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self._live -= size
        self._seen.discard(place)


def resident() -> int:
    """Bytes of memory that the process holds; 0 if the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def largest_resident() -> int:
    """Bytes of memory that the process held at most; 0 if the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def give_back(above: float) -> None:
    """Give what is free in the heap back to the system, if the process holds more than `above`.

    Texts of other lengths leave gaps of other sizes, which grow with the number of steps to more
    than a pass takes. The allocator of glibc keeps them unless it is told; others are left alone.
    """
    if resident() > above and _malloc_trim is not None:
        _malloc_trim(0)


_malloc_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


def free_memory() -> int | None:
    """Bytes that the system or the container of the process has left; None if it does not tell."""
    found: list[int] = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(one.split()[1]) * 1024 for one in lines if one.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        # files that were read count as used, and are given up when memory is short
        inactive = next(
            int(line.split()[1])
            for line in (CGROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
        found.append(int(limit) - int(used) + inactive)  # "max" is no number
    except (OSError, ValueError, IndexError, StopIteration):
        pass
    return min(found, default=None)
