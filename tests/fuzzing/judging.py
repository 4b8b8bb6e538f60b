"""What became of an input: read, refused in one sentence, or a fault."""

import os
import re
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eckart.errors import EckartError
from fuzzing.framing import laid_out

HANGS: Final = 10.0
"""Seconds of the processor after which a reader of a small input hangs."""
CONSTANT: Final = 192 * 2**20
"""Bytes that any reader may take: buffers of Arrow, blocks of rows, kernels that are compiled."""
MULTIPLE: Final = 1100
"""Bytes for each of the input that it may take beside that; DEFLATE packs up to 1032 into one."""
OWN: Final = "src/eckart/"


class Hang(BaseException):
    """A reader did not come to its end. No `except Exception` catches it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A way into the product for files that someone else wrote.

    Fields:
        reads: The functions that commands read such a file with; each gets its path.
        is_folder: Whether the input is a folder of files, not the first of them.
    """

    reads: tuple[Callable[[Path], object], ...]
    is_folder: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an input.

    Fields:
        accepted: Whether one of the functions read it.
        faults: What went wrong, each with the place by which it is told from others.
        grown: Bytes that the process held more at most; 0 where the system does not tell.
    """

    accepted: bool
    faults: dict[str, str]
    grown: int


def judge(reader: Reader, data: bytes) -> Verdict:
    """Read an input in every way, in a folder of its own."""
    faults: dict[str, str] = {}
    accepted, grown = False, 0
    for read in reader.reads:
        with tempfile.TemporaryDirectory(dir=os.environ.get("FUZZ_TEMP")) as name:
            folder = Path(name) / "input"
            folder.mkdir()
            tops = laid_out(data, folder)
            if not tops:
                continue
            before = _reset_peak()
            fault, fine = _tried(read, folder if reader.is_folder else tops[0])
            peak = _peak() - before
        if peak > CONSTANT + MULTIPLE * len(data):
            fault = fault or (f"memory {read.__name__}", f"{peak:,} bytes for {len(data):,}")
        if fault:
            faults.setdefault(*fault)
        accepted, grown = accepted or fine, max(grown, peak)
    return Verdict(accepted=accepted, faults=faults, grown=grown)


def _tried(read: Callable[[Path], object], path: Path) -> tuple[tuple[str, str] | None, bool]:
    """The fault of one function, if there was one, and whether it read the input."""
    try:
        with warnings.catch_warnings(), alarm(HANGS):
            warnings.simplefilter("error")
            read(path)
    except EckartError as error:
        said = str(error)
        if not error.message.strip() or "\n" in said.strip():
            return (f"no sentence {_place(error)}", repr(said)), False
        return None, False
    except Hang as error:
        return (f"hang {read.__name__} {_place(error)}", _trace(error)), False
    except Exception as error:
        return (f"{type(error).__name__} {_place(error)}", _trace(error)), False
    return None, True


@contextmanager
def alarm(seconds: float) -> Generator[None, None, None]:
    """Raise `Hang` when so much time of the processor was spent."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException) -> str:
    """The innermost line of eckart that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if OWN in frame.filename]
    frame = own[-1] if own else frames[-1]
    before, mark, after = frame.filename.rpartition(OWN)
    return f"{mark}{after if mark else before or after}:{frame.lineno}"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _reset_peak() -> int:
    """Begin to measure anew; bytes that the process holds now, 0 where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM") if Path("/proc/self/clear_refs").exists() else 0


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+)", text, re.M)
    return int(found[1]) * 1024 if found else 0
