"""Ranks that grow: what they cost, that nothing changes when they do, and what is written."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from eckart.errors import ArgumentError
from eckart.finetuning import finetune
from eckart.finetuning.optimizers import RECIPES
from eckart.finetuning.pairs import others, pairs
from eckart.finetuning.rank_growth import MARKS, RankGrowth, continued, uniform_rank
from eckart.finetuning.settings import OPTIMIZERS
from eckart.finetuning.starts import start_
from finetuning.models import save_base, save_table
from finetuning.test_finetune import stopped
from finetuning.test_starts import adapted, batches

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
QUICK = {"epochs": 3.0, "batch": 12, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "bert", "bert")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return save_table(tmp_path_factory.mktemp("table") / "table.csv")


def bytes_of(layers):
    return sum(4 * one.rank * sum(one.shape) for one in layers)


@pytest.mark.parametrize("budget", ["3kB", "6kB", "20kB"])
def test_a_budget_is_kept_and_its_ranks_are_those_that_peft_loads(budget, base, table, tmp_path):
    result = finetune(base, table, tmp_path / "a", budget=budget, **QUICK)
    most = int(budget[:-2]) * 1000
    assert bytes_of(result.layers) <= most
    # what is left would not pay for one more direction of the cheapest layer that has room
    open_ones = [one for one in result.layers if one.rank < min(one.shape)]
    assert bytes_of(result.layers) + max(4 * sum(one.shape) for one in open_ones) > most
    assert [one["step"] for one in result.run["growth"]] == [
        int(np.ceil(share * result.run["step"])) for share in MARKS
    ]
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = PeftModel.from_pretrained(model, tmp_path / "a")
    ranks = {pair.name.removeprefix("base_model.model."): pair.rank for pair in pairs(model)}
    assert ranks == {one.name: one.rank for one in result.layers}
    assert {pair.scale for pair in pairs(model)} == {2.0}


@pytest.mark.parametrize("optimizer", ["adamw", "rite"])  # by numbers, and in bases
def test_a_run_that_was_stopped_between_a_growth_and_the_next_step_ends_alike(
    optimizer, base, table, tmp_path
):
    settings = {**QUICK, "budget": 9000, "optimizer": optimizer}
    finetune(base, table, tmp_path / "whole", **settings)
    # 22 steps, of which 3, 6 and 9 are followed by a growth
    for steps in (3, 6, 7):
        with stopped(steps + 1) as watch, pytest.raises(KeyboardInterrupt):
            finetune(base, table, tmp_path / "a", watch=watch, **settings)
        finetune(base, table, tmp_path / "a", resume=True, **settings)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            whole = (tmp_path / "whole" / name).read_bytes()
            assert (tmp_path / "a" / name).read_bytes() == whole
        report = json.loads((tmp_path / "a" / "report.json").read_text())
        assert len(report["run"]["growth"]) == 3
        shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_nothing_changes_when_ranks_grow(kind, optimizer):
    model = adapted(kind)
    start_(model, "lora")
    known = pairs(model)
    make, rate, more = RECIPES[optimizer]
    moves = make(known, [one for _, one in others(model, known)], lr=rate, **more)

    def step():
        for batch in batches():
            model.zero_grad()
            model(**batch).loss.backward()
            moves.step()

    def outputs():
        model.eval()
        with torch.no_grad():
            return torch.cat([model(**batch).logits for batch in batches()])

    step()
    before, ranks = outputs(), [pair.rank for pair in known]
    held = sum(4 * pair.rank * (len(pair.B) + pair.A.shape[1]) for pair in known)
    growth = RankGrowth(budget=3 * held, steps=80, seed=0)
    done = growth.grow(known, moves, growth.marks[0])
    assert done["grown"]
    grown = [pair.rank - rank for pair, rank in zip(known, ranks, strict=True)]
    assert min(grown) >= 0
    # the rows of A that are new meet columns of zeros, so that sums differ in their order at most
    assert float((outputs() - before).abs().max()) <= 1e-6 * float(before.abs().max())
    step()
    moved = [pair.B[:, rank:].abs().max() for pair, rank in zip(known, ranks, strict=True)
             if pair.rank > rank]  # fmt: skip
    assert all(float(one) > 0 for one in moved)


@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6),
    nbytes=st.integers(0, 40000),
)
def test_the_uniform_rank_is_the_largest_that_fits(shapes, nbytes):
    def cost(rank):
        return sum(4 * min(rank, *shape) * sum(shape) for shape in shapes)

    rank = uniform_rank({str(place): shape for place, shape in enumerate(shapes)}, nbytes)
    most = max(min(shape) for shape in shapes)
    assert cost(rank) <= nbytes
    assert rank == most or cost(rank + 1) > nbytes


@given(
    sigma=st.lists(st.floats(0, 1e3), min_size=1, max_size=8).map(
        lambda own: np.array(sorted(own, reverse=True))
    ),
    count=st.integers(1, 20),
)
def test_a_spectrum_that_is_continued_falls_on(sigma, count):
    found = continued(sigma, count)
    assert len(found) == count
    assert np.array_equal(found[: len(sigma)], sigma[:count])
    assert np.all(np.diff(found) <= 1e-12 * sigma[0])


def test_a_budget_that_cannot_be_kept_is_refused(base, table, tmp_path):
    for more, code in (
        ({"budget": 100}, "budget-too-small"),
        ({"budget": "1kB", "rank": 2}, "rank-chosen-twice"),
        ({"budget": "1kB", "alpha": 2.0}, "rank-chosen-twice"),
    ):
        with pytest.raises(ArgumentError) as error:
            finetune(base, table, tmp_path / "a", **{**QUICK, **more})
        assert error.value.code == code
    assert list(tmp_path.iterdir()) == []
