"""`--memory` is kept: what the kernel counts for the process beyond Python and its imports."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STATUS = Path("/proc/self/status")
LIMIT = 60_000_000
ROWS, COLUMNS, PART = 91_000, 500, 2000
IMPORTS = """
import eckart.cli.main, eckart.cli.reduce, eckart.jobs.reduce.job
import scipy.linalg, pyarrow.compute, pyarrow.csv, pyarrow.parquet
input()
"""

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


@pytest.fixture(scope="module")
def interpreter() -> int:
    """Bytes of Python with what the command imports."""
    with subprocess.Popen([sys.executable, "-c", IMPORTS], stdin=subprocess.PIPE) as process:
        known, last = 0, -1
        while known != last or not known:
            time.sleep(0.5)
            last, known = known, anonymous(process.pid)
        process.communicate(b"\n")
    return known


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """The same rows as an array and as a folder of Parquet files, three times the limit."""
    folder = tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(0)
    parts = folder / "parts"
    parts.mkdir()
    shape = (ROWS, COLUMNS)
    array = np.lib.format.open_memmap(folder / "W.npy", "w+", np.float32, shape)
    for start in range(0, ROWS, 10 * PART):
        count = min(10 * PART, ROWS - start)
        drawn = generator.standard_normal((count, COLUMNS), dtype=np.float32)
        block = drawn / np.arange(1, COLUMNS + 1, dtype=np.float32) + 1
        array[start : start + count] = block
        table = pa.table({f"c{place}": block[:, place] for place in range(COLUMNS)})
        pq.write_table(table, parts / f"{start:06}.parquet", row_group_size=PART)
    array.flush()
    assert array.nbytes >= 3 * LIMIT
    return {"array": folder / "W.npy", "folder": parts}


@pytest.mark.parametrize("kind", ["array", "folder"])
@pytest.mark.parametrize("solver", ["gram", "krylov"])
def test_a_table_of_three_times_the_memory_is_reduced_within_it(
    interpreter, tables, tmp_path, kind, solver
):
    words = ["reduce", str(tables[kind]), "--rank", "20", "--memory", str(LIMIT), "--solver",
             solver, "-o", str(tmp_path / "s.parquet"), "--quiet"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "eckart", *words], stdout=subprocess.DEVNULL
    ) as process:
        highest = peak(process)
    assert process.returncode == 0
    assert highest - interpreter <= LIMIT
