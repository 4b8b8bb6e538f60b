"""Every command: help, the happy path, bad arguments, JSON."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eckart
from commandline import ARTICLE, ROOT, error, result
from eckart.cli.main import COMMANDS
from eckart.recommend.commands import COMMANDS as PARTS


class TestTheWorkedExample:
    LINE = (
        "factor article.csv --rank 2 --solver gd --start article_start.npz --learning-rate 0.01 "
        "--epochs 1000 --no-early-stop"
    )

    def test_to_the_last_printed_digit(self, run):
        document = result(run, self.LINE + " --json")
        losses = [record["loss"] for record in document["parts"][0]["history"][::100]]
        assert [f"{loss:.4f}" for loss in losses] == ["87.6534", "2.3620"] + ["2.3566"] * 8
        shown = str(eckart.read_factors("article.factors.npz").dense())
        assert shown == (
            "[[ 3.92499196  3.06584542  2.10616302  0.84487308]\n"
            " [ 1.80749375  2.16899061  2.27246474  1.60187065]\n"
            " [ 1.39233235  2.65559308  3.44471033  2.81139716]\n"
            " [-0.31000446  1.27213581  2.43876645  2.35886822]]"
        )

    def test_says_why_the_loss_stopped(self, run):
        status, out, err = run(self.LINE)
        assert status == 0
        text = " ".join(out.split())
        assert "87.6534" in text
        assert "the loss stands at 2.3566" in text
        assert (
            "No rank-2 pair can do better (σ₃² = 2.35664): the optimum is reached, 100.00%" in text
        )
        assert "only a higher rank lowers the loss; at rank 3 it is 0." in text
        assert "Wrote article.factors.npz" in err

    def test_the_report_is_written(self, run):
        status, _, err = run(self.LINE + " --report article.html")
        assert status == 0
        assert "Wrote article.html" in err
        assert (
            Path("article.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")
        )


EVERY = [
    *(name for name in COMMANDS if name != "recommend"),
    *(f"recommend {one}" for one in PARTS),
]


@pytest.mark.parametrize("command", EVERY)
def test_every_command_has_help(run, command):
    status, out, _ = run(f"{command} --help")
    assert status == 0
    assert out.startswith(f"Usage: eckart {command}")
    assert "--json" in out


def test_the_help_lists_every_command_and_the_exit_status(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "Exit status" in out


def test_no_command_at_all_shows_the_help(run):
    status, out, _ = run("")
    assert status == 2
    assert "Usage: eckart" in out


def test_the_version_is_shown(run):
    assert run("--version") == (0, f"eckart {eckart.__version__}\n", "")


class TestFactor:
    def test_svd_is_the_default_and_writes_beside_the_input(self, run):
        document = result(run, "factor article.csv --rank 2 --json")
        assert document["parts"][0]["recipe"]["solver"] == {"name": "svd"}
        assert document["share_of_optimum"] == pytest.approx(1)
        assert document["files"] == {"factors": "article.factors.npz"}
        assert document["original_bytes"] == 128
        assert document["factor_bytes"] == 128

    @pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "f"])
    def test_the_output_suffix_decides_the_format(self, run, name):
        result(run, f"factor article.csv --rank 3 -o {name} --json")
        np.testing.assert_allclose(eckart.read_factors(name).dense(), ARTICLE, atol=1e-13)

    @pytest.mark.parametrize(
        ("way", "rank"),
        [("--tolerance 0.1", 3), ("--tolerance 0.2", 2), ("--budget 128", 2), ("--ratio 0.5", 1),
         ("--rank auto", 1)],
    )  # fmt: skip
    def test_every_way_to_choose_the_rank(self, run, way, rank):
        assert result(run, f"factor article.csv {way} --json")["parts"][0]["rank"] == rank

    def test_without_a_rank_the_spectrum_is_shown_and_one_suggested(self, run):
        status, out, _ = run("factor article.csv")
        assert status == 0
        assert "8.744" in out
        assert "Suggested: --rank 3" in out
        document = result(run, "factor article.csv --json")
        np.testing.assert_allclose(
            document["singular_values"][""], np.linalg.svd(ARTICLE, compute_uv=False), atol=1e-13
        )
        assert document["suggested"]["rank"] == 3
        assert not list(Path().glob("*.factors.npz"))

    def test_the_lora_start_is_the_default_of_gd_and_its_sigma_is_in_the_recipe(self, run):
        document = result(run, "factor article.csv --rank 2 --solver gd --json")
        recipe = document["parts"][0]["recipe"]
        assert recipe["start"]["name"] == "lora"
        assert recipe["start"]["gaussian"] == "A"
        assert recipe["start"]["sigma"] == pytest.approx(np.sqrt(8.744 / 4), rel=1e-3)
        assert recipe["solver"]["learning_rate"] > 0
        assert len(document["parts"][0]["history"]) < 1000

    def test_the_start_can_be_chosen(self, run):
        line = "factor article.csv --rank 2 --solver gd --gaussian B --sigma 0.5 --seed 7 --json"
        start = result(run, line)["parts"][0]["recipe"]["start"]
        assert start == {"name": "lora", "gaussian": "B", "sigma": 0.5}

    def test_a_start_is_a_word_or_a_file_of_any_name(self, run):
        line = "factor article.csv --rank 2 --solver gd --force --json --start"
        start = result(run, f"{line} lora --sigma 0.5")["parts"][0]["recipe"]["start"]
        assert start == {"name": "lora", "gaussian": "A", "sigma": 0.5}
        start = result(run, f"{line} article_start.npz")["parts"][0]["recipe"]["start"]
        assert start == {"name": "given"}

    def test_the_memory_of_krylov_is_limited_and_in_the_recipe(self, run):
        line = "factor article.csv --rank 2 --solver krylov --memory 2GB --json"
        assert result(run, line)["parts"][0]["recipe"]["solver"]["memory"] == "2GB"

    def test_a_dark_picture_of_16_bits_stays_one(self, run):
        pixels = np.outer(np.arange(1, 5), np.arange(100, 103)).astype(np.uint16)
        Image.fromarray(pixels).save("dark.png")
        result(run, "factor dark.png --rank 1 --json")
        written = np.asarray(Image.open("dark.approximation.png"))
        np.testing.assert_array_equal(written, pixels)

    def test_a_picture_gives_channels_and_the_approximated_picture(self, run):
        x, y = np.meshgrid(np.arange(32), np.arange(24))
        pixels = np.stack([8 * x % 256, 10 * y % 256, x + y], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save("p.png")
        document = result(run, "factor p.png --rank 24 --report p.html --json")
        assert [part["name"] for part in document["parts"]] == ["R", "G", "B"]
        again = np.asarray(Image.open("p.approximation.png"))
        np.testing.assert_array_equal(again, pixels)
        assert "data:image/png;base64," in Path("p.html").read_text(encoding="utf-8")

    def test_notes_go_to_stderr_and_quiet_silences_them(self, run):
        Path("t.csv").write_text("x,y\n1,2\n3,5\n")
        _, _, err = run("factor t.csv --rank 1")
        assert "taken as a header" in err
        _, out, err = run("factor t.csv --rank 1 --force --quiet")
        assert err == ""
        assert out

    def test_tables_can_be_read_by_column(self, run):
        Path("t.csv").write_text("name,x,y\na,1,2\nb,3,5\n")
        document = result(run, "factor t.csv --columns y,x --rank 1 --json")
        assert document["parts"][0]["shape"] == [2, 2]

    def test_falling_short_of_a_target_is_exit_3_with_the_factors_written(self, run):
        document = result(run, "factor article.csv --rank 2 --solver gd --epochs 5 --json", 3)
        assert document["grade"] == "short"
        assert Path("article.factors.npz").exists()
        result(run, "factor article.csv --rank 2 --accuracy 0.001 -o g.npz --json")

    def test_a_diverging_rate_is_exit_1_names_one_that_works_and_writes_nothing(self, run):
        line = "factor article.csv --rank 2 --solver gd --learning-rate"
        fields = error(run, f"{line} 0.5", 1)
        assert fields["code"] == "diverged"
        rate = fields["hint"].split()[4]
        assert not Path("article.factors.npz").exists()
        result(run, f"{line} {rate} --json")

    def test_ctrl_c_is_130_with_what_was_reached_saved_and_named(self, run, monkeypatch):
        from eckart.engine.loop import Loop

        judge = Loop.judge

        def interrupt(self, step):
            if step.number == 7:
                raise KeyboardInterrupt
            return judge(self, step)

        monkeypatch.setattr(Loop, "judge", interrupt)
        status, out, err = run("factor article.csv --rank 2 --solver gd")
        assert status == 130
        assert "interrupted" in out
        assert "Wrote article.factors.npz" in err
        assert eckart.read_factors("article.factors.npz").rank == 2

    def test_threads_are_limited_and_in_the_recipe(self, run):
        document = result(run, "factor article.csv --rank 2 --threads 1 --json")
        assert document["parts"][0]["recipe"]["threads"] == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("factor nope.csv --rank 1", "no-such-file"),
        ("factor article.csv --rank 0", "bad-option"),
        ("factor article.csv --rank two", "bad-option"),
        ("factor article.csv --rank 1 --ratio 0.5", "rank-chosen-twice"),
        ("factor article.csv --tolerance 1.5", "bad-tolerance"),
        ("factor article.csv --budget lots", "bad-bytes"),
        ("factor article.csv --rank 1 -o f.xyz", "unknown-suffix"),
        ("factor article.csv --rank 1 -o nowhere/f.npz", "no-such-folder"),
        ("factor article.csv --rank 1 --report r.pdf", "unknown-suffix"),
        ("factor article.csv --rank 1 --tensor w", "option-does-not-apply"),
        ("factor article.csv --rank 1 --epochs 3", "option-does-not-apply"),
        ("factor article.csv --rank 1 --solver gd --memory 2GB", "option-does-not-apply"),
        ("factor article.csv --rank 1 --solver krylov --memory lots", "bad-bytes"),
        ("factor article.csv --rank 1 --solver gd --start nope.npz", "no-such-file"),
        ("factor article.csv --rank 2 --solver gd --start article_start.npz --sigma 1",
         "option-does-not-apply"),
        ("factor article.csv --rank 1 --solver gd --learning-rate -1", "bad-learning-rate"),
        ("factor article.csv --rank 1 --solver newton", "bad-option"),
        ("factor article.csv --rnk 1", "unknown-option"),
        ("factor", "missing-argument"),
        ("fctor article.csv", "unknown-command"),
        ("factor article_start.xyz --rank 1", "no-such-file"),
        ("show article.csv", "unknown-suffix"),
        ("show nope.npz", "no-such-file"),
        ("expand article_start.npz -o W.xyz", "unknown-suffix"),
        ("truncate article_start.npz --rank 0", "bad-option"),
        ("apply article_start.npz nope.csv", "no-such-file"),
    ],
)  # fmt: skip
def test_what_the_command_line_alone_shows_to_be_wrong_is_exit_2(run, line, code):
    assert error(run, line, 2)["code"] == code


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("1,2\n3,nan\n", "factor t.csv --rank 1", "not-finite"),
        ("1,2\n3,inf\n", "factor t.csv --rank 1 --no-header", "not-finite"),
        ("1,2\n3\n", "factor t.csv --rank 1", "ragged"),
        ("1,2\n3,x\n", "factor t.csv --rank 1", "not-numbers"),
        ("", "factor t.csv --rank 1", "empty"),
        ("1,2\n3,4\n", "factor t.csv --rank 3", "rank-too-large"),
        ("1,2\n3,4\n", "factor t.csv --budget 3", "budget-too-small"),
        ("1,2\n3,4\n", "factor t.csv --columns q --rank 1", "no-such-column"),
        ("1,2\n3,4\n", "factor t.csv --rank 2 --solver gd --start nan.npz", "not-finite"),
        ("1,2\n3,4\n", "factor t.csv --rank 2 --solver gd --start article_start.npz",
         "start-does-not-fit"),
        ("1,2\n3,4\n", "truncate article_start.npz --rank 3", "rank-too-large"),
        ("1,2\n3,4\n", "apply article_start.npz t.csv", "shapes-differ"),
        ("1,2\n3,4\n", "expand article_start.npz -o W.csv --part R", "no-such-part"),
    ],
)  # fmt: skip
def test_what_needs_the_content_is_exit_1_and_nothing_is_written(run, text, line, code):
    Path("t.csv").write_text(text)
    np.savez("nan.npz", B=np.full((2, 2), np.nan), A=np.eye(2))
    before = sorted(Path().iterdir())
    assert error(run, line, 1)["code"] == code
    assert sorted(Path().iterdir()) == before


def test_the_place_of_a_nan_is_named(run):
    Path("t.csv").write_text("1,2\n3,nan\n")
    message = error(run, "factor t.csv --rank 1", 1)["message"]
    assert "row 1, column 1 (counted from 0)" in message


def test_an_existing_output_is_refused_before_any_work(run):
    result(run, "factor article.csv --rank 1 --json")
    for line in ("factor article.csv --rank 2", "expand article.factors.npz -o article.csv",
                 "truncate article.factors.npz --rank 1 -o article.factors.npz",
                 "apply article.factors.npz article.csv -o article.csv"):  # fmt: skip
        assert error(run, line, 2)["code"] == "output-exists"
    assert eckart.read_factors("article.factors.npz").rank == 1
    result(run, "factor article.csv --rank 2 --force --json")
    assert eckart.read_factors("article.factors.npz").rank == 2


def test_without_json_an_error_is_a_sentence_and_a_hint_on_stderr(run):
    status, out, err = run("factor artcle.csv --rank 1")
    assert status == 2
    assert out == ""
    assert err == "error: There is no file artcle.csv.\nhint: Did you mean article.csv?\n"


def test_the_demo_factors_the_example_and_a_photograph(run):
    document = result(run, "demo --json")
    assert document["runs"]["article"]["share_of_optimum"] == pytest.approx(1)
    assert document["runs"]["photograph"]["relative_error"] <= 0.1
    assert all(Path(path).is_file() for path in document["reports"].values())
    assert Path("demo/photograph.approximation.png").is_file()
    assert error(run, "demo", 2)["code"] == "output-exists"


def test_the_program_runs_as_a_process_in_any_locale(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "eckart", "factor", str(ROOT / "examples" / "article.csv"), "--rank",
         "2", "-o", str(tmp_path / "f.npz")],
        capture_output=True, check=False, env={"LC_ALL": "C", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0
    assert "σ₃²" in done.stdout.decode("utf-8")


def test_help_and_the_library_load_nothing_heavy():
    heavy = {"numpy", "scipy", "pyarrow", "plotly", "rich", "PIL", "safetensors", "sklearn"}
    for code in (
        "import eckart",
        "from eckart.cli import main; main(['--help'])",
        "from eckart.cli import main; main(['factor', '--help'])",
        "from eckart.cli import main; main(['compare', '--help'])",
    ):
        script = f"{code}; import sys; print('LOADED', *{heavy!r} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=True, text=True
        )
        assert done.stdout.splitlines()[-1].split() == ["LOADED"], code
