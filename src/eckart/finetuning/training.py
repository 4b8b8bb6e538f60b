"""The loop of a fine-tune: steps, evaluations, and the best state."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, final

import numpy as np
import torch

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.finetuning.below import Below, outputs
from eckart.finetuning.dataset import Places
from eckart.finetuning.encoded import Encoded
from eckart.finetuning.memory import give_back
from eckart.finetuning.metrics import mean_loss
from eckart.finetuning.pairs import Pair
from eckart.progress import Report

WARM_UP: Final = 0.1
"""Share of the steps in which the rate rises from 0."""


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
        dropout: Whether the dropout of the model is on in a step.
        below: Blocks that are left out of passes over rows for which their outputs are kept.
        growth: Steps after which ranks grow.
        memory: Bytes that the process may hold between two steps; see `give_back`.
    """

    steps: int
    batch: int
    seed: int
    evaluations: int = 6
    patience: int | None = None
    time_limit: float | None = None
    dropout: bool = True
    below: Below | None = None
    growth: tuple[int, ...] = ()
    memory: float = math.inf

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
        growth: What `RankGrowth` did, in the order of the steps.
        seconds: Seconds by what they were spent on.
    """

    step: int = 0
    history: list[StepRecord] = field(default_factory=list[StepRecord])
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    best: dict[str, Any] = field(default_factory=dict[str, Any])
    growth: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
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
            "growth": list(self.growth),
            "seconds": dict(self.seconds),
        }


def learnt(model: Any) -> dict[str, Any]:
    """The parameters that are learnt, by name."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def digest_of(tensors: Iterable[tuple[str, Any]]) -> str:
    """The SHA-256 of names and bytes of tensors, which tells whether one of them was changed."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def frozen(model: Any) -> list[tuple[str, Any]]:
    """The parameters of an adapted model that are not learnt, which is W₀, by name.

    PEFT also keeps the head as it was before it was learnt, which may have been drawn.
    """
    return [
        (name, one)
        for name, one in model.named_parameters()
        if not one.requires_grad and ".original_module." not in name
    ]


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
    grow: Callable[[int], dict[str, Any]] | None = None,
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
        keep: Called after each evaluation and each growth, to save the state.
        grow: Called with the step at each growth of the ranks; it says what it did.

    Raises:
        MatrixError: If a loss is not finite; the message has a rate to try.
    """
    began = time.perf_counter() - sum(state.seconds.values())
    highest = [group["lr"] for group in optimizer.param_groups]
    per_epoch = -(-len(data) // plan.batch)
    with torch.random.fork_rng(devices=[]):
        while not state.is_done(plan):
            number, place = divmod(state.step, per_epoch)
            places = data.epoch(number, plan.batch, plan.seed)[place]
            share = plan.share(state.step)
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * share
            loss = _step(model, optimizer, data, places, plan, state, highest[0])
            state.history.append(StepRecord(state.step, loss, share))
            report(1, loss=loss, said=f"rate {highest[0] * share:.1e}")
            late = plan.time_limit is not None and time.perf_counter() - began > plan.time_limit
            is_evaluated = plan.is_evaluated(state.step) or late
            if is_evaluated:
                _evaluate(model, held, plan, state, highest[0])
            grows = grow is not None and state.step in plan.growth
            if grow is not None and grows:
                state.growth.append(grow(state.step))
            if is_evaluated or grows:
                keep()
            if late:
                break
    for group, rate in zip(optimizer.param_groups, highest, strict=True):
        group["lr"] = rate
    restore(model, state.best)
    return state


def _step(
    model: Any,
    optimizer: Any,
    data: Encoded,
    places: Places,
    plan: Plan,
    state: State,
    rate: float,
) -> float:
    """Take a step, and return the loss before it; the error of an endless one names the rate."""
    give_back(plan.memory)
    drawn = np.random.SeedSequence([plan.seed, 4, state.step]).generate_state(1)
    torch.manual_seed(int(drawn[0]))
    # in evaluation mode nothing is dropped, and gradients are as in the other
    model.train(plan.dropout)
    marks = [time.perf_counter()]
    loss = batch_loss(model, data, data.batch(places), plan.below)
    found = float(loss.detach())
    if not math.isfinite(found):
        raise diverged(state.step, rate)
    marks.append(time.perf_counter())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    marks.append(time.perf_counter())
    try:
        optimizer.step()
    # numbers that are not finite have no singular values
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage] it is public
        raise diverged(state.step + 1, rate) from error
    marks.append(time.perf_counter())
    for name, one, next_one in zip(
        ("forward", "backward", "optimizer"), marks, marks[1:], strict=False
    ):
        state.seconds[name] += next_one - one
    state.step += 1
    return found


def batch_loss(model: Any, data: Encoded, batch: Mapping[str, Any], below: Below | None) -> Any:
    """The mean loss of a batch."""
    inputs = {name: one for name, one in batch.items() if name != "labels"}
    return data.loss(outputs(model, inputs, below).logits, batch["labels"])


def _evaluate(model: Any, held: Encoded, plan: Plan, state: State, rate: float) -> None:
    """Evaluate, and keep the learnt parameters if the loss is lower than ever."""
    began = time.perf_counter()
    loss, _ = mean_loss(answers(model, held, plan.batch, plan.below), held.labels, held.task)
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
        f"The loss is not finite after {step} steps, at the learning rate {rate:.3g}.",
        hint=f"Try `learning_rate={rate / 10:.2g}`.",
        code="not-finite",
    )


def answers(model: Any, rows: Encoded, batch: int, below: Below | None = None) -> Array:
    """What is kept of the outputs of a model for rows, in their order; see `Encoded.figures`.

    Args:
        model: The model.
        rows: The rows.
        batch: Rows of a step.
        below: Blocks that are left out, if their outputs are kept with the rows.
    """
    model.eval()
    found: Any = None
    with torch.no_grad():
        for places in rows.in_order(rows.together(batch)):
            own = rows.batch(places)
            labels = own.pop("labels")
            figures = rows.figures(outputs(model, own, below).logits, labels)
            found = np.empty((len(rows), figures.shape[1])) if found is None else found
            found[places] = figures
    return found


def restore(model: Any, values: Mapping[str, Any]) -> None:
    """Put learnt parameters into a model, of other ranks than its own as well."""
    for name, parameter in learnt(model).items():
        if name in values:
            # the parameter itself stays, since the optimiser and the pairs know it
            parameter.grad = None
            parameter.data = values[name].clone()


def fit_head(
    model: Any, known: Sequence[Pair], data: Encoded, plan: Plan, rate: float, report: Report
) -> None:
    """Learn what belongs to no pair alone, by AdamW, with the factors at their start."""
    factors = [one for pair in known for one in (pair.B, pair.A)]
    for one in factors:
        one.requires_grad_(False)  # so that nothing below the head needs a backward pass
    try:
        optimizer = torch.optim.AdamW(learnt(model).values(), lr=rate)
        state = State()
        per_epoch = -(-len(data) // plan.batch)
        with torch.random.fork_rng(devices=[]):
            while state.step < plan.steps:
                number, place = divmod(state.step, per_epoch)
                places = data.epoch(number, plan.batch, plan.seed)[place]
                loss = _step(model, optimizer, data, places, plan, state, rate)
                report(1, loss=loss)
    finally:
        for one in factors:
            one.requires_grad_(True)
    model.zero_grad(set_to_none=True)
