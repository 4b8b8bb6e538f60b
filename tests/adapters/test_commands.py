"""The commands on adapters: what they print, write and refuse."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapters.pairs import SHAPES, extracted
from checkpoints import write
from commandline import error, result
from tolerances import LOGITS, MEASURED, agree


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return extracted(tmp_path_factory.mktemp("made"))


@pytest.fixture
def here(run, made):
    """Run a command in a folder that holds a base, its fine-tune and their adapter."""
    shutil.copytree(made, Path(), dirs_exist_ok=True)
    return run


class TestVerify:
    def test_a_person_sees_layers_and_a_sentence(self, here):
        status, out, _ = here("verify adapter base tuned")
        assert status == 0
        words = " ".join(out.split())
        assert "layer rank relative error recorded" in words
        assert "The adapter fits: 4 layers measured and 1 bias or saved value equal." in words
        assert "The relative error of the whole change is 0.00" in words

    def test_a_program_gets_the_figures(self, here):
        document = result(here, "verify adapter base tuned --json")
        assert document["grade"] == "success"
        assert [one["rank"] for one in document["layers"]] == [4] * 4
        assert document["uncovered"] == document["unknown"] == document["misfits"] == []

    def test_above_the_tolerance_is_exit_3(self, here):
        document = result(here, "verify adapter base tuned --tolerance 1e-6 --json", 3)
        assert len(document["short"]) == 5
        status, out, _ = here("verify adapter base tuned --tolerance 1e-6")
        assert status == 3
        assert "above the tolerance of 1e-06" in " ".join(out.split())

    def test_another_pair_of_models_is_exit_1(self, here):
        document = result(here, "verify adapter tuned base --json", 1)
        assert document["grade"] == "failed"
        status, out, _ = here("verify adapter tuned base")
        assert status == 1
        assert "The error is larger than the recorded one: 'model.layers.0.mlp.up_proj'" in out
        assert "The values are not those of the fine-tune: 'model.norm.weight'." in out


class TestMerge:
    def test_the_merged_model_is_the_base_with_its_adapter(self, here):
        document = result(here, "merge base adapter -o merged --json")
        assert (document["changed_by_factors"], document["changed_values"]) == (4, 1)
        assert document["adapters"] == [{"folder": "adapter", "weight": 1.0}]
        assert document["files"] == ["config.json", "model.safetensors"]
        assert result(here, "verify adapter base merged --json")["relative_error"] < LOGITS

    def test_weights_and_a_dtype(self, here):
        line = "merge base adapter adapter --weights 0.25,0.75 --dtype float16 -o half.safetensors"
        status, out, err = here(line)
        assert status == 0
        assert out == "4 weights changed by factors, 1 by values, of 8 tensors\n"
        assert err == "Wrote half.safetensors\n"
        size = sum(math.prod(shape) for shape in SHAPES.values())
        assert 2 * size < Path("half.safetensors").stat().st_size < 3 * size

    def test_an_existing_model_is_overwritten_only_when_forced(self, here):
        result(here, "merge base adapter -o merged --json")
        assert error(here, "merge base adapter -o merged", 2)["code"] == "output-exists"
        result(here, "merge base adapter -o merged --force --json")
        Path("merged/mine.json").write_text("{}")
        fields = error(here, "merge base adapter -o merged --force", 2)
        assert fields["code"] == "output-holds-others"
        assert Path("merged/mine.json").read_text() == "{}"

    def test_an_adapter_of_another_model_is_exit_1(self, here):
        Path("tuned/model.safetensors").unlink()
        write(Path("tuned/model.safetensors"), {"x.weight": np.ones((2, 2), np.float32)})
        fields = error(here, "merge tuned adapter -o merged", 1)
        assert fields["code"] == "no-such-tensor"
        assert "'model.layers.0.mlp.up_proj.weight'" in fields["message"]
        assert not Path("merged").exists()


class TestJoin:
    def test_halves_of_one_adapter_are_the_adapter(self, here):
        document = result(here, "join adapter adapter --weights 0.25,0.75 --rank 4 -o j --json")
        assert (document["layers"], document["largest_rank"]) == (4, 4)
        assert document["relative_change"] < LOGITS
        errors = [
            [
                one["relative_error"]
                for one in result(here, f"verify {a} base tuned --json")["layers"]
            ]
            for a in ("adapter", "j")
        ]
        assert agree(*errors, MEASURED)

    def test_a_person_sees_a_sentence(self, here):
        status, out, err = here("join adapter --weights 1 --rank 3 --dtype float16 -o j")
        assert status == 0
        assert out.startswith("4 layers, rank 3, float16, ")
        assert err == "Wrote j\n"

    def test_saved_values_that_cannot_be_joined_are_exit_1_and_nothing_is_written(self, here):
        fields = error(here, "join adapter adapter --weights 1,1 -o j", 1)
        assert fields["code"] == "saved-differ"
        assert not Path("j").exists()


class TestTruncate:
    def test_an_adapter_is_cut_to_a_rank(self, here):
        document = result(here, "truncate adapter --rank 2 --json")
        assert document["output"] == "adapter.rank2"
        assert (document["smallest_rank"], document["largest_rank"]) == (2, 2)
        checked = result(here, "verify adapter.rank2 base tuned --json")
        assert checked["relative_error"] > document["relative_change"] / 2

    def test_an_adapter_is_cut_to_a_budget(self, here):
        document = result(here, "truncate adapter/ --budget 1kB --dtype float16 --json")
        assert document["output"] == "adapter.1kB"
        assert 900 < document["bytes"] <= 1_000
        tensors = load_file("adapter.1kB/adapter_model.safetensors").values()
        assert document["bytes"] == sum(tensor.nbytes for tensor in tensors)
        assert document["dtype"] == "float16"

    def test_factors_are_cut_as_before(self, here):
        result(here, "factor article.csv --rank 3 -o f.npz --json")
        assert result(here, "truncate f.npz --rank 1 --json")["rank"] == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("join -o j --weights 1", "missing-argument"),
        ("join adapter -o j", "missing-argument"),
        ("join adapter nowhere --weights 1,1 -o j", "no-such-file"),
        ("join adapter --weights 1,1 -o j", "lengths-differ"),
        ("join adapter --weights 1 --rank 0 -o j", "bad-option"),
        ("join adapter --weights 1 -o tuned", "output-exists"),
        ("join adapter --weights 1 -o adapter --force", "output-is-input"),
        ("truncate adapter", "rank-not-chosen"),
        ("truncate adapter --rank 2 --budget 1MB", "rank-chosen-twice"),
        ("truncate adapter --budget lots", "bad-bytes"),
        ("truncate adapter --budget 20", "budget-too-small"),
        ("truncate adapter --rank 2 -o base", "output-exists"),
        ("truncate article_start.npz", "rank-not-chosen"),
        ("truncate article_start.npz --rank 1 --budget 1MB", "option-does-not-apply"),
        ("truncate article_start.npz --rank 1 --dtype float16", "option-does-not-apply"),
        ("merge base -o merged", "missing-argument"),
        ("merge base adapter", "missing-argument"),
        ("merge base nowhere -o merged", "no-such-file"),
        ("merge nowhere adapter -o merged", "no-such-file"),
        ("merge base adapter --weights 1,2 -o merged", "lengths-differ"),
        ("merge base adapter --weights a -o merged", "bad-option"),
        ("merge base adapter --weights 0 -o merged", "bad-weights"),
        ("merge base adapter --weights nan -o merged", "bad-weights"),
        ("merge base adapter --dtype int8 -o merged", "bad-option"),
        ("merge base adapter -o base --force", "output-is-input"),
        ("merge base adapter -o nowhere/merged", "no-such-folder"),
        ("compare-adapters", "missing-argument"),
        ("compare-adapters adapter", "too-few-adapters"),
        ("compare-adapters adapter nowhere", "no-such-file"),
        ("compare-adapters nowhere --delta base tuned", "no-such-file"),
        ("compare-adapters adapter --delta base nowhere", "no-such-file"),
        ("compare-adapters adapter --delta base base", "same-checkpoint"),
        ("compare-adapters adapter adapter --report c.txt", "unknown-suffix"),
        ("compare-adapters adapter adapter --seed -1", "bad-option"),
        ("verify adapter base", "missing-argument"),
        ("verify adapter base nowhere", "no-such-file"),
        ("verify nowhere base tuned", "no-such-file"),
        ("verify adapter base base", "same-checkpoint"),
        ("verify adapter base tuned --tolerance 0", "bad-tolerance"),
        ("verify adapter base tuned --tolerance x", "bad-option"),
    ],
)
def test_what_the_command_line_alone_shows_to_be_wrong_is_exit_2(here, line, code):
    assert error(here, line, 2)["code"] == code


@pytest.mark.parametrize(
    "line",
    [
        "verify adapter base tuned",
        "compare-adapters adapter adapter",
        "merge base adapter -o merged",
        "join adapter --weights 1 -o j",
        "truncate adapter --rank 1",
    ],
)
def test_a_damaged_adapter_is_exit_1_and_nothing_is_written(here, line):
    path = Path("adapter/adapter_model.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    before = sorted(Path().rglob("*"))
    assert error(here, line, 1)["code"] == "damaged-file"
    settings = json.loads(Path("adapter/adapter_config.json").read_text("utf-8"))
    assert settings["peft_type"] == "LORA"
    assert sorted(Path().rglob("*")) == before
