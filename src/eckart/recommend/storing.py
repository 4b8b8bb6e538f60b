"""Saving and loading of models, as folders of safetensors, Parquet and JSON; nothing is pickled."""

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from eckart.approximations import BiasedFactors, PosteriorSamples, Prior
from eckart.arguments import as_path
from eckart.completion.objective import Observed
from eckart.errors import ArgumentError, EckartError, FormatError
from eckart.factors import Factors
from eckart.files import check_output, is_same, whole_file
from eckart.files.archives import read_arrays, write_arrays
from eckart.files.outputs import located
from eckart.files.reading import damaged, read_object, read_steadily
from eckart.files.tables import parquet_columns, read_parquet, write_table
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Approximation, Model
from eckart.recommend.soundness import ATTRIBUTES, check_sound, read_attributes_of, write_attributes
from eckart.recommend.times import Clock, Times, clocked
from eckart.recommend.vocabulary import Vocabulary

FORMAT: Final = "eckart recommender"
VERSION: Final = 1
DOCUMENT: Final = "model.json"
FACTORS: Final = "factors.safetensors"
USERS: Final = "users.parquet"
ITEMS: Final = "items.parquet"
HISTORY: Final = "history.parquet"
FILES: Final = (FACTORS, USERS, ITEMS, HISTORY)
PRIORS: Final = ("row_prior", "column_prior")
MOST_DIGITS: Final = 18
"""Decimal digits that a time can have behind the point, so that it fits into 64 bits."""
OBJECTIVE: Final = (
    "regularization",
    "count_exponent",
    "unobserved_weight",
    "biases",
    "implicit_features",
    "nonnegative",
    "attribute_weight",
)


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

    Args:
        folder: The folder of the model.
        target: The folder of its later state; `folder` itself or another.
        force: Whether an existing `target` may be replaced; `folder` itself always may.
        inputs: Other files that are read and must not be overwritten.

    Raises:
        ArgumentError: If there is no such model, or as for `check_output`.
        FormatError: If the model is damaged.
        StorageError: If the system refuses to read or write.
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
    for name in _files(document):
        # before any file is parsed, so that a damaged one gives one clear message
        _check_file(folder / name, str(document["files"].get(name, "")))
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
    """Refuse a path that is not the folder of a model, without reading its files.

    Raises:
        ArgumentError: If it is not.
    """
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


def _check_file(path: Path, digest: str) -> None:
    if not path.is_file():
        raise FormatError(
            f"The model {path.parent} lacks its file {path.name}.",
            hint="Copy the whole folder, or fit the model again.",
            code="missing-file",
        )
    if _digest(path) != digest:
        raise FormatError(
            f"{path} is not the file that was written with this model.",
            hint="Copy the whole folder again, or fit the model again.",
            code="damaged-file",
        )


def _digest(path: Path) -> str:
    # in pieces, never the whole file at once
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_model(model: Model, folder: Path) -> None:
    """Write the files of a model to a new folder."""
    folder.mkdir()
    data = model.data
    write_arrays(folder / FACTORS, _arrays(model.approximation))
    counts = (data.user_counts(), data.item_counts())
    for name, vocabulary, count in zip(
        (USERS, ITEMS), (data.users, data.items), counts, strict=True
    ):
        write_table(folder / name, {"id": vocabulary.ids, "entries": pa.array(count)})
    write_table(
        folder / HISTORY,
        {
            name: values
            for name, values in (
                ("user", data.rows),
                ("item", data.columns),
                ("rating", data.ratings),
                ("weight", data.weights),
                ("time", data.times),
            )
            if values is not None
        },
    )
    settings = model.objective.settings()
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "users": len(data.users),
        "items": len(data.items),
        "interactions": len(data),
        "whole_ids": [data.users.whole, data.items.whole],
        "scale": None if model.scale is None else list(model.scale),
        "clock": None if data.clock is None else data.clock.to_dict(),
        "objective": {name: settings[name] for name in OBJECTIVE},
        "approximation": _described(model.approximation),
        "attributes": write_attributes(data, folder),
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


def _described(approximation: Approximation) -> dict[str, Any]:
    if isinstance(approximation, PosteriorSamples):
        return {
            "kind": "samples",
            "draws": len(approximation.draws),
            "means": [draw.mean for draw in approximation.draws],
            "noise": approximation.noise,
        }
    if isinstance(approximation, BiasedFactors):
        return {"kind": "offset", "mean": approximation.mean}
    return {"kind": "factors"}


def _arrays(approximation: Approximation) -> dict[str, Any]:
    if isinstance(approximation, PosteriorSamples):
        arrays: dict[str, Any] = {}
        pairs = zip(approximation.draws, approximation.priors, strict=True)
        for place, (draw, priors) in enumerate(pairs):
            # safetensors is flat: each draw has a prefix of its number
            arrays |= {f"{place}.{name}": array for name, array in _arrays(draw).items()}
            for side, prior in zip(PRIORS, priors, strict=True):
                arrays[f"{place}.{side}.mean"] = prior.mean
                arrays[f"{place}.{side}.precision"] = prior.precision
        return arrays
    if isinstance(approximation, Factors):
        return {"B": approximation.B, "A": approximation.A}
    arrays = {
        "B": approximation.factors.B,
        "A": approximation.factors.A,
        "row_bias": approximation.row_bias,
        "column_bias": approximation.column_bias,
    }
    for name in ("extra_columns", "extra_rows"):
        extra = getattr(approximation, name)
        if extra is not None:
            arrays[name] = extra
    return arrays


def _read(folder: Path, document: dict[str, Any]) -> Model:
    whole = document["whole_ids"]
    users, items = (
        Vocabulary(_column(read_parquet(folder / name), "id"), bool(is_whole))
        for name, is_whole in zip((USERS, ITEMS), whole, strict=True)
    )
    # Arrow's arrays are read-only, for which Numba would compile every kernel once more
    columns = {
        name: np.require(column.to_numpy(), requirements="W")
        for name, column in parquet_columns(folder / HISTORY)
    }
    pa.default_memory_pool().release_unused()
    attributes = read_attributes_of(folder, document.get("attributes"), (len(users), len(items)))
    times, clock = _times(columns.get("time"), document.get("clock"), folder)
    data = Interactions(
        users=users,
        items=items,
        rows=columns["user"],
        columns=columns["item"],
        ratings=columns.get("rating"),
        weights=columns.get("weight"),
        times=times,
        clock=clock,
        user_attributes=attributes[0],
        item_attributes=attributes[1],
    )
    arrays, _ = read_arrays(folder / FACTORS)
    approximation = _approximation(document["approximation"], arrays)
    if len(data) != document["interactions"]:
        raise damaged(folder / DOCUMENT, "it has another number of interactions")
    scale = document["scale"]
    return Model(
        data=data,
        approximation=approximation,
        objective=Observed(**document["objective"]),
        scale=None if scale is None else (float(scale[0]), float(scale[1])),
        document=document["document"],
    )


def _times(
    times: Any, clock: dict[str, Any] | None, folder: Path
) -> tuple[Times | None, Clock | None]:
    """Times and their clock; the clock follows from the size of the times if the model lacks it."""
    if times is None:
        return None, None
    if clock is None:
        return clocked(times, pa.int64(), str(folder))
    digits = int(clock["digits"])
    if not 0 <= digits <= MOST_DIGITS:
        raise ValueError(f"its times have {digits} digits")
    return times, Clock(dated=bool(clock["dated"]), digits=digits)


def _column(table: Any, name: str) -> Any:
    column = table.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _approximation(kind: dict[str, Any], arrays: dict[str, Any]) -> Approximation:
    if kind["kind"] == "factors":
        return Factors(arrays["B"], arrays["A"])
    if kind["kind"] == "offset":
        return _offset(float(kind["mean"]), arrays)
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        place, _, rest = name.partition(".")
        parts.setdefault(place, {})[rest] = array
    draws = [
        _offset(float(kind["means"][place]), parts[str(place)])
        for place in range(int(kind["draws"]))
    ]
    priors = [
        tuple(
            Prior(
                mean=arrays[f"{place}.{side}.mean"],
                precision=arrays[f"{place}.{side}.precision"],
            )
            for side in PRIORS
        )
        for place in range(int(kind["draws"]))
    ]
    return PosteriorSamples(
        draws=tuple(draws), noise=float(kind["noise"]), priors=tuple((a, z) for a, z in priors)
    )


def _offset(mean: float, arrays: dict[str, Any]) -> BiasedFactors:
    return BiasedFactors(
        mean,
        arrays["row_bias"],
        arrays["column_bias"],
        Factors(np.asarray(arrays["B"]), np.asarray(arrays["A"])),
        arrays.get("extra_columns"),
        arrays.get("extra_rows"),
    )
