"""Factoring on a Dask cluster beside `svd_compressed` of Dask, and a pass beside its products.

    python benchmarks/cluster.py [--rows 98304] [--columns 2304] [--rank 50] [--workers 2]

Both work on the same cluster of processes with one thread each and on the same array, which is in
the memory of the workers in the first table and read from .npy files by each pass in the second.
The error of both is computed from the exact WᵀW: `excess` is the error of W·V·Vᵀ over the best one
of the rank, less 1. Seconds of processors are those of the workers.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from machine import machine, prepare_processes

from eckart.cluster import connected
from eckart.engine import components
from eckart.engine.parted import prepared
from eckart.files import open_parts
from eckart.matrices.distributed import Distributed
from eckart.solvers import BlockKrylov

POWERS: Final = (0, 2, 4, 7)
"""Power iterations of the peer."""
FILES: Final = 16
SPECTRA: Final = {
    "slow, i^-1/2": lambda count: np.arange(1, count + 1) ** -0.5,
    "fast, i^-2": lambda count: np.arange(1, count + 1) ** -2.0,
    "flat": lambda count: np.full(count, 0.05),
}
"""Sizes of 200 planted directions, above noise of 0.02."""


def write(folder: Path, sizes: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Write the files of a matrix, and return WᵀW in float64."""
    generator = np.random.default_rng(0)
    right = np.linalg.qr(generator.standard_normal((columns, len(sizes))))[0].T * sizes[:, None]
    right = (right * np.sqrt(columns)).astype(np.float32)
    total = np.zeros((columns, columns))
    for number in range(FILES):
        height = rows // FILES
        left = generator.standard_normal((height, len(sizes)), dtype=np.float32)
        block = left @ right
        block += 0.02 * generator.standard_normal(block.shape, dtype=np.float32)
        for start in range(0, height, 2048):
            part = block[start : start + 2048].astype(np.float64)
            total += part.T @ part
        np.save(folder / f"{number:02d}.npy", block)
    return total


class Exact:
    """The best error of a rank, and the excess of other directions, from WᵀW."""

    def __init__(self, gram: np.ndarray, rank: int) -> None:
        self.gram, self.total = gram, float(np.trace(gram))
        values = np.linalg.eigvalsh(gram)[::-1]
        self.best = np.sqrt(max(0.0, self.total - values[:rank].sum()))

    def excess(self, A: np.ndarray) -> float:
        """The relative excess of orthonormal rows."""
        Q = np.linalg.qr(A.T.astype(np.float64))[0]
        kept = float(np.einsum("ij,ij->", Q, self.gram @ Q))
        return float(np.sqrt(max(0.0, self.total - kept)) / self.best - 1)


@contextmanager
def measured(client: Client, found: dict[str, float]) -> Iterator[None]:
    """Seconds of the clock and of the processors of the workers."""
    before = client.run(time.process_time)
    began = time.perf_counter()
    yield
    found["clock"] = time.perf_counter() - began
    after = client.run(time.process_time)
    found["processors"] = sum(after[key] - before[key] for key in before)


def ours(
    client: Client, folder: Path, exact: Exact, rank: int, *, held: bool, blocks: int | None
) -> None:
    found: dict[str, float] = {}
    with connected(client) as cluster:
        W = Distributed(open_parts(folder)[1], cluster, held=held)
        if held:
            W.squared_norm()  # the rows are in memory, as those of the peer
            W._squared_norm = None
        before = W.passes
        with measured(client, found):
            solver = None if blocks is None else BlockKrylov(tall=False, blocks=blocks)
            answer = components(prepared(W, rank, 0, None), rank, solver=solver)
        W.close()
    gap = answer.certificate.gap
    row(
        "eckart" if blocks is None else f"eckart, {blocks} block",
        found,
        W.passes - before,
        exact.excess(answer.A),
        "" if gap is None else f"{gap:.1e}",
    )


def peer(client: Client, array: Any, exact: Exact, rank: int, power: int) -> None:
    found: dict[str, float] = {}
    name = f"svd_compressed, {power} iterations"
    try:
        with measured(client, found):
            parts = da.linalg.svd_compressed(array, rank, n_power_iter=power, seed=0, compute=True)
            Vt = parts[2].compute()
    except np.linalg.LinAlgError as error:
        print(f"| {name} | {2 * power + 2} | | | {error} | |", flush=True)
        return
    row(name, found, 2 * power + 2, exact.excess(Vt), "")


def row(name: str, found: dict[str, float], passes: int, excess: float, gap: str) -> None:
    print(
        f"| {name} | {passes} | {found['processors']:.1f} | {found['clock']:.1f} "
        f"| {excess:.1e} | {gap} |",
        flush=True,
    )


def products(client: Client, folder: Path, columns: int) -> None:
    """One fused pass beside the bare products of one process."""
    blocks = [np.load(path) for path in sorted(folder.glob("*.npy"))]
    print(
        "\n| columns of X | bare products, s of one processor | a pass, s of the workers | ratio |"
    )
    print("|---:|---:|---:|---:|")
    with connected(client) as cluster:
        W = Distributed(open_parts(folder)[1], cluster, held=True)
        W.squared_norm()
        for width in (64, 144):
            X = np.random.default_rng(0).standard_normal((columns, width), dtype=np.float32)
            bare, passed = [], []
            for _ in range(3):
                began = time.process_time()
                total = np.zeros((width, columns))
                for block in blocks:
                    for start in range(0, len(block), 512):
                        part = block[start : start + 512]
                        total += (part @ X).T @ part
                bare.append(time.process_time() - began)
                found: dict[str, float] = {}
                with measured(client, found):
                    W.gram_times(X)
                passed.append(found["processors"])
            print(
                f"| {width} | {min(bare):.2f} | {min(passed):.2f} | {min(passed) / min(bare):.2f} |"
            )
        W.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=98_304)
    parser.add_argument("--columns", type=int, default=2304)
    parser.add_argument("--rank", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--products", action="store_true", help="only the last table")
    chosen = parser.parse_args()
    prepare_processes(1)
    print(machine())
    with (
        tempfile.TemporaryDirectory() as name,
        LocalCluster(
            n_workers=chosen.workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        folder = Path(name)
        for spectrum, sizes in SPECTRA.items():
            if chosen.products:
                write(folder, sizes(200), chosen.rows, chosen.columns)
                break
            gram = write(folder, sizes(200), chosen.rows, chosen.columns)
            exact = Exact(gram, chosen.rank)
            lazy = da.concatenate(
                [
                    da.from_array(np.load(path, mmap_mode="r"), chunks=(2048, -1), name=False)
                    for path in sorted(folder.glob("*.npy"))
                ]
            )
            for held in (True, False):
                where = "in the memory of the workers" if held else "read by each pass"
                print(f"\n{spectrum}, {where}:\n")
                print("| | passes | s of the workers' processors | s | excess | proven gap |")
                print("|---|---:|---:|---:|---:|---:|")
                for blocks in (None, 1):
                    ours(client, folder, exact, chosen.rank, held=held, blocks=blocks)
                array = lazy
                if held:
                    array = lazy.persist()
                    wait(array)
                for power in POWERS if held else (2,):
                    peer(client, array, exact, chosen.rank, power)
                del array
        products(client, folder, chosen.columns)


if __name__ == "__main__":
    main()
