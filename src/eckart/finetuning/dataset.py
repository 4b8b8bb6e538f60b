"""Rows of texts and labels: read from a table, and split."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final, get_args

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT64, Array
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files.tables import read_columns, table_head
from eckart.files.text.table import plain

TaskName: TypeAlias = Literal["classification", "regression", "language"]
Places: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
"""Positions of rows."""
TASKS: Final[tuple[TaskName, ...]] = get_args(TaskName)
MOST_CLASSES: Final = 1000
"""Classes of a classification; a column with more is most likely no label."""
MOST_LISTED: Final = 10
"""Names that a hint lists at most."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt: a class of each text, a number, or the texts themselves.

    Fields:
        name: "classification", "regression" or "language".
        labels: The classes in the order of their numbers; () without classes.
    """

    name: TaskName
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """The number of outputs of the head."""
        return len(self.labels) or 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Texts, and what is learnt of them.

    Fields:
        texts: The texts; of a language what follows the prompts, if there are any.
        labels: Numbers of classes, or the numbers to be learnt; zeros of a language.
        prompts: Texts that are read and not learnt, one for each text, or ().
        is_running: Whether the texts are parts of one text, which is cut into pieces of one length.
    """

    texts: tuple[str, ...]
    labels: Array
    prompts: tuple[str, ...] = ()
    is_running: bool = False

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Places) -> "Rows":
        """Some rows."""
        return Rows(
            texts=tuple(self.texts[int(place)] for place in places),
            labels=self.labels[np.asarray(places, dtype=np.intp)],
            prompts=tuple(self.prompts[int(place)] for place in places if self.prompts),
            is_running=self.is_running,
        )


def read_columns_of_text(path: Path, *names: str) -> list[tuple[str, ...]]:
    """Read some columns of a table as they are written.

    Raises:
        ArgumentError: If the table has no such column, or two of the names are one.
        FormatError: If a cell is missing.
    """
    head = table_head(path, frozenset(map(plain, names)))
    known = head.names or ()
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"{path} has no column '{name}'.",
                hint=f"It has: {', '.join(known[:MOST_LISTED])}."
                if known
                else "Its first line names no columns.",
                code="no-such-column",
            )
    places = {known.index(name): name for name in names}
    if len(places) < len(names):
        raise ArgumentError(
            "The text and the label are one column.", hint="Name two.", code="no-such-column"
        )
    table = read_columns(path, head, dict.fromkeys(places, "text"))
    return [
        tuple(_filled(table.column(str(place)).to_pylist(), path, name))
        for place, name in places.items()
    ]


def _filled(cells: Sequence[Any], path: Path, name: str) -> Iterator[str]:
    for row, cell in enumerate(cells):
        is_gap = cell is None or (isinstance(cell, float) and math.isnan(cell))
        if is_gap or not str(cell).strip():
            raise FormatError(
                f"{path}: row {row + 1} has no {name}.",
                hint="Fill it in, or leave the row out.",
                code="missing-value",
            )
        if isinstance(cell, list | dict | tuple):
            raise FormatError(
                f"{path}: the {name} of row {row + 1} is a list or an object: {cell!r:.60}.",
                hint="Give texts and numbers; a conversation has to be written out as a text.",
                code="no-text",
            )
        yield str(cell)


def task_of(labels: Sequence[str], name: TaskName | None) -> Task:
    """The task that labels are for: a regression if they are numbers, not all of them whole.

    Args:
        labels: The labels as they are written.
        name: The task if it is known.

    Raises:
        FormatError: If there is one class only, or more than a thousand.
    """
    numbers = _numbers(labels)
    if name is None:
        is_measured = numbers is not None and not np.array_equal(numbers, np.rint(numbers))
        name = "regression" if is_measured else "classification"
    if name == "regression":
        if numbers is None:
            raise FormatError(
                "The labels are no numbers.", hint="Learn them as classes.", code="not-numbers"
            )
        if np.ptp(numbers) == 0:
            raise FormatError(
                "All labels are one number.", hint="Give labels that differ.", code="one-class"
            )
        return Task(name="regression")
    classes = tuple(
        sorted(set(labels), key=lambda one: (len(one), one) if numbers is not None else (0, one))
    )
    if len(classes) < 2:
        raise FormatError(
            f"All labels are '{labels[0]}'.", hint="Give rows of another class.", code="one-class"
        )
    if len(classes) > MOST_CLASSES:
        raise FormatError(
            f"There are {len(classes)} classes in {len(labels)} rows.",
            hint="Name the column of the labels.",
            code="too-many-classes",
        )
    return Task(name="classification", labels=classes)


def labelled(texts: Sequence[str], labels: Sequence[str], task: Task, where: object) -> Rows:
    """Rows with the labels as numbers.

    Raises:
        FormatError: If a label is none of the task.
    """
    if task.name == "regression":
        numbers = _numbers(labels)
        if numbers is None:
            raise FormatError(
                f"A label of {where} is no number.", hint="Correct it.", code="not-numbers"
            )
        return Rows(texts=tuple(texts), labels=numbers)
    place = {name: number for number, name in enumerate(task.labels)}
    new = [label for label in labels if label not in place]
    if new:
        raise FormatError(
            f"{where} has the label '{new[0]}', which no row to learn from has.",
            hint="Add rows with it, or leave its rows out.",
            code="new-label",
        )
    return Rows(texts=tuple(texts), labels=np.array([place[label] for label in labels], FLOAT64))


def _numbers(labels: Sequence[str]) -> Array | None:
    try:
        found = np.array([float(label) for label in labels], FLOAT64)
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def split(rows: Rows, task: Task, share: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to validate with; of each class the same share.

    Raises:
        MatrixError: If there are too few rows for both.
    """
    generator = np.random.default_rng([seed, 1])
    kinds = rows.labels if task.name == "classification" else np.zeros(len(rows))
    held = np.zeros(len(rows), bool)
    for kind in np.unique(kinds):
        places = generator.permutation(np.flatnonzero(kinds == kind))
        # a class of one row is learnt from
        held[places[: min(round(share * len(places)), len(places) - 1)]] = True
    if not held.any() or held.all():
        raise MatrixError(
            f"{len(rows)} rows are too few to hold {share:.0%} of each class back.",
            hint="Give more rows, or others to validate with.",
            code="too-few-rows",
        )
    return rows.take(np.flatnonzero(~held)), rows.take(np.flatnonzero(held))


def constant_loss(train: Rows, held: Rows, task: Task) -> float:
    """The loss of the best answer that does not look at the text: the shares, or the mean."""
    if task.name == "regression":
        return float(np.mean((held.labels - np.mean(train.labels)) ** 2))
    counts = Counter(int(one) for one in train.labels)
    return float(-np.mean([np.log(counts[int(one)] / len(train)) for one in held.labels]))
