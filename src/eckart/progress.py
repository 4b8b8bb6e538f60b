"""Progress: how a job says how far it is, and how something else shows that."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias


class Report(Protocol):
    """A function that a job calls while a part of its work is under way."""

    def __call__(self, advance: int, /, *, loss: float | None = None, said: str = "") -> None:
        """Say that more is done.

        Args:
            advance: How much more is done, in the unit of the total: steps, entries, texts, users.
            loss: The loss, or another figure that should fall, if there is one.
            said: A few words about what was done, such as the name of a tensor.
        """


Watch: TypeAlias = Callable[[str, int | None], AbstractContextManager[Report]]
"""A function of the name of a part of the work and of how much there is to do, or None if that is
not known: it returns a context manager for that part, whose value is its `Report`."""


class Numbered(Protocol):
    """A step of an iteration."""

    @property
    def loss(self) -> float | None:
        """The loss at the step, if it is known."""
        ...


def silent(advance: int, /, *, loss: float | None = None, said: str = "") -> None:
    """Report to nobody."""


def unwatched(_what: str, _total: int | None) -> AbstractContextManager[Report]:
    """Watch nothing: the default of every job."""
    return nullcontext(silent)


def each_step(report: Report) -> Callable[[Numbered], None] | None:
    """Return the `on_step` that reports each step; None if nobody listens, which costs nothing."""
    return None if report is silent else lambda step: report(1, loss=step.loss)
