"""A sample of the scores, small enough for a report."""

from typing import Any, Final, final

from eckart.arrays import Array

MOST_POINTS: Final = 3000
SHOWN: Final = 3
"""Components that a picture can show."""


@final
class Picture:
    """Every so manieth row of the first scores, with its names and its colour.

    Args:
        rank: How many components there are.
        rows: How many rows there will be.
    """

    def __init__(self, rank: int, rows: int) -> None:
        self._stride = -(-rows // MOST_POINTS)
        self._row = 0
        self._shown = min(rank, SHOWN)
        self.points: list[list[float]] = []
        self.rows: list[int] = []
        self.labels: list[str] = []
        self.colours: list[Any] = []
        self.colour = ""

    def add(self, scores: Array, along: Any, colour: str | None, ids: tuple[str, ...]) -> None:
        """Look at the next rows."""
        first = -self._row % self._stride
        places = range(first, len(scores), self._stride)
        self.points += [[float(x) for x in scores[place, : self._shown]] for place in places]
        self.rows += [self._row + place for place in places]
        self._row += len(scores)
        if along is None:
            return
        taken = along.take(list(places))
        if ids:
            named = [taken.column(name).to_pylist() for name in ids]
            self.labels += [", ".join(map(str, row)) for row in zip(*named, strict=True)]
        if colour is not None:
            self.colour = colour
            self.colours += [_plain(value) for value in taken.column(colour).to_pylist()]

    def to_dict(self) -> dict[str, Any]:
        """The points and what is said of them."""
        return {
            "points": self.points,
            "rows": self.rows,
            "labels": self.labels,
            "colours": self.colours,
            "colour": self.colour,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return value if value == value else None
