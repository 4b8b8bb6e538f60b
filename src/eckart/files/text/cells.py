"""The meaning of a cell of text: a number, a missing value, or a word."""

import re
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eckart.files.columns import pc
from eckart.files.records import ArrowColumn

_WORDS: Final = (
    "NA", "N/A", "#N/A", "#NA", "#N/A N/A", "<NA>", "NaN", "-NaN", "NULL", "Null", "None",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip
MISSING: Final = frozenset(
    ("", *(cased for word in _WORDS for cased in (word, word.lower(), word.upper())))
)
"""The words that pandas reads as a missing value, in upper and lower case too."""
_DIGITS: Final = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_NUMBER: Final = rf"[+-]?(?:{_DIGITS}(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))"
_COMMA: Final = r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?"
_POINT: Final = r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_GROUPED: Final = (
    r"D+(?:[.,]D*)?|[.,]D+"
    r"|D{1,3}(?:[,'’_\x{a0}\x{2009}\x{202f}]D{3})+(?:\.D*)?|D{1,3}(?:[. ]D{3})+,D+"
)
"""Digits (D, of any alphabet) with a comma, or with marks between groups of digits."""
_UNITS: Final = "$€£¥%"
_ODD: Final = (
    rf"[+\x{{2212}}\x{{2013}}-]? ?[{_UNITS}]? ?(?:{_GROUPED})(?:[eE][+-]?D+)? ?[{_UNITS}]?-?"
    rf"|\([{_UNITS}]?(?:{_GROUPED})\)"
).replace("D", r"\p{Nd}")
_GROUPS: Final = r"[0-9]{1,3}(?:[. ][0-9]{3})+"
_MARK: Final = r"[?*.~_\x{2013}\x{2014}-]+|#[A-Z0-9/]+[!?]"

# Arrow uses RE2 and Python re, which spell code points and digits differently
_IS_NUMBER, _IS_COMMA, _IS_POINT, _IS_ODD, _IS_GROUPS, _IS_MARK = (
    re.compile(
        re.sub(r"\\x\{(\w+)\}", lambda one: chr(int(one[1], 16)), pattern).replace(r"\p{Nd}", r"\d")
    )
    for pattern in (_NUMBER, _COMMA, _POINT, _ODD, _GROUPS, _MARK)
)


def is_missing(cell: str) -> bool:
    """Whether a cell is empty, or a word for a missing value."""
    return cell.strip() in MISSING


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell holds a number, or a word for a missing value.

    Example:
        >>> is_number("1,5"), is_number("1,5", ","), is_number("NA"), is_number("0x10")
        (False, True, True, False)
    """
    text = cell.strip()
    if text in MISSING or _IS_NUMBER.fullmatch(text):
        return True
    return decimal == "," and _IS_COMMA.fullmatch(text) is not None


def has_comma(cell: str) -> bool:
    """Whether a cell is a number with a decimal comma."""
    return _IS_COMMA.fullmatch(cell.strip()) is not None


def has_point(cell: str) -> bool:
    """Whether a cell is a number with a decimal point."""
    return _IS_POINT.fullmatch(cell.strip()) is not None


def is_odd(cell: str) -> bool:
    """Whether a cell that is no number is surely meant as one: `1,120`, `$5`, `−3`, `1'000`, `4 %`.

    Example:
        >>> is_odd("(1,120.5)"), is_odd("12.5.2020"), is_odd("10.0.0.1"), is_odd("0x10")
        (True, False, False, False)
    """
    return _IS_ODD.fullmatch(cell.strip()) is not None


def is_mark(cell: str) -> bool:
    """Whether a cell has no letters or digits, or is a spreadsheet error: `?`, `#DIV/0!`."""
    return _IS_MARK.fullmatch(cell.strip()) is not None


def is_meant(cell: str, decimal: str = ".") -> bool:
    """Whether a cell holds a value and no column name: a number, or a substitute for one."""
    plain = is_number(cell, decimal) or is_odd(cell) or is_mark(cell)
    return plain or _IS_GROUPS.fullmatch(cell.strip()) is not None


def commas_and_points(column: ArrowColumn) -> tuple[int, int]:
    """Numbers of the cells for which `has_comma` holds, and of those for which `has_point` does."""
    trimmed = pc.utf8_trim_whitespace(column)
    return _count(_matches(trimmed, _COMMA)), _count(_matches(trimmed, _POINT))


def odd_and_marks(column: ArrowColumn) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Masks of the cells for which `is_odd` holds, and of those for which `is_mark` holds."""
    trimmed = pc.utf8_trim_whitespace(column)
    odd, marks = (
        np.asarray(_matches(trimmed, pattern).to_numpy(zero_copy_only=False), np.bool_)
        for pattern in (_ODD, _MARK)
    )
    return odd, marks


def with_odd_blanks(column: ArrowColumn) -> int:
    """The number of cells with surrounding blanks that Arrow does not strip by itself."""
    plain = pc.utf8_trim(column, characters=" \t")  # the blanks that Arrow strips
    return _count(pc.not_equal(plain, pc.utf8_trim_whitespace(column)))


def numbers(column: ArrowColumn, decimal: str = ".") -> tuple[ArrowColumn, ArrowColumn]:
    """The numbers of a column of text, null where there is none, and a mask of its words.

    Example:
        >>> found, words = numbers(pa.array([" 1,5", "NA", "x"]), ",")
        >>> found.to_pylist(), words.to_pylist()
        ([1.5, None, None], [False, False, True])
    """
    plain = pc.utf8_trim_whitespace(column)
    # blanks count as missing after they are trimmed, and nulls were missing before
    known = pc.invert(pc.is_in(pc.fill_null(plain, ""), value_set=pa.array(sorted(MISSING))))
    plain = pc.if_else(known, plain, pa.scalar(None, plain.type))
    if decimal == ",":
        # a comma is replaced only in cells that are numbers with one
        plain = pc.if_else(_matches(plain, _COMMA), pc.replace_substring(plain, ",", "."), plain)
    right = pc.fill_null(_matches(plain, _NUMBER), False)
    found = pc.cast(pc.if_else(right, plain, pa.scalar(None, plain.type)), pa.float64())
    return found, pc.and_(known, pc.invert(right))


def _matches(column: ArrowColumn, pattern: str) -> ArrowColumn:
    return pc.match_substring_regex(column, f"^(?:{pattern})$")


def _count(mask: ArrowColumn) -> int:
    # the sum over an empty array is null
    return int(pc.sum(mask).as_py() or 0)
