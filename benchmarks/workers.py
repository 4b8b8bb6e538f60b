"""A contender in a process of its own, which is ended when it takes too long."""

import ctypes
import multiprocessing
import statistics
import time
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Answer, Contender, Job
from spectra import Case, Stored, true_error

TURN = 0.5
"""Seconds; a run that takes less is repeated for so long, but at most MOST_RUNS times."""
MOST_RUNS = 5
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One turn of a contender: a job, run once or a few times.

    Fields:
        seconds: Wall time of a run, the median.
        ratio: True error over the optimum; None where no factors were asked for.
        products: With W.
        peak: Bytes of memory it took at most beyond what was there; None where not measured.
        failure: What went wrong, if something did; the other fields mean nothing then.
        details: Of the contender.
    """

    seconds: float = 0.0
    ratio: float | None = None
    products: int = 0
    peak: int | None = None
    failure: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class Worker:
    """The parent's end: loads W once, runs on request, starts anew after it was ended."""

    def __init__(self, name: str, case: Case) -> None:
        self.name, self.case = name, case
        self._process: Any = None
        self._pipe: Any = None

    def run(self, job: Job, limit: float | None = None) -> Sample | None:
        """One turn; None if its first run took longer than the limit in seconds."""
        self._start()
        try:
            self._pipe.send(job)
            self._pipe.recv()  # prepared
            if not self._pipe.poll(limit):
                self.stop()
                return None
            self._pipe.recv()  # the first run has ended
            return self._pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return Sample(failure="its process ended")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def _start(self) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, self.name, self.case), daemon=True
        )
        self._process.start()
        theirs.close()


def serve(pipe: Connection, name: str, case: Case) -> None:
    """Answer requests until the parent is gone."""
    warnings.simplefilter("ignore")
    W = case.load()
    contender = CONTENDERS[name](W)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(turn(pipe, contender, W, case, job))


def turn(pipe: Connection, contender: Contender, W: Stored, case: Case, job: Job) -> Sample:
    """Prepare and say so, run once and say so, run again if that was short, measure the error."""
    contender.prepare(job)
    before = resident() if job.memory else None
    pipe.send("prepared")
    try:
        answer, *spent = timed(contender, job)
        peak = None if before is None else status("VmHWM") - before
    except Exception as error:
        return Sample(failure=f"{type(error).__name__}: {error}".split("\n")[0][:80])
    finally:
        pipe.send("ended")
    while sum(spent) < TURN and len(spent) < MOST_RUNS:
        spent.append(timed(contender, job)[1])
    return Sample(
        seconds=statistics.median(spent),
        ratio=ratio(W, case, job.rank, answer),
        products=answer.products,
        peak=peak,
        details=answer.details,
    )


def timed(contender: Contender, job: Job) -> tuple[Answer, float]:
    began = time.perf_counter()
    answer = contender.run(job)
    seconds = time.perf_counter() - began
    return answer, answer.seconds or seconds


def ratio(W: Stored, case: Case, rank: int, answer: Answer) -> float | None:
    if answer.B is None or answer.A is None:
        return None
    return true_error(W, answer.B, answer.A) / case.optimum(rank)


def resident() -> int | None:
    """Bytes of this process now, from where its peak counts; None where the system keeps none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        REFERENCES.write_text("5")
        return status("VmRSS")
    except OSError:
        return None


def status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
