"""Columns of tables: conversion between Arrow and NumPy, choice by name, and rows of batches."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from eckart.arrays import FLOAT32, FLOAT64, Array, DType
from eckart.errors import MatrixError
from eckart.files.reading import unpacking
from eckart.files.records import ArrowColumn, ArrowTable, ArrowType

BROKEN: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError)
"""Errors of Arrow for a damaged file: invalid bytes, types that only such bytes name, and names
that are no text.
"""


NUMBERS: Final = ("integer", "floating", "boolean", "decimal", "null")
WORDS: Final = ("string", "large_string", "string_view", "dictionary")
"""Types of Arrow that hold numbers, and types that hold words."""


@final
class _Compute:
    """The functions of `pyarrow.compute`, imported when the first of them is called.

    It makes some hundred functions when it is imported, which takes longer than to read a small
    table, and a table of plain numbers needs none of them.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("pyarrow.compute"), name)


pc: Final = _Compute()


def arrow_reading(path: Path) -> AbstractContextManager[None]:
    """Turn an error of Arrow while `path` is read into one sentence."""
    return unpacking(path, *BROKEN)


def numbers(column: ArrowColumn, dtype: DType) -> Array:
    """An Arrow array as floats; missing values become NaN, and longer numbers are rounded.

    Example:
        >>> numbers(pa.array([1, None]), np.dtype(float)).tolist()
        [1.0, nan]
    """
    kind = pa.float32() if dtype == FLOAT32 else pa.float64()
    # a safe cast would refuse integers that a float rounds
    # any byte but 0 is true, so the bytes become booleans before they become floats
    if getattr(column.type, "extension_name", "") == "arrow.bool8":
        column = column.storage.cast(pa.bool_())
    found = column if pa.types.is_floating(column.type) else pc.cast(column, kind, safe=False)
    if found.null_count:
        found = pc.fill_null(found, float("nan"))  # DLPack has no nulls
    values: Any = np.from_dlpack(found) if len(found) else np.zeros(0, dtype)
    return values


def plain_values(column: ArrowColumn) -> ArrowColumn:
    """An Arrow array with its extension type replaced by a plain one; UUIDs and bytes become text.

    Example:
        >>> plain_values(pa.array([b"a"])).to_pylist()
        ['a']
    """
    kind = column.type
    if isinstance(kind, pa.UuidType):
        texts = [None if one is None else str(one) for one in column.to_pylist()]
        return pa.array(texts, pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return column.storage
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.string())
    return column


def column_of(values: Array) -> ArrowColumn:
    """Floats as an Arrow array, without a copy if they are contiguous.

    Example:
        >>> column_of(np.array([1.0, 2.0])).to_pylist()
        [1.0, 2.0]
    """
    kind: ArrowType = {4: pa.float32(), 8: pa.float64()}[values.dtype.itemsize]
    kept = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, kept])


def text_column(texts: list[str]) -> ArrowColumn:
    """Texts as an Arrow array of strings.

    Example:
        >>> text_column(["a", "bc"]).to_pylist()
        ['a', 'bc']
    """
    # the layout of Arrow: offsets of the texts, the last one being the end, and one buffer of bytes
    encoded = [text.encode() for text in texts]
    # int32 offsets are those of the type string; large_string would have int64
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def select(names: list[str], columns: tuple[str, ...], path: object) -> list[int]:
    """Positions of the requested columns.

    A name that several columns share has to be given once for each of them. Blanks around the name
    of a column may be left out.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    bare = {name.strip(): name for name in reversed(names)}  # so that the first of equals counts
    columns = tuple(name if name in places else bare.get(name, name) for name in columns)
    for name, count in Counter(columns).items():
        if name not in places:
            raise MatrixError(
                f"{path} has no column '{name}'.",
                hint=f"It has: {', '.join(names[:30])}{' …' if len(names) > 30 else ''}.",
                code="no-such-column",
            )
        if count < len(places[name]):
            raise MatrixError(
                f"{path} has {len(places[name])} columns '{name}'.",
                hint="Rename them, or give the name as often to take them all.",
                code="no-such-column",
            )
    # each name takes the next column that has it, in the order of the table
    return [places[name].pop(0) for name in columns if places[name]]


def is_number(kind: ArrowType) -> bool:
    """Whether an Arrow type holds numbers; the type null, of a column without values, counts.

    Example:
        >>> is_number(pa.decimal128(5, 2)), is_number(pa.duration("s"))
        (True, False)
    """
    known = any(getattr(pa.types, f"is_{one}")(kind) for one in NUMBERS)
    return known or getattr(kind, "extension_name", "") == "arrow.bool8"


def is_words(kind: ArrowType) -> bool:
    """Whether an Arrow type holds text or categories."""
    return any(getattr(pa.types, f"is_{one}")(kind) for one in WORDS)


def narrow_dtype(types: list[ArrowType]) -> DType:
    """The dtype for a matrix of columns: float32 if every column fits into it, else float64."""
    narrow = all(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in types)
    return FLOAT32 if narrow else FLOAT64


def table_of(W: Array) -> ArrowTable:
    """An array as an Arrow table, with columns named by their positions."""
    return pa.table({str(place): pa.array(column) for place, column in enumerate(W.T)})


def write_blocks(
    path: Path, tables: Iterator[ArrowTable], suffix: str, *, header: bool = True
) -> None:
    """Write Arrow tables one after another to a `.parquet`, `.csv` or `.tsv`."""
    first = next(tables)  # its schema has to be known before the file is begun
    with arrow_writer(path, first.schema, suffix, header=header) as writer:
        writer.write_table(first)
        for table in tables:
            # all blocks of a file have the schema of the first
            writer.write_table(table.cast(first.schema))


def arrow_writer(
    path: Path,
    schema: ArrowType,
    suffix: str,
    *,
    header: bool = True,
    dictionary: bool | list[str] = True,
) -> Any:
    """A writer of Arrow, which closes its file as a context manager.

    The format is that of `suffix`, whatever that of the path. `dictionary` says whether values of a
    Parquet file that repeat are written once, or of which columns.
    """
    if suffix == ".parquet":
        import pyarrow.parquet as pq  # text is read and written without it

        repeated: Any = dictionary  # a list is allowed, which its declaration does not say
        return pq.ParquetWriter(path, schema, use_dictionary=repeated)
    options = arrow_csv.WriteOptions(
        include_header=header, delimiter="\t" if suffix == ".tsv" else ","
    )
    return arrow_csv.CSVWriter(path, schema, write_options=options)


@final
class BatchReader:
    """A `RowReader` of batches of columns of numbers, of Arrow or as arrays."""

    def __init__(self, path: Path, batches: Iterator[ArrowTable | Array]) -> None:
        self._path = path
        self._batches = batches
        self._batch: ArrowTable = None

    def read(self, out: Array, /) -> int:
        """Fill `out` column by column from as many batches as it takes."""
        done = 0
        while done < len(out):
            if self._batch is None or not len(self._batch):
                self._batch = None  # releases one batch before the next is made
                with arrow_reading(self._path):
                    self._batch = next(self._batches, None)
                if self._batch is None:
                    break
            done += self._take(out[done:])
        return done

    def _take(self, out: Array) -> int:
        """Copy the next rows of this batch and return their number."""
        count = min(len(out), len(self._batch))
        # an array is the batch of a low row group, whose numbers are converted already
        if isinstance(self._batch, np.ndarray):
            out[:count], self._batch = self._batch[:count], self._batch[count:]
            return count
        for position, column in enumerate(self._batch.slice(0, count).columns):
            out[:count, position] = numbers(column, out.dtype)
        # slices of Arrow and of NumPy share the memory of the batch
        self._batch = self._batch.slice(count)
        return count

    def close(self) -> None:
        """Release the batches."""
        self._batches, self._batch = iter(()), None


def beside_index(count: int, left_out: set[int], index: object, path: Path) -> list[int]:
    """Positions of `count` columns without those that are left out, of which some are an index."""
    kept = [place for place in range(count) if place not in left_out]
    if index and not kept:
        raise MatrixError(
            f"{path} has no column beside the index.",
            hint="Use `index=False`, or give a table of numbers.",
            code="empty",
        )
    return kept


def keep_numbers(
    path: Path, names: list[str], taken: set[int], why: dict[int, str]
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the columns of numbers, and a note on those that are left out.

    Columns that are `taken` are an index, empty, or read beside the numbers; `why` tells by
    position what each other column that holds no numbers holds. If no column is left it is an
    error.
    """
    shown = ", ".join(f"{names[place]}: {held}" for place, held in list(why.items())[:10])
    shown += " …" * (len(why) > 10)
    kept = [place for place in range(len(names)) if place not in taken and place not in why]
    if not kept:
        raise MatrixError(
            f"{path} has no column of numbers{f': {shown}' if why else ''}.",
            hint="Give a table of numbers.",
            code="not-numbers",
        )
    plural = "columns that are" if len(why) > 1 else "column that is"
    note = f"{path.name}: skipped {len(why)} {plural} not numbers ({shown})."
    return kept, (note,) if why else ()
