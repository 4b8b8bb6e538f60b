"""One fine-tune: the adapted model, its data, how it begins, and how it learns."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.errors import MatrixError
from eckart.finetuning.adapter_start import start_from_adapter
from eckart.finetuning.below import Below, keep_below
from eckart.finetuning.dataset import Rows, Task
from eckart.finetuning.encoded import Encoded, encoded
from eckart.finetuning.memory import Memory, give_back
from eckart.finetuning.metrics import mean_loss
from eckart.finetuning.network import (
    Network,
    adapted,
    layers_of,
    most_tokens,
    open_network,
    ranks_of,
)
from eckart.finetuning.optimizers import RECIPES
from eckart.finetuning.pair_optimizer import PairOptimizer
from eckart.finetuning.pairs import Pair, others, pairs
from eckart.finetuning.passes import check_alone, check_ends, memory_of
from eckart.finetuning.rank_growth import RankGrowth
from eckart.finetuning.rates import SHARE, RateSearch, find_rate, rounds_of
from eckart.finetuning.settings import Settings
from eckart.finetuning.starts import Moved, move_weight, start_
from eckart.finetuning.training import (
    Plan,
    State,
    answers,
    batch_loss,
    digest_of,
    fit_head,
    frozen,
    learnt,
    restore,
    train,
)
from eckart.finetuning.unfinished import Unfinished
from eckart.progress import Watch

HEAD_STEPS: Final = 32
"""Steps in which a drawn head is learnt before the first gradient is taken."""
START_ROWS: Final = 64
"""Rows from which the first gradient is taken."""
SEARCH_ROWS: Final = 256
"""Most rows, of those to learn from, with which trials of learning rates are compared."""


@final
@dataclass(slots=True, kw_only=True)
class Run:
    """A fine-tune that has been set up.

    Fields:
        base: Folder of the model.
        network: The model and its tokenizer.
        model: The adapted model.
        known: Its pairs.
        digest: Digest of W₀.
        task: The task.
        rows: Rows to learn from and to validate with.
        train, held: Tokens of these rows.
        settings: The settings.
        growth: How a budget is spent, if one is given.
        memory: What the run holds at most.
        below: Blocks whose outputs are kept with the rows.
        moved: What the start took from W.
        search: The learning rate and where it comes from.
        state: How far the run is.
        spent: Seconds of what comes before the first step, by name.
        unfinished: Where the run can be gone on from.
        notes: Sentences for the user.
    """

    base: Path
    network: Network
    model: Any
    known: list[Pair]
    digest: str
    task: Task
    rows: tuple[Rows, Rows]
    train: Encoded
    held: Encoded
    settings: Settings
    growth: RankGrowth | None
    memory: Memory
    below: Below | None
    unfinished: Unfinished
    moved: Moved = field(default_factory=dict[str, tuple[Any, Any]])
    search: RateSearch = field(default_factory=lambda: RateSearch(rate=0.0))
    state: State = field(default_factory=State)
    spent: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])

    @staticmethod
    def begun(
        base: Path, target: Path, task: Task, train: Rows, held: Rows, settings: Settings
    ) -> "Run":
        """Load the model, adapt it, encode the rows, and see that the memory will do."""
        began = time.perf_counter()
        network = open_network(base, task, settings.seed)
        inputs = signature(type(network.model).forward).parameters
        length = most_tokens(network, settings.length)
        data, other = (
            encoded(rows, task, network.tokenizer, inputs, length) for rows in (train, held)
        )
        network.check_tokens(data, other)
        check_ends((data, other), network.model)
        layers = layers_of(network, settings.targets)
        shapes = {name: network.shape(name) for name in layers}
        growth, rank = None, settings.rank or 0
        if settings.budget is not None:
            steps = _steps(settings, len(data))
            growth = RankGrowth(budget=settings.budget, steps=steps, seed=settings.seed)
            rank = min(growth.first(shapes), max(map(min, shapes.values())))
        model = adapted(network, ranks_of(shapes, rank), settings.scale, base, task)
        known, digest = pairs(model), digest_of(frozen(model))
        memory = memory_of(model, known, (data, other), settings, base)
        check_alone(model, data, base)
        below = None if settings.dropout else Below.find(model, data)
        if below is not None:
            kept = below.nbytes(data) + below.nbytes(other)
            memory = replace(memory, kept=kept)
        memory.check(settings.batch)
        if below is not None:
            below, data, other = keep_below(model, below, data, other, settings.batch)
        return Run(
            base=base,
            network=network,
            model=model,
            known=known,
            digest=digest,
            task=task,
            rows=(train, held),
            train=data,
            held=other,
            settings=settings,
            growth=growth,
            memory=memory,
            below=below,
            unfinished=Unfinished(
                path=Unfinished.place(target),
                job={
                    **asdict(settings),
                    "targets": layers,
                    "model": digest,
                    "data": _digest(task, data, other),
                },
            ),
            spent={"loading": time.perf_counter() - began},
        )

    @property
    def plan(self) -> Plan:
        """What the run does."""
        return Plan(
            steps=_steps(self.settings, len(self.train)),
            batch=self.settings.batch,
            seed=self.settings.seed,
            patience=self.settings.patience,
            dropout=self.settings.dropout,
            below=self.below,
            growth=() if self.growth is None else self.growth.marks,
            memory=self.memory.between_passes,
        )

    def optimizer(self, rate: float) -> PairOptimizer:
        """The optimiser of the run at a learning rate."""
        kind, _, more = RECIPES[self.settings.optimizer]
        return kind(
            self.known,
            [parameter for _, parameter in others(self.model, self.known)],
            lr=rate,
            rest_lr=self.settings.head_rate,
            weight_decay=self.settings.weight_decay,
            clip=self.settings.clip,
            **more,
        )

    def learn(
        self,
        *,
        resume: bool,
        force: bool,
        time_limit: float | None,
        watch: Watch,
        inputs: Sequence[Path | None],
    ) -> None:
        """Learn from the start, or go on from unfinished work."""
        plan = self.plan
        if self.unfinished.check(resume=resume, force=force, inputs=inputs):
            optimizer = self._gone_on_with()
        else:
            with watch(f"Beginning, with at most {self.memory.most / 1e9:.1f} GB", None):
                self._start(plan, watch)
            self.search = self._rate(plan, watch, time_limit)
            optimizer = self.optimizer(self.search.rate)
        limited = replace(plan, time_limit=time_limit)

        def keep() -> None:
            self.unfinished.save(self, optimizer)

        def grow(step: int) -> dict[str, Any]:
            assert self.growth is not None  # else the plan has no growth
            return self.growth.grow(self.known, optimizer, step)

        keep()  # a run that is stopped before its first evaluation need not search again
        with watch("Learning", plan.steps - self.state.step) as report:
            try:
                train(
                    self.model,
                    optimizer,
                    self.train,
                    self.held,
                    limited,
                    self.state,
                    report=report,
                    keep=keep,
                    grow=grow,
                )
            except KeyboardInterrupt as interrupt:
                kept = self.state.evaluations[-1].step if self.state.evaluations else 0
                raise KeyboardInterrupt(
                    f"Interrupted; {self.unfinished.path} holds the first {kept} steps: "
                    "go on with `resume=True`."
                ) from interrupt

    def release(self) -> None:
        """Give the model up, which the run cannot go on without."""
        self.known = []
        del self.model, self.network, self.below

    def _gone_on_with(self) -> PairOptimizer:
        """Go on from unfinished work, and return its optimiser."""
        own = self.unfinished.load(self)
        weights = {pair.name: pair for pair in self.known}
        for name, (B, A) in self.moved.items():
            move_weight(weights[name], B, A)
        optimizer = self.optimizer(self.search.rate)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": own})
        return optimizer

    def _start(self, plan: Plan, watch: Watch) -> None:
        """Set the factors to their start, after a few steps of the head where it is drawn."""
        began, settings = time.perf_counter(), self.settings
        needs_gradient = settings.start in ("gradient", "whitened")
        start_(self.model, "lora", seed=settings.seed)
        count = settings.head_steps
        if count is None:
            count = HEAD_STEPS if self.network.is_new and needs_gradient else 0
        if count and any(True for _ in others(self.model, self.known)):
            with watch("Learning the head", count) as report:
                short = replace(plan, steps=count, growth=(), patience=None)
                fit_head(self.model, self.known, self.train, short, settings.head_rate, report)
        if settings.adapter is not None:
            taken = start_from_adapter(
                self.model,
                self.known,
                self.network,
                settings.adapter,
                self.task,
                settings.seed,
            )
            self.notes += taken.notes(settings.adapter)
        elif settings.named_start and settings.start != "lora":
            self.moved = start_(
                self.model,
                settings.named_start,
                self._first_batches(),
                loss=lambda model, batch: batch_loss(model, self.train, batch, None),
                seed=settings.seed,
            )
        self.spent["start"] = time.perf_counter() - began

    def _first_batches(self) -> Iterator[Any]:
        """The batches of the first gradient, of rows that the first epoch begins with."""
        places = np.concatenate(self.train.epoch(0, self.settings.batch, self.settings.seed))
        plain = replace(self.train, below=())
        for first in range(0, min(START_ROWS, len(places)), self.settings.batch):
            give_back(self.memory.between_passes)
            yield plain.batch(places[first : first + self.settings.batch])

    def _rate(self, plan: Plan, watch: Watch, time_limit: float | None) -> RateSearch:
        """The learning rate that was given, or that trials find."""
        began, settings = time.perf_counter(), self.settings
        if settings.learning_rate is not None:
            return RateSearch(rate=settings.learning_rate)
        middle = RECIPES[settings.optimizer][1]
        order = np.random.default_rng([settings.seed, 5]).permutation(len(self.train))
        count = min(SEARCH_ROWS, len(order) // 4)
        lengths = rounds_of(plan.steps) if count else []
        if not lengths:
            self.notes.append(
                f"{plan.steps} steps are too few to look for a learning rate: the default, "
                f"{middle:.2g}, was taken, and another may learn far more. Give `learning_rate`, "
                "or more `epochs`."
            )
            return RateSearch(rate=middle)
        data, compared = self.train.take(order[count:]), self.train.take(order[:count])
        begun = {name: one.detach().clone() for name, one in learnt(self.model).items()}

        def trial(rate: float, steps: int) -> float | None:
            restore(self.model, begun)
            short = replace(plan, steps=steps, evaluations=1, patience=None, growth=())
            try:
                with watch(f"Trying the rate {rate:.1e}", steps) as report:
                    ended = train(
                        self.model,
                        self.optimizer(rate),
                        data,
                        compared,
                        short,
                        State(),
                        report=report,
                    )
            except MatrixError:  # the loss is not finite
                return None
            return ended.evaluations[-1].loss

        def is_late() -> bool:
            return time_limit is not None and time.perf_counter() - began > SHARE * time_limit

        found = find_rate(middle, plan.steps, self._loss(compared), trial, is_late)
        restore(self.model, begun)
        self.spent["rate"] = time.perf_counter() - began
        return found

    def _loss(self, rows: Encoded) -> float:
        figures = answers(self.model, rows, self.settings.batch, self.below)
        return mean_loss(figures, rows.labels, self.task)[0]


def _steps(settings: Settings, rows: int) -> int:
    """The number of steps of a run."""
    return max(1, int(np.ceil(settings.epochs * -(-rows // settings.batch))))


def _digest(task: Task, *parts: Encoded) -> str:
    digest = hashlib.sha256(repr(task).encode())
    for rows in parts:
        digest.update(repr((rows.columns, rows.labels.tolist(), rows.learnt)).encode())
    return digest.hexdigest()
