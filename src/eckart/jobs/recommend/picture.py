"""The items as points of a plane, those that the same users like beside one another."""

from typing import Any, Final

import numpy as np

from eckart.jobs.recommend.model import Model

MOST: Final = 1500
"""Items that are drawn: those that most users dealt with; none that nobody did."""


def item_map(model: Model, names: dict[str, str] | None = None) -> dict[str, Any]:
    """The two leading principal components of the factors of the most popular items.

    Args:
        model: That was fitted.
        names: Titles by id.

    Returns:
        Lists of the same length: x, y, id, title, users, mean rating; and the share of the variance
        that the plane shows.
    """
    data = model.data
    counts = data.item_counts()
    places = np.argsort(-counts, kind="stable")[: min(MOST, np.count_nonzero(counts))]
    points = model.offset.factors.balance().A.T[places].astype(np.float64)
    points = points - points.mean(axis=0)
    U, S, _ = np.linalg.svd(points, full_matrices=False)
    plane = np.pad(U * S, ((0, 0), (0, 2)))[:, :2]
    # signs are free: the item that most users dealt with is where they are positive
    plane = plane * np.where(plane[0] < 0, -1, 1)
    total = float(np.square(S).sum())
    means = np.zeros(len(counts))
    if data.ratings is not None:
        sums = np.bincount(data.columns, data.ratings, minlength=len(counts))
        means = sums / np.maximum(counts, 1)
    ids = data.items.listed(places)
    return {
        "x": plane[:, 0].tolist(),
        "y": plane[:, 1].tolist(),
        "ids": [str(one) for one in ids],
        "titles": [names.get(str(one), "") for one in ids] if names else None,
        "users": counts[places].tolist(),
        "means": means[places].tolist() if data.ratings is not None else None,
        "share": float(np.square(S[:2]).sum()) / total if total else 0.0,
    }
