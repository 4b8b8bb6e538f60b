"""`eckart compare`: one matrix, several solvers, one rank."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eckart
from commandline import ARTICLE, error, result
from eckart.factor.factor_command import SOLVERS

LINE = "compare article.csv --rank 2"
BEST = np.linalg.norm(np.linalg.svd(ARTICLE, compute_uv=False)[2:])


@pytest.fixture
def picture() -> None:
    x, y = np.meshgrid(np.arange(16), np.arange(12))
    pixels = np.stack([8 * x, 10 * y, x + y], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save("p.png")


def test_each_solver_is_a_row_in_the_order_asked_for(run):
    document = result(run, f"{LINE} --solvers gd,svd,krylov --json")
    assert [one["name"] for one in document["runs"]] == ["gd", "svd", "krylov"]
    assert document["grade"] == "success"
    for one in document["runs"]:
        assert one["recipe"]["solver"]["name"] == one["name"]
        assert one["certificate"]["error"] == pytest.approx(BEST)
        assert one["gap"] == pytest.approx(0, abs=1e-5)
        assert one["passes"] > 0
        assert 0 < one["solving_seconds"] <= one["seconds"] <= document["seconds"]
    np.testing.assert_allclose(
        document["singular_values"], np.linalg.svd(ARTICLE, compute_uv=False), atol=1e-13
    )


def test_all_the_solvers_there_are_can_be_compared_at_once(run):
    document = result(run, f"{LINE} --solvers {','.join(SOLVERS)} --json")
    assert [one["recipe"]["solver"]["name"] for one in document["runs"]] == list(SOLVERS)
    assert {one["rank"] for one in document["runs"]} == {2}


def test_a_run_is_the_one_that_factor_makes(run):
    beside = result(run, f"{LINE} --solvers svd,gd --seed 5 --sigma 0.5 --json")["runs"][1]
    alone = result(run, "factor article.csv --rank 2 --solver gd --seed 5 --sigma 0.5 --json")
    (alone,) = alone["parts"]
    assert beside["recipe"] == alone["recipe"]
    assert [one["loss"] for one in beside["history"]] == [one["loss"] for one in alone["history"]]
    assert beside["certificate"] == alone["certificate"]


def test_a_person_sees_a_table_and_who_was_quickest(run):
    status, out, err = run(f"{LINE} --solvers svd,gd")
    assert status == 0
    text = " ".join(out.split())
    assert "solver rank error relative error gap passes time outcome" in text
    assert "svd 2 1.535 0.1618 0.000%" in text
    assert "svd and gd come within 0.1% of the lowest error; the quickest of them is" in text
    assert "No rank-2 pair has an error below 1.535." in text
    assert err == ""


def test_one_solver_alone_is_enough(run):
    assert len(result(run, f"{LINE} --solvers gd --json")["runs"]) == 1


def test_nothing_is_written_but_the_report(run):
    before = set(Path().iterdir())
    document = result(run, f"{LINE} --solvers svd,gd --report c.html --json")
    assert document["files"] == {"report": "c.html"}
    assert set(Path().iterdir()) - before == {Path("c.html")}
    assert "</html>" in Path("c.html").read_text(encoding="utf-8")


def test_a_solver_short_of_a_target_makes_it_exit_3(run):
    document = result(run, f"{LINE} --solvers svd,gd --epochs 5 --json", 3)
    assert document["grade"] == "short"
    assert [one["grade"] for one in document["runs"]] == ["success", "short"]
    status, out, _ = run(f"{LINE} --solvers svd,gd --epochs 5")
    assert status == 3
    assert "svd comes closest, with a relative error of 0.1618; the next is gd" in out
    assert "More epochs would lower the loss further." in " ".join(out.split())


def test_a_solver_that_diverges_is_a_row_and_exit_1_and_the_others_are_run(run):
    line = f"{LINE} --solvers gd,svd --learning-rate 0.1"
    document = result(run, f"{line} --report c.html --json", 1)
    failed, sound = document["runs"]
    assert (failed["grade"], failed["outcome"]) == ("failed", "DIVERGED")
    assert "A learning rate of" in failed["message"]
    assert failed["certificate"]["best_possible_error"] is None
    assert failed["gap"] > 0  # from the bound that svd has proven
    assert sound["gap"] == pytest.approx(0, abs=1e-12)
    status, out, _ = run(line)
    assert status == 1
    assert "diverged" in out
    assert "svd comes closest, with a relative error of 0.1618." in out


def test_where_every_solver_fails_it_says_so(run):
    status, out, _ = run(f"{LINE} --solvers gd --learning-rate 0.5")
    assert status == 1
    assert "No solver reached an answer." in out


def test_ctrl_c_keeps_the_runs_up_to_there(run, monkeypatch):
    from eckart.solvers import ExactSVD

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ExactSVD, "steps", interrupt)
    document = result(run, f"{LINE} --solvers gd,svd --json", 130)
    assert document["grade"] == "interrupted"
    assert document["not_run"] == ["svd"]
    assert [one["name"] for one in document["runs"]] == ["gd"]
    status, out, _ = run(f"{LINE} --solvers gd,svd,krylov")
    assert status == 130
    assert "Interrupted before svd and krylov had a result." in out
    assert error(run, f"{LINE} --solvers svd,gd", 130)["code"] == "interrupted"


def test_a_start_is_for_the_solvers_that_begin_at_one(run):
    document = result(run, f"{LINE} --solvers svd,gd --start article_start.npz --json")
    svd, gd = document["runs"]
    assert svd["recipe"]["start"] is None
    assert gd["recipe"]["start"]["name"] == "given"


@pytest.mark.usefixtures("run")
def test_of_several_parts_one_is_named(run, picture):
    fields = error(run, "compare p.png --rank 2 --solvers svd", 1)
    assert fields["message"] == "p.png has 3 parts."
    assert fields["hint"] == "Name one with --part: R, G, B."
    document = result(run, "compare p.png --rank 2 --solvers svd,krylov --part G --json")
    assert document["part"] == "G"
    assert document["shape"] == [12, 16]
    assert error(run, "compare p.png --rank 2 --solvers svd --part X", 1)["code"] == "no-such-part"


def test_without_a_certificate_no_gap_is_shown(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    document = result(run, f"{LINE} --solvers svd,gd --no-certificate --json")
    assert document["best_possible_error"] is None
    status, out, _ = run(f"{LINE} --solvers svd,gd --no-certificate")
    assert status == 0
    assert "not bounded" in out
    assert "No rank-2 pair" not in out


def test_an_exact_answer_has_no_gap_where_nothing_is_possible_below(run):
    W = eckart.read_factors("article_start.npz").B @ np.ones((2, 4))
    np.save("exact.npy", W)
    document = result(run, "compare exact.npy --rank 2 --solvers svd,krylov --json")
    assert [one["gap"] for one in document["runs"]] == [0, 0]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("compare nope.csv --rank 1 --solvers svd", "no-such-file"),
        ("compare article.csv --rank 1", "missing-argument"),
        ("compare article.csv --solvers svd", "missing-argument"),
        ("compare article.csv --rank 0 --solvers svd", "bad-option"),
        ("compare article.csv --rank 1 --solvers ,", "bad-option"),
        ("compare article.csv --rank 1 --solvers svd,newton", "bad-option"),
        ("compare article.csv --rank 1 --solvers svd,gd,svd", "bad-option"),
        ("compare article.csv --rank 1 --solvers svd --epochs 3", "option-does-not-apply"),
        ("compare article.csv --rank 1 --solvers svd,gd --learning-rate -1", "bad-learning-rate"),
        ("compare article.csv --rank 1 --solvers svd --accuracy 0", "bad-accuracy"),
        ("compare article.csv --rank 1 --solvers svd --report r.pdf", "unknown-suffix"),
        ("compare article.csv --rank 1 --solvers svd --report nowhere/r.html", "no-such-folder"),
    ],
)
def test_what_the_command_line_alone_shows_to_be_wrong_is_exit_2(run, line, code):
    assert error(run, line, 2)["code"] == code


def test_the_nearest_name_of_a_solver_is_offered(run):
    assert "the nearest is krylov." in error(run, f"{LINE} --solvers krilov", 2)["message"]


def test_a_rank_that_is_too_large_is_exit_1(run):
    fields = error(run, "compare article.csv --rank 5 --solvers svd,gd", 1)
    assert fields["code"] == "rank-too-large"


def test_a_start_for_another_part_is_refused(run):
    np.savez("parts.npz", **{"R.B": np.ones((4, 2)), "R.A": np.ones((2, 4))})
    for line in (f"{LINE} --solvers gd", "factor article.csv --rank 2 --solver gd"):
        assert error(run, f"{line} --start parts.npz", 1)["code"] == "no-such-part"
