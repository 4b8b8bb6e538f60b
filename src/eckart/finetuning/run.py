"""One fine-tune: the adapted model, its data, how it begins, and how the adapter is proven."""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from eckart.arrays import FLOAT64, Array
from eckart.checkpoints.running_builder import alone
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.finetuning.dataset import Encoded, Rows, Task, constant_loss
from eckart.finetuning.metrics import losses, measured
from eckart.finetuning.network import (
    Network,
    adapted,
    digest_of,
    frozen,
    layers_of,
    open_network,
)
from eckart.finetuning.optimizers import RECIPES
from eckart.finetuning.pair_optimizer import PairOptimizer
from eckart.finetuning.pairs import Pair, others, pairs
from eckart.finetuning.rates import RateSearch, find_rate, rounds_of
from eckart.finetuning.result import FineTuning, Layer
from eckart.finetuning.settings import Settings
from eckart.finetuning.starts import start_
from eckart.finetuning.training import Plan, State, answers, fit_head, learnt, restore, train
from eckart.finetuning.unfinished import Unfinished
from eckart.progress import Watch

HEAD_STEPS: Final = 32
"""Steps in which a drawn head is learnt before the first gradient is taken."""
START_ROWS: Final = 64
"""Rows from which the first gradient is taken."""
PROOF_ROWS: Final = 64
"""Rows held back with which the adapter that was written is tried."""
PROOF: Final = 1e-5
"""Largest difference of an output of the adapter loaded again, relative to the largest output."""
SINGLE_ROWS: Final = 8
"""Of these rows, those that are also tried one by one, where a model takes no batches."""
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
        train, held: Rows to learn from and to validate with.
        settings: The settings.
        search: The learning rate and where it comes from.
        state: How far the run is.
        spent: Seconds of what comes before the first step, by name.
        unfinished: Where the run can be gone on from.
    """

    base: Path
    network: Network
    model: Any
    known: list[Pair]
    digest: str
    task: Task
    train: Encoded
    held: Encoded
    settings: Settings
    unfinished: Unfinished
    search: RateSearch = field(default_factory=lambda: RateSearch(rate=0.0))
    state: State = field(default_factory=State)
    spent: dict[str, float] = field(default_factory=dict[str, float])

    @staticmethod
    def begun(
        base: Path, target: Path, task: Task, train: Rows, held: Rows, settings: Settings
    ) -> "Run":
        """Load the model, adapt it, and encode the rows."""
        began = time.perf_counter()
        network = open_network(base, task, settings.seed)
        layers = layers_of(network, settings.targets)
        model = adapted(network, layers, settings.rank, settings.alpha, base)
        inputs = signature(type(network.model).forward).parameters
        length = min(settings.length, _positions(network))
        data, other = (
            Encoded(rows, task, network.tokenizer, inputs, length) for rows in (train, held)
        )
        digest = digest_of(frozen(model))
        rows = hashlib.sha256(repr((train.texts, train.labels.tolist())).encode())
        rows.update(repr((held.texts, held.labels.tolist())).encode())
        return Run(
            base=base,
            network=network,
            model=model,
            known=pairs(model),
            digest=digest,
            task=task,
            train=data,
            held=other,
            settings=settings,
            unfinished=Unfinished(
                path=Unfinished.place(target),
                job={
                    **asdict(settings),
                    "targets": layers,
                    "model": digest,
                    "data": rows.hexdigest(),
                },
            ),
            spent={"loading": time.perf_counter() - began},
        )

    @property
    def plan(self) -> Plan:
        """What the run does."""
        per_epoch = -(-len(self.train) // self.settings.batch)
        return Plan(
            steps=max(1, math.ceil(self.settings.epochs * per_epoch)),
            batch=self.settings.batch,
            seed=self.settings.seed,
            patience=self.settings.patience,
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
        inputs: list[Path | None],
    ) -> None:
        """Learn from the start, or go on from unfinished work."""
        plan = self.plan
        if self.unfinished.check(resume=resume, force=force, inputs=inputs):
            self.state, rate, own = self.unfinished.load(self.model)
            self.search = RateSearch(rate=rate)
            optimizer = self.optimizer(rate)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": own})
        else:
            self._start(plan, watch)
            self.search = self._rate(plan, watch)
            optimizer = self.optimizer(self.search.rate)
        limited = replace(plan, time_limit=time_limit)

        def keep() -> None:
            self.unfinished.save(self.model, optimizer, self.state, self.search.rate)

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
                )
            except KeyboardInterrupt as interrupt:
                kept = self.state.evaluations[-1].step if self.state.evaluations else 0
                raise KeyboardInterrupt(
                    f"Interrupted; {self.unfinished.path} holds the first {kept} steps: "
                    "go on with `resume=True`."
                ) from interrupt

    def _start(self, plan: Plan, watch: Watch) -> None:
        """Set the factors to their start, after a few steps of the head where it is drawn."""
        began, settings = time.perf_counter(), self.settings
        start_(self.model, "lora", seed=settings.seed)
        count = settings.head_steps
        if count is None:
            count = HEAD_STEPS if self.network.is_new and settings.start != "lora" else 0
        rest = [parameter for _, parameter in others(self.model, self.known)]
        if count and rest:
            with watch("Learning the head", count) as report:
                head_plan = Plan(steps=count, batch=plan.batch, seed=plan.seed)
                fit_head(self.model, rest, self.train, head_plan, settings.head_rate, report)
        if settings.start != "lora":
            start_(self.model, settings.start, self._first_batches(), seed=settings.seed)
        self.spent["start"] = time.perf_counter() - began

    def _first_batches(self) -> Iterator[Any]:
        """The batches of the first gradient, of rows that the first epoch begins with."""
        places = np.concatenate(self.train.epoch(0, self.settings.batch, self.settings.seed))
        for first in range(0, min(START_ROWS, len(places)), self.settings.batch):
            yield self.train.batch(places[first : first + self.settings.batch])

    def _rate(self, plan: Plan, watch: Watch) -> RateSearch:
        """The learning rate that was given, or that trials find."""
        began, settings = time.perf_counter(), self.settings
        if settings.learning_rate is not None:
            return RateSearch(rate=settings.learning_rate)
        middle = RECIPES[settings.optimizer][1]
        order = np.random.default_rng([settings.seed, 5]).permutation(len(self.train))
        count = min(SEARCH_ROWS, len(order) // 4)
        lengths = rounds_of(plan.steps) if count else []
        if not lengths:
            return RateSearch(rate=middle)
        data, compared = self.train.take(order[count:]), self.train.take(order[:count])
        begun = {name: one.detach().clone() for name, one in learnt(self.model).items()}

        def trial(rate: float, steps: int) -> float | None:
            restore(self.model, begun)
            short = Plan(steps=steps, batch=plan.batch, seed=plan.seed, evaluations=1)
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

        first = float(
            np.mean(losses(answers(self.model, compared), compared.rows.labels, self.task))
        )
        found = find_rate(middle, plan.steps, first, trial)
        restore(self.model, begun)
        self.spent["rate"] = time.perf_counter() - began
        return found

    def write(self, place: Path, target: Path, command: str, began: float) -> FineTuning:
        """Write the adapter, prove it, and return the result.

        Raises:
            FormatError: If W₀ was changed, or the adapter gives other outputs when it is loaded
                again.
        """
        logits = answers(self.model, self.held)
        if digest_of(frozen(self.model)) != self.digest:
            raise FormatError(
                "The weights of the base were changed while it was fine-tuned.",
                hint="Report this fault.",
                code="base-changed",
            )
        write_peft(self.model, place)
        difference = self._difference(place, logits)
        if not difference <= PROOF:  # true for NaN too
            raise FormatError(
                f"The adapter, loaded again, gives outputs that differ by {difference:.1e}.",
                hint="Report this fault, with the type of the model.",
                code="not-reproduced",
            )
        lowest = self.state.lowest
        assert lowest is not None
        return FineTuning(
            base=str(self.base),
            folder=str(target),
            task=self.task.name,
            labels=self.task.labels,
            rows=(len(self.train), len(self.held)),
            settings={**asdict(self.settings), "learning_rate": self.search.rate},
            search=self.search.to_dict(),
            run=self.state.to_dict(),
            chosen_step=lowest.step,
            metrics=measured(logits, self.held.rows.labels, self.task, self.settings.seed),
            constant_loss=constant_loss(self.train.rows, self.held.rows, self.task),
            layers=tuple(layer_of(pair) for pair in self.known),
            head=self.network.head,
            groups=tuple(self._groups()),
            base_digest=self.digest,
            reload_difference=difference,
            spent=self.spent,
            seconds=time.perf_counter() - began,
            command=command,
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        """Sentences on texts that were cut, and on a token that whoever uses the adapter needs."""
        cut = sum(int((one.lengths >= one.length).sum()) for one in (self.train, self.held))
        if cut:
            yield f"{cut} texts are {self.train.length} tokens long or longer, and were cut there."
        if self.network.had_no_filler:
            filler = self.network.tokenizer.pad_token_id
            yield (
                "The model names no token that fills texts up: set config.pad_token_id to "
                f"{filler} before it is given several texts at once."
            )

    def _difference(self, folder: Path, logits: Array) -> float:
        """The largest difference of outputs of the adapter, loaded into the base anew.

        The base draws what its folder lacks from another seed, so that what the adapter does not
        hold shows. A model without a token that fills texts up is also tried as it is, on one text
        at a time.
        """
        from peft import PeftModel

        fresh = open_network(self.base, self.task, self.settings.seed + 1)
        with alone():
            again = PeftModel.from_pretrained(fresh.model, folder)
        few = self.held.take(np.arange(min(PROOF_ROWS, len(self.held))))
        found = [answers(again, few)]
        if fresh.had_no_filler:
            config = fresh.model.config
            config.get_text_config().pad_token_id = config.pad_token_id = None
            single = [self.held.take([place]) for place in range(min(SINGLE_ROWS, len(few)))]
            found.append(np.concatenate([answers(again, one) for one in single]))
        largest = float(np.abs(logits).max()) or 1.0
        return max(float(np.abs(one - logits[: len(one)]).max()) / largest for one in found)

    def _groups(self) -> Iterator[dict[str, Any]]:
        """What the optimiser moves, with names, rates and decay."""
        names = [name for name, _ in others(self.model, self.known)]
        for group in self.optimizer(self.search.rate).param_groups:
            kept = ("name", "lr", "weight_decay", "ratio", "damping", "momentum")
            yield {
                **{key: group[key] for key in kept if key in group},
                "names": [] if group["name"] else names,
                "numbers": sum(one.numel() for one in group["params"]),
            }


def _positions(network: Network) -> int:
    """The most tokens that the model has positions for."""
    config = network.model.config.get_text_config()
    places = (getattr(config, "max_position_embeddings", None), network.tokenizer.model_max_length)
    most = min((one for one in places if isinstance(one, int) and one > 0), default=2**31)
    special = network.tokenizer.num_special_tokens_to_add()
    # RoBERTa counts positions from behind its padding token
    offset = (config.pad_token_id or 0) + 1 if config.model_type in OFFSET else 0
    if most - offset <= special:
        raise ArgumentError(
            f"The model takes {most} tokens.", hint="Give another model.", code="too-short"
        )
    return most - offset


OFFSET: Final = frozenset({"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "mpnet"})
"""`model_type` of models whose positions begin behind the number of their padding token."""


def write_peft(model: Any, folder: Path) -> None:
    """Write an adapter in the format of PEFT, with the same bytes whatever the hashes of names."""
    # "auto" would ask a hub whether the vocabulary has changed
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    path = folder / "adapter_config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "modules_to_save"):
        if isinstance(document.get(name), list):
            document[name] = sorted(document[name])
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)


def layer_of(pair: Pair) -> Layer:
    """The figures of what a pair has learnt."""
    with torch.no_grad():
        # the triangles of thin factors have the singular values of the product
        left, right = (torch.linalg.qr(one.double())[1] for one in (pair.B, pair.A.mT))
        sigma = torch.linalg.svdvals(pair.scale * left @ right.mT).numpy()
        weight = float(pair.module.get_base_layer().weight.double().norm())
    total = float(np.square(sigma.astype(FLOAT64)).sum())
    return Layer(
        name=pair.name.removeprefix("base_model.model."),
        shape=(int(pair.B.shape[0]), int(pair.A.shape[1])),
        rank=pair.rank,
        norm=math.sqrt(total),
        relative_change=math.sqrt(total) / weight if weight else 0.0,
        stable_rank=total / float(sigma[0]) ** 2 if sigma[0] else 0.0,
        singular_values=tuple(float(one) for one in sigma),
    )
