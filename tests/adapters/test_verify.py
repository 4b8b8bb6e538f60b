"""An adapter held against two models: what fits, what is short, what does not belong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from adapters.pairs import extracted, save, tuned_weights, weights
from adapters.samples import layer
from eckart import Factors
from eckart.adapters import extract_adapter
from eckart.adapters.verify import verify_adapter
from eckart.checkpoints.peft import Adapter, Kind, read_adapter, write_adapter
from eckart.errors import ArgumentError, EckartError
from tolerances import LOGITS, MEASURED, agree
from watched import Watched

Q = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Base, fine-tune and the adapter of rank 4 that eckart extracted."""
    return extracted(tmp_path_factory.mktemp("made"))


@pytest.fixture
def models(made, tmp_path):
    """A copy of all three to spoil."""
    shutil.copytree(made, tmp_path / "m")
    return tmp_path / "m"


def verified(folder, **settings):
    return verify_adapter(folder / "adapter", folder / "base", folder / "tuned", **settings)


def change(folder, **edits):
    """Write the adapter again with some of its fields changed."""
    write_adapter(folder / "adapter", replace(read_adapter(folder / "adapter"), **edits))


def test_the_errors_are_those_of_dense_algebra_and_those_recorded(made):
    result = verified(made)
    base, adapter = weights(), read_adapter(made / "adapter")
    tuned = tuned_weights(base)
    left = 0.0
    for one, check in zip(adapter.layers, result.layers, strict=False):
        assert one.module == check.name
        W = tuned[f"{one.module}.weight"].astype(float) - base[f"{one.module}.weight"]
        error = np.linalg.norm(W - one.factors.dense()) / np.linalg.norm(W)
        assert agree(check.relative_error, error, MEASURED)
        assert agree(check.recorded, error, MEASURED)
        left += np.linalg.norm(W - one.factors.dense()) ** 2
    total = sum(np.linalg.norm(tuned[n].astype(float) - base[n]) ** 2 for n in base)
    assert agree(result.relative_error, np.sqrt(left / total), MEASURED)
    assert result.grade == "success"
    assert [one.name for one in result.values] == ["model.norm.weight"]
    assert result.uncovered == ()


@pytest.mark.parametrize(("tolerance", "grade"), [(0.5, "success"), (1e-4, "short")])
def test_a_tolerance_is_met_or_not(tolerance, grade, made):
    result = verified(made, tolerance=tolerance)
    assert result.grade == grade
    assert ("" in result.short) is (grade == "short")


def test_a_tolerance_below_zero_is_refused(made):
    with pytest.raises(ArgumentError):
        verified(made, tolerance=0.0)


def test_a_layer_that_is_worse_than_recorded_does_not_fit(models):
    layers = read_adapter(models / "adapter").layers
    worse = replace(layers[0], factors=Factors(1.01 * layers[0].factors.B, layers[0].factors.A))
    change(models, layers=[worse, *layers[1:]])
    result = verified(models)
    assert result.grade == "failed"
    assert [one.name for one in result.layers if not one.fits] == [worse.module]
    (models / "adapter" / "report.json").unlink()
    assert verified(models).grade == "success"


def test_an_error_within_a_thousandth_of_the_recorded_one_fits(models):
    report = models / "adapter" / "report.json"
    document = json.loads(report.read_text("utf-8"))
    for one in document["tensors"]:
        if "relative_error" in one:
            one["relative_error"] /= 1.0009
    report.write_text(json.dumps(document), "utf-8")
    assert verified(models).grade == "success"


def test_a_changed_tensor_that_is_not_covered_is_reported_with_its_share(models):
    layers = read_adapter(models / "adapter").layers
    change(models, layers=[one for one in layers if one.module != Q], saved={})
    result = verified(models, tolerance=0.3)
    base = weights()
    tuned = tuned_weights(base)
    squares = {n: np.linalg.norm(tuned[n].astype(float) - base[n]) ** 2 for n in base}
    missing = {one["name"]: one for one in result.to_dict()["uncovered"]}
    assert set(missing) == {f"{Q}.weight", "model.norm.weight"}
    share = squares[f"{Q}.weight"] / sum(squares.values())
    assert agree(missing[f"{Q}.weight"]["share_of_delta"], share, MEASURED)
    assert result.short == ("",)
    assert result.grade == "short"
    assert verified(models).grade == "success"


def test_a_module_that_the_models_lack_does_not_fit_and_is_named(models):
    layers = read_adapter(models / "adapter").layers
    change(models, layers=[*layers, layer("model.layers.7.self_attn.q_proj", (16, 16))])
    result = verified(models)
    assert result.grade == "failed"
    assert result.unknown == ("model.layers.7.self_attn.q_proj.weight",)


def test_a_shape_that_differs_does_not_fit(models):
    layers = read_adapter(models / "adapter").layers
    others = [one for one in layers if one.module != Q]
    change(models, layers=[*others, layer(Q, (16, 12))])
    result = verified(models)
    assert result.grade == "failed"
    assert result.misfits == (f"'{Q}.weight' is 16 × 12 in the adapter and 16 × 16 in the model.",)


def test_a_saved_value_of_another_model_does_not_fit(models):
    change(models, saved={"model.norm.weight": np.ones(16, np.float32)})
    result = verified(models)
    assert result.grade == "failed"
    assert [one.name for one in result.values if one.why] == ["model.norm.weight"]


def test_a_layer_that_did_not_change_has_no_relative_error(models):
    layers = read_adapter(models / "adapter").layers
    change(models, layers=[*layers, layer("lm_head", (40, 16))])
    result = verified(models, tolerance=0.9)
    errors = {one["name"]: one["relative_error"] for one in result.to_dict()["layers"]}
    assert [name for name, error in errors.items() if error is None] == ["lm_head"]
    assert "lm_head" in result.short


def test_names_with_a_prefix_are_matched_and_it_is_said(models):
    layers = [replace(one, module=f"wrapped.{one.module}")
              for one in read_adapter(models / "adapter").layers]  # fmt: skip
    write_adapter(models / "adapter", Adapter(layers=layers))
    result = verified(models)
    assert len(result.layers) == 4
    assert "Names were matched without 'wrapped.' in the adapter." in result.notes


def test_changes_of_biases_are_held_against_those_of_the_models(tmp_path):
    base = {"q.weight": np.eye(4, dtype=np.float32), "q.bias": np.ones(4, np.float32)}
    tuned = {"q.weight": 2 * base["q.weight"], "q.bias": 3 * base["q.bias"]}
    save(tmp_path / "base", base)
    save(tmp_path / "tuned", tuned)
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    assert [one.why for one in verified(tmp_path).values] == [""]
    one = read_adapter(tmp_path / "adapter").layers[0]
    change(tmp_path, layers=[replace(one, bias=one.bias + 1e-3)])
    assert verified(tmp_path).grade == "failed"


@pytest.mark.parametrize("model_type", ["gpt2", ""])
def test_square_weights_that_are_stored_the_other_way_round_are_recognised(model_type, tmp_path):
    base = {
        "h.0.attn.c_attn.weight": np.ones((6, 18), np.float32),
        "h.0.attn.c_proj.weight": np.ones((6, 6), np.float32),
    }
    save(tmp_path / "base", base, model_type=model_type, architectures=["GPT2LMHeadModel"])
    generator = np.random.default_rng(0)
    tuned = {n: W + generator.standard_normal(W.shape).astype(W.dtype) for n, W in base.items()}
    save(tmp_path / "tuned", tuned, model_type=model_type)
    layers = [
        replace(layer(name, W.shape, kind=Kind.TRANSPOSED), factors=Factors(*np_svd(W - base[n])))
        for n, W in tuned.items()
        for name in [n.removesuffix(".weight")]
    ]
    write_adapter(tmp_path / "adapter", Adapter(layers=layers))
    assert max(one.relative_error for one in verified(tmp_path).layers) < LOGITS


def np_svd(W):
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    return U * S, Vt


def test_every_tensor_is_told_of_once_with_all_entries(made):
    watched = Watched()
    verified(made, watch=watched)
    (told,) = watched.parts.values()
    assert set(told.words) == set(weights())
    assert told.done == told.total == sum(map(np.size, weights().values()))


def test_nan_in_a_tensor_is_an_error_that_names_it(models):
    broken = tuned_weights(weights())
    broken[f"{Q}.weight"] = np.full((16, 16), np.nan, np.float32)
    save(models / "tuned", broken)
    with pytest.raises(EckartError, match="q_proj") as error:
        verified(models)
    assert error.value.code == "not-finite"
