"""Files that are put together as their kind is, and wrong somewhere: as hypothesis draws them."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from PIL import Image

from fuzzing import seeds
from fuzzing.odd import (
    DTYPES,
    JSON,
    WORDS,
    as_json,
    is_text,
    npy,
    odd_arrays,
    seeded,
    spoiled,
    spoiled_arrays,
)

Files = dict[str, bytes]
Draw = Callable[..., Any]
CELLS = st.one_of(
    st.sampled_from(
        ["1", "2.5", "-3e8", "1e400", "NA", "", " ", "nan", "inf", "1,5", "1.234,5", "0x1F", "true",
         '"', '""', '"a\nb"', "a b", "é", "１", "2020-01-02", "12:30", "1577934245", "007", "1_0",
         "-", "\u00a0", "\u2028", "#", "99999999999999999999999", "x" * 70000, "'", "\\", "--- a"]
    ),
    st.integers(-5, 10**6).map(str),
    st.text(max_size=5),
)  # fmt: skip
HEADS = ["user", "item", "rating", "time", "weight", "id", "title", "a", "", "userId", "b:id", "0"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252", "utf-32", "utf-7"]


@st.composite
def texts(draw: Draw) -> Files:
    """Rows of odd cells, with any separator, end of line, encoding and packing."""
    width, delimiter = (
        draw(st.integers(1, 5)),
        draw(st.sampled_from([",", ";", "\t", "|", " ", "::"])),
    )
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8))
    if draw(st.booleans()):
        rows.insert(0, draw(st.lists(st.sampled_from(HEADS), min_size=width, max_size=width)))
    if draw(st.integers(0, 3)) == 0:
        rows[draw(st.integers(0, len(rows) - 1))].append("1")
    rows *= draw(st.sampled_from([1, 1, 1, 40]))
    text = draw(st.sampled_from(["", "# c\n", "\n\n", "sep=;\n", "\ufeff"])) + end.join(
        delimiter.join(row) for row in rows
    )
    content = text.encode(draw(st.sampled_from(ENCODINGS)), "replace")
    suffix = draw(st.sampled_from([".csv", ".tsv", ".dat", ".txt", ".csv.gz!", ".tsv.gz!"]))
    return {f"t{suffix}": content + draw(st.sampled_from([b"", b"\n", b"\x00", b"\xff", b'"']))}


@st.composite
def lines(draw: Draw) -> Files:
    """Objects of any type at each key, one a line or in a list."""
    keys = st.one_of(st.sampled_from(HEADS), WORDS)
    rows = draw(st.lists(st.one_of(st.dictionaries(keys, JSON, max_size=4), JSON), max_size=6))
    if draw(st.booleans()):
        whole = [{"user": draw(JSON), "item": draw(JSON), "time": draw(JSON)} for _ in rows]
        rows = whole or rows
    content = as_json(rows) if draw(st.booleans()) else b"\n".join(map(as_json, rows))
    return {f"t{draw(st.sampled_from(['.jsonl', '.json', '.ndjson', '.jsonl.gz!']))}": content}


@st.composite
def market(draw: Draw) -> Files:
    """Words and sizes that need not be true, and lines of a few numbers."""
    kinds = (
        ["coordinate", "coordinate", "array", "Coordinate", "vector"],
        ["real", "integer", "pattern", "complex", "unsigned-integer"],
        ["general", "symmetric", "skew-symmetric", "hermitian", "x"],
    )
    words = ["%%MatrixMarket", "matrix", *(draw(st.sampled_from(kind)) for kind in kinds)]
    size = st.one_of(st.integers(-1, 5), st.sampled_from([10**6, 2**31, 2**63, 10**30]))
    odd = st.sampled_from(["1.5", "-2e3", "nan", "1e999", "x"])
    number = st.one_of(st.integers(0, 5).map(str), odd)
    sizes = draw(st.lists(size, min_size=2, max_size=3))
    body = draw(st.lists(st.lists(number, min_size=1, max_size=4), max_size=6))
    if draw(st.booleans()):  # as many lines as the header says, of as many numbers
        sizes = [draw(st.integers(1, 10**9)), 5, draw(st.integers(0, 4))]
        body = [[draw(number) for _ in range(3)] for _ in range(sizes[2])]
    text = "\n".join([" ".join(words), " ".join(map(str, sizes)), *map(" ".join, body)])
    return {draw(st.sampled_from(["t.mtx", "t.mtx.gz!"])): text.encode()}


@st.composite
def arrays(draw: Draw) -> Files:
    """A header of any content before some bytes, or an array of any dtype."""
    if draw(st.booleans()):
        return {"W.npy": npy(draw(odd_arrays()))}
    size = st.one_of(st.integers(-1, 9), st.sampled_from([10**6, 2**31, 2**62, 10**30, 2.0, None]))
    header = {
        "descr": draw(
            st.one_of(DTYPES, st.sampled_from(["O", "|O8", [("a", "<f8")], "", 3, "<f99"]))
        ),
        "fortran_order": draw(st.sampled_from([True, False, 1, "x"])),
        "shape": tuple(draw(st.lists(size, max_size=4))),
    }
    if draw(st.integers(0, 5)) == 0:
        header.pop(draw(st.sampled_from(sorted(header))))
    text = repr(header).encode("latin-1", "replace") + b"\n"
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    packed = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return {"W.npy": b"\x93NUMPY" + bytes(version) + packed + text + draw(st.binary(max_size=99))}


@st.composite
def archives(draw: Draw) -> Files:
    """The members of one of the seeds, one of which is another, and documents of any content."""
    name, members = _archive(draw(st.sampled_from(seeded(seeds.archives))))
    held = {member.removesuffix(".npy"): np.load(io.BytesIO(content))
            for member, content in members.items()}  # fmt: skip
    if "eckart.json" in held and draw(st.booleans()):
        document = draw(spoiled(json.loads(held["eckart.json"].tobytes())))
        held["eckart.json"] = np.frombuffer(as_json(document), np.uint8)
    else:
        held = draw(spoiled_arrays(held))
    return {f"{name}!/{_safe(member)}.npy": npy(array) for member, array in held.items()}


COLUMN_TYPES: list[Any] = [
    pa.int64(), pa.uint64(), pa.int8(), pa.float64(), pa.float32(), pa.float16(), pa.bool_(),
    pa.string(), pa.large_string(), pa.binary(), pa.binary(4), pa.date32(), pa.date64(),
    pa.timestamp("ns"), pa.timestamp("s", "Europe/Berlin"), pa.time32("ms"), pa.time64("ns"),
    pa.duration("us"), pa.decimal128(38, 10), pa.decimal256(70, 2), pa.null(),
    pa.list_(pa.int64()), pa.list_(pa.float64(), 2), pa.struct({"x": pa.int64()}),
    pa.map_(pa.string(), pa.int64()), pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.float64()), pa.large_list(pa.string()), pa.string_view(), pa.uuid(),
    pa.struct({}), pa.decimal32(9, 2), pa.month_day_nano_interval(),
]  # fmt: skip


@st.composite
def parquet(draw: Draw) -> Files:
    """Columns of any type, names that occur twice, groups of rows, and what pandas would say."""
    height = draw(st.integers(0, 5))
    columns, names = [], []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(COLUMN_TYPES))
        columns.append(
            column(kind, draw(st.lists(st.integers(-3, 9), min_size=height, max_size=height)))
        )
        names.append(draw(st.one_of(st.sampled_from(HEADS), WORDS.filter(is_text))))
    table = pa.Table.from_arrays(columns, names=names)
    said = draw(st.one_of(st.none(), st.just({"pandas": as_json(draw(JSON))}),
                          st.just({"pandas": as_json({"index_columns": draw(JSON)})})))  # fmt: skip
    stream = io.BytesIO()
    try:
        pq.write_table(
            table.replace_schema_metadata(said),
            stream,
            row_group_size=draw(st.sampled_from([1, 2, 100])),
            compression=draw(st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"])),
            store_schema=draw(st.booleans()),
            use_dictionary=draw(st.booleans()),
        )
    except (pa.ArrowException, TypeError):
        return {"t.parquet": b"PAR1"}
    content = stream.getvalue()
    return {"t.parquet": draw(st.one_of(st.just(content), changes(content)))}


@st.composite
def hdf5(draw: Draw) -> Files:
    """Datasets of any dtype, attributes of any content, sparse matrices that do not fit."""
    with TemporaryDirectory() as place:
        path = Path(place) / "t.h5"
        with h5py.File(path, "w", libver=draw(st.sampled_from(["earliest", "latest"]))) as file:
            for _ in range(draw(st.integers(1, 3))):
                _fill(
                    draw,
                    file,
                    draw(st.sampled_from(["W", "X", "var", "obs", "raw", "g/h", "layers"])),
                )
            if draw(st.booleans()):
                _describe(draw, file)
        return {f"t{draw(st.sampled_from(['.h5', '.hdf5', '.h5ad']))}": path.read_bytes()}


def _fill(draw: Draw, file: Any, name: str) -> None:
    """A dataset or a group of a file, where there is none yet."""
    if name in file:
        return
    kind = draw(st.integers(0, 4))
    if kind == 0:
        shape = tuple(
            draw(st.lists(st.sampled_from([0, 1, 3, 10**6, 10**9]), min_size=1, max_size=3))
        )
        chunks = None if 0 in shape else tuple(min(4, one) for one in shape)
        node = file.create_dataset(
            name, shape, draw(st.sampled_from(["f4", "i2", "?"])), chunks=chunks
        )
    elif kind == 1:
        kinds = st.sampled_from(["f8", "f2", "i8", "u1", "?", "c16", "S3", "f8,i4"])
        array = draw(st.one_of(odd_arrays(kinds), st.just(seeds.W), st.just(seeds.W.astype("i2"))))
        node = file.create_dataset(name, data=array)
    elif kind == 2:
        node = file.create_group(name)
        parts = draw(
            st.sampled_from(
                [("data", "indices", "indptr"), ("data", "ir", "jc"), ("codes", "categories")]
            )
        )
        right = {"data": [1.0, 2.0], "indptr": [0, 1, 2], "jc": [0, 1, 2]}
        for part in parts:
            own = st.just(np.array(right.get(part, [0, 1])))
            node[part] = draw(
                st.one_of(own, own, odd_arrays(st.sampled_from(["f8", "i4", "u1", "S2"])))
            )
        if draw(st.booleans()):
            node["shape"] = draw(st.lists(st.integers(-1, 9), max_size=3))
    elif kind == 3:
        node = file.create_group(name)
        node["_index"] = draw(odd_arrays(st.sampled_from(["S3", "i4", "f8"])))
    else:
        import h5py

        file[name] = draw(
            st.sampled_from(
                [h5py.SoftLink("/nowhere"), h5py.SoftLink("/"), h5py.ExternalLink("x.h5", "/")]
            )
        )
        return
    _describe(draw, node)


def _describe(draw: Draw, node: Any) -> None:
    """Attributes that readers ask for, of any content."""
    names = ["scale_factor", "add_offset", "_FillValue", "missing_value", "shape", "_index",
             "encoding-type", "h5sparse_format", "h5sparse_shape", "MATLAB_sparse"]  # fmt: skip
    values = st.one_of(
        st.floats(), st.integers(-9, 9), st.lists(st.integers(-9, 2**40), max_size=3),
        st.sampled_from(["csr_matrix", "csc_matrix", "anndata", "x", b"\xff", np.bool_(True),
                         np.zeros(0), np.array(["a", "b"], "S"), np.array([2**62, 2**62])]),
    )  # fmt: skip
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        node.attrs[name] = draw(values)


@st.composite
def pictures(draw: Draw) -> Files:
    """Pictures of any mode in any format under any suffix, cut or changed."""
    mode = draw(
        st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
    )
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kind = draw(
        st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "TGA", "PCX"])
    )
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = draw(st.sampled_from([1, 3, 6, 8, 0, 99]))
    try:
        Image.new(mode, size).save(stream, format=kind, exif=exif)
    except (OSError, ValueError, TypeError, KeyError):
        Image.new("L", size).save(stream, format="PNG")
    content = draw(changes(stream.getvalue()))
    return {f"p{draw(st.sampled_from(['.png', '.jpg', '.jpeg']))}": content}


def column(kind: Any, values: list[int]) -> Any:
    """A column of any type from small numbers, of which those below zero are missing."""
    known: list[Any] = [value if value >= 0 else None for value in values]
    for made in (known, [None if one is None else str(one) for one in known]):
        try:
            return pa.array(made).cast(kind)
        except (pa.ArrowException, TypeError, ValueError):
            continue
    return pa.nulls(len(values), kind)


@st.composite
def changes(draw: Draw, content: bytes) -> bytes:
    """Bytes that are cut off somewhere, or of which a few are others."""
    changed = bytearray(content)
    places = st.tuples(st.integers(0, max(0, len(content) - 1)), st.integers(0, 255))
    for place, byte in draw(st.lists(places, max_size=3)) if changed else ():
        changed[place] = byte
    cut = draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))
    return bytes(changed[:cut])


def _archive(files: Files) -> tuple[str, Files]:
    """The name of the archive of some files, and its members."""
    (name, content), *_ = files.items()
    if "!" in name:
        return name.partition("!")[0], {one.partition("!/")[2]: held for one, held in files.items()}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return name, {one: archive.read(one) for one in archive.namelist()}


def _safe(name: str) -> str:
    return name.replace("\n", "_") or "_"
