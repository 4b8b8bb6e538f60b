"""Attributes of a model on disk: their numbers as safetensors, how they came about as JSON."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse

from eckart.jobs.recommend.attributes import Attributes
from eckart.jobs.recommend.features import Feature
from eckart.jobs.recommend.interactions import Interactions
from eckart.storage.tensors import read_arrays, write_arrays

ATTRIBUTES: Final = "attributes.safetensors"
PARTS: Final = ("data", "indices", "indptr")


def write_attributes(data: Interactions, folder: Path) -> dict[str, Any] | None:
    """Write the attributes of users and items; what the document says of them, None without any.

    Raises:
        StorageError: If the system refuses.
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
    """The attributes of users and of items that `write_attributes` wrote.

    Args:
        folder: Of the model.
        document: What was said of them; None where there are none.
        shape: (users, items).

    Raises:
        FormatError: If the file is damaged.
        KeyError: If something is missing.
        ValueError: If the numbers do not fit the ids.
        StorageError: If the system refuses to read it.
    """
    if document is None:
        return None, None
    arrays = read_arrays(folder / ATTRIBUTES)
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
    matrix.check_format(full_check=True)
    if matrix.dtype != np.float32 or not np.isfinite(matrix.data).all():
        raise ValueError(f"some attributes of {side} are no numbers")
    return Attributes(features=features, matrix=matrix, id_column=str(document["id_column"]))
