"""From what was found to an adapter: layers, biases, new values, experts of one rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final, overload

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT32, Array
from eckart.factors import Factors
from eckart.jobs.extract.coverage import TensorPair, Way, live_name
from eckart.jobs.extract.layer import as_adapted
from eckart.jobs.extract.sources import HEAD, is_tied
from eckart.jobs.extract.survey import Finding, Survey
from eckart.storage.adapters import (
    AdaptedLayer,
    Adapter,
    Kind,
    changed_biases,
    matrix_shape,
    uniform_groups,
)
from eckart.storage.checkpoints import Checkpoint

TASKS: Final = {
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""What the names of architectures end in, and PEFT's names of their tasks."""

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


def assemble(survey: Survey, findings: Sequence[Finding], *, base_name: str | None) -> Adapter:
    """The adapter of all findings.

    Experts that must share one rank get zeros up to the largest of theirs, and factors of zeros
    where they have not changed.

    Args:
        survey: Of the two checkpoints.
        findings: Of every tensor, in order.
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
    chosen = tuple(factored[module] for module in factored if module in ranks)
    kinds = {one.pair.module: one.pair.kind or Kind.LINEAR for one in chosen}
    base_biases, tuned_biases = _biases(survey, findings, ranks)
    experts = _has_experts(survey.tuned) or _has_experts(survey.base)
    biases = changed_biases(kinds, base_biases, tuned_biases, experts=experts)
    tied = is_tied(survey.tuned, survey.base)
    saved = {**_saved(survey.tuned, findings, tied=tied), **biases.saved}
    return Adapter(
        layers=_Layers(survey, chosen, ranks, biases.changes),
        saved=saved,
        tied=tied,
        experts=experts,
        base_name=base_name,
        task_type=_task(survey.tuned) or _task(survey.base),
    )


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
    modules = {
        one.pair.module for one in findings if one.pair.way is Way.SAVED and one.delta_norm != 0
    }
    names = {live_name(name): name for name in tuned.tensors}
    saved = {
        name: tuned.read(stored)
        for name, stored in names.items()
        if name.rpartition(".")[0] in modules
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
    names = (live_name(name).rpartition(".")[0] for name in checkpoint.tensors)
    return any(checkpoint.config.get(key) for key in EXPERTS) or bool(uniform_groups(names))


def _task(checkpoint: Checkpoint) -> str | None:
    for architecture in checkpoint.config.get("architectures") or ():
        for ending, task in TASKS.items():
            if str(architecture).endswith(ending):
                return task
    return None


def saved_pairs(pairs: Sequence[TensorPair], *, tied: bool) -> Iterator[TensorPair]:
    """The pairs, with the table of a tied model saved whole: factors of it would be wrong.

    PEFT adds the change of a shared table once for each of its two uses.
    """
    for pair in pairs:
        if tied and is_input_table(pair.name) and pair.way is Way.FACTORS:
            yield replace(pair, way=Way.SAVED, kind=None, why="the model uses it as its head too")
        else:
            yield pair
