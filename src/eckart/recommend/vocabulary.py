"""`Vocabulary`: ids of users or items, of any type, and the rows or columns they stand for."""

from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.errors import MatrixError
from eckart.recommend.chunked import Column, pc, take
from eckart.recommend.ids import Encoder, all_of, as_whole, canonical, without_points

Places: TypeAlias = npt.NDArray[np.int32]
Id: TypeAlias = int | str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The ids of users or of items, each at its place; ids are returned as they came.

    Fields:
        ids: An Arrow array of int64 or text without nulls, with each id once.
        whole: Whether the ids are whole numbers that are held as text, being too large for 64 bits.

    Example:
        >>> vocabulary, places = Vocabulary.encode(["b", "a", "b"])
        >>> vocabulary.to_list(), places.tolist()
        (['a', 'b'], [1, 0, 1])
        >>> vocabulary.place("b"), vocabulary.place("c")
        (1, -1)
    """

    ids: Any
    whole: bool = False

    @staticmethod
    def encode(
        column: Any, what: str = "id", *, untyped: bool = False
    ) -> tuple["Vocabulary", Places]:
        """The sorted vocabulary of a column, and the place of each of its entries."""
        encoder = Encoder(what)
        encoder.add(column)
        return Vocabulary.of_codes(encoder, untyped=untyped)

    @staticmethod
    def of_codes(encoder: Encoder, *, untyped: bool) -> tuple["Vocabulary", Places]:
        """The sorted vocabulary of ids that were coded by blocks, and the place of each entry."""
        distinct, codes = encoder.finish()
        ids, whole = _normalize(distinct, untyped=untyped or encoder.large)
        alike = ids.dictionary_encode()
        if len(alike.dictionary) < len(ids):
            # ids that were different become equal in the common form, such as 12 and 12.0
            codes = take(np.asarray(alike.indices), codes, out=codes)
            ids = alike.dictionary
        # sorted, so that the order of rows in a table changes no bit of the model
        order = pc.sort_indices(ids).to_numpy()
        to_place = np.empty(len(order), np.int32)
        to_place[order] = np.arange(len(order), dtype=np.int32)
        return Vocabulary(ids.take(pa.array(order)), whole), take(to_place, codes, out=codes)

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, column: Column, what: str = "id") -> Places:
        """The place of each id of a column; −1 for unknown ids."""
        encoder = Encoder(what)
        encoder.add(column)
        distinct, codes = encoder.finish()
        return take(self._found(distinct), codes, out=codes)

    def place(self, one: object) -> int:
        """The place of one id, given in its type or as text; −1 if it is unknown.

        Raises:
            MatrixError: If it cannot be an id.
        """
        return int(self._found(all_of([one]))[0])

    def convert(self, column: Column) -> Column:
        """Requested ids in the type of these: numbers if both can be numbers, else text.

        Example:
            >>> Vocabulary(pa.array([7])).convert(pa.array(["7", "8.0"])).to_pylist()
            [7, 8]
        """
        asked, _ = _normalize(column, untyped=pa.types.is_integer(self.ids.type))
        return asked if asked.type == self.ids.type else asked.cast(pa.string())

    def at(self, place: int) -> Id:
        """The id at a place."""
        found = self.ids[place].as_py()
        return int(found) if self.whole else found

    def to_list(self, places: npt.ArrayLike | None = None) -> list[Id]:
        """The ids at some places, or all ids, in order."""
        found = self.column(places).to_pylist()
        return [int(one) for one in found] if self.whole else found

    def column(self, places: npt.ArrayLike | None = None) -> Column:
        """The ids at some places as an Arrow array; null for negative places."""
        if places is None:
            return self.ids
        chosen = np.asarray(places, np.int64)
        return self.ids.take(pa.array(chosen, mask=chosen < 0))

    def extend(self, other: "Vocabulary") -> tuple["Vocabulary", Places]:
        """This vocabulary followed by the new ids of another, and the places of the other's ids."""
        places = self._found(other.ids)
        new = places < 0
        if not new.any():
            return self, places
        own, added = self.ids, other.ids.filter(pa.array(new))
        # numbers beyond 64 bits are held as text, and so all ids are then
        if pa.types.is_integer(own.type) and other.whole:
            own = own.cast(pa.string())
        elif pa.types.is_integer(own.type) and not pa.types.is_integer(added.type):
            added = _whole(added)
        if pa.types.is_string(own.type):
            added = added.cast(pa.string())
        places[new] = len(self) + np.arange(int(new.sum()), dtype=np.int32)
        whole = all(one.whole or pa.types.is_integer(one.ids.type) for one in (self, other))
        joined = pa.concat_arrays([own, added])
        return Vocabulary(joined, whole and pa.types.is_string(own.type)), places

    def _found(self, distinct: Column) -> Places:
        """The places of an array of ids of any type; −1 for unknown ids."""
        asked = canonical(distinct)
        if pa.types.is_integer(asked.type) and not pa.types.is_uint64(asked.type):
            asked = asked.cast(pa.int64())
        # of different types: the requested ids are brought to the type of these
        if not pa.types.is_int64(asked.type) or not pa.types.is_integer(self.ids.type):
            asked = asked.cast(pa.string())
            if pa.types.is_integer(self.ids.type) or self.whole:
                asked = without_points(asked)
            if pa.types.is_integer(self.ids.type):
                asked = pa.array([_number(text) for text in asked.to_pylist()], pa.int64())
        found = pc.fill_null(pc.index_in(asked, value_set=self.ids, skip_nulls=True), -1)
        # Arrow's arrays are read-only, and the places of new ids are written into it
        return np.asarray(found.to_numpy(), np.int32).copy()


def _normalize(distinct: Column, *, untyped: bool) -> tuple[Any, bool]:
    """Distinct ids as int64 or text, and whether these texts are whole numbers.

    Texts of a file without types are read as numbers if all of them are numbers; a text with
    leading zeros is not one, since it would not be returned as it came.
    """
    ids = canonical(distinct)
    if pa.types.is_integer(ids.type):
        untyped = True
        ids = ids.cast(pa.string()) if pa.types.is_uint64(ids.type) else ids.cast(pa.int64())
    if pa.types.is_int64(ids.type) or not untyped:
        return ids, False
    return as_whole(ids)


def _number(text: str) -> int | None:
    """A text as a 64-bit whole number; None if it is not one."""
    try:
        number = int(text)
    except ValueError:
        return None
    # `int` also reads "1_000", " 7" and digits of other scripts
    return number if -(2**63) <= number < 2**63 and str(number) == text else None


def _whole(texts: Column) -> Column:
    """Texts as 64-bit whole numbers."""
    numbers = [_number(text) for text in texts.to_pylist()]
    if None in numbers:
        raise MatrixError(
            f"The ids of the model are whole numbers, and {texts[numbers.index(None)]} is none.",
            hint="Give ids of the same kind.",
            code="other-ids",
        )
    return pa.array(numbers, pa.int64())
