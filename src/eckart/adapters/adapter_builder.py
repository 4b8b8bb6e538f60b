"""Building an adapter from the factored layers, and checking that PEFT loads it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final, overload

import numpy as np

from eckart.adapters.layer import as_adapted
from eckart.adapters.layer_runner import LayerRunner
from eckart.adapters.model_pair import HEAD
from eckart.adapters.placement import Placement, Way
from eckart.adapters.result import TensorRecord
from eckart.arrays import FLOAT32, Array
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.forward import forward_distances
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    Kind,
    compare_biases,
    describe_adapter,
    matrix_shape,
    uniform_groups,
    unwrap,
)
from eckart.checkpoints.peft.adapter import Tensor, expert_of
from eckart.checkpoints.running import can_attach, sentence_of, unattached
from eckart.checkpoints.running_builder import TASKS
from eckart.errors import MatrixError
from eckart.factors import Factors

EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
"""Keys under which the config of a mixture of experts holds the number of its experts."""


@final
@dataclass(frozen=True, slots=True)
class _Layers(Sequence[AdaptedLayer]):
    """The layers of an adapter, each read from the resume store on access.

    So the factors of all layers are never in memory at once.
    """

    runner: LayerRunner
    records: tuple[TensorRecord, ...]
    ranks: Mapping[str, int]
    biases: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, place: int) -> AdaptedLayer: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[AdaptedLayer]: ...
    def __getitem__(self, place: int | slice) -> AdaptedLayer | Sequence[AdaptedLayer]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        record = self.records[place]
        pair, rank = record.pair, self.ranks[record.pair.module]
        if record.figures is None or record.figures.rank == 0:
            # unchanged, but an expert of a group or the one layer that PEFT asks for
            rows, columns = matrix_shape(pair.shape)
            factors = Factors(np.zeros((rows, rank), FLOAT32), np.zeros((rank, columns), FLOAT32))
        else:
            # zeros up to the rank of its group, if it is an expert
            factors = self.runner.factors(record).factors.pad(rank)
        return as_adapted(pair, factors, self.biases.get(pair.module))


def build_adapter(runner: LayerRunner, records: Sequence[TensorRecord]) -> Adapter:
    """Build the adapter from the records of all tensors.

    Experts that must share one rank are padded with zeros to their largest rank, and unchanged
    ones among them get factors of zeros. If only values are saved, one layer gets factors of
    zeros, because PEFT loads no adapter without an adapted layer.

    Cost:
        Reads biases and saved values; factors are read when the adapter is written.
    """
    placement = runner.coverage.placement
    figures = {one.pair.module: one.figures for one in records if one.figures}
    ranks = {module: one.rank for module, one in figures.items() if one.rank}
    factored = {one.pair.module: one for one in records if one.pair.way is Way.FACTORS}
    for group in uniform_groups(factored):
        most = max(ranks.get(module, 0) for module in group)
        if most:
            ranks |= dict.fromkeys(group, most)
    if not ranks:
        ranks = _one_of_zeros(records)
    chosen = tuple(factored[module] for module in factored if module in ranks)
    kinds = {one.pair.module: one.pair.kind or Kind.LINEAR for one in chosen}
    # biases that changed or belong to an adapted layer
    needed = [
        one.pair
        for one in records
        if one.pair.way is Way.BIAS and (one.delta_norm or one.pair.module in ranks)
    ]
    experts = _has_experts(runner.worker.tuned) or _has_experts(runner.worker.base)
    biases = compare_biases(
        kinds,
        {pair.name: runner.worker.base.read(pair.base) for pair in needed if pair.base},
        {pair.name: runner.worker.tuned.read(pair.tuned) for pair in needed if pair.tuned},
        experts=experts,
    )
    saved = {**_saved(runner.worker.tuned, records, tied=placement.is_ensured), **biases.saved}
    in_place = {one.pair.name for one in records if one.pair.in_place}
    return Adapter(
        layers=_Layers(runner, chosen, ranks, biases.changes),
        saved=saved,
        tied=placement.is_ensured,
        experts=experts,
        base_name=runner.worker.settings.base_name,
        task_type=_task(placement, runner),
        in_place=in_place & saved.keys(),
    )


def _one_of_zeros(records: Sequence[TensorRecord]) -> dict[str, int]:
    """Rank 1 for the smallest layer, preferably a linear one, if any value has changed."""
    values = [one for one in records if one.pair.way in (Way.SAVED, Way.BIAS)]
    layers = [
        (one.pair.kind is not Kind.LINEAR, math.prod(one.pair.shape), number)
        for number, one in enumerate(records)
        if one.pair.way is Way.FACTORS and one.pair.has_delta and not expert_of(one.pair.module)
    ]
    if not layers or not any(one.delta_norm != 0 for one in values):
        return {}
    return {records[min(layers)[-1]].pair.module: 1}


def _saved(tuned: Checkpoint, records: Sequence[TensorRecord], *, tied: bool) -> dict[str, Tensor]:
    """New values that are saved whole: all parameters of a module of which one has changed."""
    changed = [one.pair for one in records if one.pair.way is Way.SAVED and one.delta_norm != 0]
    modules = {pair.module for pair in changed if not pair.in_place}
    alone = {pair.name for pair in changed if pair.in_place}
    saved = {
        one.pair.name: tuned.read(one.pair.tuned)
        for one in records
        if one.pair.tuned and (one.pair.module in modules or one.pair.name in alone)
    }
    tables = [name for name in saved if is_input_table(name)]
    # PEFT replaces the table and the head, and ties the two again when it loads them
    if tied and tables:
        saved[HEAD] = saved[tables[0]]
    return saved


def is_input_table(name: str) -> bool:
    """Whether the name of a tensor is that of the input table of a vocabulary."""
    return name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight"))


def _has_experts(checkpoint: Checkpoint) -> bool:
    """Whether PEFT would take the model for a mixture of experts, which it reads in the config."""
    names = (unwrap(name).rpartition(".")[0] for name in checkpoint.tensors)
    return any(checkpoint.config.get(key) for key in EXPERTS) or bool(uniform_groups(names))


def _task(placement: Placement, runner: LayerRunner) -> str | None:
    """PEFT's name of the task, from the name of the class if there is no running model."""
    if placement.running is not None:
        return placement.running.task
    for checkpoint in (runner.worker.tuned, runner.worker.base):
        for architecture in checkpoint.config.get("architectures") or ():
            for ending, task in TASKS.items():
                # classes of that task need not have an encoder: only the running model tells
                if str(architecture).endswith(ending) and task != "SEQ_2_SEQ_LM":
                    return task
    return None


TRIALS: Final = 3
"""Attempts to attach the adapter: as planned; with refused layers saved whole; without them."""


def build_checked_adapter(
    runner: LayerRunner, records: Sequence[TensorRecord]
) -> tuple[Adapter, Sequence[TensorRecord]]:
    """Build the adapter, check that PEFT loads it, and return it with the final records.

    A tensor whose factors PEFT does not load is saved whole, and left out if that fails too.
    Nothing is checked without the running model or PEFT, or if the settings leave the check out.
    """
    placement = runner.coverage.placement
    running = placement.running if runner.worker.settings.check and can_attach() else None
    found = records
    wrong: Mapping[str, str] = {}
    for _ in range(TRIALS):
        adapter = build_adapter(runner, found)
        # PEFT attaches no adapter without a layer; the caller refuses it with a reason
        if running is None or not adapter.layers:
            return adapter, found
        wrong = unattached(running, *describe_adapter(adapter, base_modules=placement.modules))
        if not wrong:
            return adapter, found
        found = [_otherwise(one, wrong) for one in found]
    module, reason = next(iter(wrong.items()))
    raise MatrixError(
        f"PEFT does not load the adapter{f' for {module}' if module else ''}: {reason}.",
        hint="Leave those layers out with `exclude`, or write it unchecked with `check=False`.",
        code="not-attached",
    )


def forward_note(placement: Placement, base: Path, tuned: Path, adapter: Path) -> str:
    """A sentence on how far one forward pass of base + adapter is from that of the fine-tune."""
    if placement.running is None or not can_attach():
        return "No pass through the models was made: the running model or PEFT is not known."
    try:
        found = forward_distances(placement.running, base, tuned, adapter)
    except Exception as error:  # a model may refuse random inputs with any error of its own
        return f"No pass through the models could be made: {sentence_of(error)}."
    if found is None:
        return "One pass through the base and the fine-tune shows no difference between them."
    loaded, merged = found
    return (
        f"In one pass over random inputs base + adapter is {loaded:.2g} of the change away from "
        f"the fine-tune as PEFT loads it, {merged:.2g} merged (0 is right, 1 is no effect)."
    )


def _otherwise(record: TensorRecord, wrong: Mapping[str, str]) -> TensorRecord:
    """The record of a tensor with another way, if PEFT does not load it in the present one."""
    pair = record.pair
    above = (name for name in wrong if name and f"{pair.module}.".startswith(f"{name}."))
    reason = wrong.get(pair.name)
    if pair.way is not Way.BIAS:
        reason = next((wrong[name] for name in above), reason)
    if reason is None or pair.way is Way.NONE:
        return record
    # these have no other way: values in place already, biases, and stacked experts
    hopeless = pair.in_place or pair.way is Way.BIAS or expert_of(pair.module) is not None
    way = Way.NONE if hopeless else Way.SAVED
    changed = replace(pair, way=way, kind=None, in_place=way is Way.SAVED, why=reason)
    return replace(record, pair=changed, figures=None)
