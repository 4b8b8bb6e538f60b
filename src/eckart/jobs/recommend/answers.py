"""Lists of items as a person, a program or a table gets them."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyarrow as pa

from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.names import Names
from eckart.jobs.recommend.ranking import Ranking
from eckart.jobs.recommend.vocabulary import Id


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One item of a list.

    Fields:
        item: Its id.
        score: Higher is better; a predicted rating where the model was fitted to ratings.
        title: Its name, where names were given.
    """

    item: Id
    score: float
    title: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; no title where there are no names."""
        own = {"item": self.item, "score": self.score}
        return own if self.title is None else {**own, "title": self.title}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The items for one user, or like one item.

    Fields:
        lines: The best first.
        user: Whose they are; None for items like one.
        popular: Whether they are the most popular ones, since nothing is known of the user.
    """

    lines: tuple[Line, ...]
    user: Id | None = None
    popular: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        items = [line.to_dict() for line in self.lines]
        if self.user is None:
            return {"items": items}
        return {"user": self.user, "popular": self.popular, "items": items}


def listed(
    model: Model,
    ranking: Ranking,
    place: int = 0,
    *,
    names: Names | None = None,
    user: Id | None = None,
    popular: bool = False,
) -> Listed:
    """One list of a ranking, with ids and titles."""
    kept = ranking.items[place] >= 0
    ids = model.data.items.listed(ranking.items[place][kept])
    scores = ranking.scores[place][kept].tolist()
    lines = [
        Line(item=one, score=score, title=None if names is None else names.get(str(one), ""))
        for one, score in zip(ids, scores, strict=True)
    ]
    return Listed(lines=tuple(lines), user=user, popular=popular)


def as_table(
    model: Model, ranking: Ranking, *, names: Names | None, popular: Any, asked: Any = None
) -> dict[str, Any]:
    """All lists as columns: user, item, place, score, title and whether it is a popular one.

    Args:
        model: That was fitted.
        ranking: Of some users.
        names: Titles by id.
        popular: Which of the users got the popular items.
        asked: Their ids, where some may be unknown.
    """
    k = ranking.items.shape[1]
    lists = np.repeat(np.arange(len(ranking.users)), k)
    kept = ranking.items.ravel() >= 0
    whose = lists[kept]
    users = model.data.users
    ids = users.column(ranking.users[whose]) if asked is None else asked.take(pa.array(whose))
    columns = {
        "user": ids,
        "item": model.data.items.column(ranking.items.ravel()[kept]),
        "place": pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), len(ranking.users))[kept]),
        "score": pa.array(ranking.scores.ravel()[kept]),
        "popular": pa.array(np.asarray(popular, np.bool_)[whose]),
    }
    if names is not None:
        titled = columns["item"].cast(pa.string()).to_pylist()
        columns["title"] = pa.array([names.get(one, "") for one in titled])
    return columns
