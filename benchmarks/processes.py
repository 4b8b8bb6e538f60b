"""A program in a process of its own: how long it takes, and how much memory at most."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK = 0.02
"""Seconds between two looks at the peak, which the system itself keeps."""
PEAK = "VmHWM:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a program.

    Fields:
        seconds: From its start to its end.
        peak: Bytes of memory that it held at most.
        output: What it wrote.
        failure: What went wrong, in a few words; "" if nothing did.
    """

    seconds: float
    peak: int
    output: str
    failure: str


def run(command: Sequence[str], limit: float | None = None) -> Run:
    """Run a program to its end, or to the limit in seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    status, peak, failure = Path(f"/proc/{process.pid}/status"), 0, ""
    output = ""
    while True:
        try:
            output, _ = process.communicate(timeout=LOOK)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, _peak(status))
        if limit is not None and time.perf_counter() - began > limit:
            process.kill()
            output, _ = process.communicate()
            failure = f"given up after {limit:.0f} s"
            break
    seconds = time.perf_counter() - began
    if process.returncode != 0 and not failure:
        failure = (output.strip().splitlines() or [f"exit {process.returncode}"])[-1]
    return Run(seconds=seconds, peak=peak, output=output, failure=failure)


def _peak(status: Path) -> int:
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(PEAK)), 0)
