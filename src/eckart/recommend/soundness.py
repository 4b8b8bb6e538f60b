"""Attributes of a model on disk, and checks that the parts of a model fit together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse

from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.factors import Factors
from eckart.files.archives import read_arrays, write_arrays
from eckart.recommend.attributes import Attributes
from eckart.recommend.chunked import BLOCK, blocks
from eckart.recommend.features import Feature
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Approximation, Model
from eckart.recommend.vocabulary import Vocabulary

ATTRIBUTES: Final = "attributes.safetensors"
PARTS: Final = ("data", "indices", "indptr")


def write_attributes(data: Interactions, folder: Path) -> dict[str, Any] | None:
    """Write the attributes of users and items; returns their description, None without any.

    Raises:
        StorageError: If the system refuses to write.
    """
    sides = {"users": data.user_attributes, "items": data.item_attributes}
    held = {side: own for side, own in sides.items() if own is not None}
    if not held:
        return None
    arrays = {
        f"{side}.{part}": getattr(own.matrix, part) for side, own in held.items() for part in PARTS
    }
    write_arrays(folder / ATTRIBUTES, arrays)
    return {
        side: {
            "id_column": own.id_column,
            "features": [feature.to_dict() for feature in own.features],
        }
        for side, own in held.items()
    }


def read_attributes_of(
    folder: Path, document: dict[str, Any] | None, shape: tuple[int, int]
) -> tuple[Attributes | None, Attributes | None]:
    """Read the attributes of users and of items that `write_attributes` wrote.

    Args:
        folder: The folder of the model.
        document: Their description as `write_attributes` returned it; None if there are none.
        shape: (users, items).

    Raises:
        FormatError: If the file is damaged.
        KeyError: If something is missing.
        ValueError: If the arrays do not fit the ids.
        StorageError: If the system refuses to read it.
    """
    if document is None:
        return None, None
    arrays, _ = read_arrays(folder / ATTRIBUTES)
    users, items = (
        _side(document[side], arrays, side, count) if side in document else None
        for side, count in zip(("users", "items"), shape, strict=True)
    )
    return users, items


def _side(document: dict[str, Any], arrays: dict[str, Any], side: str, count: int) -> Attributes:
    features = tuple(Feature.of_dict(one) for one in document["features"])
    width = sum(feature.width for feature in features)
    data, indices, starts = (np.asarray(arrays[f"{side}.{part}"]) for part in PARTS)
    matrix = scipy.sparse.csr_array((data, indices, starts), shape=(count, width))
    # SciPy checks only the shapes by itself: indices beyond the width would read foreign memory
    matrix.check_format(full_check=True)
    if matrix.dtype != np.float32 or not np.isfinite(matrix.data).all():
        raise ValueError(f"some attributes of {side} are no numbers")
    return Attributes(features=features, matrix=matrix, id_column=str(document["id_column"]))


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
        ValueError: If parts do not fit together, or a number is not finite.
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
    # both are read from the document lazily, so a damaged one would fail only at its first use
    _ = model.feedback, model.named


def _check_ids(vocabulary: Vocabulary) -> None:
    ids = vocabulary.ids
    # the two types that `Vocabulary` keeps
    known = pa.types.is_int64(ids.type) or pa.types.is_string(ids.type)
    if not known or ids.null_count or len(ids.unique()) != len(ids):
        raise ValueError("some of its ids are missing, occur twice, or are of another type")


def _check_places(data: Interactions) -> None:
    """Refuse entries that lie outside the matrix, or are not sorted with each pair once."""
    rows, columns = data.rows, data.columns
    # in blocks, since keys in int64 take more memory than the pairs
    for here in blocks(len(rows), BLOCK):
        # one entry more than the block, so that the order across blocks is checked too
        row, column = (places[here.start : here.stop + 1].astype(np.int64)
                       for places in (rows, columns))  # fmt: skip
        inside = _within(row, data.shape[0]) and _within(column, data.shape[1])
        if not inside or (np.diff(row * data.shape[1] + column) <= 0).any():
            raise ValueError("its interactions lie outside, or are not in order")


def _within(places: npt.NDArray[np.int64], count: int) -> bool:
    return bool(((places >= 0) & (places < count)).all())


def _check_finite(approximation: Approximation) -> None:
    """Refuse numbers beside the factors that are not finite, or that do not fit the factors."""
    if isinstance(approximation, Factors):
        return  # `Factors` checks itself that it is finite
    draws = approximation.draws if isinstance(approximation, PosteriorSamples) else (approximation,)
    if len({(draw.shape, draw.rank) for draw in draws}) != 1:
        raise ValueError("its draws are not of one shape")
    beside: list[Any] = []
    for draw in draws:
        beside += [draw.mean, draw.row_bias, draw.column_bias, *_extra(draw)]
    if isinstance(approximation, PosteriorSamples):
        beside += [approximation.noise, *_priors(approximation)]
    if not all(np.isfinite(np.asarray(one)).all() for one in beside):
        raise ValueError("some of its factors are no numbers")


def _extra(draw: BiasedFactors) -> Iterator[Any]:
    """The factors of attributes, after a check that they fit the factors of the model."""
    for extra, axis in ((draw.extra_columns, 0), (draw.extra_rows, 1)):
        if extra is not None:
            if extra.ndim != 2 or extra.shape[axis] != draw.rank:
                raise ValueError("what attributes add does not fit the factors")
            yield extra


def _priors(samples: PosteriorSamples) -> Iterator[Any]:
    """The numbers of the priors, after a check that they fit the factors, with or without bias."""
    for prior in (one for pair in samples.priors for one in pair):
        width = prior.mean.size
        fits = prior.mean.shape == (width,) and prior.precision.shape == (width, width)
        if not fits or not samples.rank <= width <= samples.rank + 1:
            raise ValueError("its priors do not fit the factors")
        yield from (prior.mean, prior.precision)
