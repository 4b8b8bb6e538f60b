"""The two files of an adapter: what is in them, bit for bit, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from adapters.samples import experts, layer, mixed
from eckart import Factors
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    Kind,
    adapter_bytes,
    compare_biases,
    pad_experts,
    read_adapter,
    round_factors,
    uniform_groups,
    write_adapter,
)
from eckart.errors import EckartError, MatrixError
from tolerances import close, rounding

DTYPES = ("float32", "float16", "bfloat16")


def configuration(folder):
    return json.loads((folder / "adapter_config.json").read_text("utf-8"))


def tensors(folder):
    with safe_open(folder / "adapter_model.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_adapter_is_read_back_as_its_rounded_factors(dtype, tmp_path):
    adapter = mixed()
    write_adapter(tmp_path, adapter, dtype)
    again = read_adapter(tmp_path, transposed=["model.c_attn"])
    assert (again.task_type, again.base_name) == ("CAUSAL_LM", "someone/model")
    expected = {one.module: one for one in adapter.layers}
    assert {one.module for one in again.layers} == set(expected)
    for one in again.layers:
        wanted = round_factors(expected[one.module], dtype)
        np.testing.assert_array_equal(one.factors.B, wanted.B)
        np.testing.assert_array_equal(one.factors.A, wanted.A)
        assert (one.kind, one.shape) == (expected[one.module].kind, expected[one.module].shape)
    assert set(again.saved) == set(adapter.saved)
    for name, values in adapter.saved.items():
        assert again.saved[name].dtype == values.dtype
        np.testing.assert_array_equal(again.saved[name], values)


def test_the_same_adapter_gives_the_same_bytes_whatever_the_order(tmp_path):
    adapter = mixed()
    backwards = replace(
        adapter,
        layers=adapter.layers[::-1],
        saved=dict(reversed(list(adapter.saved.items()))),
    )
    for name, one in (("a", adapter), ("b", backwards)):
        write_adapter(tmp_path / name, one, "float16")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bytes_of_the_factors_are_foretold(dtype, tmp_path):
    adapter = mixed()
    write_adapter(tmp_path, adapter, dtype)
    factors = [X for name, X in tensors(tmp_path).items() if ".lora_" in name]
    foretold = sum(adapter_bytes(one.shape, one.rank, dtype) for one in adapter.layers)
    assert sum(X.nbytes for X in factors) == foretold


def test_names_and_shapes_are_those_of_the_format(tmp_path):
    write_adapter(tmp_path, mixed())
    stem = "base_model.model.model"
    assert {name: X.shape for name, X in tensors(tmp_path).items()} == {
        f"{stem}.layers.1.fc.lora_A.weight": (2, 5),
        f"{stem}.layers.1.fc.lora_B.weight": (6, 2),
        f"{stem}.layers.1.fc.base_layer.bias": (6,),
        f"{stem}.layers.11.fc.lora_A.weight": (3, 5),
        f"{stem}.layers.11.fc.lora_B.weight": (6, 3),
        f"{stem}.c_attn.lora_A.weight": (2, 4),
        f"{stem}.c_attn.lora_B.weight": (9, 2),
        f"{stem}.table.lora_embedding_A": (4, 30),
        f"{stem}.table.lora_embedding_B": (7, 4),
        f"{stem}.conv.lora_A.weight": (2, 3, 5, 5),
        f"{stem}.conv.lora_B.weight": (8, 2, 1, 1),
        f"{stem}.norm.weight": (5,),
        f"{stem}.norm.bias": (5,),
    }


def test_both_factors_have_the_root_of_the_singular_values(tmp_path):
    one = layer(rank=3)
    write_adapter(tmp_path, Adapter(layers=[one]))
    B, A = (tensors(tmp_path)[f"base_model.model.q.lora_{X}.weight"] for X in "BA")
    W = one.factors.dense()
    assert close(B @ A, W, rounding(W, 4))
    assert close(B.T @ B, A @ A.T, rounding(W, 4))


def test_ranks_and_alphas_go_together_and_match_only_their_own_layer(tmp_path):
    names = [f"model.layers.{i}.fc" for i in (0, 1, 2, 11)]
    layers = [layer(name, rank=3 if name.endswith(".1.fc") else 2) for name in names]
    write_adapter(tmp_path, Adapter(layers=layers))
    document = configuration(tmp_path)
    assert (document["r"], document["lora_alpha"]) == (2, 2)
    assert document["rank_pattern"] == {r"^model\.layers\.1\.fc": 3}
    assert document["alpha_pattern"] == document["rank_pattern"]
    assert document["target_modules"] == sorted(names)


def test_settings_say_no_more_than_the_adapter_needs(tmp_path):
    write_adapter(tmp_path, Adapter(layers=[layer()]))
    assert configuration(tmp_path) == {
        "alpha_pattern": {},
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": 2,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 2,
        "rank_pattern": {},
        "target_modules": ["q"],
        "task_type": None,
        "use_rslora": False,
    }


def test_layers_that_are_loaded_when_asked_for_are_not_kept(tmp_path):
    alive = []

    class Lazy:
        def __len__(self):
            return 5

        def __getitem__(self, place):
            if place >= len(self):
                raise IndexError
            alive.append(place)
            return layer(f"fc{place}")

    write_adapter(tmp_path / "lazy", Adapter(layers=Lazy()))
    assert alive == [*range(5), *range(5)]
    write_adapter(tmp_path / "whole", Adapter(layers=[layer(f"fc{i}") for i in range(5)]))
    file = "adapter_model.safetensors"
    assert (tmp_path / "lazy" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_rank_zero_is_no_layer():
    with pytest.raises(MatrixError, match="rank 1"):
        AdaptedLayer(module="q", kind=Kind.LINEAR, shape=(3, 2),
                     factors=Factors(np.ones((3, 0)), np.ones((0, 2))))  # fmt: skip


def scaled(factor):
    one = layer()
    return replace(one, factors=Factors(one.factors.B * factor, one.factors.A * factor))


def test_what_float16_cannot_hold_is_refused(tmp_path):
    for factor, how in ((1e5, "large"), (1e-6, "small")):
        with pytest.raises(MatrixError, match=f"'q' are too {how} for float16") as error:
            write_adapter(tmp_path, Adapter(layers=[scaled(factor)]), "float16")
        assert error.value.code == "out-of-range"
        assert list(tmp_path.iterdir()) == []
        assert round_factors(scaled(factor), "bfloat16").rank == 2


def test_a_small_tail_is_no_reason_to_refuse_float16():
    one = layer(rank=5)
    U, S, Vt = np.linalg.svd(one.factors.dense())
    S *= np.array([1.0, 1.0, 1e-3, 1e-9, 1e-12])
    graded = replace(one, factors=Factors(U[:, :5] * S, Vt[:5]))
    W = graded.factors.dense()
    half = rounding(W, dtype=np.float16)
    assert close(round_factors(graded, "float16").dense(), W, half)


@pytest.mark.parametrize(
    ("layers", "settings", "code", "words"),
    [
        ([], {}, "no-layers", "no layer"),
        ([layer(), layer()], {}, "layer-twice", "'q' twice"),
        ([layer(bias=True), layer("k")], {}, "biases-differ", "'k' cannot"),
        ([layer(bias=True), layer("e", kind=Kind.EMBEDDING)], {}, "biases-differ", "'e' cannot"),
        ([layer(bias=True)], {"experts": True}, "biases-differ", "'q'"),
        ([layer("lm_head")], {"tied": True}, "tied", "twice"),
        ([layer("embed_tokens", kind=Kind.EMBEDDING)], {"tied": True}, "tied", "twice"),
        ([layer()], {"tied": True, "saved": {"lm_head.weight": np.ones((2, 2))}}, "tied", "shares"),
        ([layer()], {"saved": {"scale": np.ones(1)}}, "saved-by-mistake", "no module"),
        ([layer()], {"saved": {"norm.weight": np.array([np.nan])}}, "not-finite", "'norm.weight'"),
        ([layer("fc.norm")], {"saved": {"norm.weight": np.ones(1)}}, "saved-by-mistake", "replace"),
        ([layer()], {"saved": {"n.weight": np.ones(1, complex)}}, "unsupported-dtype", "complex"),
    ],
)  # fmt: skip
def test_what_peft_would_load_wrongly_is_refused(layers, settings, code, words, tmp_path):
    with pytest.raises(EckartError, match=words) as error:
        write_adapter(tmp_path, Adapter(layers=layers, **settings))
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_saved_module_that_another_ends_with_is_refused_where_the_base_is_known(tmp_path):
    adapter = Adapter(layers=[layer()], saved={"norm.weight": np.ones(5)})
    write_adapter(tmp_path, adapter, base_modules=["norm", "q"])
    with pytest.raises(MatrixError, match="input_norm") as error:
        write_adapter(tmp_path, adapter, base_modules=["norm", "q", "input_norm"])
    assert error.value.code == "saved-by-mistake"


def test_modules_that_peft_would_adapt_by_mistake_are_excluded(tmp_path):
    write_adapter(tmp_path, Adapter(layers=[layer("q")]), base_modules=["q", "vision.q", "xq"])
    assert configuration(tmp_path)["exclude_modules"] == ["vision.q"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: replace(one, shape=(5, 6)), "not of a weight"),
        (lambda one: replace(one, shape=(6, 5, 1)), "cannot have the shape"),
        (lambda one: replace(one, kind=Kind.CONVOLUTION), "cannot have the shape"),
        (lambda one: replace(one, bias=np.ones(5)), "6 outputs"),
        (lambda one: replace(one, bias=np.ones(6), kind=Kind.TRANSPOSED), "5 outputs"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(MatrixError, match=words) as error:
        change(layer())
    assert error.value.code == "shapes-differ"


def without(layers, ending):
    return [one for one in layers if not one.module.endswith(ending)]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (without(experts(), "0.up_proj"), "lack up_proj"),
        (without(experts(), "1.up_proj"), "'layers.0.mlp.experts.1' lacks"),
        (without(experts(), "down_proj"), "lack down_proj"),
        ([one for one in experts() if ".experts.0." not in one.module], "'layers.0.mlp.experts.0'"),
        ([*experts()[:-1], layer(experts()[-1].module, (6, 8), 3)], "ranks 2, 3"),
        ([layer("experts.0.linear_v")], "none of a mixture"),
    ],
)
def test_experts_that_peft_cannot_stack_are_refused(layers, words, tmp_path):
    layers = [replace(one, module=f"model.{one.module}") for one in layers]
    words = words.replace("'layers", "'model.layers")
    with pytest.raises(MatrixError, match=words) as error:
        write_adapter(tmp_path, Adapter(layers=layers))
    assert error.value.code == "experts-differ"


def test_experts_are_named_as_the_parameters_of_the_running_model(tmp_path):
    deeper = experts("layers.1.block_sparse_moe.experts", rank=3)
    others = [layer("layers.0.mlp.gate", rank=4), layer("layers.0.mlp.shared_expert.up_proj")]
    write_adapter(tmp_path, Adapter(layers=[*experts(), *deeper, *others, layer("q")]))
    document = configuration(tmp_path)
    assert document["target_modules"] == ["q"]
    assert document["target_parameters"] == [
        "layers.0.mlp.experts.down_proj",
        "layers.0.mlp.experts.gate_up_proj",
        "layers.0.mlp.gate.weight",
        "layers.0.mlp.shared_expert.up_proj.weight",
        "layers.1.mlp.experts.down_proj",
        "layers.1.mlp.experts.gate_up_proj",
    ]
    assert document["r"] == 2
    assert document["rank_pattern"] == {
        r"^layers\.0\.mlp\.experts\.gate_up_proj": 4,
        r"^layers\.0\.mlp\.gate\.weight": 4,
        r"^layers\.1\.mlp\.experts\.down_proj": 3,
        r"^layers\.1\.mlp\.experts\.gate_up_proj": 6,
    }
    again = read_adapter(tmp_path)
    assert again.experts
    assert {one.module: one.rank for one in again.layers} == {
        one.module: one.rank for one in [*experts(), *deeper, *others, layer("q")]
    }


def test_only_experts_of_one_parameter_must_share_a_rank():
    layers = [*experts(), layer("layers.0.mlp.experts.0.x"), layer("q", rank=1)]
    groups = uniform_groups(one.module for one in layers)
    stem = "layers.0.mlp.experts"
    assert groups == [
        (f"{stem}.0.down_proj", f"{stem}.1.down_proj"),
        (f"{stem}.0.gate_proj", f"{stem}.0.up_proj", f"{stem}.1.gate_proj", f"{stem}.1.up_proj"),
        (f"{stem}.0.x",),
    ]


def test_experts_are_padded_with_zeros_to_the_largest_of_their_group(tmp_path):
    layers = experts()
    layers[1] = layer(layers[1].module, (8, 6), 3)
    padded = pad_experts(Adapter(layers=[*layers, layer("q", rank=1)]))
    assert [one.rank for one in padded.layers] == [3, 3, 2, 3, 3, 2, 1]
    for before, after in zip([*layers, layer("q", rank=1)], padded.layers, strict=True):
        np.testing.assert_array_equal(before.factors.dense(), after.factors.dense())
    write_adapter(tmp_path, padded)


def test_biases_are_changes_only_where_every_layer_can_have_one():
    base = {"q.bias": np.zeros(2), "k.bias": np.zeros(2), "norm.bias": np.zeros(2)}
    tuned = {**base, "q.bias": np.ones(2), "norm.bias": np.ones(2)}
    linear = dict.fromkeys("qk", Kind.LINEAR)
    biases = compare_biases(linear, base, tuned)
    np.testing.assert_array_equal(biases.changes["q"], [1, 1])
    np.testing.assert_array_equal(biases.changes["k"], [0, 0])
    assert set(biases.saved) == {"norm.bias"}
    for adapted, experts_too in (({**linear, "o": Kind.LINEAR}, False), (linear, True),
                                 ({**linear, "e": Kind.EMBEDDING}, False)):  # fmt: skip
        biases = compare_biases(adapted, base, tuned, experts=experts_too)
        assert biases.changes == {}
        assert set(biases.saved) == {"q.bias", "norm.bias"}


def test_biases_that_did_not_change_are_left_alone():
    base = {"q.bias": np.zeros(2)}
    biases = compare_biases({"q": Kind.LINEAR}, base, dict(base))
    assert biases.changes == biases.saved == {}
