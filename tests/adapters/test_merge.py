"""Merged models: every weight is the sum, everything else is as it was."""

import json
import tracemalloc
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from adapters.pairs import save, weights
from adapters.samples import experts, layer
from checkpoints import same
from eckart.adapters.join_and_truncate import combine
from eckart.adapters.merge import merge_adapters
from eckart.checkpoints import open_checkpoint
from eckart.checkpoints.peft import Adapter, Kind, read_adapter, write_adapter
from eckart.errors import EckartError, MatrixError
from eckart.files.outputs import MARKER
from tolerances import close, rounding

BF16 = np.dtype(ml_dtypes.bfloat16)
Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"
NORM = "model.norm.weight"
TABLE = "model.embed_tokens.weight"


def read(folder):
    checkpoint = open_checkpoint(folder)
    return {name: checkpoint.read(name) for name in checkpoint.tensors}


def adapter(folder, *layers, **fields):
    write_adapter(folder, Adapter(layers=layers, **fields))
    return folder


@pytest.fixture
def base(tmp_path):
    return save(tmp_path / "base", weights())


@pytest.fixture
def one(tmp_path):
    saved = {NORM: np.full(16, 2.0, np.float32)}
    return adapter(tmp_path / "one", layer(Q, (16, 16)), layer(UP, (24, 16), 3), saved=saved)


@pytest.fixture
def other(tmp_path):
    return adapter(tmp_path / "other", layer(Q, (16, 16), seed=5))


def changes(folder):
    return {f"{x.module}.weight": x.factors.dense() for x in read_adapter(folder).layers}


def test_adapted_weights_are_the_sum_and_the_others_the_same_bits(base, one, tmp_path):
    result = merge_adapters(base, [one], tmp_path / "out")
    found, W = read(tmp_path / "out"), weights()
    for name, change in changes(one).items():
        assert close(found[name], W[name] + change, rounding(W[name]))
        assert not close(found[name], W[name], rounding(W[name]))
    np.testing.assert_array_equal(found[NORM], np.full(16, 2.0, np.float32))
    for name in W.keys() - changes(one).keys() - {NORM}:
        assert same(found[name], W[name])
    assert (result.factored, result.values, result.tensors) == (2, 1, len(W))


def test_several_adapters_add_as_their_join_does(base, one, other, tmp_path):
    write_adapter(one, replace(read_adapter(one), saved={}))
    merge_adapters(base, [one, other], tmp_path / "out", weights=[0.5, -2.0])
    joined = combine([read_adapter(one), read_adapter(other)], [0.5, -2.0])
    write_adapter(tmp_path / "joined", joined)
    merge_adapters(base, [tmp_path / "joined"], tmp_path / "again")
    found, again, W = read(tmp_path / "out"), read(tmp_path / "again"), weights()
    for name in W:
        assert close(found[name], again[name], rounding(W[name], 8))
    both = W[f"{Q}.weight"] + 0.5 * changes(one)[f"{Q}.weight"]
    both = both - 2.0 * changes(other)[f"{Q}.weight"]
    assert close(found[f"{Q}.weight"], both, rounding(both, 4))


def test_without_weights_each_counts_once(base, one, other, tmp_path):
    merge_adapters(base, [one, other], tmp_path / "a")
    merge_adapters(base, [one, other], tmp_path / "b", weights=[1.0, 1.0])
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_saved_values_at_another_weight_count_with_their_difference(base, one, other, tmp_path):
    result = merge_adapters(base, [one, other], tmp_path / "out", weights=[0.25, 0.75])
    W = weights()[NORM]
    expected = W + 0.25 * (2.0 - W)
    assert close(read(tmp_path / "out")[NORM], expected, rounding(expected.reshape(1, -1)))
    assert any(NORM in note for note in result.notes)


def test_values_that_adapters_agree_on_are_taken_as_they_are(base, one, tmp_path):
    merge_adapters(base, [one, one], tmp_path / "out", weights=[0.3, 0.7])
    assert (read(tmp_path / "out")[NORM] == 2.0).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_half_is_added_up_in_float32_and_rounded_once(dtype, one, tmp_path):
    stored = {"float16": np.dtype(np.float16), "bfloat16": BF16, "float32": np.dtype("f4")}[dtype]
    W = weights(BF16)
    save(tmp_path / "half", {**W, "steps": np.arange(3)}, dtype="bfloat16")
    merge_adapters(tmp_path / "half", [one], tmp_path / "out", dtype=dtype)
    found = read(tmp_path / "out")
    for name, change in changes(one).items():
        exact = W[name].astype(np.float32) + change
        np.testing.assert_array_equal(found[name], exact.astype(stored))
    assert {X.dtype for name, X in found.items() if name != "steps"} == {stored}
    assert found["steps"].dtype == np.int64
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["dtype"] == dtype


def test_the_dtype_of_the_base_is_kept(one, tmp_path):
    save(tmp_path / "half", weights(BF16))
    merge_adapters(tmp_path / "half", [one], tmp_path / "out")
    assert {X.dtype for X in read(tmp_path / "out").values()} == {BF16}
    source = tmp_path / "half" / "config.json"
    assert (tmp_path / "out" / "config.json").read_bytes() == source.read_bytes()


def test_a_number_too_large_for_the_dtype_is_refused_and_nothing_is_left(one, tmp_path):
    W = {name: 1e6 * X for name, X in weights().items()}
    save(tmp_path / "large", W)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MatrixError, match="float16") as error:
        merge_adapters(tmp_path / "large", [one], tmp_path / "out", dtype="float16")
    assert error.value.code == "not-finite"
    assert sorted(tmp_path.rglob("*")) == before


def test_shards_and_their_index_hold_the_same_tensors(base, one, tmp_path):
    merge_adapters(base, [one], tmp_path / "out")
    merge_adapters(base, [one], tmp_path / "shards", shard_bytes=2000)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, parts = read(tmp_path / "out"), read(tmp_path / "shards")
    assert whole.keys() == parts.keys()
    assert all(same(whole[name], parts[name]) for name in whole)


def test_a_file_holds_the_weights_alone(base, one, tmp_path):
    merge_adapters(base / "model.safetensors", [one], tmp_path / "out.safetensors")
    merge_adapters(base, [one], tmp_path / "out")
    both = [tmp_path / "out.safetensors", tmp_path / "out" / "model.safetensors"]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_config_and_tokenizer_go_along_and_nothing_else(base, one, tmp_path):
    kept = ("generation_config.json", "tokenizer.json", "merges.txt", "tokenizer.model", "m.py")
    left = ("pytorch_model.bin", "x.safetensors.index.json", "adapter_config.json", "README.md")
    for name in (*kept, *left):
        (base / name).write_text("{}")
    result = merge_adapters(base, [one], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()} - {MARKER}
    assert names == {"config.json", "model.safetensors", *kept} == set(result.files)


def test_names_with_a_prefix_are_matched_and_it_is_said(one, tmp_path):
    bare = {name.removeprefix("model."): W for name, W in weights().items()}
    save(tmp_path / "bare", bare)
    result = merge_adapters(tmp_path / "bare", [one], tmp_path / "out")
    assert "Names were matched without 'model.' in the adapter." in result.notes
    found, W = read(tmp_path / "out"), weights()[f"{UP}.weight"]
    assert close(found["layers.1.mlp.up_proj.weight"], W + changes(one)[f"{UP}.weight"],
                 rounding(W))  # fmt: skip


def test_experts_of_mixtral_keep_their_names_on_disk(tmp_path):
    block = "model.layers.0.block_sparse_moe"
    layers = experts(f"{block}.experts")
    tensors = {f"{x.module}.weight": np.zeros(x.shape, np.float32) for x in layers}
    tensors[f"{block}.gate.weight"] = np.zeros((2, 6), np.float32)
    save(tmp_path / "base", tensors, model_type="mixtral")
    router = layer("model.layers.0.mlp.gate", (2, 6))  # as PEFT names it
    adapter(tmp_path / "a", *layers, router)
    merge_adapters(tmp_path / "base", [tmp_path / "a"], tmp_path / "out")
    found = read(tmp_path / "out")
    for x in [*layers, replace(router, module=f"{block}.gate")]:
        W = x.factors.dense()
        assert close(found[f"{x.module}.weight"], W, rounding(W, 8))


@pytest.mark.parametrize("model_type", ["gpt2", ""])
def test_square_weights_that_are_stored_the_other_way_round_are_recognised(model_type, tmp_path):
    names = {"h.0.attn.c_attn": (6, 18), "h.0.attn.c_proj": (6, 6), "h.0.mlp.c_fc": (6, 24)}
    base = {f"{name}.weight": np.ones(shape, np.float32) for name, shape in names.items()}
    save(tmp_path / "base", {**base, "lm_head.weight": np.ones((6, 6), np.float32)},
         model_type=model_type)  # fmt: skip
    layers = [layer(name, shape, kind=Kind.TRANSPOSED) for name, shape in names.items()]
    adapter(tmp_path / "a", *layers, layer("lm_head", (6, 6)))
    merge_adapters(tmp_path / "base", [tmp_path / "a"], tmp_path / "out")
    found = read(tmp_path / "out")
    for x in [*layers, layer("lm_head", (6, 6))]:
        W = 1 + x.factors.dense()
        assert close(found[f"{x.module}.weight"], W, rounding(W, 8))


def tied_base(folder):
    tensors = weights()
    del tensors["lm_head.weight"]
    return save(folder / "tied", tensors, tie_word_embeddings=True)


def test_a_shared_table_that_is_saved_twice_stays_shared(tmp_path):
    table = np.ones((40, 16), np.float32)
    saved = {"model.embed_tokens.weight": table, "lm_head.weight": table.copy()}
    adapter(tmp_path / "a", layer(Q, (16, 16)), saved=saved, tied=True)
    merge_adapters(tied_base(tmp_path), [tmp_path / "a"], tmp_path / "out")
    found = read(tmp_path / "out")
    assert "lm_head.weight" not in found
    assert same(found["model.embed_tokens.weight"], table)


def test_a_head_of_its_own_is_no_longer_shared(tmp_path):
    head = np.ones((40, 16), np.float32)
    adapter(tmp_path / "a", layer(Q, (16, 16)), saved={"lm_head.weight": head})
    merge_adapters(tied_base(tmp_path), [tmp_path / "a"], tmp_path / "out")
    assert same(read(tmp_path / "out")["lm_head.weight"], head)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["tie_word_embeddings"] is False


def test_a_table_of_another_size_takes_the_place_of_the_base(base, tmp_path):
    saved = {"model.embed_tokens.weight": np.ones((44, 16), np.float32)}
    adapter(tmp_path / "a", layer(Q, (16, 16)), saved=saved)
    result = merge_adapters(base, [tmp_path / "a"], tmp_path / "out")
    assert read(tmp_path / "out")["model.embed_tokens.weight"].shape == (44, 16)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["vocab_size"] == 44
    assert "'model.embed_tokens.weight' has 44 rows, 40 in the base." in result.notes


def test_a_new_head_is_added(base, tmp_path):
    saved = {"score.weight": np.ones((2, 16), np.float32)}
    adapter(tmp_path / "a", layer(Q, (16, 16)), saved=saved)
    result = merge_adapters(base, [tmp_path / "a"], tmp_path / "out")
    assert same(read(tmp_path / "out")["score.weight"], saved["score.weight"])
    assert "'score.weight' is not in the base; it was added." in result.notes


@pytest.mark.parametrize(
    ("layers", "settings", "arguments", "code", "words"),
    [
        ([layer("model.layers.9.q")], {}, {}, "no-such-tensor", "'model.layers.9.q.weight'"),
        ([layer(Q, (16, 16), bias=True)], {}, {}, "no-such-tensor", f"'{Q}.bias'"),
        ([layer(Q, (16, 12))], {}, {}, "shapes-differ", "16 × 12 in the adapter"),
        ([layer(Q, (16, 16))], {"saved": {"x.weight": np.ones(2)}}, {"weights": [0.5]},
         "saved-differ", "'x.weight'"),
        ([layer(Q, (16, 16))], {"saved": {NORM: np.ones(2)}}, {"weights": [0.5]},
         "saved-differ", "another shape"),
        ([layer(Q, (16, 16))], {"saved": {NORM: np.ones(17)}}, {}, "shapes-differ", "as 17"),
        ([layer(Q, (16, 16))], {"saved": {TABLE: np.ones((44, 12))}}, {}, "shapes-differ",
         "as 44 × 12"),
        ([layer(Q, (16, 16))], {}, {"weights": [1.0, 2.0]}, "lengths-differ", "2 weights for 1"),
        ([layer(Q, (16, 16))], {}, {"weights": [np.inf]}, "bad-weights", "inf"),
        ([layer(Q, (16, 16))], {}, {"out": "base"}, "output-is-input", "is or holds"),
        ([layer(Q, (16, 16))], {}, {"out": "."}, "output-is-input", "is or holds"),
        ([layer(Q, (16, 16))], {}, {"out": "a"}, "output-is-input", "is or holds"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_and_nothing_is_left(
    layers, settings, arguments, code, words, base, tmp_path
):
    adapter(tmp_path / "a", *layers, **settings)
    before = sorted(tmp_path.rglob("*"))
    arguments = {"out": "out", **arguments}
    out = tmp_path / arguments.pop("out")
    with pytest.raises(EckartError, match=words) as error:
        merge_adapters(base, [tmp_path / "a"], out, force=True, **arguments)
    assert error.value.code == code
    assert sorted(tmp_path.rglob("*")) == before


def test_no_more_than_one_tensor_is_in_memory(tmp_path):
    side, count = 1536, 6
    W = np.ones((side, side), np.float32)
    save(tmp_path / "base", {f"l.{number}.q.weight": W for number in range(count)})
    layers = [layer(f"l.{number}.q", (side, side)) for number in range(count)]
    adapter(tmp_path / "a", *layers)
    tracemalloc.start()
    try:
        merge_adapters(tmp_path / "base", [tmp_path / "a"], tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    factors = sum(x.factors.nbytes for x in layers)
    assert peak < W.nbytes + factors + 20_000_000
    assert peak < count * W.nbytes / 1.5
