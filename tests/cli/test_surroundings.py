"""What a command says whatever is around it: a narrow terminal, a pipe, no memory."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import eckart
from commandline import error
from eckart.factor import demo, stored
from eckart.files import write_factors
from eckart.terminal.console import NARROWEST

ODD = ("0", "1", "5", "-3", "abc", "²", "1e3", "999999999", "")
LABELS = ("shape", "rank", "relative error", "share of the optimum", "bytes before → after")


@pytest.mark.parametrize("columns", ODD)
@pytest.mark.parametrize("terminal", [True, False])
def test_every_label_and_figure_is_there_in_any_width(columns, terminal, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: terminal)
    status, out, _ = run("factor article.csv --rank 2 --quiet")
    assert status == 0
    for text in (*LABELS, "100.00 %", "4 × 4"):
        assert text in out
    table = out.partition("Computed")[0].splitlines()
    assert max(map(len, table)) <= max(NARROWEST, 80) or columns == "999999999"


def test_nothing_is_cut_off_in_a_pipe(run):
    name = "layer." * 40
    write_factors("f.npz", {name: eckart.Factors(np.ones((3, 1)), np.ones((1, 2)))})
    status, out, _ = run("show f.npz")
    assert status == 0
    assert name in out


def test_no_memory_is_a_sentence(run, monkeypatch):
    def describes(_path):
        raise MemoryError

    monkeypatch.setattr(stored, "describe", describes)
    status, _, err = run("show article_start.npz")
    assert (status, err.splitlines()[0]) == (1, "error: The memory is used up.")
    assert error(run, "show article_start.npz", 1)["code"] == "out-of-memory"


@pytest.mark.parametrize(("grade", "status"), [("success", 0), ("short", 3), ("interrupted", 130)])
def test_the_demonstration_has_one_exit_status_as_text_and_as_json(grade, status, run, monkeypatch):
    result = SimpleNamespace(grade=grade, to_dict=dict)
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: {"article": result})
    assert run("demo --json")[0] == status


def test_a_name_with_a_line_break_is_told_in_one_line(run):
    status, _, err = run("factor article.csv --rank 2 -o 'a\nb.npz' --report 'a\nb.html'")
    assert (status, err.splitlines()[-2:]) == (0, [r"Wrote a\nb.npz", r"Wrote a\nb.html"])
