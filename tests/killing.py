"""Kill a run at a moment that can be named, and say what it left behind."""

import json
import os
import random
import signal
import sys
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from eckart.files.outputs import MARKER, strangers
from eckart.files.writing import settle

KILLS = 5
BEGUN = "/new"
"""Ends the name of the folder with which a run begins to write, what earlier ones left cleared."""

ASKING = ("open", "ctypes.dlsym")
PLACING = ("os.rename", "os.chmod", "ctypes.dlsym")
SAME = (".csv", ".npy", ".png", ".txt")
"""Of files that a run writes alike each time: they hold no times."""


class Moment(NamedTuple):
    """So many things were asked of the system, before or since the first output is begun."""

    is_writing: bool
    number: int


def asked(work, killed_at=None):
    """What some work asks of the system, done in a child: pairs of a moment and what kind it is.

    True is what puts an output in its place. Nothing where the child was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        seen = {False: [], True: []}

        def see(event, arguments):
            if event in ASKING or (event.startswith(("os.", "shutil.")) and event != "os.kill"):
                begins = event == "os.mkdir" and str(arguments[0]).endswith(BEGUN)
                is_writing = begins or bool(seen[True])
                seen[is_writing].append(is_writing and event in PLACING)
                if (is_writing, len(seen[is_writing])) == killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(see)
        try:
            work()
            os.write(writing, json.dumps([*seen.values()]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = json.loads(pipe.read() or b"[[], []]")
    os.waitpid(child, 0)
    return {
        Moment(is_writing, number): places
        for is_writing in (False, True)
        for number, places in enumerate(found[is_writing], start=1)
    }


def moments(seen, count, seed):
    """So many different moments of a run, the more the nearer they are to an output.

    Those before and after each step that puts one in its place, then others from when the first is
    begun, then any.
    """
    generator = random.Random(seed)
    writing = {moment for moment in seen if moment.is_writing}
    placing = {moment for moment, places in seen.items() if places}
    placing |= {Moment(True, moment.number + 1) for moment in placing} & writing
    chosen = []
    for some in (placing, writing, set(seen)):
        free = sorted(some - set(chosen))
        chosen += generator.sample(free, min(count - len(chosen), len(free)))
    return generator.sample(chosen, len(chosen))


class Outputs:
    """The outputs of a run, which are there; all but a report belong together."""

    def __init__(self, paths):
        self.paths = sorted(paths)
        self.known = {path: path.read_bytes() for path in self.paths if path.suffix in SAME}

    def state(self):
        """What tells an output from any other that is or was in its place."""
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in self.paths}

    def wrong(self):
        """The outputs that are not there as they were written."""
        return [str(path) for path in self.paths if not path.exists() or not self.is_whole(path)]

    def is_whole(self, path):
        """Whether an output is as it was written, by a reader that is not eckart's."""
        if path in self.known:
            return path.read_bytes() == self.known[path]
        if path.is_dir():
            listed = json.loads((path / MARKER).read_text())["files"]
            found = {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}
            return found == {*listed, MARKER} and not strangers(path)
        if path.suffix == ".npz":
            with np.load(path) as archive:
                return all(archive[name] is not None for name in archive)
        if path.suffix == ".safetensors":
            return bool(load_file(path))
        return path.read_text().rstrip().endswith("</html>")

    def are_together(self, before):
        """Whether all that belong together are old or all are new, once one of them is read."""
        main = [path for path in self.paths if path.suffix != ".html"]
        for path in main[:1]:
            settle(path)
        now = self.state()
        return len({now[path] == before[path] for path in main}) < 2
