"""Models as folders of safetensors, Parquet and JSON, and factors for a vector store."""

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse

from eckart.arguments import as_path
from eckart.completion.objective import Observed
from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from eckart.files import check_output, is_same, whole_file, whole_files, write_text
from eckart.files.archives import read_arrays, write_arrays
from eckart.files.outputs import located
from eckart.files.reading import damaged, read_object, read_steadily
from eckart.files.tables import parquet_columns, read_parquet, write_table
from eckart.recommend.attributes import Attributes, Feature
from eckart.recommend.chunked import one_array
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Model, check_sound, pack, unpack
from eckart.recommend.times import Clock, set_clock
from eckart.recommend.vocabulary import Vocabulary

SIDES: Final = ("users", "items")
SUFFIXES: Final = (".npy", ".parquet")
ATTRIBUTES: Final = "attributes.safetensors"
PARTS: Final = ("data", "indices", "indptr")
FORMAT: Final = "eckart recommender"
VERSION: Final = 1
DOCUMENT: Final = "model.json"
FACTORS: Final = "factors.safetensors"
USERS: Final = "users.parquet"
ITEMS: Final = "items.parquet"
HISTORY: Final = "history.parquet"
FILES: Final = (FACTORS, USERS, ITEMS, HISTORY)
MOST_DIGITS: Final = 18
"""Decimal digits that a time can have behind the point, so that it fits into 64 bits."""
OBJECTIVE: Final = ("regularization", "count_exponent", "unobserved_weight", "biases",
                    "implicit_features", "nonnegative", "attribute_weight")  # fmt: skip
"""Settings of the objective that a model keeps."""


def save_model(model: Model, path: str | PathLike[str], *, force: bool = False) -> None:
    """Write a model to a folder, completely or not at all.

    Raises:
        ArgumentError: If the folder exists and `force` is false, or is not a model of eckart.
        StorageError: If the system refuses to write.
    """
    folder = as_path(path)
    check_output(folder, force=force, is_folder=True)
    with whole_file(folder, force=force) as temporary:
        write_model(model, temporary)


@contextmanager
def updated_model(
    folder: Path, target: Path, *, force: bool, inputs: Sequence[Path | None] = ()
) -> Generator[tuple[Model, Path], None, None]:
    """Yield a model and a folder for its later state, which replaces `target` at the end.

    If two runs update one model at once, the second starts from what the first wrote.
    """
    check_model(folder)
    forced = force or is_same(folder, target)
    check_output(target, force=forced, inputs=inputs, is_folder=True, updates=folder)
    with whole_file(target, force=forced) as temporary:
        # loaded only here, after `whole_file` has let an earlier run finish
        yield load_model(folder), temporary


def load_model(path: str | PathLike[str]) -> Model:
    """Read a model from its folder; every file is checked against its digest.

    Raises:
        ArgumentError: If there is no such folder.
        FormatError: If it is not a model, has another version, or a file is missing or damaged.
        StorageError: If the system refuses to read it.
    """
    folder = as_path(path)
    return read_steadily(folder, lambda: _load(folder))


def _load(folder: Path) -> Model:
    document = _document(folder)
    # before any file is parsed, so that a damaged one gives one clear message
    for name in _files(document):
        path = folder / name
        if not path.is_file():
            raise FormatError(
                f"The model {folder} lacks its file {name}.",
                hint="Copy the whole folder, or fit the model again.",
                code="missing-file",
            )
        if _digest(path) != str(document["files"].get(name, "")):
            raise FormatError(
                f"{path} is not the file that was written with this model.",
                hint="Copy the whole folder again, or fit the model again.",
                code="damaged-file",
            )
    try:
        model = _read(folder, document)
        check_sound(model)
    except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, pa.ArrowException
            ) as error:  # fmt: skip
        # an EckartError says more than "damaged"; some are ValueErrors too
        if isinstance(error, EckartError):
            raise
        raise damaged(folder / DOCUMENT, error) from error
    return model


def check_model(path: Path) -> None:
    """Refuse a path that is not the folder of a model, without reading its files."""
    if not located(path).exists():
        raise ArgumentError(
            f"There is no model {path}.",
            hint="Fit one with: eckart recommend fit ratings.csv -o model",
            code="no-such-file",
        )
    if not (path / DOCUMENT).is_file():
        raise ArgumentError(
            f"{path} is no model: it holds no {DOCUMENT}.",
            hint="Give the folder that eckart recommend fit wrote.",
            code="not-a-model",
        )


def _document(folder: Path) -> dict[str, Any]:
    check_model(folder)
    document = read_object(folder / DOCUMENT)
    if document.get("format") != FORMAT:
        raise FormatError(
            f"{folder / DOCUMENT} does not describe a recommender.",
            hint="Give the folder that eckart recommend fit wrote.",
            code="not-a-model",
        )
    if document.get("version") != VERSION:
        raise FormatError(
            f"{folder} is a model of version {document.get('version')}; this eckart reads version "
            f"{VERSION}.",
            hint="Use the eckart that wrote it, or fit the model again.",
            code="other-version",
        )
    # the digest is of the document without itself
    digest = document.pop("digest", None)
    if digest is not None and digest != hashlib.sha256(_text(document)).hexdigest():
        raise damaged(folder / DOCUMENT, "it is not as it was written")
    for name, what in (("files", "files"), ("document", "settings")):
        if not isinstance(document.get(name), dict):
            raise damaged(folder / DOCUMENT, f"it lists no {what}")
    return document


def _files(document: dict[str, Any]) -> tuple[str, ...]:
    """The files of a model beside its document."""
    return FILES if document.get("attributes") is None else (*FILES, ATTRIBUTES)


def _digest(path: Path) -> str:
    # in pieces, never the whole file at once
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_model(model: Model, folder: Path) -> None:
    """Write the files of a model to a new folder."""
    folder.mkdir()
    data = model.data
    described, arrays = pack(model.approximation)
    write_arrays(folder / FACTORS, arrays)
    for name, vocabulary, count in (
        (USERS, data.users, data.user_counts()), (ITEMS, data.items, data.item_counts())
    ):  # fmt: skip
        write_table(folder / name, {"id": vocabulary.ids, "entries": pa.array(count)})
    columns = {"user": data.rows, "item": data.columns, "rating": data.ratings,
               "weight": data.weights, "time": data.times}  # fmt: skip
    given = {name: values for name, values in columns.items() if values is not None}
    write_table(folder / HISTORY, given)
    settings = model.objective.settings()
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "users": data.shape[0],
        "items": data.shape[1],
        "interactions": len(data),
        "whole_ids": [data.users.whole, data.items.whole],
        "scale": None if model.scale is None else list(model.scale),
        "clock": None if data.clock is None else asdict(data.clock),
        "objective": {name: settings[name] for name in OBJECTIVE},
        "approximation": described,
        "attributes": _write_attributes(data, folder),
        "document": model.document,
    }
    # last, when every file is written
    document["files"] = {name: _digest(folder / name) for name in _files(document)}
    document["digest"] = hashlib.sha256(_text(document)).hexdigest()
    (folder / DOCUMENT).write_bytes(_text(document))


def _text(document: dict[str, Any]) -> bytes:
    # JSON has no NaN, and a lone surrogate cannot be encoded: it is written as its escape
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1)
    return text.encode("utf-8", "backslashreplace")


def _read(folder: Path, document: dict[str, Any]) -> Model:
    users, items = (
        Vocabulary(one_array(read_parquet(folder / name).column("id")), bool(whole))
        for name, whole in zip((USERS, ITEMS), document["whole_ids"], strict=True)
    )
    # Arrow's arrays are read-only, for which Numba would compile every kernel once more
    columns = {
        name: np.require(column.to_numpy(), requirements="W")
        for name, column in parquet_columns(folder / HISTORY)
    }
    pa.default_memory_pool().release_unused()
    times, clock = columns.get("time"), document.get("clock")
    if times is not None and clock is None:
        # in models that lack the clock it follows from the size of the times
        times, clock = set_clock(times, pa.int64(), str(folder))
    elif times is not None and clock is not None:
        clock = Clock(dated=bool(clock["dated"]), digits=int(clock["digits"]))
        if not 0 <= clock.digits <= MOST_DIGITS:
            raise ValueError(f"its times have {clock.digits} digits")
    attributes = _read_attributes(folder, document.get("attributes"), (len(users), len(items)))
    data = Interactions(
        users=users,
        items=items,
        rows=columns["user"],
        columns=columns["item"],
        ratings=columns.get("rating"),
        weights=columns.get("weight"),
        times=times,
        clock=None if times is None else clock,
        user_attributes=attributes.get("users"),
        item_attributes=attributes.get("items"),
    )
    if len(data) != document["interactions"]:
        raise damaged(folder / DOCUMENT, "it has another number of interactions")
    scale = document["scale"]
    return Model(
        data=data,
        approximation=unpack(document["approximation"], read_arrays(folder / FACTORS)[0]),
        objective=Observed(**document["objective"]),
        scale=None if scale is None else (float(scale[0]), float(scale[1])),
        document=document["document"],
    )


def _write_attributes(data: Interactions, folder: Path) -> dict[str, Any] | None:
    """Write the attributes of users and items; returns their description, None without any."""
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


def _read_attributes(
    folder: Path, document: dict[str, Any] | None, shape: tuple[int, int]
) -> dict[str, Attributes]:
    """The attributes of users and of items that `_write_attributes` wrote and described."""
    if document is None:
        return {}
    arrays, found = read_arrays(folder / ATTRIBUTES)[0], dict[str, Attributes]()
    for side, count in zip(("users", "items"), shape, strict=True):
        if side not in document:
            continue
        features = tuple(Feature.of_dict(one) for one in document[side]["features"])
        width = sum(feature.width for feature in features)
        parts = tuple(np.asarray(arrays[f"{side}.{part}"]) for part in PARTS)
        matrix = scipy.sparse.csr_array(parts, shape=(count, width))
        # SciPy checks only the shapes by itself: indices beyond the width would read foreign memory
        matrix.check_format(full_check=True)
        if matrix.dtype != np.float32 or not np.isfinite(matrix.data).all():
            raise ValueError(f"some attributes of {side} are no numbers")
        found[side] = Attributes(
            features=features, matrix=matrix, id_column=str(document[side]["id_column"])
        )
    return found


def export_factors(
    model: Model, output: str | PathLike[str], side: str = "items", *, force: bool = False
) -> list[Path]:
    """Write vectors of all users or all items whose inner products are the scores of the model.

    For a model with biases the vector of a user ends in 1 and that of an item in its bias: the
    scores rank items as the model does, without the terms that are the same for all items of a
    user. A `.parquet` file holds ids and vectors; a `.npy` file holds the vectors, with the ids in
    a `.ids.txt` file beside it.

    Args:
        model: The fitted model.
        output: Path of a .npy or .parquet file.
        side: "users" or "items".
        force: Whether existing files are overwritten.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: If the suffix is unknown, or a file exists and `force` is false.
        MatrixError: If an id has a line break and the ids go to a text file.
        StorageError: If the system refuses to write.
    """
    path = Path(output)
    check_export(path, side, force=force)
    vectors = model.vectors(side)
    vocabulary = model.data.users if side == "users" else model.data.items
    if path.suffix.lower() == ".parquet":
        width = vectors.shape[1]
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        write_table(path, {"id": vocabulary.ids, "vector": flat}, force=force)
        return [path]
    # with a character behind it, or a break at the end of the id would not count
    broken = [one for one in vocabulary.to_list() if len(f"{one}.".splitlines()) > 1]
    if broken:
        raise MatrixError(
            f"The id {broken[0]!r} has a line break in it, which a list of lines cannot hold.",
            hint=f"Write them to {path.with_suffix('.parquet').name}.",
            code="bad-ids",
        )
    # both or none: vectors beside other ids would be wrong without a sign of it
    with whole_files((path, _ids_path(path)), force=force) as (place, beside_it):
        with place.open("wb") as file:
            # given an open file, since `np.save` adds .npy to a path without that suffix
            np.save(file, vectors, allow_pickle=False)
        write_text(beside_it, "".join(f"{one}\n" for one in vocabulary.to_list()))
    return [path, _ids_path(path)]


def check_export(path: Path, side: str, *, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse a file that cannot be written, before any work."""
    if side not in SIDES:
        raise ArgumentError(
            f"There are no factors of '{side}'.", hint="Give users or items.", code="bad-side"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(
            f"Factors are exported to .npy or .parquet, not to {path.name}.",
            hint="Name a .parquet or a .npy file.",
            code="unknown-suffix",
        )
    # both files, before any work is done
    check_output(path, force=force, inputs=inputs)
    if path.suffix.lower() == ".npy":
        check_output(_ids_path(path), force=force, inputs=[*inputs, path])


def _ids_path(path: Path) -> Path:
    """The file for the ids of exported vectors, beside them."""
    return path.with_name(f"{path.stem}.ids.txt")
