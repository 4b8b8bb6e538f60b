"""The settings of a fine-tune."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, final, get_args

from eckart.arguments import check_number, check_whole, is_one_of
from eckart.errors import ArgumentError
from eckart.finetuning.dataset import TASKS, TaskName

OptimizerName: TypeAlias = Literal["adamw", "lora+", "scaled", "rite", "muon"]
OPTIMIZERS: Final[tuple[OptimizerName, ...]] = get_args(OptimizerName)
StartName: TypeAlias = Literal["lora", "gradient", "whitened", "pissa"]
START_NAMES: Final[tuple[StartName, ...]] = get_args(StartName)
DEFAULT_RANK: Final = 8
MOST_EPOCHS: Final = 10**6
MOST_SEEDS: Final = 2**63
"""PyTorch takes seeds up to twice this number."""
SCALE: Final = 2.0
"""s of a run that is given no α."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a fine-tune; each is an argument of `finetune`."""

    text: str
    label: str
    task: TaskName | None
    rank: int | None
    budget: int | None
    alpha: float | None
    targets: tuple[str, ...]
    start: str
    head_steps: int | None
    optimizer: OptimizerName
    learning_rate: float | None
    head_rate: float
    weight_decay: float
    clip: float | None
    epochs: float
    batch: int
    length: int
    dropout: bool
    share: float
    patience: int | None
    seed: int

    @property
    def named_start(self) -> StartName | None:
        """The start, unless it is the folder of an adapter."""
        return next((one for one in START_NAMES if one == self.start), None)

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter to start from, if one is."""
        return None if self.named_start else Path(self.start)

    @property
    def scale(self) -> float:
        """S = α / rank."""
        if self.alpha is None or self.rank is None:
            return SCALE
        return self.alpha / self.rank

    def __post_init__(self) -> None:
        for name in ("text", "label"):
            column: object = getattr(self, name)
            if not isinstance(column, str):
                raise ArgumentError(
                    f"`{name}` is {column!r:.100}.",
                    hint="Give the name of a column.",
                    code="no-such-column",
                )
        for name, known in (("optimizer", OPTIMIZERS), ("task", TASKS)):
            chosen: object = getattr(self, name)
            is_open = chosen is None and name == "task"
            if not is_open and not is_one_of(chosen, known):
                raise ArgumentError(
                    f"There is no {name} '{chosen}'.",
                    hint=f"Give {', '.join(known)}.",
                    code=f"no-such-{name}",
                )
        for name in ("rank", "batch", "length", "patience", "seed"):
            number = getattr(self, name)
            least = 0 if name == "seed" else 1
            if number is not None and check_whole(name, number) < least:
                raise bad_number(name, number, f"a whole number from {least}")
        self._check_numbers()
        self._check_choices()

    def _check_choices(self) -> None:
        adapter = self.adapter
        if adapter is not None and not (self.start and adapter.is_dir()):
            raise ArgumentError(
                f"There is no start '{self.start}'.",
                hint=f"Give {', '.join(START_NAMES)}, or the folder of an adapter.",
                code="no-such-start",
            )
        if self.budget is not None and (self.rank is not None or self.alpha is not None):
            raise ArgumentError(
                "Both `budget` and `rank` or `alpha` are given.",
                hint="Give `budget` alone; s = α / rank is 2 then.",
                code="rank-chosen-twice",
            )

    def _check_numbers(self) -> None:
        for name in ("alpha", "learning_rate", "head_rate", "clip", "epochs"):
            number = getattr(self, name)
            if number is not None and not 0 < check_number(name, number) < math.inf:
                raise bad_number(name, number, "a number above 0")
        if check_number("epochs", self.epochs) > MOST_EPOCHS:
            raise bad_number("epochs", self.epochs, f"at most {MOST_EPOCHS}")
        if check_whole("seed", self.seed) >= MOST_SEEDS:
            raise bad_number("seed", self.seed, "a smaller one")
        if not 0 <= check_number("weight_decay", self.weight_decay) < math.inf:
            raise bad_number("weight_decay", self.weight_decay, "a number from 0")
        if not 0 < check_number("share", self.share) < 1:
            raise bad_number("share", self.share, "a number between 0 and 1")
        if self.head_steps is not None and check_whole("head_steps", self.head_steps) < 0:
            raise bad_number("head_steps", self.head_steps, "a whole number from 0")


def bad_number(name: str, number: object, wanted: str) -> ArgumentError:
    """The error for a number that is out of its range."""
    return ArgumentError(f"`{name}` is {number}.", hint=f"Give {wanted}.", code="bad-number")
