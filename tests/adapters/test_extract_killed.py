"""An extraction that ends at a bad moment, and is gone on with."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from eckart.adapters import extract, extract_adapter
from eckart.adapters.resume_store import ResumeStore
from eckart.errors import ArgumentError
from eckart.files.outputs import UNFINISHED, WORKPLACE

FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def pair(tmp_path):
    """A base and its fine-tune of two layers."""
    generator = np.random.default_rng(0)
    names = ("a.q_proj.weight", "a.k_proj.weight")
    before = {name: generator.standard_normal((12, 8)).astype(np.float32) for name in names}
    after = {
        name: W + generator.standard_normal((12, 8)).astype(np.float32) / 8
        for name, W in before.items()
    }
    save_file(before, tmp_path / "base.safetensors")
    save_file(after, tmp_path / "tuned.safetensors")
    return tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"


@pytest.fixture
def known(pair, tmp_path):
    """The bytes of an undisturbed run."""
    extract_adapter(*pair, tmp_path / "known", rank=2)
    return contents(tmp_path / "known")


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def stop(*_arguments):
    raise KeyboardInterrupt


def test_what_was_killed_before_its_work_was_removed_is_gone_on_with(
    pair, known, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(ResumeStore, "remove", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_adapter(*pair, tmp_path / "out", rank=2)
    with pytest.raises(ArgumentError, match="exists"):
        extract_adapter(*pair, tmp_path / "out", rank=2)
    extract_adapter(*pair, tmp_path / "out", rank=2, resume=True)
    assert contents(tmp_path / "out") == known
    assert not ResumeStore.beside(tmp_path / "out").folder.exists()


def test_a_killed_writer_leaves_nothing_large_outside_the_unfinished_work(
    pair, known, tmp_path, monkeypatch
):
    before = set(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(extract, "write_documents", stop)
        patch.setattr(shutil, "rmtree", lambda *_arguments, **_names: None)
        with pytest.raises(KeyboardInterrupt):
            extract_adapter(*pair, tmp_path / "out", rank=2)
    work = ResumeStore.beside(tmp_path / "out").folder
    (left,) = set(tmp_path.iterdir()) - before - {work}
    assert WORKPLACE.fullmatch(left.name)
    assert not [path for path in left.rglob("*") if path.is_file() and path.stat().st_size]
    extract_adapter(*pair, tmp_path / "out", rank=2, resume=True)
    assert contents(tmp_path / "out") == known
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out"}


def test_unfinished_work_loses_its_settings_last(pair, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ResumeStore, "draft", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_adapter(*pair, tmp_path / "out", rank=2)
    work = ResumeStore.beside(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_arguments, **_names: None)
        work.remove()
    assert [path.name for path in work.folder.iterdir()] == [UNFINISHED]
