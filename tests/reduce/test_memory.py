"""`--memory` is kept: what the kernel counts for the process beyond Python and its imports."""

import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import zarr

STATUS = Path("/proc/self/status")
LIMIT = 60_000_000
LIMIT_OF_TEXT = 80_000_000
"""The threads that parse text keep more."""
ROWS, COLUMNS, PART = 91_000, 500, 2000
IMPORTS = """
import eckart.cli.main, eckart.reduce.commands, eckart.reduce.reduce
import scipy.linalg, pyarrow.compute, pyarrow.csv, pyarrow.parquet
"""
READERS = {"zarr": "import zarr\n", "h5": "import h5py\n"}

pytestmark = pytest.mark.skipif(
    not STATUS.exists() or "RssAnon" not in STATUS.read_text(),
    reason="the kernel does not count anonymous memory here",
)


def anonymous(process: int) -> int:
    """Bytes of a process that no file is behind; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    counted = [line.split()[1] for line in lines if line.startswith(("RssAnon", "RssShmem"))]
    return 1024 * sum(map(int, counted))


def peak(process: subprocess.Popen) -> int:
    highest = 0
    while process.poll() is None:
        highest = max(highest, anonymous(process.pid))
        time.sleep(0.002)
    return highest


@cache
def interpreter(kind: str) -> int:
    """Bytes of Python with what the command imports for this kind of file."""
    program = IMPORTS + READERS.get(kind, "") + "input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        known, last = 0, -1
        while known != last or not known:
            time.sleep(0.5)
            last, known = known, anonymous(process.pid)
        process.communicate(b"\n")
    return known


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """The same rows as every kind of file that is read by rows, three times the limit.

    A text file has two thirds of the rows, and its numbers are read as float64.
    """
    folder = tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(0)
    parts = folder / "parts"
    parts.mkdir()
    shape = (ROWS, COLUMNS)
    stored = zarr.open(folder / "W.zarr", mode="w", shape=shape, chunks=(PART, 100), dtype="f4")
    dataset = h5py.File(folder / "W.h5", "w").create_dataset("W", shape, "f4", chunks=(PART, 100))
    names = [f"c{place}" for place in range(COLUMNS)]
    text = pc.CSVWriter(folder / "W.csv", pa.schema([(name, pa.float32()) for name in names]))
    array = np.lib.format.open_memmap(folder / "W.npy", "w+", np.float32, shape)
    for start in range(0, ROWS, 10 * PART):
        count = min(10 * PART, ROWS - start)
        drawn = generator.standard_normal((count, COLUMNS), dtype=np.float32)
        block = drawn / np.arange(1, COLUMNS + 1, dtype=np.float32) + 1
        for whole in (array, stored, dataset):
            whole[start : start + count] = block
        block = block.round(2)  # text of as few digits as tables of text have
        table = pa.table({name: block[:, place] for place, name in enumerate(names)})
        if start < 3 * LIMIT_OF_TEXT // (8 * COLUMNS):
            text.write_table(table)
        pq.write_table(table, parts / f"{start:06}.parquet", row_group_size=PART)
    array.flush()
    text.close()
    dataset.file.close()
    assert array.nbytes >= 3 * LIMIT
    files = {kind: folder / f"W.{kind}" for kind in ("npy", "zarr", "h5", "csv")}
    return {**files, "folder": parts}


@pytest.mark.parametrize(
    ("kind", "solver"),
    [("npy", "gram"), ("folder", "krylov"), ("zarr", "gram"), ("h5", "krylov"), ("csv", "gram")],
)
def test_a_table_of_three_times_the_memory_is_reduced_within_it(tables, tmp_path, kind, solver):
    limit = LIMIT_OF_TEXT if kind == "csv" else LIMIT
    words = ["reduce", str(tables[kind]), "--rank", "20", "--memory", str(limit), "--solver",
             solver, "-o", str(tmp_path / "s.parquet"), "--quiet"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "eckart", *words], stdout=subprocess.DEVNULL
    ) as process:
        highest = peak(process)
    assert process.returncode == 0
    assert highest - interpreter(kind) <= limit
