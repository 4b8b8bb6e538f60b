"""What attributes of users and items are worth to who has many, few and no interactions.

    python benchmarks/attributes.py RATINGS USERS ITEMS --user-columns NAMES --item-columns NAMES

Tables as `eckart recommend fit` reads them. A fifth of the users and of the items lose all their
ratings, another sixth of the users all but three, and a tenth of the others is held out at random;
λ is chosen by the fit, each time anew. Five splits; ± is the standard error of their mean.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from eckart.recommend import (
    AttributeTables,
    Feedback,
    Interactions,
    Settings,
    fit_recommender,
    read_interactions,
)
from eckart.recommend.attribute_tables import attach
from eckart.recommend.ranking import averages, rank, ranking_per_user

SPLITS, SHOWN, K = 5, 3, 10
GROUPS = ("many ratings", f"{SHOWN} ratings", "no ratings", "items without ratings")


def parts(data: Interactions, seed: int) -> tuple[Interactions, dict[str, Interactions], Any]:
    """What is fitted, what is held against it by group, and the items that have no ratings."""
    drawn = np.random.default_rng(seed)
    users, items = drawn.random(len(data.users)), drawn.random(len(data.items)) < 0.2
    nobody, few = users < 0.2, (users >= 0.2) & (users < 0.2 + 1 / 6)
    order = np.lexsort((drawn.random(len(data)), items[data.columns], data.rows))
    place = np.empty(len(data), np.int64)
    place[order] = np.arange(len(data)) - np.repeat(data.starts()[:-1], data.user_counts())
    row, cold = data.rows, items[data.columns]
    hidden = np.where(few[row], place >= SHOWN, drawn.random(len(data)) < 0.1)
    train = ~nobody[row] & ~cold & ~hidden
    warm = {
        GROUPS[0]: ~nobody[row] & ~few[row] & ~cold & hidden,
        GROUPS[1]: few[row] & ~cold & hidden,
        GROUPS[2]: nobody[row] & ~cold,
        GROUPS[3]: ~nobody[row] & ~few[row] & cold,
    }
    return data.select(train), {name: data.select(own) for name, own in warm.items()}, items


def rated(train: Interactions, tests: dict[str, Interactions]) -> dict[str, tuple[float, ...]]:
    """RMSE of averages, of a model without attributes, and of one with them."""
    settings, feedback = Settings(rank=16), Feedback(scale=(1.0, 5.0))
    bare = replace(train, user_attributes=None, item_attributes=None)
    models = [
        fit_recommender(one, settings=settings, feedback=feedback).model for one in (bare, train)
    ]
    base = averages(train)
    found: dict[str, tuple[float, ...]] = {}
    for name, test in tests.items():
        said = [np.clip(base.predict(test.rows, test.columns), 1, 5)]
        said += [model.predict(test.rows, test.columns, clip=True) for model in models]
        found[name] = tuple(float(np.sqrt(np.mean((one - test.ratings) ** 2))) for one in said)
    return found


def rank_users(
    train: Interactions, tests: dict[str, Interactions], cold: Any
) -> dict[str, tuple[float, ...]]:
    """NDCG of the most popular items, of a model without attributes, and of one with them."""
    liked = replace(train.select(_high(train)), ratings=None)
    bare = replace(liked, user_attributes=None, item_attributes=None)
    models = [fit_recommender(one, settings=Settings(rank=32)).model for one in (bare, liked)]
    popular, strangers = liked.popularity(), models[0].strangers()

    def most_popular(rows: Any) -> Any:
        return np.tile(popular, (len(rows), 1))

    def without(rows: Any) -> Any:
        """As `top` does: of whom nothing is known gets the most popular items."""
        return np.where(strangers[rows, None], most_popular(rows), models[0].scores(rows))

    scorers = (most_popular, without, models[1].scores)
    found: dict[str, tuple[float, ...]] = {}
    for name, test in tests.items():
        wanted = test.select(_high(test))
        users = np.unique(wanted.rows).astype(np.intp)
        allowed = cold if name == GROUPS[3] else ~cold
        lists = [rank(one, users, len(cold), K, seen=train, allowed=allowed) for one in scorers]
        found[name] = tuple(float(np.mean(ranking_per_user(one, wanted)["ndcg"])) for one in lists)
    return found


def _high(data: Interactions) -> Any:
    assert data.ratings is not None
    return data.ratings >= 4


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("ratings", "users", "items"):
        parser.add_argument(name)
    for role in ("user", "item"):
        parser.add_argument(f"--{role}-columns", type=lambda text: tuple(text.split(",")))
    given = parser.parse_args()
    tables = AttributeTables(
        users=given.users,
        items=given.items,
        user_columns=given.user_columns,
        item_columns=given.item_columns,
    )
    data = attach(read_interactions(given.ratings), tables, None)[0]
    runs = []
    for seed in range(SPLITS):
        train, tests, cold = parts(data, seed)
        runs.append((rated(train, tests), rank_users(train, tests, cold)))
    for figure, place in (("RMSE", 0), (f"NDCG@{K}", 1)):
        base = "averages" if place == 0 else "most popular"
        print(f"| {figure} | {base} | without attributes | with them |\n|---|---:|---:|---:|")
        for group in GROUPS:
            values = np.array([run[place][group] for run in runs])
            errors = values.std(axis=0, ddof=1) / np.sqrt(SPLITS)
            cells = [f"{mean:.4f} ± {error:.4f}"
                     for mean, error in zip(values.mean(axis=0), errors, strict=True)]  # fmt: skip
            print(f"| {group} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
