"""Starts that move W, and starts from an adapter: what is written belongs to W as it was."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from eckart.adapters import extract_adapter
from eckart.errors import ArgumentError, EckartError
from eckart.finetuning import finetune
from eckart.finetuning.pairs import pairs
from eckart.finetuning.starts import plain_, start_
from finetuning.models import save_base, save_table
from finetuning.test_starts import RANK, adapted, batches

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
QUICK = {"rank": 2, "epochs": 1.0, "batch": 12, "learning_rate": 3e-3}
KINDS = ("bert", "gpt2", "llama")


def weights(model):
    return {pair.name: pair.weight.detach().double().numpy().copy() for pair in pairs(model)}


def changes(model):
    return {
        pair.name: pair.scale * (pair.B.detach().double() @ pair.A.detach().double()).numpy()
        for pair in pairs(model)
    }


def outputs(model):
    model.eval()
    with torch.no_grad():
        return [model(**batch).logits.double().numpy() for batch in batches()]


@pytest.mark.parametrize("kind", KINDS)
def test_pissa_is_the_best_part_of_w_and_leaves_the_outputs(kind):
    model = adapted(kind)
    before, said = weights(model), outputs(model)
    moved = start_(model, "pissa", seed=3)
    for name, W in before.items():
        U, sigma, Vt = np.linalg.svd(W, full_matrices=False)
        best = (U[:, :RANK] * sigma[:RANK]) @ Vt[:RANK]
        # float32 factors, and a solver that stops at a millionth of the best error
        gap = sigma[RANK - 1] - sigma[RANK]
        assert np.linalg.norm(changes(model)[name] - best) <= 1e-3 * sigma[0] * max(
            1, sigma[0] / gap
        )
        left = np.linalg.norm(weights(model)[name])
        assert left == pytest.approx(np.linalg.norm(sigma[RANK:]), rel=1e-4)
    for one, other in zip(said, outputs(model), strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()
    assert moved.keys() == before.keys()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learnt_beside_a_moved_w_is_cut_as_well_as_can_be(kind, exact):
    model = adapted(kind)
    before = weights(model)
    kept = {pair.name: pair.weight.detach().clone() for pair in pairs(model)}
    moved = start_(model, "pissa", seed=3)
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for pair in pairs(model):
            for one in (pair.B, pair.A):
                one.add_(torch.from_numpy(0.1 * generator.standard_normal(tuple(one.shape))))
    learnt = {name: weights(model)[name] + change for name, change in changes(model).items()}
    errors = plain_(model, moved, weights=kept if exact else None)
    for name, W in before.items():
        if exact:
            assert np.array_equal(weights(model)[name], W)
        else:
            # rounding of W, of what was taken from it, and of what is added
            assert np.abs(weights(model)[name] - W).max() <= 2**-22 * np.abs(W).max()
        delta = learnt[name] - W
        sigma = np.linalg.svd(delta, compute_uv=False)
        best = np.linalg.norm(sigma[RANK:])
        assert np.linalg.norm(delta - changes(model)[name]) == pytest.approx(best, rel=1e-3)
        assert errors[name] == pytest.approx(best / np.linalg.norm(sigma), rel=1e-3)


def test_factors_of_another_model_are_refused():
    model = adapted("bert")
    with pytest.raises(ArgumentError, match="no pair"):
        plain_(model, {"other": (None, None)})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "bert", "bert")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return save_table(tmp_path_factory.mktemp("table") / "table.csv")


def test_the_error_of_the_cut_is_told(base, table, tmp_path):
    result = finetune(base, table, tmp_path / "a", start="pissa", **{**QUICK, "learning_rate": 0.1})
    assert all(0 < one.cut < 1 for one in result.layers)
    assert any("twice the rank" in note for note in result.notes)
    # the loss that is told is that after the cut, not that of the training
    losses = {one["step"]: one["loss"] for one in result.run["evaluations"]}
    assert result.metrics["loss"][0] != losses[result.chosen_step]


def test_a_start_from_what_was_learnt_begins_where_that_ended(base, table, tmp_path):
    first = finetune(base, table, tmp_path / "a", **{**QUICK, "learning_rate": 3e-2})
    second = finetune(
        base, table, tmp_path / "b", start=tmp_path / "a",
        **{**QUICK, "learning_rate": 1e-12, "head_rate": 1e-12},
    )  # fmt: skip
    assert second.metrics["loss"][0] == pytest.approx(first.metrics["loss"][0], rel=1e-5)
    assert not second.notes


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_a_start_at_another_rank_is_the_best_of_it(rank, base, table, tmp_path):
    first = finetune(base, table, tmp_path / "a", **{**QUICK, "learning_rate": 3e-2})
    second = finetune(
        base, table, tmp_path / "b", start=tmp_path / "a",
        **{**QUICK, "rank": rank, "learning_rate": 1e-12, "head_rate": 1e-12},
    )  # fmt: skip
    for one, other in zip(first.layers, second.layers, strict=True):
        kept = min(rank, one.rank)
        assert other.rank == rank
        assert other.singular_values[:kept] == pytest.approx(
            one.singular_values[:kept], rel=1e-4, abs=1e-9
        )
        assert max(other.singular_values[kept:], default=0.0) <= 1e-6 * one.singular_values[0]
    assert any("cut to the rank" in note for note in second.notes) == (rank < 2)


def test_an_extracted_adapter_is_a_start(base, table, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        tuned = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        with torch.no_grad():
            for name, one in tuned.named_parameters():
                if "classifier" not in name:
                    one.add_(0.02 * torch.randn_like(one))
    tuned.save_pretrained(tmp_path / "tuned")
    fresh = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    fresh.save_pretrained(tmp_path / "fresh")
    extract_adapter(tmp_path / "fresh", tmp_path / "tuned", tmp_path / "x", rank=3,
                    exclude=("*embeddings*",))  # fmt: skip
    result = finetune(
        base, table, tmp_path / "a", start=tmp_path / "x",
        **{**QUICK, "rank": 3, "learning_rate": 1e-12, "head_rate": 1e-12},
    )  # fmt: skip
    model = PeftModel.from_pretrained(fresh, tmp_path / "x")
    known = {pair.name.removeprefix("base_model.model."): pair for pair in pairs(model)}
    for layer in result.layers:
        pair = known[layer.name]
        wanted = np.linalg.norm(pair.scale * (pair.B @ pair.A).detach().numpy())
        assert layer.norm == pytest.approx(wanted, rel=1e-4)
    # biases and norms of the fine-tune are not learnt here, and that is said
    assert any("not learnt here" in note for note in result.notes)


def test_what_cannot_be_begun_from_is_refused(base, table, tmp_path):
    finetune(base, table, tmp_path / "a", **QUICK)
    other = save_table(tmp_path / "other.csv", seed=2)
    other.write_text(other.read_text().replace("late", "never"))
    wrong = save_base(tmp_path / "gpt2", "gpt2")
    (tmp_path / "empty").mkdir()
    for model, rows, start, code in (
        (base, other, "a", "other-classes"),
        (wrong, table, "a", "other-layers"),
        (base, table, "empty", "no-such-file"),
        (base, table, "nothing", "no-such-start"),
    ):
        with pytest.raises(EckartError) as error:
            finetune(model, rows, tmp_path / "b", start=tmp_path / start, **QUICK)
        assert error.value.code == code
    with pytest.raises(EckartError) as error:
        finetune(base, table, tmp_path / "b", start=tmp_path / "a",
                 targets=["*layer.0*"], **QUICK)  # fmt: skip
    assert error.value.code == "other-layers"
    assert not (tmp_path / "b").exists()


def test_an_adapter_that_is_replaced_by_what_begins_from_it_is_refused(base, table, tmp_path):
    finetune(base, table, tmp_path / "a", **QUICK)
    before = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    with pytest.raises(EckartError):
        finetune(base, table, tmp_path / "a", start=tmp_path / "a", force=True, **QUICK)
    assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == before
    assert json.loads((tmp_path / "a" / "report.json").read_text())["labels"]
