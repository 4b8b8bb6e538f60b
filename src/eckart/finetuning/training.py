"""The loop of a fine-tune: steps, evaluations, and the best state."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, final

import numpy as np
import torch

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.finetuning.dataset import Encoded
from eckart.finetuning.metrics import losses
from eckart.progress import Report

WARM_UP: Final = 0.1
"""Share of the steps in which the rate rises from 0."""
EVALUATION_ROWS: Final = 64
"""Rows of a batch that is only evaluated."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does, apart from where it begins.

    Fields:
        steps: Number of steps.
        batch: Rows of a step.
        seed: Seed of the order of the rows and of dropout.
        evaluations: Number of evaluations, evenly spread; the last is after the last step.
        patience: Evaluations without a lower loss after which the run ends; None never ends it.
        time_limit: Seconds after which the run ends.
    """

    steps: int
    batch: int
    seed: int
    evaluations: int = 6
    patience: int | None = None
    time_limit: float | None = None

    def share(self, step: int) -> float:
        """The learning rate of a step as a share of the highest: it rises, then falls to 0."""
        warm = max(1, round(WARM_UP * self.steps))
        return min((step + 1) / warm, (self.steps - step) / max(1, self.steps - warm))

    def is_evaluated(self, step: int) -> bool:
        """Whether an evaluation follows so many steps."""
        marks = {
            math.ceil(self.steps * (place + 1) / self.evaluations)
            for place in range(self.evaluations)
        }
        return step in marks


@final
@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step: its number from 1, the loss before it, and its rate as a share of the highest."""

    step: int
    loss: float
    share: float


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation: the steps before it, and the loss over the rows held back."""

    step: int
    loss: float


@final
@dataclass(slots=True, kw_only=True)
class State:
    """How far a run is.

    Fields:
        step: Number of steps taken.
        history: The steps.
        evaluations: The evaluations.
        best: The learnt parameters by name at the evaluation of the lowest loss.
        seconds: Seconds by what they were spent on.
    """

    step: int = 0
    history: list[StepRecord] = field(default_factory=list[StepRecord])
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    best: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("forward", "backward", "optimizer", "evaluation"), 0.0
        )
    )

    @property
    def lowest(self) -> Evaluation | None:
        """The evaluation of the lowest loss, the first of them if there are several."""
        return min(self.evaluations, key=lambda one: one.loss, default=None)

    def is_done(self, plan: Plan) -> bool:
        """Whether there is nothing left to do."""
        lowest = self.lowest
        waited = len(self.evaluations) - 1 - self.evaluations.index(lowest) if lowest else 0
        return self.step >= plan.steps or (plan.patience is not None and waited >= plan.patience)

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the state, without the parameters."""
        return {
            "step": self.step,
            "history": [asdict(one) for one in self.history],
            "evaluations": [asdict(one) for one in self.evaluations],
            "seconds": dict(self.seconds),
        }


def learnt(model: Any) -> dict[str, Any]:
    """The parameters that are learnt, by name."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def train(
    model: Any,
    optimizer: Any,
    data: Encoded,
    held: Encoded,
    plan: Plan,
    state: State,
    *,
    report: Report,
    keep: Callable[[], None] = lambda: None,
) -> State:
    """Go on with a run to its end, and leave the best state in the model.

    The order of the rows and the dropout of a step depend on the seed and its number alone, so that
    a run that is gone on with is the same as one that never stopped, bit for bit.

    Args:
        model: The adapted model.
        optimizer: Its optimiser, at its highest rates.
        data: Rows to learn from.
        held: Rows to validate with.
        plan: What to do.
        state: How far the run is; it is brought up to date.
        report: Called with each step and its loss.
        keep: Called after each evaluation, to save the state.

    Raises:
        MatrixError: If a loss is not finite; the message has a rate to try.
    """
    began = time.perf_counter() - sum(state.seconds.values())
    highest = [group["lr"] for group in optimizer.param_groups]
    per_epoch = -(-len(data) // plan.batch)
    with torch.random.fork_rng(devices=[]):
        while not state.is_done(plan):
            number, place = divmod(state.step, per_epoch)
            batch = data.batch(data.epoch(number, plan.batch, plan.seed)[place])
            share = plan.share(state.step)
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * share
            loss = _step(model, optimizer, batch, plan.seed, state)
            if not math.isfinite(loss):
                raise diverged(state.step, highest[0])
            state.history.append(StepRecord(state.step, loss, share))
            report(1, loss=loss)
            late = plan.time_limit is not None and time.perf_counter() - began > plan.time_limit
            if plan.is_evaluated(state.step) or late:
                _evaluate(model, held, state, highest[0])
                keep()
            if late:
                break
    for group, rate in zip(optimizer.param_groups, highest, strict=True):
        group["lr"] = rate
    restore(model, state.best)
    return state


def _step(model: Any, optimizer: Any, batch: Mapping[str, Any], seed: int, state: State) -> float:
    torch.manual_seed(int(np.random.SeedSequence([seed, 4, state.step]).generate_state(1)[0]))
    model.train()
    marks = [time.perf_counter()]
    loss = model(**batch).loss
    marks.append(time.perf_counter())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    marks.append(time.perf_counter())
    optimizer.step()
    marks.append(time.perf_counter())
    for name, one, next_one in zip(
        ("forward", "backward", "optimizer"), marks, marks[1:], strict=False
    ):
        state.seconds[name] += next_one - one
    state.step += 1
    return float(loss.detach())


def _evaluate(model: Any, held: Encoded, state: State, rate: float) -> None:
    """Evaluate, and keep the learnt parameters if the loss is lower than ever."""
    began = time.perf_counter()
    loss = float(np.mean(losses(answers(model, held), held.rows.labels, held.task)))
    if not math.isfinite(loss):
        raise diverged(state.step, rate)
    lowest = state.lowest
    if lowest is None or loss < lowest.loss:
        state.best = {name: one.detach().clone() for name, one in learnt(model).items()}
    state.evaluations.append(Evaluation(state.step, loss))
    state.seconds["evaluation"] += time.perf_counter() - began


def diverged(step: int, rate: float) -> MatrixError:
    """The error for a loss that is not finite."""
    return MatrixError(
        f"The loss is not finite after step {step}, at the learning rate {rate:.3g}.",
        hint=f"Try `learning_rate={rate / 10:.2g}`.",
        code="not-finite",
    )


def answers(model: Any, rows: Encoded) -> Array:
    """The outputs of a model for rows, in their order, of shape (rows, outputs)."""
    model.eval()
    found: Any = None
    with torch.no_grad():
        for places in rows.in_order(EVALUATION_ROWS):
            logits = model(**rows.batch(places)).logits.double().numpy()
            found = np.empty((len(rows), logits.shape[1])) if found is None else found
            found[places] = logits
    return found


def restore(model: Any, values: Mapping[str, Any]) -> None:
    """Put learnt parameters into a model."""
    with torch.no_grad():
        for name, parameter in learnt(model).items():
            if name in values:
                parameter.copy_(values[name])


def fit_head(
    model: Any, head: Sequence[Any], data: Encoded, plan: Plan, rate: float, report: Report
) -> None:
    """Learn the parameters of the head alone, by AdamW, with the factors at their start."""
    optimizer = torch.optim.AdamW(list(head), lr=rate)
    state = State()
    per_epoch = -(-len(data) // plan.batch)
    with torch.random.fork_rng(devices=[]):
        while state.step < plan.steps:
            number, place = divmod(state.step, per_epoch)
            batch = data.batch(data.epoch(number, plan.batch, plan.seed)[place])
            loss = _step(model, optimizer, batch, plan.seed, state)
            if not math.isfinite(loss):
                raise diverged(state.step, rate)
            report(1, loss=loss)
    model.zero_grad(set_to_none=True)
