"""A `Watch` that keeps what it is told."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from eckart.progress import Report


@dataclass
class Told:
    """What one part of a job said about itself."""

    total: int | None
    done: int = 0
    losses: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


class Watched:
    """Keep every report, by the name of the part."""

    def __init__(self) -> None:
        self.parts: dict[str, Told] = {}

    @contextmanager
    def __call__(self, what: str, total: int | None) -> Generator[Report, None, None]:
        told = self.parts[what] = Told(total)

        def report(advance: int, /, *, loss: float | None = None, said: str = "") -> None:
            told.done += advance
            told.losses += [] if loss is None else [loss]
            told.words += [said] if said else []

        yield report
