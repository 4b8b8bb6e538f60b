"""Damaged and foreign adapters: one sentence, the right error."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from adapters.samples import layer, mixed
from eckart.checkpoints.peft import Adapter, read_adapter, write_adapter
from eckart.errors import ArgumentError, EckartError, FormatError
from tolerances import close, rounding

STEM = "base_model.model.q"


@pytest.fixture
def folder(tmp_path):
    """A good adapter of one layer."""
    write_adapter(tmp_path, Adapter(layers=[layer()]))
    return tmp_path


def configure(folder, **settings):
    path = folder / "adapter_config.json"
    document = {**json.loads(path.read_text("utf-8")), **settings}
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}), "utf-8")


def retensor(folder, **changes):
    """Replace tensors by their last name, remove those given as None."""
    path = folder / "adapter_model.safetensors"
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in changes.items():
        tensors[f"{STEM}.{name}"] = tensor
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def refused(folder, code, words=None):
    with pytest.raises(EckartError, match=words) as error:
        read_adapter(folder)
    assert error.value.code == code
    assert error.value.message.endswith(".")
    assert "\n" not in error.value.message
    return error.value


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(file, folder):
    (folder / file).unlink()
    assert isinstance(refused(folder, "no-such-file", file), ArgumentError)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_damaged(file, keep, folder):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(keep * len(content))])
    refused(folder, "damaged-file", file)


def test_a_header_that_claims_a_terabyte_is_damaged(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes((10**12).to_bytes(8, "little") + path.read_bytes()[8:])
    refused(folder, "damaged-file")


def test_a_pickled_adapter_is_refused_and_not_executed(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    refused(folder, "pickled", "any code")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"lora_A.weight": None}, "tensors-missing", "lacks 'q.lora_A.weight'"),
        ({"lora_B.weight": np.ones((6, 3), np.float32)}, "damaged-file", "cannot be multiplied"),
        ({"lora_A.weight": np.ones((3, 5), np.float32)}, "ranks-differ", "rank 3"),
        ({"lora_A.weight": np.ones((2, 5, 1), np.float32)}, "damaged-file", "shapes"),
        ({"lora_A.weight": np.ones(5, np.float32)}, "damaged-file", "shapes"),
        ({"lora_A.weight": np.full((2, 5), np.nan, np.float32)}, "not-finite", "NaN"),
        ({"lora_B.bias": np.ones(6, np.float32)}, "tensors-missing", "against its settings"),
        ({"lora_embedding_A": np.ones((2, 6), np.float32)}, "tensors-missing", "q.lora_"),
        ({"lora_magnitude_vector": np.ones(6, np.float32)}, "not-lora", "plain LoRA"),
        ({"base_layer.lora_A.weight": np.ones((2, 5), np.float32)}, "not-lora", "plain LoRA"),
        ({"bias": np.array([np.inf], np.float32)}, "not-finite", "infinity"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(changes, code, words, folder):
    retensor(folder, **changes)
    assert isinstance(refused(folder, code, words), FormatError)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"r": 0}, "damaged-file", "r is 0"),
        ({"r": "2"}, "damaged-file", "r is '2'"),
        ({"r": 3}, "ranks-differ", "rank 2, its settings say 3"),
        ({"r": ..., "lora_alpha": ...}, "ranks-differ", "say 8"),
        ({"lora_alpha": None}, "damaged-file", "lora_alpha is None"),
        ({"rank_pattern": {"q": 3}}, "ranks-differ", "say 3"),
        ({"rank_pattern": {"(": 2}}, "damaged-file", "no pattern"),
        ({"alpha_pattern": [1]}, "damaged-file", "no patterns"),
        ({"alpha_pattern": {"q": "x"}}, "damaged-file", "alpha_pattern is 'x'"),
        ({"lora_bias": True}, "tensors-missing", "lora_B.bias"),
        ({"peft_type": "LOHA"}, "not-lora", "LOHA"),
        ({"peft_type": ...}, "not-lora", "names no peft_type"),
        ({"use_dora": True}, "not-lora", "DoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "not-lora", "pissa_niter_4"),
        ({"layer_replication": [[0, 1]]}, "not-lora", "replication"),
        ({"target_parameters": ["experts.down_proj"]}, "not-lora", "experts"),
        ({"target_parameters": 5}, "damaged-file", "target_parameters"),
        ({"target_parameters": "q.weight"}, "damaged-file", "target_parameters"),
        ({"use_rslora": "true"}, "damaged-file", "use_rslora is 'true'"),
        ({"lora_bias": "false"}, "damaged-file", "lora_bias is 'false'"),
        ({"fan_in_fan_out": []}, "damaged-file", "fan_in_fan_out"),
        ({"rank_pattern": {"(" * 5000 + ")" * 5000: 2}}, "damaged-file", "no pattern"),
        ({"alpha_pattern": {"q{99999999999999999999}": 2}}, "damaged-file", "no pattern"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, code, words, folder):
    configure(folder, **settings)
    assert isinstance(refused(folder, code, words), FormatError)


@pytest.mark.parametrize("name", ["lora_A.default.weight", "lora_B.weight", "bias"])
def test_two_tensors_of_one_name_are_refused_unless_they_are_equal(name, folder):
    path = folder / "adapter_model.safetensors"
    own = f"{STEM}.{name.replace('.default', '')}"
    tensors = {f"{STEM}.bias": np.ones(6, np.float32), **load_file(path)}
    for extra, code in ((0, None), (1, "several-adapters")):
        save_file({**tensors, f"_orig_mod.{STEM}.{name}": tensors[own] + extra}, path)
        if code is None:
            assert len(read_adapter(folder).layers) == 1
        else:
            refused(folder, code, "twice")


def test_a_convolution_in_groups_is_named(folder):
    A, B = np.ones((4, 3, 5, 5), np.float32), np.ones((8, 2, 1, 1), np.float32)
    configure(folder, r=4)
    retensor(folder, **{"lora_A.weight": A, "lora_B.weight": B})
    refused(folder, "not-lora", "in groups")


@pytest.mark.parametrize("text", ["[]", "{", "null", "\xff"])
def test_a_configuration_that_is_none_is_damaged(text, folder):
    (folder / "adapter_config.json").write_text(text, "latin-1")
    refused(folder, "damaged-file", "adapter_config")


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 1.0),
        ({"lora_alpha": 8}, 4.0),
        ({"lora_alpha": 3, "use_rslora": True}, 3 / np.sqrt(2)),
        ({"lora_alpha": 3, "use_rslora": 1}, 3 / np.sqrt(2)),
        ({"use_rslora": None, "fan_in_fan_out": None}, 1.0),
        ({"alpha_pattern": {"k": 5, "q": 6, ".*": 7}}, 3.0),
        ({"alpha_pattern": {"^model.q": 6}}, 1.0),
    ],
)
def test_the_scale_is_in_the_factors(settings, scale, folder):
    before = read_adapter(folder).layers[0].factors.dense()
    configure(folder, **settings)
    after = read_adapter(folder).layers[0].factors.dense()
    assert close(after, scale * before, rounding(after))


def test_names_without_the_prefix_of_peft_are_read_too(folder):
    path = folder / "adapter_model.safetensors"
    with safe_open(path, framework="numpy") as file:
        tensors = {n.removeprefix("base_model.model."): file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    save_file(tensors, path)
    assert read_adapter(folder).layers[0].module == "q"


def test_an_adapter_without_layers_is_refused(folder):
    save_file({"base_model.model.norm.weight": np.ones(2)}, folder / "adapter_model.safetensors")
    refused(folder, "no-layers")


def test_what_is_read_can_be_written_and_read_for_ever(tmp_path):
    write_adapter(tmp_path / "0", mixed(), "float16")
    transposed = ["model.c_attn"]
    for turn in range(2):
        again = read_adapter(tmp_path / str(turn), transposed=transposed)
        write_adapter(tmp_path / str(turn + 1), again)
    first, last = (read_adapter(tmp_path / name, transposed=transposed) for name in "02")
    for one, other in zip(first.layers, last.layers, strict=True):
        W = one.factors.dense()
        assert close(other.factors.dense(), W, rounding(W, 4))
