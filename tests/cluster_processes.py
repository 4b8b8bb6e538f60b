"""Clusters of worker processes for the tests, and how a worker is killed."""

import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager

import distributed
import numpy as np


@contextmanager
def workers(count):
    """A client of a cluster of `count` processes of one thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask, about its own closing
        with (
            distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None,
                silence_logs=50, memory_limit="2GiB",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):  # fmt: skip
            yield client


def planted(rows, columns, *, rank=60, noise=0.01, dtype=np.float64, seed=0):
    """A matrix with singular values that fall like 1/i, and noise below them."""
    generator = np.random.default_rng(seed)
    left = generator.standard_normal((rows, rank)) / np.arange(1, rank + 1)
    W = left @ generator.standard_normal((rank, columns))
    return (W + noise * generator.standard_normal((rows, columns))).astype(dtype)


def keys(client):
    """Number of keys on the scheduler, once it has had the time to forget."""
    for _ in range(50):
        left = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        if not left:
            return 0
        time.sleep(0.1)
    return left


class Killer(threading.Thread):
    """Kills a worker process some seconds after its start."""

    def __init__(self, client, seconds, *, number=0):
        super().__init__(daemon=True)
        pids = client.run(os.getpid)
        self.pid = sorted(pids.values())[number]
        self.seconds, self.done = seconds, False

    def run(self):
        time.sleep(self.seconds)
        os.kill(self.pid, signal.SIGKILL)
        self.done = True
