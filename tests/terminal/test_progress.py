"""Laws of progress: a job reports as much as it announced, and only a terminal shows it."""

import io
import sys

import numpy as np
import pytest

from eckart import GradientDescent, LowRankRecommender
from eckart.factor.compare import compare_solvers
from eckart.factor.factor import factor_parts
from eckart.files import read_parts, write_matrices
from eckart.matrices import Dense
from eckart.recommend.top import write_top
from eckart.terminal import console
from watched import Watched


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "W.npy"
    write_matrices(path, {"": Dense(np.random.default_rng(0).standard_normal((6, 5)))})
    return path


def test_a_bar_shows_the_name_the_loss_and_the_words(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.watching(quiet=False)("Factoring", 4) as report:
        for number in range(4):
            report(1, loss=2.5 - number, said="gd")
    shown = sys.stderr.getvalue()
    assert "Factoring" in shown
    assert "gd" in shown
    assert "loss -0.5" in shown
    assert "100%" in shown


@pytest.mark.parametrize("total", [None, 0, 3])
@pytest.mark.parametrize(("stream", "quiet"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_pipe_and_a_quiet_run_show_nothing(monkeypatch, stream, quiet, total):
    monkeypatch.setattr(sys, "stderr", stream)
    with console.watching(quiet=quiet)("Factoring", total) as report:
        report(1, loss=1.0)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("total", [None, 0])
def test_work_of_unknown_length_is_shown_too(monkeypatch, total):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.watching(quiet=False)("Reducing", total) as report:
        report(1)
    assert "Reducing" in sys.stderr.getvalue()


def test_factoring_reports_every_epoch_with_its_loss(matrix, tmp_path):
    watched = Watched()
    solver = GradientDescent(learning_rate=0.01, epochs=7, stop_early=False)
    factor_parts(
        read_parts(matrix).parts,
        matrix,
        tmp_path / "out.npz",
        rank=2,
        solver=solver,
        watch=watched,
    )
    told = watched.parts["Factoring"]
    assert (told.done, told.total) == (7, 7)
    assert told.losses == sorted(told.losses, reverse=True)


def test_comparing_reports_each_solver_apart(matrix):
    watched = Watched()
    solvers = {
        name: GradientDescent(learning_rate=0.01, epochs=epochs, stop_early=False)
        for name, epochs in (("short", 3), ("long", 5))
    }
    compare_solvers(read_parts(matrix).parts[0], "W", 2, solvers, watch=watched)
    assert {name: told.done for name, told in watched.parts.items()} == {
        "Factoring by short": 3,
        "Factoring by long": 5,
    }


def test_ranking_reports_every_user(tmp_path):
    rows = {"user": [1, 1, 2, 3], "item": ["a", "b", "a", "b"], "rating": [1.0, 2.0, 3.0, 4.0]}
    model = LowRankRecommender(rank=1, regularization=0.1).fit(rows).model
    watched = Watched()
    write_top(model, tmp_path / "top.csv", None, 1, watch=watched)
    told = watched.parts["Ranking"]
    assert told.done == told.total == 3
