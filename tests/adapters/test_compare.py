"""Adapters beside one another and beside the change they were learnt from."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

import eckart
from adapters.pairs import extracted, save, tuned_weights, weights
from adapters.samples import layer, mixed
from eckart import Factors
from eckart.adapters.compare import compare_adapters
from eckart.checkpoints.peft import Adapter, Kind, read_adapter, write_adapter
from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from tolerances import MEASURED, MERGED, agree, close, rounding
from watched import Watched

Q = "model.layers.0.self_attn.q_proj"


def written(folder, *layers, **fields):
    write_adapter(folder, Adapter(layers=list(layers), **fields))
    return folder


def test_layers_of_one_adapter_alone_count_as_a_change_of_zero_in_the_other(tmp_path):
    a, b, c = (layer(name, (6, 5)) for name in "abc")
    one, other = written(tmp_path / "x", a, b), written(tmp_path / "y", b, c)
    (pair,) = compare_adapters([one, other]).pairs
    document = pair.to_dict()
    assert (document["only_first"], document["only_other"]) == (["a"], ["c"])
    A, B, C = (np.linalg.norm(one.factors.dense().astype(float)) for one in (a, b, c))
    noise = rounding(np.ones((6, 5)), 4, np.float32)  # written factors are balanced and rounded
    assert agree(document["norms"], [np.hypot(A, B), np.hypot(B, C)], noise)
    assert agree(document["relative_difference"], np.hypot(A, C) / np.hypot(A, B), noise)
    assert agree(document["cosine"], B**2 / np.hypot(A, B) / np.hypot(B, C), noise)
    assert agree(document["energy"], B**2 / (B**2 + C**2), noise)
    ranks = {one["name"]: one["ranks"] for one in document["layers"]}
    assert ranks == {"a": [2, 0], "b": [2, 2], "c": [0, 2]}


def test_an_adapter_equals_itself(tmp_path):
    write_adapter(tmp_path / "a", mixed())
    result = compare_adapters([tmp_path / "a", tmp_path / "a"])
    (pair,) = result.pairs
    assert pair.relative_difference == 0.0
    one = rounding(np.ones((1, 1)), 8)
    assert abs(pair.cosine - 1) <= one
    assert abs(pair.energy - 1) <= one
    assert {value.state for value in pair.values} == {"equal"}
    assert result.grade == "success"
    assert "100.00 % of its energy" in result.message


def test_an_adapter_that_states_how_its_weights_are_stored_is_compared_all_the_same(tmp_path):
    plain = layer("h.0.c_attn", (9, 4))
    factors = Factors(plain.factors.A.T, plain.factors.B.T)
    turned = replace(plain, kind=Kind.TRANSPOSED, shape=(4, 9), factors=factors)
    written(tmp_path / "a", plain)
    written(tmp_path / "b", turned)
    (pair,) = compare_adapters([tmp_path / "a", tmp_path / "b"]).pairs
    assert pair.layers[0].shape == (9, 4)
    assert pair.relative_difference <= rounding(np.ones((1, 1)), 4, np.float32)


def test_values_that_differ_are_named(tmp_path):
    biased, plain = layer("q", (6, 5), bias=True), layer("q", (6, 5))
    saved = {"norm.weight": np.ones(3, np.float32), "head.weight": np.ones((2, 3), np.float32)}
    written(tmp_path / "a", biased, saved=saved)
    written(tmp_path / "b", plain, saved={"norm.weight": np.zeros(3, np.float32)})
    document = compare_adapters([tmp_path / "a", tmp_path / "b"]).pairs[0].to_dict()
    assert document["values"] == [
        {"name": "head.weight", "is_change": False, "state": "only in the first"},
        {"name": "norm.weight", "is_change": False, "state": "different"},
        {"name": "q.bias", "is_change": True, "state": "different"},
    ]
    assert "3 saved values and biases differ." in document["message"]


def test_adapters_that_name_other_bases_are_compared_with_a_note(tmp_path):
    written(tmp_path / "a", layer(), base_name="m")
    written(tmp_path / "b", layer(), base_name="n")
    notes = compare_adapters([tmp_path / "a", tmp_path / "b"]).notes
    assert notes == ("The adapters name different bases: m and n.",)


def test_what_is_no_pair_of_one_model_is_refused_in_a_sentence(tmp_path):
    one = written(tmp_path / "a", layer("q", (6, 5)))
    for other, kind, code in (
        (layer("q", (5, 6)), MatrixError, "shapes-differ"),
        (layer("q", (6, 5), kind=Kind.EMBEDDING), MatrixError, "shapes-differ"),
        (layer("k", (6, 5)), FormatError, "nothing-matches"),
    ):
        written(tmp_path / "b", other)
        with pytest.raises(kind) as error:
            compare_adapters([one, tmp_path / "b"])
        assert error.value.code == code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"adapters": []}, "too-few-adapters"),
        ({"adapters": ["a"]}, "too-few-adapters"),
        ({"adapters": [], "base": "b", "tuned": "t"}, "too-few-adapters"),
        ({"adapters": ["a", "b"], "base": "b"}, "model-missing"),
        ({"adapters": ["a", "b"], "tuned": "b"}, "model-missing"),
        ({"adapters": ["a", "b"], "seed": -1}, "bad-seed"),
        ({"adapters": ["a", "b"]}, "no-such-file"),
        ({"adapters": ["a"], "base": "b", "tuned": "b"}, "same-checkpoint"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(given, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as error:
        compare_adapters(**given)
    assert error.value.code == code


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, its fine-tune, and adapters of it of rank 4, 2 and 16."""
    folder = extracted(tmp_path_factory.mktemp("made"))
    eckart.truncate_adapter(folder / "adapter", folder / "small", rank=2)
    eckart.extract_adapter(folder / "base", folder / "tuned", folder / "whole", rank=16)
    return folder


def learnt(folder, *names):
    models = {"base": folder / "base", "tuned": folder / "tuned"}
    return compare_adapters([folder / name for name in names], **models)


def change_of(name):
    base = weights()
    return tuned_weights(base)[f"{name}.weight"].astype(float) - base[f"{name}.weight"]


@pytest.mark.parametrize("name", ["adapter", "small"])
def test_figures_beside_the_whole_change_are_those_of_dense_algebra(name, made):
    (result,) = learnt(made, name).to_dict()["learnt"]
    for one, own in zip(result["layers"], read_adapter(made / name).layers, strict=True):
        assert one["name"] == own.module
        D, W, rank = change_of(own.module), own.factors.dense().astype(float), own.rank
        U, S, Vt = np.linalg.svd(D)
        norm, best = np.linalg.norm(D), np.linalg.norm(S[rank:])
        assert agree(one["delta_norm"], norm, MEASURED)
        assert agree(one["relative_error"], np.linalg.norm(D - W) / norm, MEASURED)
        noise = rounding(D, 2, np.float32) / norm  # D is subtracted in float32
        assert one["best_possible_error"] <= best / norm + noise
        assert one["best_possible_error"] >= best / norm - noise
        gap = one["relative_error"] / one["best_possible_error"] - 1
        assert abs(one["gap"] - gap) <= rounding(np.ones((1, 1)))
        part = (U[:, :rank] * S[:rank]) @ Vt[:rank]
        distance = np.linalg.norm(W - part) / norm
        assert abs(one["distance_from_best"] - distance) <= one["distance_doubt"] + noise
        assert one["distance_doubt"] < 2 * MEASURED
        P, R = scipy.linalg.orth(own.factors.B.astype(float)), own.factors.A.T.astype(float)
        inside = P.T @ D @ scipy.linalg.orth(R)
        assert abs(one["share_in_spaces"] - np.linalg.norm(inside) ** 2 / norm**2) <= 2 * noise
        # float32 turns the leading directions by noise beside the gap behind them (Wedin)
        turn = 4 * noise * norm / (S[rank - 1] - S[rank])
        columns = scipy.linalg.subspace_angles(W @ Vt[:rank].T, U[:, :rank])[::-1]
        assert close(np.asarray(one["column_angles"]), columns, turn * rank)


def test_an_adapter_of_full_rank_has_learnt_all(made):
    (result,) = learnt(made, "whole").to_dict()["learnt"]
    for one in result["layers"]:
        noise = rounding(np.ones((24, 16)) / np.sqrt(24 * 16), 2, np.float32)
        assert one["relative_error"] <= noise
        assert one["distance_from_best"] <= noise
        assert one["gap"] == 0.0
        assert abs(one["share_in_spaces"] - 1) <= noise
    assert result["relative_error"] <= noise


def test_totals_count_what_an_adapter_lacks(made, tmp_path):
    whole = read_adapter(made / "adapter")
    kept = [one for one in whole.layers if one.module != Q]
    part = written(tmp_path / "part", *kept)
    result = compare_adapters([made / "adapter", part], base=made / "base", tuned=made / "tuned")
    checked = eckart.verify_adapter(part, made / "base", made / "tuned")
    document = result.to_dict()["learnt"][1]
    assert document["relative_error"] == checked.relative_error
    assert {one["name"] for one in document["uncovered"]} == {f"{Q}.weight", "model.norm.weight"}
    errors = [one["relative_error"] * one["delta_norm"] for one in document["layers"]]
    norms = [one["delta_norm"] for one in document["layers"]]
    of_layers = np.linalg.norm(errors) / np.linalg.norm(norms)
    assert agree(document["relative_error_of_layers"], of_layers)
    assert result.grade == "success"
    assert result.pairs[0].only(0) == [Q]


def test_an_adapter_of_another_model_fails(made, tmp_path):
    strange = written(tmp_path / "a", layer("model.layers.9.q_proj", (16, 16)))
    result = compare_adapters([strange], base=made / "base", tuned=made / "tuned")
    assert result.grade == "failed"
    assert "changes no weight that both models have" in result.message
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_layer_that_did_not_change_is_listed_without_a_relative_error(made, tmp_path):
    own = layer("lm_head", (40, 16))
    folder = written(tmp_path / "a", own)
    result = compare_adapters([folder], base=made / "base", tuned=made / "tuned")
    (one,) = result.to_dict()["learnt"][0]["layers"]
    assert (one["delta_norm"], one["relative_error"], one["share_in_spaces"]) == (0.0, None, None)
    norm = np.linalg.norm(own.factors.dense())
    assert agree(one["learnt_norm"], norm, rounding(np.ones((1, 1)), 4, np.float32))
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("scale", [1e-25, 1e15])
def test_changes_of_any_size_have_figures(scale, tmp_path):
    generator = np.random.default_rng(0)
    D = (scale * generator.standard_normal((12, 9))).astype(np.float32)
    save(tmp_path / "base", {"q.weight": np.zeros_like(D)})
    save(tmp_path / "tuned", {"q.weight": D})
    eckart.extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "a", rank=3)
    models = {"base": tmp_path / "base", "tuned": tmp_path / "tuned"}
    (one,) = compare_adapters([tmp_path / "a"], **models).to_dict()["learnt"][0]["layers"]
    S = np.linalg.svd(D.astype(float), compute_uv=False)
    assert agree(one["best_possible_error"], np.linalg.norm(S[3:]) / np.linalg.norm(S), MEASURED)
    assert agree(one["share_in_spaces"], 1 - np.linalg.norm(S[3:]) ** 2 / np.linalg.norm(S) ** 2,
                 MEASURED)  # fmt: skip
    assert one["gap"] <= MEASURED


def test_progress_is_told_for_every_layer_and_tensor(made):
    watched = Watched()
    compare_adapters(
        [made / "adapter", made / "small"], base=made / "base", tuned=made / "tuned", watch=watched
    )
    compared, measured = watched.parts.values()
    assert compared.done == compared.total == 4
    assert measured.done == measured.total == sum(map(np.size, weights().values()))


def test_a_seed_makes_it_reproducible(made):
    one, other = (learnt(made, "adapter", "small").to_dict() for _ in range(2))
    one.pop("seconds"), other.pop("seconds")
    assert one == other


def test_nan_in_a_model_is_an_error_that_names_the_tensor(made, tmp_path):
    broken = tuned_weights(weights())
    broken[f"{Q}.weight"] = np.full((16, 16), np.nan, np.float32)
    save(tmp_path / "tuned", broken)
    with pytest.raises(EckartError, match="q_proj") as error:
        compare_adapters([made / "adapter"], base=made / "base", tuned=tmp_path / "tuned")
    assert error.value.code == "not-finite"


def peft_pair(make, settings, folder):
    """A base saved, and two adapters of it that PEFT wrote, with their changes by PEFT itself."""
    import copy

    from adapters.test_merge_peft import saved
    from adapters.test_reading_peft import saved_by_peft

    base = make().base
    saved(base, folder / "base")
    for seed, name in enumerate("ab"):
        saved_by_peft(copy.deepcopy(base), settings, folder / name, seed=seed)
    return base


def peft_changes(base, folder):
    """ΔW by name of the module, outputs first, as PEFT computes it."""
    from adapters.loading import load
    from adapters.test_traps import layers_of

    return {
        name: module.get_delta_weight("default").detach().double().numpy()
        for name, module in layers_of(load(base, folder).model).items()
    }


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Llama", "GPT-2"])
def test_adapters_of_peft_are_compared_as_peft_computes_with_them(name, tmp_path):
    pytest.importorskip("peft")
    from adapters import models
    from adapters.test_merge_peft import merged, saved

    make, settings = {
        "Llama": (models.plain_llama, {"target_modules": ["q_proj", "down_proj"], "r": 3}),
        "GPT-2": (models.gpt2, {"target_modules": ["c_attn"], "fan_in_fan_out": True, "r": 3}),
    }[name]
    base = peft_pair(make, settings, tmp_path)
    one, other = (peft_changes(base, tmp_path / side) for side in "ab")
    (pair,) = compare_adapters([tmp_path / "a", tmp_path / "b"]).pairs
    assert len(pair.layers) == len(one) > 0
    for found in pair.layers:
        key = next(key for key in one if key.endswith(found.name))
        X, Y = (side[key] for side in (one, other))
        noise = 4 * rounding(X, dtype=np.float32) / np.linalg.norm(X)
        assert agree(found.overlap.norms, [np.linalg.norm(X), np.linalg.norm(Y)], noise)
        difference = np.linalg.norm(X - Y) / np.linalg.norm(X)
        assert agree(found.overlap.relative_difference, difference, 2 * noise)
        cosine = np.vdot(X, Y) / np.linalg.norm(X) / np.linalg.norm(Y)
        assert abs(found.overlap.cosine - cosine) <= 2 * noise
    from adapters.loading import load

    tuned = saved(merged(load(base, tmp_path / "a")), tmp_path / "tuned")
    result = compare_adapters([tmp_path / "a"], base=tmp_path / "base", tuned=tuned)
    assert result.grade == "success", result.message
    eps = float(np.finfo(np.float32).eps)
    for one in result.to_dict()["learnt"][0]["layers"]:
        # the merged weights are rounded, and not their changes
        W = base.state_dict()[f"{one['name']}.weight"].double().numpy()
        size = np.linalg.norm(W) + one["delta_norm"]
        assert one["relative_error"] * one["delta_norm"] <= MERGED * eps * size
