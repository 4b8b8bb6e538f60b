"""What holds for every test, and folders to run commands in."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from commandline import ROOT, Run
from eckart.cli.main import main

# No test is timed. Where the landing depends on it, the same examples are drawn every time.
settings.register_profile(
    "eckart",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=int(os.environ.get("EXAMPLES", "50")),  # of a law: make test EXAMPLES=1000
)
settings.load_profile("eckart")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys) -> Run:
    """Run a command line in an empty folder that holds the examples: status, stdout, stderr."""
    for name in ("article.csv", "article_start.npz"):
        (tmp_path / name).write_bytes((ROOT / "examples" / name).read_bytes())
    monkeypatch.chdir(tmp_path)

    def go(line: str) -> tuple[int, str, str]:
        status = main(shlex.split(line))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return go


@pytest.fixture(scope="session")
def furnished(tmp_path_factory) -> Path:
    """A folder with all that the commands that write read."""
    from cli.writers import furnish  # imports every use, which few tests need

    folder = tmp_path_factory.mktemp("furnished") / "place"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        furnish(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(furnished, tmp_path, monkeypatch) -> Path:
    """The folder above the current one, which holds a copy of all that the commands read.

    The photograph of the demonstration is a small picture.
    """
    from eckart.factor import demo

    monkeypatch.setattr(demo, "_photograph", lambda: furnished / "p.png")
    shutil.copytree(furnished, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path
