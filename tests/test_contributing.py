"""The recipes of CONTRIBUTING.md, carried out on a copy of the sources."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from commandline import ARTICLE, ROOT
from market import optimum
from tolerances import agree, close, rounding

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCK = re.compile(
    r"^```python\n# (in (\w+) of )?(src/\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@pytest.fixture
def eckart(tmp_path, request):
    """Carry out the recipe of a heading; returns what runs a command with it."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    section = PAGE.split(f"\n## {request.param}\n")[1].split("\n## ")[0]
    written = BLOCK.findall(section)
    assert [bool(table) for _, table, *_ in written] == [False, True]
    for _, table, name, text in written:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if not table:
            path.write_text(text, "utf-8")
            continue
        assert text.count("\n") == 1
        head = f"{table}: Final = {{\n"
        module = path.read_text("utf-8")
        assert module.count(head) == 1
        path.write_text(module.replace(head, head + text), "utf-8")
    np.savetxt(tmp_path / "W.csv", ARTICLE, delimiter=",")

    def run(line: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        words = [sys.executable, "-W", "error", "-m", "eckart", *line.split()]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("eckart", ["Add a solver"], indirect=True)
def test_a_solver_is_one_file_and_one_line(eckart):
    assert "range (the random range finder)" in " ".join(eckart("factor --help").split())
    answer = json.loads(eckart("factor W.csv --rank 2 --solver range --json"))["result"]
    certificate = answer["parts"][0]["certificate"]
    assert certificate["error"] >= optimum(ARTICLE, 2)
    assert certificate["relative_error"] < 1


@pytest.mark.parametrize("eckart", ["Add a format"], indirect=True)
def test_a_format_is_one_file_and_one_line(eckart, tmp_path):
    np.savetxt(tmp_path / "W.plain", ARTICLE)
    eckart("factor W.plain --rank 4 -o W.npz --quiet")
    eckart("expand W.npz -o again.plain --quiet")
    assert close(np.loadtxt(tmp_path / "again.plain"), ARTICLE, rounding(ARTICLE))


@pytest.mark.parametrize("eckart", ["Add a command to a use"], indirect=True)
def test_a_command_is_one_file_and_one_line(eckart):
    assert "Print the norm of a matrix." in eckart("--help")
    found = json.loads(eckart("norm W.csv --json"))["result"]["norm"]
    assert agree(found, float(np.linalg.norm(ARTICLE)))


@pytest.mark.parametrize("eckart", ["Add a use"], indirect=True)
def test_a_use_is_one_package_and_one_line(eckart, tmp_path):
    eckart("transpose W.csv T.npy")
    assert np.array_equal(np.load(tmp_path / "T.npy"), ARTICLE.T)
    layers = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = re.search(r'"(\w+(?: \| \w+)+)",\n    "terminal', layers)
    assert listed is not None
    # the file that the recipe made stands beside what is listed as a use
    folders = (tmp_path / "src" / "eckart").iterdir()
    uses = {one.name for one in folders if (one / "commands.py").exists()}
    assert uses == {*listed[1].split(" | "), "transpose"}
