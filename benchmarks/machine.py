"""What a benchmark ran on, in one line, and how many threads it may use."""

import os
import platform
from importlib.metadata import version

import numpy as np
import threadpoolctl

import eckart

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SLOWER = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def machine() -> str:
    pools = {
        f"{pool['internal_api']} {pool.get('architecture', '')} {pool['num_threads']} threads"
        for pool in threadpoolctl.threadpool_info()
    }
    return (
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"PyTorch {version('torch')}, eckart {eckart.__version__}; {'; '.join(sorted(pools))}"
    )


def prepare_processes(threads: int) -> None:
    """Processes started from now on use so many threads, and the kernels NumPy chooses itself."""
    for name in SLOWER:
        os.environ.pop(name, None)
    for name in THREADS:
        os.environ[name] = str(threads)
