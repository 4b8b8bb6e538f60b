"""A `.npy` larger than the memory it may take: eckart reduce, IncrementalPCA, dask svd_compressed.

    python benchmarks/reduce_streamed.py [--gigabytes 6] [--power 1] [--folder /tmp]

The peers need dask: pip install 'dask[array]'.

Makes the file, drops it from the page cache before each run where that is allowed, and deletes it.
Each program runs in a process of its own; its error is measured by one independent NumPy pass.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import machine

COLUMNS, RANK, BLOCK = 1000, 50, 20_000
PEERS = {
    "IncrementalPCA, a part of the rows": """
import sys, numpy as np, time
from sklearn.decomposition import IncrementalPCA
W = np.load(sys.argv[1], mmap_mode="r"); part = int(sys.argv[3])
model = IncrementalPCA(int(sys.argv[2]))
for start in range(0, len(W) // part, 5000):
    model.partial_fit(W[start:start + 5000])
np.save(sys.argv[4], model.components_)
""",
    "dask svd_compressed": """
import sys, numpy as np, dask.array as da
W = da.from_array(np.load(sys.argv[1], mmap_mode="r"), chunks=(20000, -1))
W = W - W.mean(axis=0)
u, s, v = da.linalg.svd_compressed(W, int(sys.argv[2]), seed=0)
np.save(sys.argv[4], v.compute())
""",
    "dask svd_compressed, 2 power iterations": """
import sys, numpy as np, dask.array as da
W = da.from_array(np.load(sys.argv[1], mmap_mode="r"), chunks=(20000, -1))
W = W - W.mean(axis=0)
u, s, v = da.linalg.svd_compressed(W, int(sys.argv[2]), n_power_iter=2, seed=0)
np.save(sys.argv[4], v.compute())
""",
}


def make(path: Path, rows: int, power: float) -> None:
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.standard_normal((COLUMNS, COLUMNS)))[0]
    sigma = np.arange(1, COLUMNS + 1) ** -power
    map_of = (sigma[:, None] * turn).astype(np.float32)
    mean = generator.standard_normal(COLUMNS).astype(np.float32) / 10
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, COLUMNS)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(rows // BLOCK):
            drawn = generator.standard_normal((BLOCK, COLUMNS), dtype=np.float32)
            file.write((drawn @ map_of + mean).data)
        os.fsync(file.fileno())


def dropped(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_once(path: Path) -> float:
    """Seconds to read the file into one buffer."""
    dropped(path)
    buffer, began = bytearray(64 * 2**20), time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - began


def covariance(path: Path) -> np.ndarray:
    W = np.load(path, mmap_mode="r")
    total, sums = np.zeros((COLUMNS, COLUMNS)), np.zeros(COLUMNS)
    for start in range(0, len(W), BLOCK):
        block = np.asarray(W[start : start + BLOCK])
        total += block.T @ block
        sums += block.sum(axis=0, dtype=np.float64)
    return total - np.outer(sums, sums) / len(W)


def error(gram: np.ndarray, A: np.ndarray) -> float:
    Q = np.linalg.qr(A.T.astype(np.float64))[0]
    return float(np.sqrt(max(0.0, np.trace(gram) - np.trace(Q.T @ gram @ Q))))


def run(words: list[str]) -> tuple[float, float]:
    """Seconds and the peak of anonymous memory in MB."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(x.split()[1]) for x in status.splitlines() if "RssAnon" in x))
        except (OSError, TypeError):
            pass
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{words[:3]} failed")
    return seconds, peak / 1024


def products(rows: int) -> float:
    """Seconds of WᵀW and W·Aᵀ for so many rows, from those of a few blocks in memory."""
    drawn = np.random.default_rng(0)
    block = drawn.standard_normal((BLOCK, COLUMNS), dtype=np.float32)
    narrow = drawn.standard_normal((COLUMNS, RANK), dtype=np.float32)
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        _ = block.T @ block, block @ narrow
        best = min(best, time.perf_counter() - began)
    return best * rows / BLOCK


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("--power", type=float, default=1.0)
    parser.add_argument("--memory", default="500MB")
    parser.add_argument(
        "--part", type=int, default=6, help="IncrementalPCA gets 1/part of the rows"
    )
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    folder = given.folder
    path, out = folder / "bench-reduce.npy", folder / "bench-scores.npy"
    rows = int(given.gigabytes * 1e9 / 4 / COLUMNS) // BLOCK * BLOCK
    try:
        make(path, rows, given.power)
        print(machine())
        size = path.stat().st_size / 1e9
        print(f"{rows} × {COLUMNS} float32, {size:.1f} GB, σ_i = i^-{given.power}, rank {RANK}, "
              f"--memory {given.memory}")  # fmt: skip
        once, again = read_once(path), read_once(path)
        print(f"reading the file once: {once:.1f} s and {again:.1f} s")
        print(f"the matrix products of two passes alone: {products(rows):.1f} s")
        bare = run([sys.executable, "-c", "import time; time.sleep(0.2)"])[1]
        gram = covariance(path)
        best = float(np.sqrt(np.linalg.eigvalsh(gram)[:-RANK].sum()))
        table = []
        for solver in ("gram", "krylov"):
            dropped(path)
            seconds, peak = run([
                str(Path(sys.executable).with_name("eckart")), "reduce", str(path),
                "--rank", str(RANK), "--memory", given.memory, "--quiet",
                "-o", str(out), "--force", "--json", "--solver", solver,
            ])  # fmt: skip
            with np.load(folder / "bench-scores.model.npz") as file:
                A = file["A"]
                rest = json.loads(file["eckart.json"].tobytes())["document"]
            table.append(
                (f"eckart, {solver}", seconds, peak - bare, error(gram, A), rest["passes"])
            )
        for name, code in ((name, PEERS[name]) for name in given.peers):
            dropped(path)
            part = given.part if "part" in name else 1
            answer = folder / "bench-answer.npy"
            seconds, peak = run(
                [sys.executable, "-c", code, str(path), str(RANK), str(part), str(answer)]
            )
            scale = f" (measured {seconds:.1f} s on 1/{part})" if part > 1 else ""
            table.append(
                (name + scale, seconds * part, peak - bare, error(gram, np.load(answer)), "–")
            )
        print("| program | time | anonymous memory | error above the best | passes |")
        print("|---|---|---|---|---|")
        for name, seconds, peak, reached, passes in table:
            above = reached / best - 1
            print(f"| {name} | {seconds:.1f} s | {peak:.0f} MB | {above:.4%} | {passes} |")
    finally:
        for leftover in folder.glob("bench-*"):
            leftover.unlink()


if __name__ == "__main__":
    main()
