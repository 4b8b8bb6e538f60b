"""What an extraction promises: ranks, errors, bytes, and nothing lost without a word."""

import gc
import json
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.checkpoints import BFLOAT16, LAYERS, change, pair, tensors, tuned, write
from adapters.pairs import saved_pair
from eckart.adapters import extract_adapter
from eckart.checkpoints.peft import adapter_bytes, read_adapter
from eckart.errors import ArgumentError, FormatError, MatrixError
from tolerances import ADAPTER_ERROR, agree


def pool_threads():
    return [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")]


@pytest.mark.parametrize("end", ["an error in a tensor", "an error of the caller"])
def test_a_job_that_fails_leaves_no_thread_to_be_found_by_the_garbage_collector(end, tmp_path):
    """A generator that owns threads, collected while another thread starts, blocked for ever."""
    base, other = saved_pair(tmp_path)
    arguments = {}
    if end == "an error in a tensor":
        weights = load_file(other / "model.safetensors")
        weights["model.layers.0.self_attn.q_proj.weight"][0, 0] = np.inf
        save_file(weights, other / "model.safetensors")
    else:
        arguments["on_tensor"] = lambda _name, _entries: 1 / 0
    gc.disable()
    try:
        with pytest.raises((MatrixError, ZeroDivisionError)) as kept:
            extract_adapter(base, other, tmp_path / "out", rank=2, **arguments)
        until = time.monotonic() + 30
        while pool_threads() and time.monotonic() < until:
            time.sleep(0.01)
        assert not pool_threads(), kept
    finally:
        gc.enable()


def deltas(base, after):
    before, later = load_file(base / "model.safetensors"), load_file(after / "model.safetensors")
    return {
        name.removesuffix(".weight"): later[name].astype(np.float64) - before[name]
        for name in later
        if later[name].ndim == 2
    }


def test_every_error_is_that_of_the_stored_factors_and_the_best_of_its_rank(tmp_path):
    base, after = pair(tmp_path)
    result = extract_adapter(base, after, tmp_path / "out", rank=5)
    truth = deltas(base, after)
    stored = {layer.module: layer for layer in read_adapter(tmp_path / "out").layers}
    assert stored.keys() == truth.keys()
    for one in result.layers:
        delta = truth[one.pair.module]
        values = np.linalg.svd(delta, compute_uv=False)
        best = np.linalg.norm(values[5:]) / np.linalg.norm(values)
        measured = np.linalg.norm(delta - stored[one.pair.module].factors.dense())
        assert one.figures is not None
        assert agree(one.figures.relative_error, measured / np.linalg.norm(delta), ADAPTER_ERROR)
        assert agree(one.figures.relative_error, best, ADAPTER_ERROR)
        assert one.figures.best_possible_error <= best * np.linalg.norm(values) * (1 + 1e-9)


def test_a_tolerance_is_kept_by_every_layer_with_the_smallest_rank(tmp_path):
    base, after = pair(tmp_path)
    result = extract_adapter(base, after, tmp_path / "out", tolerance=0.1)
    for one in result.layers:
        assert one.figures is not None
        values = np.linalg.svd(deltas(base, after)[one.pair.module], compute_uv=False)
        tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1] / np.sum(values**2))
        assert one.figures.relative_error <= 0.1
        assert tails[one.figures.rank - 1] > 0.1


def test_a_tolerance_of_the_weight_leaves_out_what_is_small_beside_it(tmp_path):
    base, after = pair(tmp_path)
    small = extract_adapter(base, after, tmp_path / "a", tolerance=0.05)
    of_weight = extract_adapter(base, after, tmp_path / "b", tolerance=0.05, tolerance_of="W")
    assert of_weight.nbytes < small.nbytes
    for one in of_weight.tensors:
        if one.figures is not None:
            assert one.figures.error <= 0.05 * one.figures.weight_norm * (1 + ADAPTER_ERROR)


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
def test_a_shared_budget_is_never_worse_than_one_rank_of_the_same_bytes(tmp_path, rank):
    base, after = pair(tmp_path)
    uniform = extract_adapter(base, after, tmp_path / "uniform", rank=rank)
    budget = sum(adapter_bytes(shape, rank) for shape in LAYERS.values())
    shared = extract_adapter(base, after, tmp_path / "shared", budget=budget)
    assert sum(one.nbytes for one in shared.layers) <= budget
    assert shared.relative_error <= uniform.relative_error * (1 + ADAPTER_ERROR)


def test_a_budget_that_needs_more_columns_than_were_guessed_gets_them(tmp_path):
    """One layer holds nearly all of the change and deserves nearly all of the bytes."""
    before = tensors()
    after = {
        name: W + np.float32(1e-4) * np.random.default_rng(0).standard_normal(W.shape)
        for name, W in before.items()
    }
    name = "model.layers.1.mlp.up_proj.weight"
    after[name] = before[name] + change(before[name].shape, 1.0, 1.0, np.random.default_rng(2))
    after = {key: W.astype(np.float32) for key, W in after.items()}
    base, tune = write(tmp_path / "base", before), write(tmp_path / "tuned", after)
    budget = sum(adapter_bytes(shape, 4) for shape in LAYERS.values())
    result = extract_adapter(base, tune, tmp_path / "out", budget=budget)
    ranks = {one.pair.name: one.figures.rank for one in result.layers if one.figures}
    assert ranks[name] == min(budget // adapter_bytes(before[name].shape, 1), 40)


def test_the_noise_of_bfloat16_is_told_from_the_change(tmp_path):
    """True rank 16 under rounding noise of half its size: an energy share picks hundreds."""
    generator = np.random.default_rng(0)
    W = (0.02 * generator.standard_normal((512, 512))).astype(BFLOAT16)
    delta = np.zeros(W.shape)
    low = change(W.shape, 0.1 ** (1 / 15), 1.0, generator)
    U, S, Vt = np.linalg.svd(low)
    delta = (U[:, :16] * S[:16]) @ Vt[:16]
    delta *= 0.003 * np.linalg.norm(W.astype(float)) / np.linalg.norm(delta)
    names = "model.layers.0.mlp.up_proj.weight"
    base = write(tmp_path / "base", {names: W})
    after = write(tmp_path / "tuned", {names: (W.astype(float) + delta).astype(BFLOAT16)})
    result = extract_adapter(base, after, tmp_path / "out", rank="noise")
    (one,) = result.layers
    assert one.figures is not None
    seen = np.linalg.svd(
        (W.astype(float) + delta).astype(BFLOAT16).astype(float) - W.astype(float)
    )[1]
    assert np.count_nonzero(np.cumsum(seen**2) < 0.95 * np.sum(seen**2)) > 100
    assert 12 <= one.figures.rank <= 16
    (layer,) = read_adapter(tmp_path / "out").layers
    assert np.linalg.norm(layer.factors.dense() - delta) < 0.35 * np.linalg.norm(delta)


def test_limits_and_overrides_hold(tmp_path):
    base, after = pair(tmp_path)
    result = extract_adapter(
        base, after, tmp_path / "out", tolerance=0.2, multiple=4, least=4, most=8,
        overrides={"*.k_proj": 3, "*down_proj": 0},
    )  # fmt: skip
    ranks = {one.pair.module: one.figures.rank for one in result.tensors if one.figures}
    for module, rank in ranks.items():
        expected = (3,) if "k_proj" in module else (0,) if "down_proj" in module else (4, 8)
        assert rank in expected
    left = [one for one in result.tensors if one.state == "left out"]
    assert len(left) == 3
    assert all(one.error == one.delta_norm for one in left)


def test_what_is_not_covered_is_named_with_its_share(tmp_path):
    before = tensors()
    after = tuned(before)
    before["model.experts.up"] = np.ones((2, 3, 4), np.float32)
    after["model.experts.up"] = np.full((2, 3, 4), 2.0, np.float32)
    before["model.old.weight"] = np.ones((4, 4), np.float32)
    after["score.weight"] = np.ones((2, 40), np.float32)
    base, tune = write(tmp_path / "base", before), write(tmp_path / "tuned", after)
    result = extract_adapter(base, tune, tmp_path / "out", rank=4, exclude=["*k_proj*"])
    document = result.to_dict()
    states = {one["name"]: one for one in document["tensors"]}
    assert states["model.experts.up"]["state"] == "not covered"
    assert states["model.experts.up"]["share_of_delta"] > 0.1
    assert states["model.old.weight"]["why"] == "its module is not in the fine-tune"
    assert states["score.weight"]["state"] == "saved whole"
    assert "excluded" in states["model.layers.0.self_attn.k_proj.weight"]["why"]
    shares = sum(one["share_of_delta"] for one in document["tensors"])
    assert agree(shares, 1.0, 1e-9)
    assert "score.weight" in "".join(read_adapter(tmp_path / "out").saved)


def test_unchanged_tensors_are_skipped(tmp_path):
    before = tensors()
    after = {**before, "model.norm.weight": before["model.norm.weight"] + np.float32(1)}
    name = "model.layers.0.mlp.up_proj.weight"
    after[name] = before[name] + np.float32(0.1)
    base, tune = write(tmp_path / "base", before), write(tmp_path / "tuned", after)
    result = extract_adapter(base, tune, tmp_path / "out", rank=4)
    assert [one.pair.name for one in result.layers] == [name]
    assert result.to_dict()["unchanged"] == len(before) - 2
    (layer,) = result.layers
    assert layer.figures is not None
    assert layer.figures.rank == 1  # a constant: the columns of zeros are not stored


def test_dtypes_may_differ_between_the_two(tmp_path):
    before = tensors(dtype=BFLOAT16)
    after = tuned({name: W.astype(np.float32) for name, W in before.items()})
    base, tune = write(tmp_path / "base", before), write(tmp_path / "tuned", after)
    assert extract_adapter(base, tune, tmp_path / "out", rank=40).relative_error < ADAPTER_ERROR


@pytest.mark.parametrize(("dtype", "floor"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_half_the_bytes_leave_the_floor_that_is_said(tmp_path, dtype, floor):
    base, after = pair(tmp_path)
    whole = extract_adapter(base, after, tmp_path / "a", rank=40)
    half = extract_adapter(base, after, tmp_path / "b", rank=40, dtype=dtype)
    assert sum(one.nbytes for one in half.layers) * 2 == sum(one.nbytes for one in whole.layers)
    assert 1e-5 < half.relative_error < floor
    assert any(dtype in note for note in half.notes)


def test_the_documents_beside_an_adapter_say_the_same(tmp_path):
    base, after = pair(tmp_path)
    result = extract_adapter(base, after, tmp_path / "out", rank=3, command="eckart extract …")
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document == json.loads(json.dumps(result.to_dict()))
    assert "eckart extract …" in (tmp_path / "out" / "README.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The error over depth and kind" in page
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, ArgumentError),
        ({"rank": 3, "tolerance": 0.1}, ArgumentError),
        ({"rank": 0}, ArgumentError),
        ({"rank": "many"}, ArgumentError),
        ({"tolerance": 1.5}, ArgumentError),
        ({"rank": 3, "least": 5, "most": 4}, ArgumentError),
        ({"rank": 3, "profile": "best"}, ArgumentError),
        ({"rank": 3, "exclude": ["nothing*"]}, FormatError),
        ({"rank": 3, "exclude": ["*"]}, MatrixError),
    ],
)
def test_wishes_that_cannot_be_met_are_refused_and_leave_nothing(tmp_path, settings, error):
    base, after = pair(tmp_path)
    with pytest.raises(error):
        extract_adapter(base, after, tmp_path / "out", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "tuned"]


def test_the_error_of_the_layers_counts_those_that_are_left_out(tmp_path):
    base, after = pair(tmp_path)
    result = extract_adapter(base, after, tmp_path / "out", rank=4, overrides={"*mlp*": 0})
    layers = [one for one in result.tensors if one.figures]
    whole = np.linalg.norm([one.delta_norm for one in layers])
    expected = np.linalg.norm([one.error for one in layers]) / whole
    assert agree(result.to_dict()["relative_error_of_layers"], float(expected), 1e-12)
    assert expected > max(one.figures.relative_error for one in result.layers if one.figures) / 2


def test_a_budget_pays_for_experts_that_have_not_changed(tmp_path):
    """PEFT stacks experts, so one that did not change takes columns of zeros with the others."""
    generator = np.random.default_rng(0)
    names = [
        f"m.layers.0.mlp.experts.{n}.{k}_proj.weight"
        for n in range(4)
        for k in ("gate", "up", "down")
    ]
    before = {name: generator.standard_normal((24, 24)).astype(np.float32) for name in names}
    after = {
        name: W + np.float32(0.1) * generator.standard_normal(W.shape).astype(np.float32)
        if "experts.0." in name else W
        for name, W in before.items()
    }  # fmt: skip
    base, tune = write(tmp_path / "base", before), write(tmp_path / "tuned", after)
    budget = 12 * adapter_bytes((24, 24), 5)
    extract_adapter(base, tune, tmp_path / "out", budget=budget)
    layers = read_adapter(tmp_path / "out").layers
    stored = sum(adapter_bytes(layer.shape, layer.rank) for layer in layers)
    assert 0.8 * budget < stored <= budget
