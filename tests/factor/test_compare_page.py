"""The report of a comparison: the losses over one another, the solvers beside one another."""

import re

import numpy as np
import pytest

import eckart
from eckart.factor.compare import Comparison, compare_solvers
from eckart.factor.report import compare_page
from eckart.files import Part
from eckart.matrices import Dense
from eckart.reporting import compare_table, compare_verdict, figures
from pages import figures_of, own_markup

ARTICLE = np.array([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]])
SOLVERS = {"svd": eckart.ExactSVD(), "gd": eckart.GradientDescent()}


def comparison(W=ARTICLE, rank: int = 2, **solvers) -> Comparison:
    part = Part(name="", matrix=Dense(W))
    return compare_solvers(part, "W.csv", rank, solvers or SOLVERS, command="eckart compare")


@pytest.fixture(scope="module")
def document() -> dict:
    return comparison().report_document()


def test_the_page_stands_alone_with_strict_json(document):
    page = compare_page(document)
    markup = own_markup(page)
    assert page.count("</html>") == 1
    assert "default-src &#x27;none&#x27;" in markup
    assert not re.search(r"(src|href)\s*=\s*(?![\"']data:)", markup)
    assert len(figures_of(page)) == 2


@pytest.mark.parametrize("place", ["source", "part", "command", "name", "message", "method"])
def test_a_text_cannot_become_markup(place):
    nasty = "</script><script>alert(2)</script>"
    document = comparison().report_document()
    for run in document["runs"]:
        holders = (document, run, run["certificate"])
        next(holder for holder in holders if place in holder)[place] = nasty
    page = compare_page(document)
    assert nasty not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(2)" in page


def test_every_solver_is_drawn_by_steps_and_by_time_in_one_colour_with_one_legend(document):
    drawn = figures.loss_curves(document).data
    assert [trace.name for trace in drawn] == ["svd", "gd", "gd"] * 2
    assert [trace.name for trace in drawn if trace.showlegend] == ["svd", "gd"]
    for name in SOLVERS:
        traces = [trace for trace in drawn if trace.name == name]
        assert {trace.xaxis for trace in traces} == {"x", "x2"}
        assert len({trace.line.color for trace in traces}) == 1
        assert {trace.legendgroup for trace in traces} == {name}


def test_a_solver_of_one_step_is_a_mark_at_its_error(document):
    svd = figures.loss_curves(document).data[0]
    assert svd.mode == "markers"
    assert svd.x == (1,)
    assert svd.y[0] == pytest.approx(document["runs"][0]["certificate"]["error"] ** 2)


def test_the_curves_are_the_losses_and_the_floor_is_that_of_eckart_and_young(document):
    sheet = figures.loss_curves(document)
    history = document["runs"][1]["history"]
    by_steps, by_time = (trace for trace in sheet.data if trace.mode == "lines")
    assert list(by_steps.y) == [record["loss"] for record in history]
    assert list(by_steps.x) == [record["step"] + 1 for record in history]
    assert list(by_time.x) == [record["seconds"] for record in history]
    floor = (np.linalg.svd(ARTICLE, compute_uv=False)[2:] ** 2).sum()
    assert [shape.y0 for shape in sheet.layout.shapes] == pytest.approx([floor] * 2)
    assert sheet.layout.yaxis.type == "log"
    assert sheet.layout.yaxis2.matches == "y"


def test_steps_are_on_a_logarithm_only_where_one_run_is_much_longer(document):
    assert figures.loss_curves(document).layout.xaxis.type == "log"
    alike = {"gd": eckart.GradientDescent(), "slow": eckart.GradientDescent(learning_rate=0.01)}
    axis = figures.loss_curves(comparison(**alike).report_document()).layout.xaxis
    assert axis.type is None
    assert axis.range[0] == 0


def test_a_run_that_diverged_ends_in_a_cross():
    failing = {"gd": eckart.GradientDescent(learning_rate=0.1), "svd": eckart.ExactSVD()}
    document = comparison(**failing).report_document()
    assert len(document["runs"][0]["history"]) > 0
    marks = {trace.name: trace.marker.symbol for trace in figures.loss_curves(document).data}
    assert marks["gd (diverged)"] == "x"
    assert marks["svd"] != "x"
    assert "diverged" in own_markup(compare_page(document))


def test_a_run_that_failed_at_once_has_no_curve_but_a_row():
    failing = {"gd": eckart.GradientDescent(learning_rate=1e9), "svd": eckart.ExactSVD()}
    document = comparison(**failing).report_document()
    assert {trace.name for trace in figures.loss_curves(document).data} == {"svd"}
    assert [row[0] for row in compare_table(document)[1]] == ["gd", "svd"]
    alone = comparison(gd=failing["gd"]).report_document()
    assert figures.loss_curves(alone) is None
    assert "There is no loss above 0 to draw." in compare_page(alone)


def test_a_matrix_of_zeros_has_no_loss_to_draw():
    page = compare_page(comparison(np.zeros((3, 5)), rank=1).report_document())
    assert "There is no loss above 0 to draw." in page


def test_a_floor_of_zero_is_said_where_a_logarithm_cannot_draw_it():
    sheet = figures.loss_curves(comparison(rank=4).report_document())
    assert not sheet.layout.shapes
    assert "is below this figure" in sheet.layout.annotations[0].text


def test_the_curve_of_a_long_run_is_thinned_and_keeps_its_early_steps():
    many = 30_000
    history = [{"step": n, "loss": 1 + 1 / (n + 1), "seconds": n + 1.0} for n in range(many)]
    document = comparison().report_document()
    document["runs"][1]["history"] = history
    line = next(trace for trace in figures.loss_curves(document).data if trace.mode == "lines")
    assert len(line.x) <= figures.MOST_POINTS
    assert list(line.x[:50]) == list(range(1, 51))
    assert line.x[-1] == many


def test_the_table_is_the_same_on_the_page_as_in_the_terminal(document):
    header, rows = compare_table(document)
    markup = own_markup(compare_page(document))
    grid = re.search(r'<table class="grid">(.*?)</table>', markup, re.S)[1]
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", grid)]
    assert cells == [*header, *(cell for row in rows for cell in row)]


def test_the_highest_bound_of_all_runs_holds_for_each():
    document = comparison().to_dict()
    first, second = document["runs"]
    bounds = [run["certificate"]["best_possible_error"] for run in (first, second)]
    assert document["best_possible_error"] == max(bounds)
    gap = second["certificate"]["error"] / max(bounds) - 1
    assert second["gap"] == pytest.approx(max(gap, 0), abs=1e-15)


def test_the_verdict_names_those_that_are_as_good_and_the_quickest_of_them():
    document = comparison().to_dict()
    for run, error, spent in zip(document["runs"], (0.2, 0.20001), (2.0, 1.0), strict=True):
        run["certificate"]["relative_error"], run["solving_seconds"] = error, spent
    assert compare_verdict(document).startswith(
        "svd and gd come within 0.1% of the lowest error; the quickest of them is gd, 1.00 s."
    )
    document["runs"][1]["certificate"]["relative_error"] = 0.3
    assert compare_verdict(document).startswith(
        "svd comes closest, with a relative error of 0.2; the next is gd with 0.3."
    )
