"""Whether what a model's files hold fits together: kernels write where these numbers say."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.factors import Factors
from eckart.jobs.recommend.blockwise import BLOCK, blocks
from eckart.jobs.recommend.interactions import Interactions
from eckart.jobs.recommend.model import Approximation, Model
from eckart.jobs.recommend.vocabulary import Vocabulary
from eckart.offset import Offset
from eckart.samples import Samples

DTYPES: Final = {
    "rows": np.int32,
    "columns": np.int32,
    "ratings": np.float32,
    "weights": np.float32,
    "times": np.int64,
}


def check_sound(model: Model) -> None:
    """Refuse a model whose parts do not fit together.

    Raises:
        ValueError: If so.
        Exception: KeyError, TypeError or AttributeError, if its settings are not as they were
            written.

    Cost:
        A pass over the interactions, a block at a time.
    """
    data = model.data
    for vocabulary in (data.users, data.items):
        _check_ids(vocabulary)
    for name, dtype in DTYPES.items():
        values = getattr(data, name)
        if values is not None and (values.dtype != dtype or values.shape != data.rows.shape):
            raise ValueError(f"its {name} are not as they were written")
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"some of its {name} are no numbers")
    _check_places(data)
    _check_finite(model.approximation)
    if model.approximation.shape != data.shape:
        raise ValueError("the factors do not fit the ids")
    if model.scale is not None and not -np.inf < model.scale[0] <= model.scale[1] < np.inf:
        raise ValueError(f"its ratings are from {model.scale[0]} to {model.scale[1]}")
    _ = model.feedback, model.named


def _check_ids(vocabulary: Vocabulary) -> None:
    ids = vocabulary.ids
    known = pa.types.is_int64(ids.type) or pa.types.is_string(ids.type)
    if not known or ids.null_count or len(ids.unique()) != len(ids):
        raise ValueError("some of its ids are missing, occur twice, or are of another type")


def _check_places(data: Interactions) -> None:
    """Refuse entries that lie outside or are not in order, each once."""
    rows, columns = data.rows, data.columns
    for here in blocks(len(rows), BLOCK):
        row, column = (places[here.start : here.stop + 1].astype(np.int64)
                       for places in (rows, columns))  # fmt: skip
        inside = _within(row, data.shape[0]) and _within(column, data.shape[1])
        if not inside or (np.diff(row * data.shape[1] + column) <= 0).any():
            raise ValueError("its interactions lie outside, or are not in order")


def _within(places: npt.NDArray[np.int64], count: int) -> bool:
    return bool(((places >= 0) & (places < count)).all())


def _check_finite(approximation: Approximation) -> None:
    """Refuse numbers beside the factors that are none, or that do not fit them."""
    if isinstance(approximation, Factors):
        return  # which are finite
    draws = approximation.draws if isinstance(approximation, Samples) else (approximation,)
    if len({(draw.shape, draw.rank) for draw in draws}) != 1:
        raise ValueError("its draws are not of one shape")
    beside: list[Any] = []
    for draw in draws:
        beside += [draw.mean, draw.row_bias, draw.column_bias, *_extra(draw)]
    if isinstance(approximation, Samples):
        beside += [approximation.noise, *_priors(approximation)]
    if not all(np.isfinite(np.asarray(one)).all() for one in beside):
        raise ValueError("some of its factors are no numbers")


def _extra(draw: Offset) -> Iterator[Any]:
    """What attributes add to the factors of a model, where it fits them."""
    for extra, axis in ((draw.extra_columns, 0), (draw.extra_rows, 1)):
        if extra is not None:
            if extra.ndim != 2 or extra.shape[axis] != draw.rank:
                raise ValueError("what attributes add does not fit the factors")
            yield extra


def _priors(samples: Samples) -> Iterator[Any]:
    """The numbers of the priors, where they fit the factors, with or without a bias."""
    for prior in (one for pair in samples.priors for one in pair):
        width = prior.mean.size
        fits = prior.mean.shape == (width,) and prior.precision.shape == (width, width)
        if not fits or not samples.rank <= width <= samples.rank + 1:
            raise ValueError("its priors do not fit the factors")
        yield from (prior.mean, prior.precision)
