"""Names in adapters that others wrote, and what lies beside them: understood, or refused."""

import copy
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.foreign import Q, adapter, calls, edited, refusal, rewritten
from adapters.pairs import extracted, save, saved_pair, weights
from adapters.samples import layer
from eckart.adapters import extract_adapter
from eckart.adapters.documents import is_report
from eckart.adapters.join_and_truncate import truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.checkpoints.peft import Adapter, read_adapter, write_adapter
from eckart.cli.main import main

SEEN = "language_model.model.layers.0.self_attn.q_proj"


def named(tensors, name):
    """The factors with the name of an adapter in theirs, as the state of a live model has it."""
    return {key.replace(".weight", f".{name}.weight"): X for key, X in tensors.items()}


@pytest.mark.parametrize(
    "rename",
    [
        lambda tensors: named(tensors, "my_task"),
        lambda tensors: {f"base_model.model.{key}": X for key, X in tensors.items()},
        lambda tensors: {f"module.{key}": X for key, X in named(tensors, "default").items()},
    ],
)
def test_any_name_of_one_adapter_and_any_number_of_prefixes_are_left_out(rename, tmp_path):
    folder = adapter(tmp_path / "adapter")
    plain = read_adapter(folder).layers[0]
    found = read_adapter(rewritten(folder, rename)).layers
    assert [one.module for one in found] == [Q]
    assert np.array_equal(found[0].factors.B, plain.factors.B)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            lambda tensors: {**named(tensors, "a"), **named(tensors, "b")},
            "several-adapters",
            "a and b",
        ),
        (
            lambda tensors: {**tensors, f"base_model.model.{Q}.alpha": np.ones(1, np.float32)},
            "not-lora",
            "another program",
        ),
        (
            lambda tensors: {
                key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): X
                for key, X in tensors.items()
            },
            "not-lora",
            "another program",
        ),
    ],
)
def test_the_files_of_other_programs_are_named(change, code, words, number, tmp_path):
    saved_pair(tmp_path)
    folder = rewritten(adapter(tmp_path / "adapter"), change)
    said = refusal(calls(folder, tmp_path)[number])
    assert said.code == code
    assert words in f"{said.message} {said.hint}"


@pytest.mark.parametrize("module", ["model.layers.0.mlp.gate_up_proj", "mlp.experts.gate_up_proj"])
def test_a_plain_layer_may_be_named_like_the_stacked_ones_of_experts(module, tmp_path):
    one = layer(module, (8, 6), rank=3)
    write_adapter(tmp_path / "adapter", Adapter(layers=(one,)))
    found = read_adapter(tmp_path / "adapter").layers[0]
    assert found.rank == 3
    assert np.allclose(found.factors.dense(), one.factors.dense(), atol=1e-5)  # rounding


def test_a_cut_adapter_has_the_names_of_older_models_that_see_and_those_of_today(tmp_path):
    layers = (layer(SEEN, (8, 8), rank=4), layer(SEEN.replace("q_proj", "v_proj"), (8, 8), rank=2))
    write_adapter(tmp_path / "adapter", Adapter(layers=layers))
    document = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    today = SEEN.replace("language_model.model", "model.language_model")
    assert {SEEN, today} <= set(document["target_modules"])
    assert len(document["rank_pattern"]) == 2
    known = [one.module for one in layers]
    write_adapter(tmp_path / "known", Adapter(layers=layers), base_modules=known)
    document = json.loads((tmp_path / "known" / "adapter_config.json").read_text())
    assert document["target_modules"] == sorted(known)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64])
def test_a_base_of_whole_numbers_is_refused(dtype, tmp_path):
    base, tuned = saved_pair(tmp_path)
    tensors = load_file(base / "model.safetensors")
    tensors[f"{Q}.weight"] = tensors[f"{Q}.weight"].astype(dtype)
    save_file(tensors, base / "model.safetensors")
    folder = adapter(tmp_path / "adapter")
    assert refusal(lambda: merge_adapters(base, [folder], tmp_path / "out")).code == "quantised"
    said = refusal(lambda: extract_adapter(base, tuned, tmp_path / "new", rank=2))
    assert said.code == "quantised"


def test_nothing_is_added_to_whole_numbers(tmp_path):
    tensors = {**weights(), "model.count.bias": np.ones(16, np.int64)}
    save(tmp_path / "base", tensors)
    one = layer("model.count", (16, 16), bias=True)
    write_adapter(tmp_path / "adapter", Adapter(layers=(one,)))
    tensors["model.count.weight"] = np.ones((16, 16), np.float32)
    save(tmp_path / "base", tensors)
    said = refusal(
        lambda: merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "o")
    )
    assert said.code == "quantised"


def test_a_report_that_others_changed_is_none(tmp_path, capsys):
    folder = extracted(tmp_path) / "adapter"
    report = json.loads((folder / "report.json").read_text())
    assert is_report(report)
    paths = [
        ("grade",),
        ("tensors",),
        ("tensors", 0, "name"),
        ("tensors", 0, "delta_norm"),
        ("tensors", 0, "rank"),
        ("tensors", 0, "singular_values"),
        ("settings", "dtype"),
        ("curve", "bytes"),
        ("notes",),
        ("delta_norm",),
    ]
    for path in paths:
        for value in (None, 1e400, {}, True, -1, "DROPPED"):
            changed = copy.deepcopy(report)
            place = changed
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            if value == "DROPPED":
                del place[path[-1]]
            assert not is_report(changed), (path, value)
    (folder / "report.json").write_text(json.dumps(changed))
    out = str(tmp_path / "out")
    assert main(["extract", "--again", str(folder), "--rank", "1", "-o", out]) == 1
    assert "report.json" in capsys.readouterr().err
    assert main(["verify", str(folder), str(tmp_path / "base"), str(tmp_path / "tuned")]) == 0


def test_both_names_of_an_ensured_tie_are_kept_by_a_cut(tmp_path):
    table = np.ones((40, 16), np.float32)
    saved = {"model.embed_tokens.weight": table, "lm_head.weight": table}
    write_adapter(
        tmp_path / "adapter", Adapter(layers=(layer(Q, (16, 16)),), saved=saved, tied=True)
    )
    edited(tmp_path / "adapter", modules_to_save=["embed_tokens"])  # as PEFT names it
    truncate_adapter(tmp_path / "adapter", tmp_path / "small", rank=1)
    document = json.loads((tmp_path / "small" / "adapter_config.json").read_text())
    assert document["ensure_weight_tying"] is True
    assert document["modules_to_save"] == ["lm_head", "model.embed_tokens"]
