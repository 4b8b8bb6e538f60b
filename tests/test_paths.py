"""Paths that lead nowhere, given to every public function that takes one."""

import os
from pathlib import Path

import numpy as np
import pytest

import eckart
from eckart.errors import EckartError

BAD = ("", ".", "/", " ", "loop", "loop.npy", "x" * 300, "x" * 300 + ".npz", "a\0b", "a\0b.npy",
       "W.npy/x.npz", "missing/x.npz", os.fsdecode(b"caf\xe9.csv"), "x/" * 3000)  # fmt: skip
FUNCTIONS = {
    "read_matrix": eckart.read_matrix,
    "read_factors": eckart.read_factors,
    "factorize": lambda path: eckart.factorize(path, 1),
    "save": lambda path: eckart.Factors(np.ones((3, 1)), np.ones((1, 3))).save(path, force=True),
    "extract_adapter to": lambda path: eckart.extract_adapter("b", "t", path, rank=1, force=True),
    "extract_adapter": lambda path: eckart.extract_adapter(path, "t", "o", rank=1),
    "merge_adapters": lambda path: eckart.merge_adapters(path, [path], "o"),
    "merge_adapters to": lambda path: eckart.merge_adapters("b", ["a"], path, force=True),
    "join_adapters": lambda path: eckart.join_adapters([path], "o", weights=[1.0]),
    "join_adapters to": lambda path: eckart.join_adapters(["a"], path, weights=[1.0], force=True),
    "truncate_adapter": lambda path: eckart.truncate_adapter(path, "o", rank=1),
    "truncate_adapter to": lambda path: eckart.truncate_adapter("a", path, rank=1, force=True),
    "load": eckart.LowRankRecommender.load,
    "fit": lambda path: eckart.LowRankRecommender(rank=1).fit(path),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_path_that_leads_nowhere_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("W.npy", np.eye(3))
    for link in ("loop", "loop.npy"):
        Path(link).symlink_to(link)
    for path in BAD:
        if (name, path) == ("save", " "):
            continue  # the name of a folder
        for given in (path, Path(path)):
            with pytest.raises(EckartError):
                FUNCTIONS[name](given)
    assert {one.name for one in tmp_path.iterdir()} == {"W.npy", "loop", "loop.npy"}
