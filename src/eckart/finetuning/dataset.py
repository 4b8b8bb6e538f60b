"""Rows of texts and labels: read from a table, split, encoded, and put into batches."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import FLOAT64, Array
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files.tables import read_columns, table_head
from eckart.files.text.table import plain

TaskName: TypeAlias = Literal["classification", "regression"]
Places: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
"""Positions of rows."""
TASKS: Final = ("classification", "regression")
MOST_CLASSES: Final = 1000
"""Classes of a classification; a column with more is most likely no label."""
MOST_LISTED: Final = 10
"""Names that a hint lists at most."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt: a class of each text, or a number.

    Fields:
        name: "classification" or "regression".
        labels: The classes in the order of their numbers; () of a regression.
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
    """Texts and their labels: numbers of classes, or the numbers to be learnt."""

    texts: tuple[str, ...]
    labels: Array

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Places) -> "Rows":
        """Some rows."""
        texts = tuple(self.texts[int(place)] for place in places)
        return Rows(texts=texts, labels=self.labels[np.asarray(places, dtype=np.intp)])


def read_rows(path: Path, text: str, label: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the texts and the labels of a table, both as they are written.

    Raises:
        ArgumentError: If the table has no such column.
        FormatError: If a text or a label is missing.
    """
    head = table_head(path, frozenset({plain(text), plain(label)}))
    names = head.names or ()
    for name in (text, label):
        if name not in names:
            raise ArgumentError(
                f"{path} has no column '{name}'.",
                hint=f"It has: {', '.join(names[:MOST_LISTED])}."
                if names
                else "Its first line names no columns.",
                code="no-such-column",
            )
    places = {names.index(text): "text", names.index(label): "text"}
    if len(places) < 2:
        raise ArgumentError(
            "The text and the label are one column.", hint="Name two.", code="no-such-column"
        )
    table = read_columns(path, head, dict.fromkeys(places, "text"))
    found: list[tuple[str, ...]] = []
    for name in (text, label):
        column = table.column(str(names.index(name))).to_pylist()
        for row, cell in enumerate(column):
            is_gap = cell is None or (isinstance(cell, float) and math.isnan(cell))
            if is_gap or not str(cell).strip():
                raise FormatError(
                    f"{path}: row {row + 1} has no {name}.",
                    hint="Fill it in, or leave the row out.",
                    code="missing-value",
                )
        found.append(tuple(map(str, column)))
    return found[0], found[1]


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


@final
class Encoded:
    """Rows as tokens, from which batches for the model are made.

    Args:
        rows: The rows.
        task: The task, which decides the type of the labels.
        tokenizer: The tokenizer of the model.
        inputs: Names of the inputs that the model takes.
        length: Most tokens of a text.

    Fields:
        lengths: Number of tokens of each text.
    """

    def __init__(
        self, rows: Rows, task: Task, tokenizer: Any, inputs: Mapping[str, Any], length: int
    ) -> None:
        self.rows, self.task, self._tokenizer = rows, task, tokenizer
        self._inputs, self.length = inputs, length
        found = tokenizer(list(rows.texts), truncation=True, max_length=length)
        # a tokenizer may give more than the model takes, such as token_type_ids
        self._columns = {name: found[name] for name in found if name in inputs}
        self.lengths = np.array([len(one) for one in found["input_ids"]])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Places) -> "Encoded":
        """Some rows."""
        rows = self.rows.take(places)
        return Encoded(rows, self.task, self._tokenizer, self._inputs, self.length)

    def batch(self, places: Places) -> dict[str, Any]:
        """The inputs of some rows, filled up to the longest of them, and their labels."""
        import torch

        chosen = [int(place) for place in places]
        made = self._tokenizer.pad(
            {name: [column[place] for place in chosen] for name, column in self._columns.items()},
            return_tensors="pt",
        )
        kind = torch.int64 if self.task.name == "classification" else torch.float32
        return {**made, "labels": torch.tensor(self.rows.labels[chosen]).to(kind)}

    def in_order(self, count: int) -> Iterator[npt.NDArray[np.intp]]:
        """Yield places of rows of similar length, which take the fewest tokens, in batches."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), count):
            yield order[start : start + count]

    def epoch(self, number: int, count: int, seed: int) -> list[npt.NDArray[np.int64]]:
        """The batches of an epoch: a permutation that depends on its number and the seed alone."""
        order = np.random.default_rng([seed, 2, number]).permutation(len(self))
        return [order[start : start + count] for start in range(0, len(order), count)]


def constant_loss(train: Rows, held: Rows, task: Task) -> float:
    """The loss of the best answer that does not look at the text: the shares, or the mean."""
    if task.name == "regression":
        return float(np.mean((held.labels - np.mean(train.labels)) ** 2))
    counts = Counter(int(one) for one in train.labels)
    return float(-np.mean([np.log(counts[int(one)] / len(train)) for one in held.labels]))
