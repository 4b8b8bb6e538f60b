"""What readers of files take and give: a selection, and the matrices or the rows that it names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from eckart.arrays import Array, DType
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.factors import Factors
from eckart.matrices import Matrix, RowReader

ArrowTable: TypeAlias = Any
"""A table or a batch of rows of Arrow, which declares no types."""
ArrowColumn: TypeAlias = Any
"""An array of Arrow, in one chunk or several."""
ArrowType: TypeAlias = Any
"""The type of an Arrow column, or the schema of a table."""
MOST_EMPTY: Final = 2**22
"""Rows and columns, together, that any sparse matrix may have."""
MOST_EMPTY_PER_ENTRY: Final = 1000
"""Rows and columns that a sparse matrix may have in addition for each of its entries."""
MOST_LISTED: Final = 30
"""Names that a hint lists at most."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The part of a file to read, and how to read it.

    Fields:
        header: Whether the first row of a table is a header; None finds out.
        index: Whether the first column of a table is an index; None finds out.
        columns: Names of the columns of numbers to keep, in this order; None keeps all.
        tensor: Name of the array in a file that holds several; None takes the only matrix.
        named: Names of the columns of numbers if the columns of the file have names; columns
            without names are taken in the order of the file.
        ids: Names of columns that accompany the rows and are not computed with.
        colour: Name of another such column, which colours a figure.
        memory: Memory limit in bytes, or as "500MB"; the file is then read in blocks of rows.
    """

    header: bool | None = None
    index: bool | None = None
    columns: tuple[str, ...] | None = None
    tensor: str | None = None
    named: tuple[str, ...] | None = None
    ids: tuple[str, ...] = ()
    colour: str | None = None
    memory: int | str | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the wanted columns of numbers in a file whose columns have names."""
        return self.columns or self.named

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the columns that accompany the rows, each once."""
        colour = () if self.colour is None or self.colour in self.ids else (self.colour,)
        return (*self.ids, *colour)

    def check(self, understood: frozenset[str], suffix: str) -> None:
        """Refuse a field that is set and means nothing for the format of a suffix.

        Of `columns`, `header`, `index` and `tensor` a format understands only some.
        """
        for name in ("columns", "header", "index", "tensor"):
            if getattr(self, name) is not None and name not in understood:
                raise ArgumentError(
                    f"`{name}` means nothing for a {suffix} file.",
                    hint="Leave it out.",
                    code="option-does-not-apply",
                )

    def check_unnamed(self, path: Path) -> None:
        """Refuse names of columns for a file whose columns have none."""
        named = self.columns or self.beside
        if named:
            raise ArgumentError(
                f"{path.name} is an array, whose columns have no names such as '{named[0]}'.",
                hint="Leave `columns`, `ids` and `colour` out, or give a table.",
                code="option-does-not-apply",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One matrix of a file: a plain matrix has an empty name, a picture has a part per channel."""

    name: str
    matrix: Matrix


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The matrices of a file, and sentences for the user about how they were read."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FactorFile:
    """The factors of a file by name of the part, and the document that was written with them."""

    parts: Mapping[str, Factors]
    document: dict[str, Any] = field(default_factory=dict[str, Any])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one file or several, as a `RowSource`.

    Fields:
        shape: Number of rows and of columns.
        dtype: Dtype of the rows as they are read, float32 or float64.
        open: Function that opens a reader at the first row.
        held: Bytes that a reader holds beside the rows that are asked for.
        stored: Bytes of the numbers in the files; None if they have the dtype of the rows.
        lead: Bytes before the first row in its page, for a file that is read page by page.
        at: Function that opens a reader at any row; None if only the first can be reached.
    """

    shape: tuple[int, int]
    dtype: DType
    open: Callable[[], RowReader]
    held: int = 0
    stored: int | None = None
    lead: int = 0
    at: Callable[[int], RowReader] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers in the files."""
        return self.stored or self.shape[0] * self.shape[1] * self.dtype.itemsize

    def unchanged(self, check: Callable[[], None]) -> "Rows":
        """The same rows with a check, before and after every pass, that raises an error."""

        def opened() -> RowReader:
            check()
            return _UnchangedReader(self.open(), self.shape[0], check)

        return replace(self, open=opened)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of numbers, and notes on how they are read.

    Fields:
        source: The source of the rows.
        names: Names of the columns of numbers; None if they have none.
        notes: Sentences for the user, such as which columns were skipped.
        passes: Number of passes over the file that opening it took.
        along: Function that opens the accompanying columns in batches; None if there are none.
    """

    source: Rows
    names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    passes: int = 0
    along: Callable[[], Iterator[ArrowTable]] | None = None

    def companions(self) -> "Companions":
        """The accompanying columns, from the first row on."""
        return Companions(iter(()) if self.along is None else self.along())


@final
class Companions:
    """Columns that accompany blocks of rows, taken in blocks of the same heights."""

    def __init__(self, batches: Iterator[ArrowTable]) -> None:
        self._batches = batches
        self._rest: ArrowTable = None

    def take(self, count: int) -> ArrowTable | None:
        """The next rows as an Arrow table; None if there are no accompanying columns."""
        import pyarrow as pa  # only tables have such columns, and an array is read without Arrow

        taken: list[ArrowTable] = []
        while count > 0:
            if self._rest is None or self._rest.num_rows == 0:
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._rest = pa.Table.from_batches([batch])
            piece = self._rest.slice(0, count)
            self._rest = self._rest.slice(piece.num_rows)
            taken.append(piece)
            count -= piece.num_rows
        return pa.concat_tables(taken) if taken else None


@final
class PositionReader:
    """A `RowReader` of rows that are found by their positions, piece by piece.

    Args:
        rows: Function that reads the rows from one position up to another.
        height: Rows of a piece: no read goes beyond the end of one, so that each is unpacked once.
        start: Position of the first row to read.
    """

    def __init__(self, rows: Callable[[int, int], Array], height: int, start: int = 0) -> None:
        self._rows, self._height, self._start = rows, height, start

    def read(self, out: Array, /) -> int:
        """Fill `out` from one piece after another, so that little more is held."""
        done = 0
        while done < len(out):
            left = self._height - self._start % self._height
            rows = self._rows(self._start, self._start + min(left, len(out) - done))
            if not len(rows):
                break
            out[done : done + len(rows)] = rows
            done, self._start = done + len(rows), self._start + len(rows)
        return done

    def close(self) -> None:
        """Release the rows."""
        del self._rows


@final
class _UnchangedReader:
    def __init__(self, reader: RowReader, rows: int, check: Callable[[], None]) -> None:
        self._reader, self._left, self._check = reader, rows, check
        self.close = reader.close

    def read(self, out: Array, /) -> int:
        """Fill `out` from its top with the next rows; the files are checked behind the last row."""
        try:
            count = self._reader.read(out)
        except Exception:
            self._check()
            raise
        self._left -= count
        if self._left <= 0 or not count:
            self._check()
        return count


def check_sparse(path: object, shape: Sequence[int], entries: int) -> None:
    """Refuse a sparse matrix whose shape would take far more memory than its entries.

    Compressed rows take 8 bytes for each row, even an empty one, and the shape in a file is only a
    claim.
    """
    if sum(shape) > MOST_EMPTY + MOST_EMPTY_PER_ENTRY * entries:
        raise MatrixError(
            f"{path} says that it is {' × '.join(map(str, shape))}, and holds {entries} entries.",
            hint="Leave out the rows and columns that are empty.",
            code="too-large",
        )


def choose_array(shapes: Mapping[str, tuple[int, ...]], tensor: str | None, path: object) -> str:
    """The name of the array to read: the requested one, or that of the only matrix."""
    # an array of two dimensions is a matrix; vectors and scalars beside it do not hide it
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    # an explicit name wins over the number of dimensions, which is checked later
    if tensor is not None and tensor in shapes:
        return tensor
    if tensor is None and len(matrices) == 1:
        return matrices[0]
    shown = list(shapes.items())[:MOST_LISTED]
    listed = ", ".join(f"{name} {'×'.join(map(str, shape)) or 'scalar'}" for name, shape in shown)
    more = f", and {len(shapes) - MOST_LISTED} more" if len(shapes) > MOST_LISTED else ""
    if tensor is not None:
        raise FormatError(
            f"{path} has no tensor '{tensor}'.",
            hint=f"It has: {listed}{more}.",
            code="no-such-tensor",
        )
    hint = f"It has: {listed}{more}." if listed else "It has no array at all."
    raise FormatError(
        f"{path} holds {len(matrices) or 'no'} matrices.",
        hint=f"Name one with `tensor`: {listed}{more}." if matrices else hint,
        code="tensor-not-chosen",
    )


def only_part(parts: Mapping[str, Matrix], path: Path) -> Matrix:
    """The only matrix, for a format that holds one matrix."""
    if len(parts) > 1:
        raise MatrixError(
            f"A {path.suffix} file holds one matrix, here are {len(parts)}: {', '.join(parts)}.",
            hint="Choose one with `part`, or write .npz or .safetensors.",
            code="too-many-parts",
        )
    return next(iter(parts.values()))
