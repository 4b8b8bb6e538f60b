"""The sentences that say how a run ended and why its rank was chosen, with figures."""

import math
from typing import Final

import numpy as np

from eckart.arrays import Array, rounding
from eckart.certificates import Certificate, carried_bound, probable_bound
from eckart.engine.result import Outcome, Record
from eckart.engine.stopping import LoopResult
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.ranks import AboveThreshold, NoiseThreshold, RankRule, WithinTolerance, tail_errors
from eckart.subspaces import FailureBudget, RitzData

FARTHEST = 16
"""Number of smaller ranks that are tried before the message calls the smallest unknown."""


def explain_rank(
    rule: RankRule,
    W: Matrix,
    values: Array | None,
    ending: LoopResult,
    probing: FailureBudget,
    unit: float,
) -> str:
    """Explain a rank that the user did not give; return an empty text otherwise.

    Args:
        rule: Rule that chose the rank.
        W: The working matrix.
        values: All its singular values, if they are known.
        ending: Result of the loop.
        probing: Random tests of the run up to now.
        unit: Scale of W relative to the working matrix, for the figures in the text.
    """
    evidence = ending.evidence() if ending.evidence is not None else None
    if isinstance(rule, NoiseThreshold | AboveThreshold):
        total = W.squared_norm() * unit * unit
        if values is not None:
            return rule.explain(W.shape, W.dtype, np.square(values * unit), total)
        if evidence is not None:
            return rule.explain(W.shape, W.dtype, evidence.ritz()[0] * unit * unit, total)
    if isinstance(rule, WithinTolerance) and values is None and evidence is not None:
        return _smallest(rule.tolerance, W, ending.rank, evidence, probing)
    return ""


def _smallest(
    tolerance: float, W: Matrix, rank: int, evidence: RitzData, probing: FailureBudget
) -> str:
    """Say which smaller ranks the bounds on their best errors rule out."""
    wanted = tolerance * math.sqrt(W.squared_norm())
    smallest = rank
    while smallest > 1 and rank - smallest < FARTHEST:
        bound = carried_bound(W, smallest - 1, evidence)
        if bound is None:
            bound = probable_bound(W, smallest - 1, evidence, probing)
        if bound is not None and bound > wanted:
            break
        smallest -= 1
    if smallest == rank:
        return f"Rank {rank} is the smallest within {tolerance:.2%}: no pair of a smaller one is."
    if smallest == rank - 1:
        return f"The smallest rank within {tolerance:.2%} is {rank} or {rank - 1}."
    if rank - smallest < FARTHEST:
        return f"The smallest rank within {tolerance:.2%} is from {smallest} to {rank}."
    return f"Whether a rank smaller than {rank} is within {tolerance:.2%} is not known."


def explain(
    outcome: Outcome,
    factors: Factors,
    history: tuple[Record, ...],
    certificate: Certificate,
    singular_values: Array | None,
    estimated_gap: float | None = None,
) -> str:
    """Say where a run stopped, why, and what would lower its loss further."""
    sentences = [
        _ending(outcome, history, estimated_gap),
        _quality(factors, certificate, singular_values),
        _WIDER if outcome is Outcome.FAR and _is_sketched(history) else _HINTS.get(outcome, ""),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


_WIDER: Final = "Give the sketch more width, or take krylov where W can be read again."
_HINTS: Final = {
    Outcome.EPOCH_LIMIT: "More epochs would lower the loss further.",
    Outcome.STALLED: "Give the matrix in float64, or subtract what is far larger than the rest.",
    Outcome.FAR: "Begin elsewhere (another seed or start), or take the solver svd or krylov.",
}


def explain_known(
    outcome: Outcome, history: tuple[Record, ...], certificate: Certificate, known: int
) -> str:
    """Say how a run over known entries ended, and its root mean squared error."""
    each = certificate.error / math.sqrt(known)
    sentences = [
        _ending(outcome, history, None),
        f"The known entries are met to {each:.4g} (RMSE).",
    ]
    if outcome is Outcome.EPOCH_LIMIT:
        sentences.append("More epochs would lower the loss further.")
    return " ".join(sentences)


def _is_sketched(history: tuple[Record, ...]) -> bool:
    """Whether no step has a loss, which is the case for sketches only."""
    return all(record.loss is None for record in history)


def _ending(outcome: Outcome, history: tuple[Record, ...], estimated_gap: float | None) -> str:
    losses = [record.loss for record in history if record.loss is not None]
    if not losses or not math.isfinite(losses[-1]):
        return outcome.value
    stands = f"the loss stands at {_figure(losses[-1])}"
    return {
        Outcome.ACCURATE: f"The loss stands at {_figure(losses[-1])} after {len(history)} epochs, "
        "certified to be close enough to the best.",
        Outcome.CONVERGED: f"The loss stopped falling at {_figure(losses[-1])} "
        f"after {len(history)} epochs.",
        Outcome.FAR: f"The loss stopped falling at {_figure(losses[-1])} "
        f"after {len(history)} epochs, far above the best possible one.",
        Outcome.EPOCHS_DONE: f"{_all(len(history))} run; {stands}.",
        Outcome.SETTLED: f"The error is estimated to be at most {_share(estimated_gap)} above the "
        f"best possible one: {stands}.",
        Outcome.UNPROVEN: "More products would lower the error by less than 0.1 %, and nothing "
        f"outside their space is known to be larger than what is kept: {stands}. Singular values "
        f"around the rank are too alike for a sharper estimate than {_share(estimated_gap)}.",
        Outcome.STALLED: "Further products bring nothing that numbers of this precision can tell: "
        f"{stands}.",
        Outcome.EPOCH_LIMIT: f"The loss was still falling after {len(history)} epochs, "
        f"at {_figure(losses[-1])}.",
    }.get(outcome, outcome.value)


def _share(gap: float | None) -> str:
    """Write a gap in percent with two significant digits."""
    if gap is None or not math.isfinite(gap):
        return "an unknown share"
    return "0.01 %" if gap <= 1e-4 else f"{100 * gap:.2g} %"


def _all(epochs: int) -> str:
    return f"All {epochs} epochs were" if epochs > 1 else "The one epoch was"


def _quality(factors: Factors, certificate: Certificate, singular_values: Array | None) -> str:
    if certificate.method == "exact to rounding":
        return f"B·A equals W to rounding: rank {factors.rank} is enough."
    best, gap = certificate.best_possible_error, certificate.gap
    if best is None:
        return "How far that is from the best possible is not proven."
    if gap is None:
        return (
            f"The relative error is {certificate.relative_error:.1e} and the best possible is 0 to "
            "rounding, so nothing bounds the gap between them."
        )
    if singular_values is None:
        return f"It is proven to be at most {gap:.2%} above the best possible error."
    floor = _floor(factors, singular_values)
    # a smaller one would be shown as 0.00%
    if gap > 5e-5:
        return (
            f"The best rank-{factors.rank} pair has {floor}: "
            f"the error of this one is {gap:.2%} above its error."
        )
    return (
        f"No rank-{factors.rank} pair can do better ({floor}): the optimum is reached, "
        f"{1 / (1 + gap):.2%}, and only a higher rank lowers the loss; "
        f"{_next(factors, singular_values)}"
    )


def _floor(factors: Factors, singular_values: Array) -> str:
    """Write the lowest loss of this rank in singular values: "σ₃² = 2.35664"."""
    noise = rounding(factors.shape, singular_values.dtype) * float(singular_values[0])
    present = int(np.count_nonzero(singular_values > noise))
    first, second = (f"σ{_subscript(factors.rank + place)}²" for place in (1, 2))
    terms = first if present <= factors.rank + 1 else f"{first} + {second} + …"
    loss = float(tail_errors(singular_values)[factors.rank]) ** 2
    return f"{terms} = {loss:.6g}"


def _next(factors: Factors, singular_values: Array) -> str:
    errors = tail_errors(singular_values)
    above = factors.rank + 1
    loss = float(errors[above]) ** 2
    noise = rounding(factors.shape, singular_values.dtype) * float(errors[0])
    return f"at rank {above} it is {'0' if errors[above] <= noise else _figure(loss)}."


def _figure(loss: float) -> str:
    return f"{loss:.4f}" if 1e-2 <= loss < 100 else f"{loss:.6g}"


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
