"""Values that are odd: JSON and arrays of any type, and documents with a few things wrong."""

import copy
import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzzing.framing import unframed

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([2**31, 2**63 - 1, 2**64, 10**12, 10**400, -(2**63)]),
    st.floats(),
)
WORDS = st.one_of(
    st.sampled_from(["", "a", "0", "float32", "../x", "a\nb", "é", "\x00", "\ud800", "x" * 300]),
    st.text(max_size=6),
)
JSON: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
DTYPES = st.sampled_from(
    ["f8", "f4", "f2", ">f8", "i8", "u8", "i4", "u1", "?", "c16", "S3", "U2", "M8[s]", "m8[D]",
     "V4", "f8,i4"]
)  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def odd_arrays(draw: Callable[..., Any], dtypes: SearchStrategy[str] = DTYPES) -> np.ndarray:
    """An array of any dtype and shape, its bytes at random, or small numbers."""
    dtype, shape = np.dtype(draw(dtypes)), draw(SHAPES)
    count = int(np.prod(shape))
    if dtype.kind in "biuf" and draw(st.booleans()):
        values = draw(st.lists(st.integers(-2, 6), min_size=count, max_size=count))
        return np.array(values).astype(dtype).reshape(shape)
    content = draw(st.binary(min_size=64, max_size=64)) * (count * dtype.itemsize // 64 + 1)
    return np.frombuffer(content[: count * dtype.itemsize], dtype).reshape(shape)


@st.composite
def spoiled(draw: Callable[..., Any], document: Any, times: int = 2) -> Any:
    """A document in which a few values are others, missing, or too many."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, times))):
        places = list(_places(document))
        holder, key = draw(st.sampled_from(places)) if places else (None, None)
        if holder is None:
            document = draw(JSON)
        elif draw(st.integers(0, 4)) == 0:
            del holder[key]
        elif isinstance(holder, dict) and draw(st.integers(0, 6)) == 0:
            holder[draw(WORDS)] = holder[key]
        else:
            holder[key] = draw(JSON)
    return document


@st.composite
def spoiled_arrays(draw: Callable[..., Any], arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name of which a few are others, missing, or under another name."""
    made = {name: np.asarray(array) for name, array in arrays.items()}
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([*arrays, "new", "x.B", "B", "A"]))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            made.pop(name, None)
        elif kind == 1 and name in made and made[name].size:
            flat = made[name].copy().reshape(-1)
            values = st.sampled_from([-1, 0, 1, 7, 100]) if flat.dtype.kind in "iuf" else st.just(0)
            place = draw(st.integers(0, flat.size - 1))
            flat[place] = np.int64(draw(values)).astype(flat.dtype)  # which may turn it around
            made[name] = flat.reshape(made[name].shape)
        else:
            made[name] = draw(odd_arrays())
    return made


def is_text(name: str) -> bool:
    """Whether a text holds no half of a character, which no file of Arrow or PyTorch can hold."""
    return name == name.encode("utf-8", "ignore").decode()


def as_json(document: Any) -> bytes:
    """A document as bytes, whatever it holds."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


def npy(array: np.ndarray) -> bytes:
    """An array as a `.npy` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


@cache
def seeded(seeds: Callable[[], Iterator[bytes]]) -> tuple[dict[str, bytes], ...]:
    """The files of seeds, made once."""
    return tuple(unframed(seed) for seed in seeds())


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key in a document."""
    pairs: Any = ()
    if isinstance(document, dict):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document)
    for key, value in pairs:
        yield document, key
        yield from _places(value)
