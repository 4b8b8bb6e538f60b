"""Clusters of worker processes with one thread each, and files that they read."""

import numpy as np
import pytest

from cluster_processes import planted, workers


@pytest.fixture(scope="session")
def two():
    with workers(2) as client:
        yield client


@pytest.fixture(scope="session")
def tall(tmp_path_factory):
    """A file of many rows of few columns, for WᵀW, and its array."""
    W = planted(3000, 60)
    path = tmp_path_factory.mktemp("tall") / "W.npy"
    np.save(path, W)
    return path, W


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A file of so many columns that a space is built, and its array."""
    W = planted(400, 2100, dtype=np.float32)
    path = tmp_path_factory.mktemp("wide") / "W.npy"
    np.save(path, W)
    return path, W
