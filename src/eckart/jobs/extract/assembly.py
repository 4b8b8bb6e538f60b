"""From what was found to an adapter: layers, biases, new values, experts of one rank."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final, overload

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT32, Array
from eckart.factors import Factors
from eckart.jobs.extract.layer import as_adapted
from eckart.jobs.extract.placement import Placement
from eckart.jobs.extract.sources import HEAD
from eckart.jobs.extract.survey import Finding, Survey
from eckart.jobs.extract.way import Way
from eckart.jobs.running.building import TASKS
from eckart.storage.adapters import (
    AdaptedLayer,
    Adapter,
    Kind,
    changed_biases,
    matrix_shape,
    uniform_groups,
    unwrapped,
)
from eckart.storage.adapters.experts import expert_of
from eckart.storage.checkpoints import Checkpoint

EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts")
"""What the config of a mixture calls the number of its experts."""


@final
@dataclass(frozen=True, slots=True)
class _Layers(Sequence[AdaptedLayer]):
    """The layers of an adapter, each read from the finished work when it is asked for."""

    survey: Survey
    findings: tuple[Finding, ...]
    ranks: Mapping[str, int]
    biases: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.findings)

    @overload
    def __getitem__(self, place: int) -> AdaptedLayer: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[AdaptedLayer]: ...
    def __getitem__(self, place: int | slice) -> AdaptedLayer | Sequence[AdaptedLayer]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        finding = self.findings[place]
        pair, rank = finding.pair, self.ranks[finding.pair.module]
        if finding.figures is None or finding.figures.rank == 0:
            rows, columns = matrix_shape(pair.shape)
            factors = Factors(np.zeros((rows, rank), FLOAT32), np.zeros((rank, columns), FLOAT32))
        else:
            factors = self.survey.factors(finding).factors.pad(rank)
        return as_adapted(pair, factors, self.biases.get(pair.module))


def assemble(
    survey: Survey, findings: Sequence[Finding], placement: Placement, *, base_name: str | None
) -> Adapter:
    """The adapter of all findings.

    Experts that must share one rank get zeros up to the largest of theirs, and factors of zeros
    where they have not changed. Where only values are saved, one layer gets factors of zeros: PEFT
    loads no adapter without one.

    Args:
        survey: Of the two checkpoints.
        findings: Of every tensor, in order.
        placement: Where they go in the running model.
        base_name: What the adapter says that its base is.

    Cost:
        Reads biases and saved values; factors are read when the adapter is written.
    """
    ranks = {
        one.pair.module: one.figures.rank
        for one in findings
        if one.figures is not None and one.figures.rank
    }
    factored = {one.pair.module: one for one in findings if one.pair.way is Way.FACTORS}
    for group in uniform_groups(factored):
        most = max(ranks.get(module, 0) for module in group)
        if most:
            ranks |= dict.fromkeys(group, most)
    if not ranks:
        ranks = _one_of_zeros(findings)
    chosen = tuple(factored[module] for module in factored if module in ranks)
    kinds = {one.pair.module: one.pair.kind or Kind.LINEAR for one in chosen}
    base_biases, tuned_biases = _biases(survey, findings, ranks)
    experts = _has_experts(survey.tuned) or _has_experts(survey.base)
    biases = changed_biases(kinds, base_biases, tuned_biases, experts=experts)
    saved = {**_saved(survey.tuned, findings, tied=placement.is_ensured), **biases.saved}
    in_place = {one.pair.name for one in findings if one.pair.in_place}
    return Adapter(
        layers=_Layers(survey, chosen, ranks, biases.changes),
        saved=saved,
        tied=placement.is_ensured,
        experts=experts,
        base_name=base_name,
        task_type=_task(placement, survey),
        in_place=in_place & saved.keys(),
    )


def _one_of_zeros(findings: Sequence[Finding]) -> dict[str, int]:
    """Rank 1 for the smallest layer, a linear one if there is one, where anything has changed."""
    if not any(one.delta_norm != 0 and one.pair.way in (Way.SAVED, Way.BIAS) for one in findings):
        return {}
    plain = [
        one.pair
        for one in findings
        if one.pair.way is Way.FACTORS and one.pair.has_delta and not expert_of(one.pair.module)
    ]
    smallest = min(
        plain,
        key=lambda pair: (pair.kind is not Kind.LINEAR, math.prod(pair.shape)),
        default=None,
    )
    return {} if smallest is None else {smallest.module: 1}


def _biases(
    survey: Survey, findings: Sequence[Finding], ranks: Mapping[str, int]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """All biases that are wanted or unchanged, of both checkpoints, by their live names."""
    before: dict[str, Array] = {}
    after: dict[str, Array] = {}
    for one in findings:
        pair = one.pair
        needed = one.delta_norm or pair.module in ranks
        if pair.way is Way.BIAS and needed and pair.base and pair.tuned:
            before[pair.name] = survey.base.read(pair.base)
            after[pair.name] = survey.tuned.read(pair.tuned)
    return before, after


def _saved(
    tuned: Checkpoint, findings: Sequence[Finding], *, tied: bool
) -> dict[str, npt.NDArray[Any]]:
    """New values of what is saved whole: all parameters of a module of which one has changed."""
    changed = [one.pair for one in findings if one.pair.way is Way.SAVED and one.delta_norm != 0]
    modules = {pair.module for pair in changed if not pair.in_place}
    alone = {pair.name for pair in changed if pair.in_place}
    saved = {
        one.pair.name: tuned.read(one.pair.tuned)
        for one in findings
        if one.pair.tuned and (one.pair.module in modules or one.pair.name in alone)
    }
    tables = [name for name in saved if is_input_table(name)]
    if tied and tables:
        saved[HEAD] = saved[tables[0]]
    return saved


def is_input_table(name: str) -> bool:
    """Whether a tensor is the table of a vocabulary, by its name."""
    return name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight"))


def _has_experts(checkpoint: Checkpoint) -> bool:
    """Whether PEFT would take the model for a mixture of experts: it goes by the config."""
    names = (unwrapped(name).rpartition(".")[0] for name in checkpoint.tensors)
    return any(checkpoint.config.get(key) for key in EXPERTS) or bool(uniform_groups(names))


def _task(placement: Placement, survey: Survey) -> str | None:
    """PEFT's name of the task; by the name of the class where the model is not known."""
    if placement.running is not None:
        return placement.running.task
    for checkpoint in (survey.tuned, survey.base):
        for architecture in checkpoint.config.get("architectures") or ():
            for ending, task in TASKS.items():
                if str(architecture).endswith(ending) and task != "SEQ_2_SEQ_LM":
                    return task
    return None
