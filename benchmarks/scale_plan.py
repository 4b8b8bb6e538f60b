"""The constants of plans, measured here, and plans of sizes that no machine here holds.

    python benchmarks/scale_plan.py

First what the constants of `eckart.cluster.plan` are on this machine: operations of a thread in a
fused product, bytes that are read, bytes that one process sends to another, seconds of a task. Then
the plans of whole jobs from the formulas that the tests hold to what workers' counters say, for
machines of 16 threads with 64 GB. A price of 0.8 for such a machine and hour is an assumption.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from distributed import Client, LocalCluster, wait
from machine import machine, prepare_processes

from eckart.cluster import plan
from eckart.cluster.plan import Plan
from eckart.cluster.tree import Segment, cut
from eckart.matrices.distributed import GRAM_COLUMNS
from eckart.solvers import BlockKrylov

THREADS: Final = 16
MEMORY: Final = 64 * 10**9
PRICE: Final = 0.8
FACTORED: Final = {
    "1 TB, 2.5·10⁷ × 10⁴, rank 50": (25_000_000, 10_000, 50, 16),
    "1 TB, 1.25·10⁸ × 2000, rank 50": (125_000_000, 2_000, 50, 16),
    "10 TB, 2.5·10⁷ × 10⁵, rank 50": (25_000_000, 100_000, 50, 64),
    "100 TB, 2.5·10⁸ × 10⁵, rank 50": (250_000_000, 100_000, 50, 128),
}


@dataclass
class Workers:
    """What a plan asks of a cluster."""

    threads: dict[str, int]

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self.threads)


@dataclass
class Sized:
    """A matrix of which there is nothing but its size, in float32."""

    shape: tuple[int, int]
    cluster: Any
    rereads: bool
    passes: int = 0
    itemsize: int = 4

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return 4 * self.shape[0] * self.shape[1]

    @property
    def is_squared(self) -> bool:
        """Whether the first pass forms WᵀW."""
        return self.shape[1] <= GRAM_COLUMNS

    @property
    def segments(self) -> list[Segment]:
        """Segments of the tasks."""
        return cut(self.shape[0], self.nbytes, sum(self.cluster.threads.values()))


def moved_bytes_per_second() -> float:
    """Bytes that a process sends to another one on this machine."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local) as client,
    ):
        first, second = client.nthreads()
        best = 0.0
        for _ in range(4):
            block = client.submit(np.ones, 2**24, workers=[first], pure=False)
            wait(block)
            began = time.perf_counter()
            there = client.submit(len, block, workers=[second], pure=False)
            wait(there)
            best = max(best, 2**27 / (time.perf_counter() - began))
        began = time.perf_counter()
        wait([client.submit(abs, one, pure=False) for one in range(1000)])
        print(f"| seconds of a task | {(time.perf_counter() - began) / 1000:.1e} "
              f"| {plan.TASK_SECONDS:.1e} |")  # fmt: skip
        return best


def constants() -> None:
    """Print what is measured beside what plans take."""
    print("| constant | here | in plans |\n|---|---:|---:|")
    generator = np.random.default_rng(0)
    W = generator.standard_normal((2**15, 4096), dtype=np.float32)
    X = generator.standard_normal((4096, 140), dtype=np.float32)
    seconds: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, len(W), 4096):
            block = W[start : start + 4096]
            (block @ X).T @ block
        seconds.append(time.perf_counter() - began)
    rate = 4 * W.size * X.shape[1] / min(seconds)
    print(f"| operations of a thread in a second | {rate:.1e} | {plan.FLOPS:.1e} |")
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "W.npy", W)
        began = time.perf_counter()
        (Path(name) / "W.npy").read_bytes()
        rate = W.nbytes / (time.perf_counter() - began)
    print(f"| bytes read in a second, from the page cache | {rate:.1e} | {plan.READ_BYTES:.1e} |")
    print(f"| bytes sent in a second | {moved_bytes_per_second():.1e} | {plan.MOVED_BYTES:.1e} |")


def planned(rows: int, columns: int, rank: int, machines: int) -> Plan:
    """The plan of a matrix of that size on so many machines."""
    cluster = Workers({f"w{number}": THREADS for number in range(machines)})
    W = Sized((rows, columns), cluster, rereads=False)
    W.rereads = W.nbytes > 0.5 * machines * MEMORY
    return Plan.of(W, BlockKrylov().width(W, rank), rank)  # pyright: ignore[reportArgumentType]


def plans() -> None:
    """Print the plans of matrices."""
    print("\n| matrix | machines | passes | read | moved | of a worker | of the client | hours "
          "| price |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for name, (rows, columns, rank, machines) in FACTORED.items():
        one = planned(rows, columns, rank, machines)
        hours = one.seconds / 3600
        print(
            f"| {name} | {machines} | {one.passes} | {one.read_bytes / 1e12:.1f} TB "
            f"| {one.moved_bytes / 1e9:.1f} GB | {one.worker_bytes / 1e9:.1f} GB "
            f"| {one.client_bytes / 1e9:.2f} GB | {hours:.2f} | {hours * machines * PRICE:.0f} |"
        )
    print("\n| machines | hours for 100 TB |\n|---:|---:|")
    for machines in (32, 64, 128, 256, 512):
        print(f"| {machines} | {planned(250_000_000, 100_000, 50, machines).seconds / 3600:.2f} |")


def main() -> None:
    prepare_processes(1)
    print(machine(), "\n")
    constants()
    plans()


if __name__ == "__main__":
    main()
