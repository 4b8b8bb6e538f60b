"""Folders and weights that are put together as their kind is, and wrong somewhere."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.numpy import load, save

from fuzzing import seeds
from fuzzing.odd import JSON, WORDS, as_json, is_text, seeded, spoiled, spoiled_arrays
from fuzzing.shapes import COLUMN_TYPES, Draw, Files, changes, column, parquet


@st.composite
def weights(draw: Draw) -> Files:
    """A header that promises what it likes before some bytes, or arrays of odd names."""
    names = ["w", "B", "A", "x.B", "x.A", "__metadata__", "", "a\nb"]
    if draw(st.booleans()):
        files = dict(draw(st.sampled_from(seeded(seeds.weights))))
        name = next(iter(files))
        return {name: _with_wrong_header(draw, files[name])}
    number = st.one_of(st.integers(-1, 9), st.sampled_from([2**31, 2**62, 2**63, 10**30]))
    claim = st.fixed_dictionaries({
        "dtype": st.sampled_from(["F64", "F32", "BF16", "F8_E4M3", "F4", "BOOL", "C64", "U8", "X"]),
        "shape": st.lists(number, max_size=4),
        "data_offsets": st.lists(number, min_size=2, max_size=2),
    })  # fmt: skip
    header = draw(st.dictionaries(st.sampled_from(names), st.one_of(claim, JSON), max_size=4))
    text = as_json(header)
    return {"m.safetensors": struct.pack("<Q", len(text)) + text + draw(st.binary(max_size=64))}


@st.composite
def pickled(draw: Draw) -> Files:
    """What PyTorch saves of odd objects, its parts changed."""
    import torch  # takes long, and few readers need it

    def tensor() -> Any:
        kind = draw(st.integers(0, 6))
        plain = torch.arange(6.0).reshape(2, 3)
        return [
            plain, plain.T, plain.to_sparse(), torch.empty(2, 3, device="meta"),
            plain.to(torch.complex64), torch.zeros(1).expand(10**9), torch.nn.Parameter(plain),
        ][kind]  # fmt: skip

    names = st.one_of(st.sampled_from(["w", "b", "module.w"]), WORDS.filter(is_text))
    held = {draw(names): tensor() for _ in range(draw(st.integers(0, 3)))}
    saved: Any = draw(st.sampled_from([held, {"state_dict": held}, [held], {"state_dict": 3}]))
    stream = io.BytesIO()
    torch.save(saved, stream, _use_new_zipfile_serialization=draw(st.booleans()))
    content = stream.getvalue()
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {"m.pt": draw(changes(content))}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(files)))
    files[name] = draw(changes(files[name]))
    return {f"m.bin!/{name}": content for name, content in files.items()}


def _one_wrong(made: Callable[[], Iterator[bytes]]) -> Callable[[], SearchStrategy[Files]]:
    """Seeds of a kind, in one file of which something is wrong."""

    @st.composite
    def files(draw: Draw) -> Files:
        return _with_wrong_file(draw, dict(draw(st.sampled_from(seeded(made)))))

    return files


factor_folders = _one_wrong(seeds.factor_folders)
models = _one_wrong(seeds.models)
adapters = _one_wrong(seeds.adapters)
runs = _one_wrong(seeds.runs)
recommenders = _one_wrong(seeds.recommenders)
zarr_folders = _one_wrong(seeds.zarr_folders)


def _with_wrong_file(draw: Draw, files: Files) -> Files:
    """Files of which one is missing, or holds another document, other numbers or other bytes."""
    name = draw(st.sampled_from(sorted(files)))
    content = files[name]
    if draw(st.integers(0, 9)) == 0:
        del files[name]
    elif name.endswith((".json", ".zarray", ".zgroup", ".zattrs")):
        files[name] = as_json(draw(spoiled(json.loads(content))))
    elif name.endswith(".safetensors"):
        files[name] = _with_wrong_header(draw, content)
    elif name.endswith(".parquet") and draw(st.booleans()):
        files[name] = _other_table(draw, content)
    elif name.endswith(".parquet"):
        files[name] = draw(parquet())["t.parquet"]
    else:
        files[name] = draw(changes(content))
    return files


def _with_wrong_header(draw: Draw, content: bytes) -> bytes:
    """A safetensors file with something wrong in its header, or with other tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if draw(st.booleans()):
        said = dict(header.get("__metadata__", {}))
        if "eckart" in said and draw(st.booleans()):
            said["eckart"] = json.dumps(draw(spoiled(json.loads(said["eckart"]))))
        held = draw(spoiled_arrays(dict(sorted(load(content).items()))))
        kept = {n: np.ascontiguousarray(a) for n, a in held.items() if a.dtype.kind in "fiub"
                and a.dtype.isnative}  # fmt: skip
        return save(kept, metadata=said)
    text = as_json(draw(spoiled(header)))
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _other_table(draw: Draw, content: bytes) -> bytes:
    """A table of which a few columns hold others numbers or other types."""
    table = pq.read_table(io.BytesIO(content))
    for place, name in enumerate(table.column_names):
        if draw(st.booleans()):
            values = draw(st.lists(st.integers(-3, 9), min_size=len(table), max_size=len(table)))
            kind = draw(st.sampled_from([table.schema.types[place], *COLUMN_TYPES]))
            table = table.set_column(place, name, column(kind, values))
    stream = io.BytesIO()
    try:
        pq.write_table(table, stream)
    except (pa.ArrowException, TypeError):
        return content
    return stream.getvalue()
