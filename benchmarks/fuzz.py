"""Every reader against files that are wrong: is each input read, or refused in one sentence?

Half of the time of a reader goes to bytes that atheris changes, from valid files on, by what of
eckart they reach; half to files that hypothesis puts together as their kind is, wrong somewhere,
led by atheris too. An input is at fault if anything but an `EckartError` of one sentence comes out
of it, a warning included; if it takes more than 10 seconds of the processor; if it takes more than
192 MiB and 1100 times its own size of memory; or if the process dies. Each runs in a process of its
own. Run with `make bench-fuzz`, which says `SECONDS` and `READERS`.
"""

import argparse
import contextlib
import hashlib
import io
import mmap
import os
import pkgutil
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("eckart", "atheris", "hypothesis", "pyarrow", "h5py", "zarr", "pillow", "safetensors")
MODES = ("bytes", "shapes")
ALONE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "NUMBA_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""A process has one thread, and asks nothing of a hub."""
LONGEST = 2**15
"""Bytes of an input at most."""
STALE = 60.0
"""Seconds without a new input after which a process is ended; those of its start count apart."""
STARTS = 240.0
SPACE = 3 * 2**30
"""Bytes of address space that a process may take beside what it holds when it begins."""
COUNTS = struct.Struct("<7Q")
"""Of inputs, read, refused, at fault; bytes grown, milliseconds, and whether the time was up."""
KERNELS = "eckart.completion.kernels"
"""Compiled by Numba, which cannot compile what atheris has put its counters into."""
LEFT_OUT = (KERNELS, "eckart.__main__", "eckart.reduce.estimator")


def main() -> None:
    options = arguments()
    os.environ.update(ALONE)
    if options.list:
        print("\n".join(names()))
        return
    imported()
    options.faults.mkdir(parents=True, exist_ok=True)
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print("\n| reader | inputs | CPU seconds | read | refused | most MiB | faults |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    total = Tally()
    for reader in options.readers or names():
        tally = tried(reader, options)
        print(tally.row(reader), flush=True)
        total = total.plus(tally)
    print(total.row("all"))
    if total.faults:
        print(f"\nThe inputs at fault are in {options.faults}, with what went wrong beside them.")
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=200.0, help="of the processor, for each reader")
    add("--readers", nargs="*", help="names of some; all if left out")
    add("--list", action="store_true", help="only print the names")
    add("--seed", type=int, default=1)
    add("--faults", type=Path, default=Path(tempfile.gettempdir()) / "eckart-faults",
        help="folder for the inputs at fault")  # fmt: skip
    return parser.parse_args()


def names() -> list[str]:
    """Of all readers."""
    from fuzzing.readers import TARGETS

    return list(TARGETS)


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of some inputs."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    grown: int = 0
    seconds: float = 0.0
    faults: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            self.inputs + other.inputs,
            self.read + other.read,
            self.refused + other.refused,
            max(self.grown, other.grown),
            self.seconds + other.seconds,
            self.faults + other.faults,
        )

    def row(self, name: str) -> str:
        """A line of the table."""
        cells = (name, f"{self.inputs:,}", f"{self.seconds:.0f}", f"{self.read:,}",
                 f"{self.refused:,}", f"{self.grown / 2**20:.0f}", str(self.faults))  # fmt: skip
        return "| " + " | ".join(cells) + " |"


def tried(reader: str, options: argparse.Namespace) -> Tally:
    """One reader for its time, in as many processes as it takes; its faults are counted by kind."""
    total = Tally()
    faults = options.faults / reader.replace(" ", "-")
    with tempfile.TemporaryDirectory() as name:
        for number, mode in enumerate(MODES):
            spent, again = 0.0, 0
            while spent < options.seconds / len(MODES):
                place = Path(name) / f"{mode}-{again}"
                place.mkdir()
                left = options.seconds / len(MODES) - spent
                tally = process(reader, mode, place, left, options.seed + number + 2 * again)
                spent, again = spent + max(tally.seconds, 5.0), again + 1
                total = total.plus(tally)
                keep(place / "faults", faults)
    found = len(list(faults.glob("*.txt"))) if faults.exists() else 0
    return total.plus(Tally(faults=found))


def process(reader: str, mode: str, place: Path, seconds: float, seed: int) -> Tally:
    """One process for so much time of its processor; an input that it dies of is at fault."""
    (place / "faults").mkdir()
    state = State.made(place)
    number = os.fork()
    if not number:
        try:
            child(reader, mode, place, seconds, seed)
        except BaseException:
            with (place / "log").open("a") as log:
                traceback.print_exc(file=log)
        finally:
            os._exit(70)
    status = watched(number, state)
    inputs, read, refused, _, grown, milliseconds, done = state.counts()
    if not done:
        what = f"The process ended with {status}, in {mode}."
        text = (place / "log").read_bytes()[-6000:].decode("utf-8", "replace")
        note(place / "faults", f"end {status} {mode}", f"{what}\n{text}", state.current())
    return Tally(inputs, read, refused, grown, milliseconds / 1000)


def watched(number: int, state: "State") -> int:
    """Wait for a process to end, and end it where it begins no new input; its exit code."""
    seen, since, allowed = 0, time.monotonic(), STARTS
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.2)
        if state.count() != seen:
            seen, since, allowed = state.count(), time.monotonic(), STALE
        elif time.monotonic() - since > allowed:
            os.kill(number, signal.SIGKILL)


def keep(found: Path, faults: Path) -> None:
    """Put the faults that one process found to those of others, the smallest input of each."""
    for path in found.iterdir():
        faults.mkdir(parents=True, exist_ok=True)
        if not (faults / path.name).exists():
            path.rename(faults / path.name)


class State:
    """What a process counts, and the input that it reads, in memory that outlives it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @staticmethod
    def made(place: Path) -> "State":
        """A new one in a folder."""
        (place / "state").write_bytes(bytes(COUNTS.size + 8 + 2 * LONGEST))
        return State(place / "state")

    def counts(self) -> tuple[int, ...]:
        """What `COUNTS` lists."""
        return COUNTS.unpack_from(self._map)

    def count(self) -> int:
        """Of inputs."""
        return self.counts()[0]

    def current(self) -> bytes:
        """The input that is read, or was last."""
        (length,) = struct.unpack_from("<Q", self._map, COUNTS.size)
        return self._map[COUNTS.size + 8 : COUNTS.size + 8 + length]

    def begin(self, data: bytes) -> None:
        """Keep an input that is to be read."""
        kept = data[: 2 * LONGEST]
        struct.pack_into("<Q", self._map, COUNTS.size, len(kept))
        self._map[COUNTS.size + 8 : COUNTS.size + 8 + len(kept)] = kept

    def end(self, counts: tuple[int, ...]) -> None:
        """Keep the counts after it was read."""
        COUNTS.pack_into(self._map, 0, *counts)


def imported() -> None:
    """Import eckart with the counters of atheris in it, for all processes."""
    import atheris

    with (
        contextlib.redirect_stderr(io.StringIO()),  # where atheris lists the modules
        atheris.instrument_imports(include=["eckart"], exclude=[KERNELS]),
    ):
        import eckart

        for module in pkgutil.walk_packages(eckart.__path__, "eckart."):
            if not module.name.startswith(LEFT_OUT):
                import_module(module.name)
        import_module("fuzzing.readers")


def child(reader: str, mode: str, place: Path, seconds: float, seed: int) -> None:
    """Read inputs until the time is up, and end the process."""
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import atheris

    from fuzzing.judging import judge
    from fuzzing.readers import TARGETS

    target = TARGETS[reader]
    corpus = place / "corpus"
    corpus.mkdir()
    generator = random.Random(seed)
    for length in range(64, 4096, 256) if mode == "shapes" else ():
        (corpus / str(length)).write_bytes(generator.randbytes(length))
    for content in target.seeds():
        if mode == "bytes" and len(content) <= LONGEST:
            (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
        judge(target.reader, content)  # kernels are compiled and modules imported
    limit_space()
    one = counted(target.reader, place, seconds)
    given = one if mode == "bytes" else drawn(target.files(), one)
    flags = [sys.argv[0], str(corpus), f"-max_len={LONGEST}", f"-seed={seed}", "-timeout=100000",
             "-rss_limit_mb=0", "-verbosity=0", "-len_control=0",
             f"-artifact_prefix={place}/"]  # fmt: skip
    atheris.Setup(flags, given)
    atheris.Fuzz()


def limit_space() -> None:
    """Allow so much address space more: what asks for a terabyte is then refused it here too."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def counted(reader: Any, place: Path, seconds: float) -> Callable[[bytes], None]:
    """Judge an input and count it; the process ends when its time is up."""
    from fuzzing.judging import judge

    began, tally, state = time.process_time(), [0] * 7, State(place / "state")

    def one(data: bytes) -> None:
        state.begin(data)
        verdict = judge(reader, data)
        tally[0] += 1
        tally[1] += verdict.accepted and not verdict.faults
        tally[2] += not verdict.accepted and not verdict.faults
        tally[3] += bool(verdict.faults)
        tally[4] = max(tally[4], verdict.grown)
        tally[5] = int(1000 * (time.process_time() - began))
        for kind, what in verdict.faults.items():
            note(place / "faults", kind, what, data)
        tally[6] = time.process_time() - began > seconds
        state.end(tuple(tally))
        if tally[6]:
            os.kill(os.getpid(), signal.SIGKILL)  # libFuzzer takes any other end for a fault

    return one


def drawn(shapes: Any, one: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Have hypothesis make files of bytes."""
    from hypothesis import HealthCheck, given, settings

    from fuzzing.framing import framed

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(shapes)
    def files(drawn: dict[str, bytes]) -> None:
        one(framed(drawn))

    return files.hypothesis.fuzz_one_input


def note(folder: Path, kind: str, what: str, data: bytes) -> None:
    """Write an input at fault and what went wrong, once for each kind."""
    name = hashlib.sha256(kind.encode()).hexdigest()[:12]
    if not (folder / f"{name}.txt").exists():
        (folder / name).write_bytes(data)
        (folder / f"{name}.txt").write_text(f"{kind}\n\n{what}", errors="backslashreplace")


if __name__ == "__main__":
    main()
