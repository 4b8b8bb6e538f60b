"""An empty folder to run commands in."""

import shlex

import pytest

from commandline import ROOT, Run
from eckart.cli import main


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
