"""How good answers are: figures of a task with their standard errors."""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from eckart.arrays import FLOAT64, Array
from eckart.finetuning.dataset import Task

Metrics: TypeAlias = dict[str, tuple[float, float]]
"""Values and standard errors by name."""
NAMES: Final = {
    "loss": "loss",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
    "spearman": "Spearman correlation",
    "perplexity": "perplexity",
}
"""Titles of the figures."""
LARGEST: Final = 700.0
"""A loss whose exponential is still a number."""
RESAMPLES: Final = 200
"""Resamples of the rows from which the standard error of a figure of all rows is found."""


def losses(logits: Array, labels: Array, task: Task) -> Array:
    """The loss of each row: cross-entropy in nats, or the squared error."""
    if task.name == "regression":
        return np.square(logits[:, 0] - labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels.astype(np.intp)]
    return np.log(np.exp(shifted).sum(axis=1)) - chosen


def mean_loss(figures: Array, labels: Array, task: Task) -> tuple[float, float]:
    """The mean loss over rows, of a language over all tokens, with its standard error.

    Args:
        figures: What `Encoded.figures` keeps of each row.
        labels: Numbers of the classes, or the numbers to be learnt.
        task: The task.
    """
    if task.name != "language":
        return _mean(losses(figures.astype(FLOAT64), labels, task))
    sums, counts = figures.T
    mean = float(sums.sum() / counts.sum())
    # the rows are drawn, not their tokens: the error of a ratio (Cochran 1977, equation 6.13)
    spread = _mean(sums - mean * counts)[1] * len(sums)
    return mean, spread / float(counts.sum())


def measured(figures: Array, labels: Array, task: Task, seed: int) -> Metrics:
    """The figures of a task over some rows.

    Args:
        figures: What `Encoded.figures` keeps of each row.
        labels: Numbers of the classes, or the numbers to be learnt.
        task: The task.
        seed: Seed of the resamples.

    Returns:
        The loss; accuracy, macro F1 and the correlation of Matthews (MCC) of a classification;
        Spearman's correlation of a regression; the perplexity, the exponential of the loss, of a
        language, unless it is beyond all numbers. The standard error of a mean is that of its rows,
        that of the perplexity follows from that of the loss, and the others are found by resampling
        the rows.
    """
    found: Metrics = {"loss": mean_loss(figures, labels, task)}
    if task.name == "language":
        mean, error = found["loss"]
        if mean < LARGEST:
            found["perplexity"] = math.exp(mean), math.exp(mean) * error
    elif task.name == "regression":
        found["spearman"] = _resampled(_spearman, figures[:, 0], labels, seed)
    else:
        answers = np.argmax(figures, axis=1)
        found["accuracy"] = _mean((answers == labels).astype(FLOAT64))
        for name, figure in (("macro_f1", macro_f1), ("mcc", matthews)):
            found[name] = _resampled(figure, answers, labels, seed)
    return found


def _mean(values: Array) -> tuple[float, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread / len(values) ** 0.5


def _resampled(
    figure: Callable[[Array, Array], float], answers: Array, labels: Array, seed: int
) -> tuple[float, float]:
    generator = np.random.default_rng([seed, 3])
    count = len(labels)
    drawn = [generator.integers(0, count, count) for _ in range(RESAMPLES)]
    values = [figure(answers[places], labels[places]) for places in drawn]
    return figure(answers, labels), float(np.std(values, ddof=1))


def confusion(answers: Array, labels: Array) -> npt.NDArray[np.intp]:
    """Rows of each class (down) that were answered by each class (across)."""
    classes = int(max(answers.max(), labels.max())) + 1
    return np.bincount(labels.astype(int) * classes + answers, minlength=classes**2).reshape(
        classes, classes
    )


def macro_f1(answers: Array, labels: Array) -> float:
    """The mean of F1 over the classes that occur, as answers or as labels.

    Example:
        >>> macro_f1(np.array([0, 1, 1]), np.array([0, 1, 0]))
        0.6666666666666666
    """
    table = confusion(answers, labels).astype(FLOAT64)
    both = table.sum(axis=0) + table.sum(axis=1)
    there = both > 0
    return float(np.mean(2 * np.diag(table)[there] / both[there]))


def matthews(answers: Array, labels: Array) -> float:
    """The correlation of Matthews for any number of classes; 0 if there is one class only.

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), equation 8.

    Example:
        >>> matthews(np.array([0, 1, 1, 0]), np.array([0, 1, 1, 0]))
        1.0
    """
    table = confusion(answers, labels).astype(FLOAT64)
    count, right = table.sum(), np.trace(table)
    asked, given = table.sum(axis=1), table.sum(axis=0)
    size = np.sqrt((count**2 - given @ given) * (count**2 - asked @ asked))
    return float((right * count - asked @ given) / size) if size else 0.0


def _spearman(answers: Array, labels: Array) -> float:
    # the correlation of a constant is not defined
    if np.ptp(answers) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(spearmanr(answers, labels).statistic)
