"""Adapters, checkpoints and folders that others wrote: read as their makers meant, or refused."""

import json
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.foreign import TABLE, Q, adapter, calls, edited, refusal, rewritten
from adapters.pairs import CONFIG, save, saved_pair, weights
from adapters.samples import layer
from eckart.adapters import extract_adapter
from eckart.adapters.join_and_truncate import truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.checkpoints import open_checkpoint
from eckart.checkpoints.peft import Adapter, Kind, read_adapter, write_adapter


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", ["saved", "factor"])
def test_tensors_without_numbers_are_refused(name, number, tmp_path):
    saved_pair(tmp_path)
    folder = adapter(tmp_path / "adapter", **{TABLE: np.ones((40, 16), np.float32)})
    wanted = "embed_tokens" if name == "saved" else "lora_B"
    rewritten(
        folder,
        lambda tensors: {
            key: np.zeros(0, np.float32) if wanted in key else value
            for key, value in tensors.items()
        },
    )
    assert refusal(calls(folder, tmp_path)[number]).code == "empty-tensor"


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
        lambda name: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module."),
        lambda name: name.replace("self_attn.", "self_attn._orig_mod."),
        lambda name: f"_orig_mod.module._fsdp_wrapped_module.{name}",
        lambda name: name.replace("lora_A.", "lora_A.default.").replace(
            "lora_B.", "lora_B.default."
        ),
        lambda name: name.replace("lora_A.", "lora_A.my-task 2.").replace(
            "lora_B.", "lora_B.my-task 2."
        ),
    ],
)
def test_what_wrapped_the_names_is_left_out_by_every_command(rename, tmp_path):
    saved_pair(tmp_path)
    folder = adapter(tmp_path / "adapter")
    plain = read_adapter(folder)
    truncate_adapter(folder, tmp_path / "plain", rank=1)
    rewritten(folder, lambda tensors: {rename(key): value for key, value in tensors.items()})
    assert [one.module for one in read_adapter(folder).layers] == [Q]
    assert np.array_equal(read_adapter(folder).layers[0].factors.B, plain.layers[0].factors.B)
    truncate_adapter(folder, tmp_path / "small", rank=1)
    assert (
        load_file(tmp_path / "small" / "adapter_model.safetensors").keys()
        == load_file(tmp_path / "plain" / "adapter_model.safetensors").keys()
    )


@pytest.mark.parametrize("name", ["default", "my_task", "other-task"])
def test_the_state_of_a_live_model_keeps_the_saved_values_and_drops_those_of_the_base(
    name, tmp_path
):
    folder = adapter(tmp_path / "adapter", **{TABLE: np.ones((40, 16), np.float32)})
    stem = "base_model.model.model.embed_tokens."

    def change(tensors):
        if name != "default":
            tensors = {key.replace("_A.", f"_A.{name}."): X for key, X in tensors.items()}
            tensors = {key.replace("_B.", f"_B.{name}."): X for key, X in tensors.items()}
        values = tensors.pop(f"{stem}weight")
        tensors[f"{stem}modules_to_save.{name}.weight"] = values
        tensors[f"{stem}original_module.weight"] = 0 * values
        return tensors

    rewritten(folder, change)
    assert read_adapter(folder).saved[TABLE].sum() == 640


@pytest.mark.parametrize("name", ["head.bias", "head.dense.bias"])
def test_the_biases_of_saved_modules_are_theirs(name, tmp_path):
    """PEFT's `bias: all` writes them twice, once with what wraps the module."""
    folder = adapter(tmp_path / "adapter", **{name: np.ones(16, np.float32)})
    stem, _, rest = f"base_model.model.{name}".partition("head.")
    twice = f"{stem}head.modules_to_save.{rest}"
    rewritten(folder, lambda tensors: {**tensors, twice: np.ones(16, np.float32)})
    assert read_adapter(folder).saved.keys() == {name}


@pytest.mark.parametrize("side", ["base", "tuned"])
@pytest.mark.parametrize(
    "wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."]
)
def test_what_wrapped_single_blocks_of_a_model_is_left_out_of_its_names(wrapper, side, tmp_path):
    """Compiled, sharded or recomputed block by block."""
    base, tuned = saved_pair(tmp_path)
    extract_adapter(base, tuned, tmp_path / "plain", rank=2)
    path = tmp_path / side / "model.safetensors"
    renamed = {
        re.sub(r"layers\.(\d)\.", rf"layers.\1.{wrapper}", name): tensor
        for name, tensor in load_file(path).items()
    }
    save_file({f"{wrapper}{name}": tensor for name, tensor in renamed.items()}, path)
    extract_adapter(base, tuned, tmp_path / "out", rank=2)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    merge_adapters(base, [tmp_path / "plain"], tmp_path / "merged")
    assert load_file(tmp_path / "merged" / "model.safetensors").keys() == (
        load_file(base / "model.safetensors").keys()
    )


@pytest.mark.parametrize("where", ["top", "text_config"])
def test_a_grown_vocabulary_is_written_where_the_config_says_its_size(where, tmp_path):
    size = {"vocab_size": 40}
    config = (
        {**CONFIG, "vocab_size": 40}
        if where == "top"
        else {
            **{key: value for key, value in CONFIG.items() if key != "vocab_size"},
            "text_config": size,
        }
    )
    save(tmp_path / "base", weights(), **config)
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    tables = {name: np.ones((44, 16), np.float32) for name in (TABLE, "lm_head.weight")}
    merge_adapters(tmp_path / "base", [adapter(tmp_path / "adapter", **tables)], tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written if where == "top" else written["text_config"])["vocab_size"] == 44


def test_all_that_a_model_is_loaded_with_goes_along(tmp_path):
    base, _ = saved_pair(tmp_path)
    kept = (
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
        "modules.json",
        "qwen.tiktoken",
        "bpe.codes",
        "source.spm",
        "tokenizer.model.v3",
        "vocab.bpe",
        "merges.txt",
        "code.py",
    )
    left = (
        "README.md",
        "pytorch_model.bin",
        "model.gguf",
        ".git/config",
        "checkpoint-5/a.json",
        "optimizer.pt",
        "onnx/model.onnx",
        "lora/adapter_config.json",
    )
    for name in (*kept, *left):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("{}")
    merge_adapters(base, [adapter(tmp_path / "adapter")], tmp_path / "out")
    assert all((tmp_path / "out" / name).is_file() for name in kept)
    assert not any((tmp_path / "out" / name).exists() for name in left)


def test_a_folder_that_is_too_large_is_named(tmp_path, monkeypatch):
    from eckart.checkpoints import folder

    monkeypatch.setattr(folder, "LARGEST", 1000)
    base, _ = saved_pair(tmp_path)
    (base / "2_Dense").mkdir()
    for name in ("model.safetensors", "more.safetensors"):
        (base / "2_Dense" / name).write_bytes(bytes(600))
    merged = merge_adapters(base, [adapter(tmp_path / "adapter")], tmp_path / "out")
    assert any("2_Dense" in note for note in merged.notes)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 1.0), ({"lora_alpha": 5}, 2.5), ({"lora_alpha": 0.7, "use_rslora": True}, 0.7 / 2**0.5)],
)
def test_the_tied_factors_of_peft_count_once(settings, scale, tmp_path):
    """Though the scale is multiplied into different tensors of the two."""
    shared = weights()
    del shared["lm_head.weight"]
    config = {**CONFIG, "tie_word_embeddings": True}
    save(tmp_path / "base", shared, **config)
    table = layer("model.embed_tokens", (40, 16))
    head = replace(table, module="lm_head")
    one = Adapter(layers=(replace(table, kind=Kind.EMBEDDING), head))
    write_adapter(tmp_path / "adapter", one)
    edited(tmp_path / "adapter", ensure_weight_tying=True, **settings)
    merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "out")
    assert open_checkpoint(tmp_path / "out").tensors.keys() == shared.keys()
    merged = open_checkpoint(tmp_path / "out").read(TABLE)
    expected = shared[TABLE] + scale * table.factors.dense()
    assert np.allclose(merged, expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # rounding


def test_the_index_says_which_of_two_shards_holds_a_tensor(tmp_path):
    base, tuned = saved_pair(tmp_path)
    own, other = load_file(base / "model.safetensors"), load_file(tuned / "model.safetensors")
    folder = tmp_path / "overlaid"
    folder.mkdir()
    save_file(own, folder / "a.safetensors")
    save_file({f"{Q}.weight": other[f"{Q}.weight"]}, folder / "overlay.safetensors")
    for file, wanted in (("overlay.safetensors", other), ("a.safetensors", own)):
        files = {**dict.fromkeys(own, "a.safetensors"), f"{Q}.weight": file}
        index = {"weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        if file == "a.safetensors":  # then the overlay is not read at all
            (folder / "overlay.safetensors").unlink()
        read = open_checkpoint(folder).read(f"{Q}.weight")
        assert np.array_equal(read, wanted[f"{Q}.weight"])


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_numbered_files_of_which_one_is_missing_are_no_checkpoint(side, tmp_path):
    """Also without an index: their tensors would be taken for those that the model has."""
    base, tuned = saved_pair(tmp_path)
    path = tmp_path / side / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    names = sorted(tensors)
    parts = [names[:3], names[3:5], names[5:]]
    for number, part in enumerate(parts, start=1):
        file = path.with_name(f"model-{number:05d}-of-00003.safetensors")
        save_file({name: tensors[name] for name in part}, file)
    extract_adapter(base, tuned, tmp_path / "whole", rank=2)
    file.unlink()
    said = refusal(lambda: extract_adapter(base, tuned, tmp_path / "out", rank=2))
    assert said.code == "missing-shard"
    assert file.name in said.message


@pytest.mark.parametrize("number", range(3))
def test_a_folder_of_adapters_is_told_from_one(number, tmp_path):
    """As PEFT saves all but the default one, and a trainer each of its checkpoints."""
    saved_pair(tmp_path)
    (tmp_path / "all").mkdir()
    folder = adapter(tmp_path / "all" / "task")
    said = refusal(calls(folder.parent, tmp_path)[number])
    assert str(folder) in said.hint


def test_metadata_of_null_are_none(tmp_path):
    base, tuned = saved_pair(tmp_path)
    path = base / "model.safetensors"
    stored = path.read_bytes()
    length = struct.unpack("<Q", stored[:8])[0]
    header = json.loads(stored[8 : 8 + length]) | {"__metadata__": None}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + stored[8 + length :])
    assert load_file(path)
    extract_adapter(base, tuned, tmp_path / "out", rank=2)


@pytest.mark.parametrize("changed", ["bias", "norm", "head"])
def test_where_only_values_have_changed_one_layer_gets_zeros(changed, tmp_path):
    before = {**weights(), f"{Q}.bias": np.zeros(16, np.float32)}
    name = {"bias": f"{Q}.bias", "norm": "model.norm.weight", "head": "lm_head.weight"}[changed]
    shape = (50, 16) if changed == "head" else before[name].shape
    save(tmp_path / "base", before, **CONFIG)
    save(tmp_path / "tuned", {**before, name: np.ones(shape, np.float32)}, **CONFIG)
    result = extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2)
    written = read_adapter(tmp_path / "out")
    assert [np.abs(one.factors.dense()).max() for one in written.layers] == [0]
    assert result.relative_error == 0
    biases = [one.bias for one in written.layers if one.bias is not None]
    assert np.array_equal([*written.saved.values(), *biases][0], np.ones(shape))


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_lora_that_is_not_merged_is_named(side, tmp_path):
    saved_pair(tmp_path)
    path = tmp_path / side / "model.safetensors"
    tensors = load_file(path)
    tensors[f"{Q}.base_layer.weight"] = tensors.pop(f"{Q}.weight")
    tensors[f"{Q}.lora_A.default.weight"] = np.zeros((2, 16), np.float32)
    save_file(tensors, path)
    said = refusal(
        lambda: extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2)
    )
    assert said.code == "unmerged"
    assert "merge_and_unload" in said.hint


@pytest.mark.parametrize("place", ["changed", "as in the base"])
@pytest.mark.parametrize("number", [3e38, -3e38, 2e20])
def test_huge_numbers_are_counted_or_refused(number, place, tmp_path):
    base, tuned = saved_pair(tmp_path)
    for folder in (tuned,) if place == "changed" else (base, tuned):
        tensors = load_file(folder / "model.safetensors")
        tensors[f"{Q}.weight"][0, 0] = number
        save_file(tensors, folder / "model.safetensors")
    if place == "changed":
        said = refusal(lambda: extract_adapter(base, tuned, tmp_path / "out", rank=2))
        assert said.code == "too-large"
    else:
        result = extract_adapter(base, tuned, tmp_path / "out", rank=2)
        json.dumps(result.to_dict(), allow_nan=False)
