"""The Matrix Market format, `.mtx` and `.mtx.gz`."""

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.io
import scipy.sparse

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.files.reading import DEFLATE_RATIO, damaged, unpacking
from eckart.files.records import Contents, Part, Selection, check_sparse, only_part
from eckart.matrices import Dense, Matrix, Sparse
from eckart.matrices.derived import dense

SELECTABLE: frozenset[str] = frozenset()
BLANKS = "\ufeff\xef\xbb\xbf \t"
"""Characters that may precede the first word: blanks, and the byte order mark of UTF-8.

The mark appears as one character in UTF-8 and as three in latin-1, in which the file is read.
"""
FEWEST_BYTES = {"array": 1, "coordinate": 3}  # the shortest entries are "0" and "1 1"


def read(path: Path, selection: Selection) -> Contents:
    """Read a coordinate file as a sparse matrix, and an array file as a dense one.

    The body is read by NumPy: SciPy's reader crashes the process if a line of a damaged file
    holds more numbers than it should.
    """
    del selection
    notes: tuple[str, ...] = ()
    with unpacking(path, OverflowError, EOFError, gzip.BadGzipFile, zlib.error, ValueError):
        rows, columns, entries, kind, field, symmetry = _header(path)
        if field == "complex":
            raise MatrixError(
                f"{path} holds complex numbers, which eckart does not factor.",
                hint="Factor the real and imaginary parts as two matrices.",
                code="complex",
            )
        count = _stored(rows, columns, symmetry) if kind == "array" else entries
        # the claims are checked before memory is taken for the numbers
        available = path.stat().st_size * (DEFLATE_RATIO if path.suffix.lower() == ".gz" else 1)
        if count * FEWEST_BYTES[kind] > available + 4096:
            raise damaged(path, "its header promises more entries than the file holds")
        numbers = _numbers(path)
        if kind == "array":
            matrix: Matrix = Dense(_array(path, numbers, (rows, columns), symmetry))
        else:
            numbers, notes = _with_values(path, numbers, entries, field)
            check_sparse(path, (rows, columns), entries)
            matrix = Sparse(_coordinates(path, numbers, (rows, columns), symmetry))
    return Contents(parts=(Part(name="", matrix=matrix),), notes=notes)


def write(path: Path, parts: Mapping[str, Matrix]) -> None:
    """Write one matrix as an array file with all digits of float64."""
    with path.open("wb") as file:
        # 17 significant digits determine a float64
        scipy.io.mmwrite(file, dense(only_part(parts, path)), precision=17)


def _opened(path: Path) -> IO[str]:
    """Open a file as text; comments may be in any encoding that extends ASCII."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="latin-1")  # which decodes every byte


def _header(path: Path) -> tuple[int, int, int, str, str, str]:
    """Rows, columns, entries and the three words of the header, as SciPy reads them.

    SciPy gets the first line and the line of the sizes only, without comments and blank lines.
    """
    with _opened(path) as file:
        lines = iter(file)
        first = next((line for line in lines if line.strip()), "").lstrip(BLANKS)
        sizes = next((line for line in lines if _counts(line)), "")
    return scipy.io.mminfo(io.BytesIO(f"{first.rstrip()}\n{sizes}".encode("latin-1")))


def _counts(line: str) -> bool:
    """Whether a line holds data: it is neither blank nor a comment."""
    return not line.lstrip(BLANKS).startswith("%") and bool(line.strip())


def _numbers(path: Path) -> Array:
    """The numbers of all lines after the sizes, one row per line."""
    with _opened(path) as file:
        lines = filter(_counts, file)
        next(lines, "")  # the sizes
        first = next(lines, "")
        # np.loadtxt warns of an empty input, which is a valid matrix without entries
        if not first:
            return np.empty((0, 0))
        lines = (line for part in ([first], lines) for line in part)
        # comments are gone already, and "#" or "%" in a line of numbers is damage
        return np.loadtxt(lines, dtype=np.float64, ndmin=2, comments=None)


def _array(path: Path, numbers: Array, shape: tuple[int, int], symmetry: str) -> Array:
    """The matrix of an array file, whose numbers stand column by column."""
    rows, columns = shape
    if numbers.size != _stored(rows, columns, symmetry) or numbers.shape[1:] not in ((), (1,)):
        raise damaged(path, f"{numbers.size} numbers where its header promises another count")
    values = numbers.ravel()
    if symmetry == "general":
        # a list of numbers in Fortran order: the file goes down the columns
        return np.ascontiguousarray(values.reshape((columns, rows)).T)
    skew = symmetry == "skew-symmetric"
    across, down = np.triu_indices(rows, int(skew))  # the lower triangle, column by column
    stored = np.zeros((rows, rows))
    stored[across, down] = -values if skew else values
    stored[down, across] = values
    return stored


def _with_values(
    path: Path, numbers: Array, entries: int, field: str
) -> tuple[Array, tuple[str, ...]]:
    """Positions and values of the entries, and notes; the values of a pattern file are all 1."""
    if len(numbers) != entries:
        raise damaged(path, f"{len(numbers)} entries where its header promises {entries}")
    if not entries:
        return np.empty((0, 3)), ()
    width, needed = numbers.shape[1], 2 if field == "pattern" else 3
    if width != needed and (needed, width) != (2, 3):  # a pattern with values is read, with a note
        raise damaged(path, f"{width} numbers in a line where a {field} entry has {needed}")
    if needed == 3:
        return numbers, ()
    note = "The file says that it is a pattern: all its entries are 1, and its values left out."
    ones = np.column_stack([numbers[:, :2], np.ones(entries)])
    return ones, (note,) if width == 3 else ()


def _coordinates(path: Path, numbers: Array, shape: tuple[int, int], symmetry: str) -> Any:
    """The entries of a coordinate file as a sparse array."""
    with np.errstate(invalid="ignore"):  # NaN as a position is refused below
        # positions in the file count from 1
        places = numbers[:, :2].astype(np.int64) - 1
    # the conversion to integers also hides fractions, which the second comparison finds
    outside = ((places < 0) | (places >= shape)).any() or (places + 1 != numbers[:, :2]).any()
    if outside:
        raise damaged(path, f"an entry lies outside the {shape[0]} × {shape[1]} matrix")
    row, column = places.T
    values = numbers[:, 2]
    if symmetry != "general":
        # a mirrored file stores one triangle only
        apart = row != column  # the diagonal is not mirrored, or its entries would count twice
        mirrored = -values[apart] if symmetry == "skew-symmetric" else values[apart]
        row, column = np.append(row, column[apart]), np.append(column, row[apart])
        values = np.append(values, mirrored)
    return scipy.sparse.coo_array((values, (row, column)), shape=shape)


def _stored(rows: int, columns: int, symmetry: str) -> int:
    """The number of entries that an array file of this shape stores."""
    if symmetry == "general":
        return rows * columns
    # the diagonal of a skew-symmetric matrix is zero and is not stored
    return rows * (rows + 1) // 2 - (rows if symmetry == "skew-symmetric" else 0)
