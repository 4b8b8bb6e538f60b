"""The compiled loops: against NumPy, kept on disk, and loaded only when they are needed."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.completion.kernels import Kernel
from test_startup import loaded_by
from tolerances import solved

SCRIPT = (
    "import logging; logging.basicConfig(level='INFO', format='%(message)s')\n"
    "import eckart; print(eckart.Entries.of([0, 1], [1, 0], [1, 2]).row(0)[0])"
)


@pytest.fixture(scope="module")
def solve():
    from eckart.completion.kernels.products import backward, factor, forward

    @Kernel
    def solve(H, x):
        factor(H)
        forward(H, x)
        backward(H, x)

    return solve


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 150), seed=st.integers(0, 10**6))
def test_cholesky_in_blocks_solves_what_numpy_does(solve, size, seed):
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((2 * size, size))
    H, b = X.T @ X + np.eye(size), generator.standard_normal(size)
    x = b.astype(np.float32)
    solve(H.astype(np.float32), x)
    wanted = np.linalg.solve(H, b)
    assert np.linalg.norm(x - wanted) <= solved(H, wanted)


def run(cache, script=SCRIPT):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )


def test_the_first_run_says_that_it_compiles_and_the_second_does_not(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert "Compiling the inner loops" in first.stderr
    assert second.stderr == ""
    assert first.stdout == second.stdout == "[1]\n"


FITS = """
import warnings, numpy as np, eckart
warnings.simplefilter("ignore")
generator = np.random.default_rng(0)
places = np.flatnonzero(generator.random(300 * 90) < 0.2)
values, weights = generator.integers(1, 11, len(places)) / 2, generator.random(len(places)) + 0.5
entries = eckart.Entries.of(places // 90, places % 90, values, weights=weights, shape=(300, 90))
run = eckart.factorize(entries, 6, certificate=False)
print(float(run.factors.B.sum()), [step.loss for step in run.history])
"""


def test_the_run_that_compiles_finds_the_bits_of_those_that_do_not(tmp_path):
    first, second = run(tmp_path, FITS), run(tmp_path, FITS)
    assert first.stdout == second.stdout != ""


def test_where_nothing_can_be_written_it_says_so_and_goes_on(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(tmp_path / "file" / "cache")
    assert done.stdout == "[1]\n"


def test_nothing_of_the_library_loads_numba_before_it_is_needed():
    code = "import eckart; eckart.Observed; eckart.factorize([[1.0, 2.0], [3.0, 4.0]], rank=1)"
    assert "numba" not in loaded_by(code)
