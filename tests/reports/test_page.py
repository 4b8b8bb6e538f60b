"""The report: one page that stands alone, asks for nothing, and believes no name."""

import re
from pathlib import Path

import numpy as np
import pytest

import eckart
from eckart.jobs.factor import Factoring, RankChoice, factor_parts
from eckart.matrices import Dense
from eckart.reports import factor_page, factor_table, figures
from eckart.reports.table import byte_size, seconds, share
from eckart.storage import Part

ARTICLE = np.array([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]])


def factoring(tmp_path: Path, source: str = "W.csv", names: tuple[str, ...] = ("",), **arguments):
    parts = tuple(Part(name=name, matrix=Dense(ARTICLE)) for name in names)
    output = tmp_path / "f.npz"
    return factor_parts(
        parts, Path(source), output, RankChoice(rank=2), command="eckart factor", **arguments
    )


@pytest.fixture
def gradient(tmp_path) -> Factoring:
    return factoring(tmp_path, solver=eckart.GradientDescent())


def own_markup(page: str) -> str:
    """The page without the plotting library."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.S)


def test_the_page_asks_for_nothing_and_may_not(gradient):
    page = factor_page(gradient.report_document())
    markup = own_markup(page)
    assert page.startswith("<!doctype html>")
    assert page.count("</html>") == 1
    assert "default-src &#x27;none&#x27;" in markup
    assert not re.search(r'(src|href)="(?!data:)', markup)
    assert "<script src" not in page
    assert "@import" not in markup
    assert "url(" not in markup


def test_a_name_cannot_become_markup(tmp_path):
    nasty = '<img src=x onerror=alert(1)></script><script>alert(2)</script>".csv'
    page = factor_page(factoring(tmp_path, source=nasty.replace("/", "\\")).report_document())
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;img src=x" in page


def test_the_floor_is_drawn_where_eckart_and_young_put_it(gradient):
    part = gradient.report_document()["parts"][0]
    curve = figures.loss_curve(part)
    floor = np.linalg.svd(ARTICLE, compute_uv=False)[2:] ** 2
    assert curve.layout.shapes[0].y0 == pytest.approx(floor.sum())
    assert "2.35664" in curve.layout.annotations[0].text
    assert len(curve.data[0].y) == len(part["history"])


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
            RankChoice(rank=1), solver=eckart.GradientDescent(),
        )  # fmt: skip
        assert "</html>" in factor_page(result.report_document())
