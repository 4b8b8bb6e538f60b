"""Every command that writes, killed at random moments: what is left, and what the next run finds.

Each command is run over and over in children of one process in which its packages are loaded, and
every child is killed (SIGKILL) at a moment drawn evenly from the time that the run takes, or, every
other one, from the time since it began to write.
After each kill every output is looked at by a reader that is not eckart's: it is the old or the
new, whole, or neither. Where files belong together, all have to be old or new once one of them is
read by eckart. After every third kill the command is run to its end, and what lies beside its
outputs then was left behind. Run with `make bench-kills`: the folder of the tests has to be on the
path, and this one not.
"""

import argparse
import contextlib
import io
import os
import platform
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cli.writers import WRITERS, Writer, furnish
from eckart import __version__ as version
from eckart.cli.main import main as eckart
from eckart.factor import demo
from killing import Outputs

EACH = 40
"""Kills of each command, as a rule."""

ENDING = 3
"""After so many kills the command is run to its end."""


@dataclass(slots=True)
class Tally:
    """What the kills of one command came to.

    Fields:
        seconds: Of the run undisturbed.
        writing: Of these, from when the first output is begun.
        kills: Children that were killed before they came to their end.
        old: Of these, those that left all outputs as they were.
        new: Those that left the new in the place of one or more.
        neither: Those after which an output was missing or not whole.
        apart: Those after which files that belong together were old and new.
        behind: Runs to the end after which something lay beside the outputs.
    """

    seconds: float
    writing: float
    kills: int = 0
    old: int = 0
    new: int = 0
    neither: int = 0
    apart: int = 0
    behind: int = 0


def main() -> None:
    options = arguments()
    print(f"Python {platform.python_version()}, eckart {version}, {os.cpu_count()} cores\n")
    print("| command | ms a run | of these writing | kills | old | new | neither | apart | left |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        place.mkdir()
        os.chdir(place)
        with silence():
            furnish(place)
        demo._photograph = lambda: place / "p.png"  # a small one
        for name, writer in WRITERS.items():
            if writer.runs:
                tallies.append(killed(writer, options.kills, f"{options.seed} {name}"))
                print(row(name, tallies[-1]), flush=True)
    total = Tally(*(sum(getattr(one, name) for one in tallies) for name in Tally.__slots__))
    print(row("all", total))
    wrong = total.neither + total.apart + total.behind
    print(f"\n{total.kills} kills, {wrong} of them with a wrong end.")
    sys.exit(bool(wrong))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=EACH, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def row(name: str, tally: Tally) -> str:
    """A line of the table."""
    cells = [f"{1e3 * tally.seconds:.0f}", f"{1e3 * tally.writing:.0f}", tally.kills, tally.old]
    cells += [tally.new, tally.neither, tally.apart, tally.behind]
    return f"| {name} | " + " | ".join(map(str, cells)) + " |"


def killed(writer: Writer, kills: int, seed: str) -> Tally:
    """One command, killed so often; a child that came to its end first does not count."""
    words = [*writer.words(writer.output), "--force", "--quiet"]
    furnished = set(Path().iterdir())
    run(words)
    there = set(Path().iterdir())
    outputs, tally = Outputs(there - furnished), Tally(*measured(words))
    generator = random.Random(seed)
    while tally.kills < kills:
        before = outputs.state()
        child = Child(words)
        if tally.kills % 2:
            child.begins()
        length = tally.writing if tally.kills % 2 else tally.seconds
        if not child.is_killed(generator.uniform(0, length)):
            tally.seconds, tally.writing = 0.9 * tally.seconds, 0.9 * tally.writing
            continue
        tally.kills += 1
        wrong = outputs.wrong()
        tally.neither += bool(wrong)
        if not wrong:
            is_old = outputs.state() == before
            tally.old += is_old
            tally.new += not is_old
            tally.apart += not outputs.are_together(before)
        if tally.kills % ENDING == 0:
            run(words)
            tally.behind += set(Path().iterdir()) != there
    run(words)
    for path in set(Path().iterdir()) - furnished:
        remove(path)
    return tally


def run(words: list[str]) -> None:
    with silence():
        status = eckart(words)
    if status:
        raise SystemExit(f"{words} ends with {status}")


class Child:
    """A run in a process of its own, which says when it begins to write."""

    def __init__(self, words: list[str]) -> None:
        self.began = time.perf_counter()
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if not self._child:
            place = writing.workplaces

            def workplaces(targets: object) -> object:
                os.write(writing, b"w")
                return place(targets)

            writing.workplaces = workplaces
            run(words)
            os._exit(0)
        os.close(writing)

    def begins(self) -> float:
        """Wait until it begins to write, and say when that was."""
        os.read(self._reading, 1)
        return time.perf_counter()

    def ends(self) -> float:
        """Wait until it has come to its end, and say when that was."""
        os.waitpid(self._child, 0)
        os.close(self._reading)
        return time.perf_counter()

    def is_killed(self, seconds: float) -> bool:
        """Kill it after so many seconds, and say whether it had not ended before."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            if os.waitpid(self._child, os.WNOHANG)[0]:
                os.close(self._reading)
                return False
            time.sleep(min(1e-3, max(0.0, until - time.perf_counter())))
        os.kill(self._child, signal.SIGKILL)
        status = os.waitpid(self._child, 0)[1]
        os.close(self._reading)
        return os.WIFSIGNALED(status)


def measured(words: list[str]) -> tuple[float, float]:
    """The seconds of a run in a child, and of these those since it begins to write."""
    spent: list[tuple[float, float]] = []
    for _ in range(3):
        child = Child(words)
        begun, ended = child.begins(), child.ends()
        spent.append((ended - child.began, ended - begun))
    return sorted(spent)[1]


def remove(path: Path) -> None:
    """Take away an output."""
    if path.is_dir():
        for one in path.iterdir():
            remove(one)
        path.rmdir()
    else:
        path.unlink()


@contextlib.contextmanager
def silence():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if __name__ == "__main__":
    main()
