"""The report: one page that stands alone, asks for nothing, and believes no name."""

import re
from pathlib import Path

import numpy as np
import pytest

import eckart
from eckart.factor.factor import Factoring, factor_parts
from eckart.factor.report import factor_page
from eckart.files import Part
from eckart.matrices import Dense
from eckart.reporting import factor_table, figures
from eckart.reporting.tables import byte_size, seconds, share
from pages import figures_of, own_markup

ARTICLE = np.array([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]])


def factoring(tmp_path: Path, source: str = "W.csv", names: tuple[str, ...] = ("",), **arguments):
    parts = tuple(Part(name=name, matrix=Dense(ARTICLE)) for name in names)
    output = tmp_path / "f.npz"
    return factor_parts(parts, Path(source), output, rank=2, command="eckart factor", **arguments)


@pytest.fixture
def gradient(tmp_path) -> Factoring:
    return factoring(tmp_path, solver=eckart.GradientDescent())


def test_the_page_asks_for_nothing_and_may_not(gradient):
    page = factor_page(gradient.report_document())
    markup = own_markup(page)
    assert page.startswith("<!doctype html>")
    assert page.count("</html>") == 1
    assert "default-src &#x27;none&#x27;" in markup
    assert not re.search(r"(src|href)\s*=\s*(?![\"']data:)", markup)
    assert re.findall(r"<link[^>]*>", markup) == ['<link rel="icon" href="data:,">']
    assert page.count("plotly.js v") == 1
    assert "<script src" not in page
    assert "@import" not in markup
    assert "url(" not in markup


def test_no_figure_offers_to_upload_itself(gradient):
    drawn = figures_of(factor_page(gradient.report_document()))
    assert len(drawn) == 4
    for _, _, config in drawn:
        assert config["showSendToCloud"] is False
        assert "plotlyServerURL" not in config


def test_every_figure_takes_the_width_of_its_place_and_follows_it(gradient):
    page = factor_page(gradient.report_document())
    for _, layout, config in figures_of(page):
        assert "width" not in layout
        assert config["responsive"] is False  # the observer of the page is at once
    own = page.rsplit("<script>", 1)[1]
    assert "new ResizeObserver" in own
    assert 'querySelectorAll(".plotly-graph-div")' in own
    assert own.count(".plotly-graph-div") < page.count('class="plotly-graph-div"')


def test_what_is_embedded_is_strict_json_even_where_nothing_is_finite(gradient):
    document = gradient.report_document()
    part = document["parts"][0]
    part["pictures"]["BA"][0][0] = float("nan")
    part["pictures"]["residual"][0][0] = float("inf")
    part["singular_values"] = [9.0, 1.0, 1e-30, 0.0]
    assert len(figures_of(factor_page(document))) == 4


@pytest.mark.parametrize("place", ["source", "command", "message", "name", "method", "blas"])
@pytest.mark.parametrize(
    "nasty", ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", '"><b>']
)
def test_a_text_cannot_become_markup(tmp_path, place, nasty):
    document = factoring(tmp_path, names=("R", "G")).report_document()
    for part in document["parts"]:
        holders = (document, part, part["certificate"], part["recipe"])
        next(holder for holder in holders if place in holder)[place] = nasty
    page = factor_page(document)
    assert nasty not in page
    assert nasty.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(
        '"', "&quot;"
    ) in page  # fmt: skip


def test_the_floor_is_drawn_where_eckart_and_young_put_it(gradient):
    part = gradient.report_document()["parts"][0]
    curve = figures.loss_curve(part)
    floor = np.linalg.svd(ARTICLE, compute_uv=False)[2:] ** 2
    assert curve.layout.shapes[0].y0 == pytest.approx(floor.sum())
    assert "2.35664" in curve.layout.annotations[0].text
    assert len(curve.data[0].y) == len(part["history"])


def test_a_floor_of_zero_is_said_where_a_logarithm_cannot_draw_it(tmp_path):
    part = factoring(tmp_path, solver=eckart.GradientDescent()).report_document()["parts"][0]
    part["certificate"]["best_possible_error"] = 0.0
    for record in part["history"]:
        record["loss"] = 10.0 ** -record["step"] if record["step"] < 20 else 0.0
    curve = figures.loss_curve(part)
    assert not curve.layout.shapes
    assert curve.layout.annotations[0].text == "the floor, 0, is below this figure"
    assert curve.layout.yaxis.type == "log"
    assert curve.data[0].y[20] is None


def test_without_a_bound_the_curve_has_no_floor(tmp_path):
    result = factoring(tmp_path, solver=eckart.GradientDescent(), certificate=False)
    curve = figures.loss_curve(result.report_document()["parts"][0])
    assert not curve.layout.shapes
    assert not curve.layout.annotations


def test_the_chosen_rank_is_marked_among_the_singular_values(gradient):
    curve = figures.singular_values(gradient.report_document()["parts"][0])
    assert curve.layout.shapes[0].x0 == 2.5
    assert [len(trace.x) for trace in curve.data] == [2, 2]


def test_the_pictures_show_the_numbers_of_a_small_matrix(gradient):
    part = gradient.report_document()["parts"][0]
    W, product, residual = figures.matrices(part, photograph=False).data
    np.testing.assert_allclose(W.z, ARTICLE)
    np.testing.assert_allclose(W.z - product.z, residual.z, atol=1e-6)
    assert W.texttemplate


def test_the_pointer_says_which_rows_a_cell_stands_for(gradient):
    document = gradient.report_document()["parts"][0]
    document["shape"] = [40, 4]
    W = figures.matrices(document, photograph=False).data[0]
    np.testing.assert_allclose(W.y, [4.5, 14.5, 24.5, 34.5])
    assert W.hovertemplate.startswith("row %{y:.0f} ± 5, column %{x:.0f}<br>")


def test_a_direct_solver_has_no_loss_curve(tmp_path):
    assert figures.loss_curve(factoring(tmp_path).report_document()["parts"][0]) is None


def test_without_a_certificate_the_table_says_what_is_not_known(tmp_path):
    document = factoring(tmp_path, certificate=False).report_document()
    rows = dict(factor_table(document))
    assert rows["best possible"] == "not known"
    assert rows["share of the optimum"] == "not known"
    assert "not known" in factor_page(document)


def test_parts_are_summed_into_one_table(tmp_path):
    document = factoring(tmp_path, names=("R", "G", "B")).report_document()
    rows = dict(factor_table(document))
    assert rows["shape"] == "4 × 4 in 3 parts (R, G, B)"
    assert rows["bytes before → after"].startswith("384 B → 384 B")
    one = document["parts"][0]["certificate"]
    assert document["error"] == pytest.approx(np.sqrt(3) * one["error"])
    assert document["relative_error"] == pytest.approx(one["relative_error"])


def test_settings_that_differ_between_parts_are_shown_for_each(tmp_path):
    document = factoring(tmp_path, names=("R", "G"), solver=eckart.GradientDescent())
    document = document.report_document()
    document["parts"][1]["recipe"]["solver"]["learning_rate"] = 0.125
    assert dict(factor_table(document))["solver"] == "gd, with settings for each part"
    markup = own_markup(factor_page(document))
    assert "<th>solver, R</th>" in markup
    assert "<th>solver, G</th><td>gd: learning rate 0.125" in markup
    assert "<th>seed</th>" in markup


def test_every_part_but_the_first_is_folded(tmp_path):
    page = factor_page(factoring(tmp_path, names=("R", "G", "B")).report_document())
    assert "<h2>Part R, rank 2</h2>" in page
    assert re.findall(r"<details><summary>(.*?)</summary>", page) == [
        "Part G, rank 2", "Part B, rank 2"]  # fmt: skip


def test_without_pictures_the_curves_remain(gradient):
    assert len(figures_of(factor_page(gradient.to_dict()))) == 2


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, "100.00 %"), (0.9999, "99.99 %"), (0.123456, "12.34 %"), (None, "not known")],
)
def test_a_share_is_never_rounded_up_to_the_optimum(number, text):
    assert share(number) == text


def test_bytes_and_times_have_units():
    assert [byte_size(count) for count in (7, 1536, 2.5e6, 3e12)] == [
        "7 B", "1.536 kB", "2.5 MB", "3 TB"]  # fmt: skip
    assert [seconds(count) for count in (0.0001, 0.25, 3.14159, 125)] == [
        "0.1 ms", "250 ms", "3.14 s", "2 min 5 s"]  # fmt: skip


def test_a_tall_thin_matrix_and_a_zero_matrix_are_drawn(tmp_path):
    for place, W in enumerate((np.arange(600.0).reshape(600, 1), np.zeros((3, 5)))):
        result = factor_parts(
            (Part(name="", matrix=Dense(W)),), Path("W.npy"), tmp_path / f"{place}.npz",
            rank=1, solver=eckart.GradientDescent(),
        )  # fmt: skip
        assert "</html>" in factor_page(result.report_document())


@pytest.mark.parametrize("size", [1e150, 1e-150, 1.0, 0.0])
def test_pictures_of_matrices_of_any_size_have_their_numbers(size):
    shown = size * ARTICLE
    pictures = {name: shown.tolist() for name in ("W", "BA", "residual", "B", "A")}
    part = {"pictures": pictures, "shape": [4, 4], "rank": 4}
    for figure in (figures.matrices(part, photograph=False), figures.factors(part)):
        for drawn in figure.data:
            np.testing.assert_array_equal(drawn.z, shown)
