"""The commands on adapters: what they print, write and refuse."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from adapters.pairs import SHAPES, saved_pair
from checkpoints import write
from commandline import error, result
from eckart.jobs.extract import extract_adapter
from tolerances import LOGITS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    base, tuned = saved_pair(folder)
    extract_adapter(base, tuned, folder / "adapter", rank=4)
    return folder


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
        Path("merged/old.json").write_text("{}")
        assert error(here, "merge base adapter -o merged", 2)["code"] == "output-exists"
        result(here, "merge base adapter -o merged --force --json")
        assert not Path("merged/old.json").exists()

    def test_an_adapter_of_another_model_is_exit_1(self, here):
        Path("tuned/model.safetensors").unlink()
        write(Path("tuned/model.safetensors"), {"x.weight": np.ones((2, 2), np.float32)})
        fields = error(here, "merge tuned adapter -o merged", 1)
        assert fields["code"] == "no-such-tensor"
        assert "'model.layers.0.mlp.up_proj.weight'" in fields["message"]
        assert not Path("merged").exists()


@pytest.mark.parametrize(
    ("line", "code"),
    [
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


@pytest.mark.parametrize("line", ["verify adapter base tuned", "merge base adapter -o merged"])
def test_a_damaged_adapter_is_exit_1_and_nothing_is_written(here, line):
    path = Path("adapter/adapter_model.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    before = sorted(Path().rglob("*"))
    assert error(here, line, 1)["code"] == "damaged-file"
    settings = json.loads(Path("adapter/adapter_config.json").read_text("utf-8"))
    assert settings["peft_type"] == "LORA"
    assert sorted(Path().rglob("*")) == before
