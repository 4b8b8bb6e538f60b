"""The certificate of a run, the further steps it may take, and the sentences that explain both."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from eckart.arrays import Array, rounding
from eckart.certificates import (
    EXACT,
    SMALL_SIDE,
    Certificate,
    carried_bound,
    certify,
    clearest_bound,
    probable_bound,
    spectrum,
)
from eckart.engine.loop import Loop, LoopResult
from eckart.engine.result import SUCCESS_GAP, Outcome, Record
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.ranks import AboveThreshold, NoiseThreshold, RankRule, WithinTolerance, tail_errors
from eckart.solvers.ritz import SUCCESS_EXCESS
from eckart.subspaces import FailureBudget, RitzData

FURTHER_STEPS: Final = 6
"""Most further steps for a certificate."""
HOPEFUL_RATIO: Final = 0.9
"""Ratio of successive gaps up to which another step is worth its products."""
ROUNDING_RATIO: Final = 1.1
"""Ratio of the gap to the one that rounding alone leaves, up to which no step is worth its cost."""
FURTHER_STEP_GAP: Final = 2e-2
"""Largest certified gap that needs no further step if no accuracy is asked for."""


def run_and_prove(
    W: Matrix,
    loop: Loop,
    values: Array | None,
    accuracy: float | None,
    probing: FailureBudget,
    *,
    bound: bool,
) -> tuple[Certificate, Array | None, LoopResult]:
    """Run a loop; return the certificate, the singular values used, and the result after both.

    All of them belong to the transformed matrix, whose error is the one of the objective.

    While the gap is above the accuracy that is asked for, a subspace solver takes further steps, as
    long as they narrow the gap: the bound is sharp only once every singular value near that of the
    rank is inside the space, which takes longer than a small error.
    """
    ending = loop.run()
    if values is None:
        values = ending.step.singular_values
    if not bound or ending.outcome in (Outcome.DIVERGED, Outcome.INTERRUPTED):
        return certify(W, ending.step.factors(), loss=ending.loss, bound=False), values, ending
    try:
        if values is None and min(W.shape) <= SMALL_SIDE:
            values = spectrum(W)
        if values is None and ending.step.evidence is not None:
            ending = (
                _prove_further(W, loop, ending)
                if accuracy is None
                else _widen(W, loop, ending, accuracy, probing)
            )
        evidence = None if ending.step.evidence is None else ending.step.evidence()
        proof = certify(
            W, ending.step.factors(), values, evidence=evidence, probing=probing, loss=ending.loss
        )
    except KeyboardInterrupt:
        # Ctrl-C during the certificate: the factors are complete, so they are returned
        ending = replace(ending, outcome=Outcome.INTERRUPTED)
        return certify(W, ending.step.factors(), bound=False), values, ending
    return proof, values, replace(ending, outcome=_outcome(ending, proof, values, accuracy))


def _prove_further(W: Matrix, loop: Loop, ending: LoopResult) -> LoopResult:
    """Take one more step if that is likely to certify a result that is near the best.

    That is the case if the probes bound the gap above 2 % only, but estimate it below 1 %.
    """
    if ending.outcome is not Outcome.SETTLED:
        return ending
    if _gap_by(partial(carried_bound, W), ending) <= FURTHER_STEP_GAP:
        return ending
    likely = _gap_by(partial(carried_bound, W, likely=True), ending)
    return (likely <= SUCCESS_EXCESS and loop.further()) or ending


def _widen(
    W: Matrix, loop: Loop, ending: LoopResult, wanted: float, probing: FailureBudget
) -> LoopResult:
    """Take as many more steps as narrow the gap to the accuracy that was asked for.

    The bound of the power probes costs no product; separate random tests are made only once it
    narrows no more.
    """
    # no bound is sharper than rounding allows, whatever lies outside the space
    wanted = max(wanted, ROUNDING_RATIO * _gap_by(partial(clearest_bound, W), ending))
    if math.isinf(wanted):
        return ending
    ending, gap = _narrow(loop, ending, wanted, partial(carried_bound, W))
    if gap <= wanted:
        return ending
    return _narrow(loop, ending, wanted, partial(probable_bound, W, probing=probing))[0]


def _narrow(
    loop: Loop, ending: LoopResult, wanted: float, bound: Callable[..., float | None]
) -> tuple[LoopResult, float]:
    """Take more steps until the gap is small or hardly falls; return the result and the gap."""
    gap, last = _gap_by(bound, ending), math.inf
    for _ in range(FURTHER_STEPS):
        if gap <= wanted or gap > HOPEFUL_RATIO * last:
            break
        further = loop.further()
        if further is None:
            break
        ending, last = further, gap
        gap = _gap_by(bound, ending)
    return ending, gap


def _gap_by(bound: Callable[..., float | None], ending: LoopResult) -> float:
    """The gap from the loss of the solver, which is accurate enough to decide about a step."""
    if ending.step.evidence is None or ending.loss is None:
        return 0.0
    best = bound(rank=ending.rank, evidence=ending.step.evidence())
    return math.inf if not best else max(0.0, math.sqrt(ending.loss) / best - 1)


def _outcome(
    ending: LoopResult, proof: Certificate, values: Array | None, accuracy: float | None
) -> Outcome:
    """The outcome of the run, given its certificate.

    A gap from all singular values is exact; one from products is an upper bound.
    """
    gap, outcome = math.inf if proof.gap is None else proof.gap, ending.outcome
    if gap <= (accuracy or SUCCESS_GAP) and (accuracy is not None or outcome.grade == "short"):
        return Outcome.ACCURATE
    if accuracy is not None:
        return Outcome.INACCURATE
    if outcome is Outcome.UNPROVEN and gap <= SUCCESS_EXCESS:
        return Outcome.SETTLED
    ended = outcome in {Outcome.CONVERGED, Outcome.SKETCHED}
    if ended and values is not None and gap > SUCCESS_EXCESS:
        return Outcome.FAR
    return outcome


TRIED_RANKS = 16
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

    `W` is the transformed matrix and `values` all its singular values, if they are known; `unit` is
    the scale of W relative to it, for the figures in the text.
    """
    evidence = ending.step.evidence() if ending.step.evidence is not None else None
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
    while smallest > 1 and rank - smallest < TRIED_RANKS:
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
    if rank - smallest < TRIED_RANKS:
        return f"The smallest rank within {tolerance:.2%} is from {smallest} to {rank}."
    return f"Whether a rank smaller than {rank} is within {tolerance:.2%} is not known."


def explain(
    outcome: Outcome,
    history: tuple[Record, ...],
    quality: str,
    estimated_gap: float | None = None,
) -> str:
    """Say where a run stopped, why, how good that is, and what would lower its loss further."""
    # no step of a sketch has a loss
    sketched = all(record.loss is None for record in history)
    sentences = [
        _ending(outcome, history, estimated_gap),
        quality,
        WIDER if outcome is Outcome.FAR and sketched else HINTS.get(outcome, ""),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


WIDER: Final = "Give the sketch more width, or take krylov where W can be read again."
HINTS: Final = {
    Outcome.EPOCH_LIMIT: "More epochs would lower the loss further.",
    Outcome.STALLED: "Give the matrix in float64, or subtract what is far larger than the rest.",
    Outcome.FAR: "Begin elsewhere (another seed or start), or take the solver svd or krylov.",
}


def _ending(outcome: Outcome, history: tuple[Record, ...], estimated_gap: float | None) -> str:
    losses = [record.loss for record in history if record.loss is not None]
    if not losses or not math.isfinite(losses[-1]):
        return outcome.value
    loss, epochs = _figure(losses[-1]), len(history)
    stands, after = f"the loss stands at {loss}", f"after {epochs} epochs"
    every = f"All {epochs} epochs were" if epochs > 1 else "The one epoch was"
    return {
        Outcome.ACCURATE: f"The loss stands at {loss} {after}, certified to be close enough to the "
        "best.",
        Outcome.CONVERGED: f"The loss stopped falling at {loss} {after}.",
        Outcome.FAR: f"The loss stopped falling at {loss} {after}, far above the best possible "
        "one.",
        Outcome.EPOCHS_DONE: f"{every} run; {stands}.",
        Outcome.SETTLED: f"The error is estimated to be at most {_share(estimated_gap)} above the "
        f"best possible one: {stands}.",
        Outcome.UNPROVEN: "More products would lower the error by less than 0.1 %, and nothing "
        f"outside their space is known to be larger than what is kept: {stands}. Singular values "
        f"around the rank are too alike for a sharper estimate than {_share(estimated_gap)}.",
        Outcome.STALLED: "Further products bring nothing that numbers of this precision can tell: "
        f"{stands}.",
        Outcome.EPOCH_LIMIT: f"The loss was still falling {after}, at {loss}.",
    }.get(outcome, outcome.value)


def _share(gap: float | None) -> str:
    """Write a gap in percent with two significant digits."""
    if gap is None or not math.isfinite(gap):
        return "an unknown share"
    return "0.01 %" if gap <= 1e-4 else f"{100 * gap:.2g} %"


def explain_quality(
    factors: Factors, certificate: Certificate, singular_values: Array | None
) -> str:
    """Say how far factors are from the best ones of their rank."""
    if certificate.method == EXACT:
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
    rank, errors = factors.rank, tail_errors(singular_values)
    noise = rounding(factors.shape, singular_values.dtype)
    present = int(np.count_nonzero(singular_values > noise * float(singular_values[0])))
    # the lowest loss of this rank in singular values, such as "σ₃² = 2.35664"
    below = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    first, second = (f"σ{str(rank + place).translate(below)}²" for place in (1, 2))
    terms = first if present <= rank + 1 else f"{first} + {second} + …"
    floor = f"{terms} = {float(errors[rank]) ** 2:.6g}"
    # a smaller one would be shown as 0.00%
    if gap > 5e-5:
        return (
            f"The best rank-{rank} pair has {floor}: "
            f"the error of this one is {gap:.2%} above its error."
        )
    above = float(errors[rank + 1])
    lower = "0" if above <= noise * float(errors[0]) else _figure(above**2)
    return (
        f"No rank-{rank} pair can do better ({floor}): the optimum is reached, "
        f"{1 / (1 + gap):.2%}, and only a higher rank lowers the loss; "
        f"at rank {rank + 1} it is {lower}."
    )


def _figure(loss: float) -> str:
    return f"{loss:.4f}" if 1e-2 <= loss < 100 else f"{loss:.6g}"
