"""Inputs that once were faults, by reader: what `make bench-fuzz` found, made small."""

import io
import json
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse
from PIL import Image
from safetensors.numpy import load, save

from fuzzing import seeds
from fuzzing.odd import as_json, npy, seeded

Files = dict[str, bytes]
DEEP = 20_000
GIF = bytes.fromhex(
    "474946383761 0500ff00800000 000000000000 2c00720000050005000008 0b0001081c48b0a041820101003b"
)
"""Forty bytes that say where a picture of millions of pixels has a small one."""
TIFF = bytes.fromhex(
    "49492a00080000000a00000104000100000001000000010104000100000003cd0000020103000100000010000000"
    "0301030001000000010000000601030001000000010000001101040001000000860000001201030001000000080000"
    "001601040001000000030000001701040001000000060000001c0103000100000001000000000043000000cb000000"
)
"""A picture whose list of pages leads to one that has no size."""
HEADER = b"\x93NUMPY\x01\x00"


def lines() -> dict[str, Files]:
    return {
        "null and nothing else": {"t.json": b"null"},  # ended the process
        "null in the first line": {"t.jsonl": b' null\n{"user": 1}'},
        "objects within objects": {"t.jsonl": b'{"a":' * DEEP + b"1" + b"}" * DEEP},
        "lists within a list": {"t.json": b'[{"a":' + b"[" * DEEP + b"]" * DEEP + b"}]"},
        "a list of nothing but null": {"t.jsonl": b'{"user": [null, null]}'},
        "half of a character": {"t.json": b'[{"user": "\\ud800"}]'},
        "half of a character in a name": {"t.json": b'[{"\\ud800": 1}]'},
        "no columns": {"t.jsonl": b"{}"},
        "an empty list": {"t.jsonl.gz!": b"[]"},
        "titles that are objects": {"t.jsonl": b'{"id": 1, "title": {"x": [1]}}'},
        "a name of two lines": {"t.json": b'{"a\\nb": 1}'},
    }


def market() -> dict[str, Files]:
    head = "%%MatrixMarket matrix coordinate real general\n"
    texts = {
        "a place that is NaN": "3 3 1\nnan 1 1\n",
        "a place beyond 64 bits": "3 3 1\n1e30 1 1\n",
        "a thousand million empty rows": "1000000000 5 1\n1 1 2.5\n",
        "as many empty columns": "5 1000000000 1\n1 1 2.5\n",
        "some millions of empty rows": "13637420 5 1\n1 5 0\n",
    }
    return {what: {"t.mtx": (head + text).encode()} for what, text in texts.items()}


def arrays() -> dict[str, Files]:
    headers = {
        "an open bracket": b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, ",
        "sizes as Python 2 wrote them": b"{'descr':'<f8','fortran_order':False,'shape':(1L,1L)}",
        "more than 64 bits count": b"{'descr': '<f8', 'fortran_order': False, 'shape': "
        b"(4611686018427387904, 8)}",
        "a negative size": b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8)}",
        "a dtype of a number": b"{'descr': 3, 'fortran_order': False, 'shape': (1, 1)}",
    }
    return {
        what: {"W.npy": HEADER + len(text).to_bytes(2, "little") + text + bytes(8)}
        for what, text in headers.items()
    }


def archives() -> dict[str, Files]:
    stored: Any = scipy.sparse.csr_array(seeds.W)
    sparse = {
        "format": np.array(b"csr"), "shape": np.array(stored.shape), "data": stored.data,
        "indices": stored.indices, "indptr": stored.indptr,
    }  # fmt: skip
    factors = {"B": seeds.W[:, :1], "A": seeds.W[:1]}
    reduction = next(files for files in seeded(seeds.archives) if len(files) > 3 and
                     any(name.endswith("squares.npy") for name in files))  # fmt: skip
    said = next(name for name in reduction if "eckart.json" in name)
    facts = json.loads(np.load(io.BytesIO(reduction[said])).tobytes())
    odd = {
        "a floor that is a text": {"floor": "x"},
        "no rows": {"rows": 0},
        "endless rows": {"rows": 1e400},
        "a share that is NaN": {"whole": float("nan")},
    }
    rows = np.zeros(1, np.int64)
    tall = {"format": np.array(b"coo"), "shape": np.array([10**9, 2]), "data": np.ones(1),
            "row": rows, "col": rows}  # fmt: skip
    return {
        "an open bracket in a member": {
            "W.npz!/W.npy": HEADER + b"\x10\x00{'descr': '<f8', (",
        },
        "a format that is a number": _archive(**{**sparse, "format": np.array(1.5)}),
        "a format that is a list": _archive(**{**sparse, "format": np.array([b"csr"])}),
        "a thousand million empty rows": _archive(**tall),
        "indices that are no Unicode": _no_unicode(
            {**sparse, "indices": np.array("xx")}, "indices"
        ),
        "a format that is no Unicode": _no_unicode({**sparse, "format": np.array("xx")}, "format"),
        **{
            f"a reduction of {what}": {
                **reduction,
                said: npy(np.frombuffer(as_json({**facts, **one}), np.uint8)),
            }
            for what, one in odd.items()
        },
        **{
            f"a document that is {what}": _archive(**factors, eckart=text)
            for what, text in _documents().items()
        },
    }


def _no_unicode(arrays: dict[str, Any], name: str) -> Files:
    """An archive in which one text of two letters is beyond the last character of Unicode."""
    text = np.array("xx").tobytes()
    files = _archive(**arrays)
    member = f"W.npz!/{name}.npy"
    return {**files, member: files[member].replace(text, b"\xff\xff\xff\x01" + text[4:])}


def _archive(eckart: bytes | None = None, **arrays: np.ndarray) -> Files:
    files = {f"W.npz!/{name}.npy": npy(np.asarray(array)) for name, array in arrays.items()}
    if eckart is not None:
        files["W.npz!/eckart.json.npy"] = npy(np.frombuffer(eckart, np.uint8))
    return files


def _documents() -> dict[str, bytes]:
    return {
        "null": b"null",
        "a list": b"[]",
        "of parts without names": b'{"parts": [{}]}',
        "of parts that are none": b'{"parts": 3}',
        "of nothing that is drawn": b'{"command": "x"}',
        "of NaN": b'{"command": NaN, "parts": []}',
        "deep": b"[" * DEEP,
    }


def parquet() -> dict[str, Files]:
    column = pa.array([1, 2])
    said = {b"pandas": b'{"index_columns": 1.5}'}
    return {
        "no columns": _table([], []),
        "pandas says a number": _table([column], ["a"], said),
        "pandas says a list": _table([column], ["a"], {b"pandas": b"[]"}),
        "pandas says no JSON": _table([column], ["a"], {b"pandas": b"{"}),
        "titles in lists": _table([column, pa.array([[1], [2]])], ["id", "title"]),
        "views of text": _table([pa.array(["a", "b"], pa.string_view())] * 2, ["id", "title"]),
        "a name of two lines": _table([pa.array(["x"]), pa.array([{"y": 1}])], ["a\nb", "c"]),
    }


def _table(columns: list[Any], names: list[str], said: dict[bytes, bytes] | None = None) -> Files:
    stream = io.BytesIO()
    table = pa.Table.from_arrays(columns, names=names).replace_schema_metadata(said)
    pq.write_table(table, stream)
    return {"t.parquet": stream.getvalue()}


def hdf5() -> dict[str, Files]:
    content = next(iter(seeded(seeds.hdf5)[2].values()))
    heap = bytearray(content)
    place = heap.index(b"GCOL") + 16
    while heap[place]:  # up to the free space, which has the number 0
        place += 16 + (heap[place + 8] + 7) // 8 * 8
    heap[place + 8 : place + 16] = bytes(8)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        group = file.create_group("X")
        group["data"], group["indices"], group["shape"] = [1.0], [0], [10**9, 2]
        group.create_dataset("indptr", (10**9 + 1,), "i8", chunks=(1000,))
    named = io.BytesIO()
    with h5py.File(named, "w") as file:
        file["kind"], file["W"] = np.dtype("f4"), seeds.W
    alone, filled = io.BytesIO(), io.BytesIO()
    with h5py.File(alone, "w") as file:
        file["kind"] = np.dtype("f4")
    with h5py.File(filled, "w") as file:
        file["W"] = np.arange(6).reshape(3, 2)
        file["W"].attrs["_FillValue"] = np.nan
    return {
        "nothing but a type with a name": {"t.h5": alone.getvalue()},
        "a fill value that no number of it can be": {"t.h5": filled.getvalue()},
        "a heap that never ends": {"t.h5ad": bytes(heap)},
        "names of members that are none": {"t.h5": content.replace(b"SNOD", b"ODDS")},
        "a type with a name": {"t.h5": named.getvalue()},
        "starts that were never written": {"t.h5": stream.getvalue()},
    }


def zarr_folders() -> dict[str, Files]:
    array, older, group = seeded(seeds.zarr_folders)
    document = json.loads(array["t.zarr/zarr.json"])
    document["chunk_grid"]["configuration"]["chunk_shape"] = [0, 3]
    return {
        "a folder of something else": {**group, "t.zarr/notes/a.txt": b"x"},
        "two versions at once": {**older, **array},
        "chunks without their array": {
            "t.zarr/zarr.json": as_json({"attributes": {}, "zarr_format": 3, "node_type": "group"}),
            "t.zarr/W/c/0/0": b"x",
        },
        "chunks of no rows": {**array, "t.zarr/zarr.json": as_json(document)},
    }


def pictures() -> dict[str, Files]:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (2, 2)).save(stream, "PNG", exif=exif)
    content = stream.getvalue()
    place = content.index(b"eXIf") + 12
    return {
        "EXIF that is cut off": {"p.png": content[:place] + b"\xff" + content[place + 1 :]},
        "more pixels than bytes can stand for": {"p.png": GIF},
        "a second page without its size": {"p.png": TIFF},
    }


def weights() -> dict[str, Files]:
    return {
        "moments of nothing": {"m.safetensors": save({"m": np.zeros((0, 0), np.float32)})},
        "a name of two lines": {"m.safetensors": save({"a\nb": np.zeros(1, np.float32)})},
        **{
            f"a document that is {what}": {
                "f.safetensors": save(
                    {"B": seeds.W[:, :1].copy(), "A": seeds.W[:1]}, {"eckart": text.decode()}
                )
            }
            for what, text in _documents().items()
        },
    }


def factor_folders() -> dict[str, Files]:
    plain = {"B.csv": b"1\n2\n", "A.csv": b"1,2,3\n"}
    *_, whole = seeded(seeds.factor_folders)
    made = json.loads(whole["factors.json"])
    wrong = {
        "another kind of number": ("relative_error", "x"),
        "a list for a number": ("seconds", [1]),
        "a name for a solver": ("parts", [{"name": "", "recipe": {"solver": {"name": {}}}}]),
    }
    documents = {
        what: as_json({**made, "document": {**made["document"], key: value}})
        for what, (key, value) in wrong.items()
    }
    return {
        **{
            f"a document that is {what}": {**plain, "factors.json": b'{"document": ' + text + b"}"}
            for what, text in _documents().items()
        },
        **{what: {**whole, "factors.json": text} for what, text in documents.items()},
    }


def models() -> dict[str, Files]:
    own = seeded(seeds.models)[0]
    config = json.loads(own["config.json"])
    wrong = {"a mapping": {"a": 1}, "a number": 3, "numbers": [1]}
    tensors = dict(sorted(load(own["model.safetensors"]).items()))
    signalling = tensors["model.layers.0.self_attn.q_proj.weight"].view(np.uint32)
    signalling[0, 0] = 0x7F800001
    return {
        "a NaN that signals": {**own, "model.safetensors": save(tensors)},
        **{
            f"architectures that are {what}": {
                **own, "config.json": as_json({**config, "architectures": names})
            }
            for what, names in wrong.items()
        },
    }  # fmt: skip


def adapters() -> dict[str, Files]:
    own = seeded(seeds.adapters)[0]
    report = json.loads(own["report.json"])
    wrong = {
        "a dtype that is none": {"settings": {**report["settings"], "dtype": "float33"}},
        "settings that are none": {"settings": None},
        "tensors that are none": {"tensors": [1]},
        "notes that are none": {"notes": 7},
    }
    configuration = json.loads(own["adapter_config.json"])
    configuration["alpha_pattern"] = {"q_proj": 10**400}
    return {
        "a whole number beyond floats": {**own, "adapter_config.json": as_json(configuration)},
        **{
            f"a report of {what}": {**own, "report.json": as_json({**report, **change})}
            for what, change in wrong.items()
        },
    }


def runs() -> dict[str, Files]:
    """Notes and figures of an unfinished extraction that are not as they were written."""
    (run,) = seeded(seeds.runs)
    kept = next(name for name in run if name.endswith("first.safetensors"))
    tensors = dict(sorted(load(run[kept]).items()))
    figures = json.loads(_metadata(run[kept])["eckart"])
    notes: dict[str, Any] = {
        "is a list": [],
        "lacks its norm": {"figures": None},
        "has no figures in its figures": {"delta_norm": 1.0, "figures": {}},
        "has a text for a norm": {"delta_norm": "1", "figures": None},
    }
    wrong: dict[str, dict[str, Any]] = {
        "no spectrum": {"spectrum": "x"},
        "a rank of two numbers": {"rank": [1, 2]},
        "an error that is infinite": {"error": float("inf")},
        "another rank": {"rank": 9},
    }
    documents = {what: {**figures, **one} for what, one in wrong.items()}
    other = {"B": seeds.W[:, :1].copy(), "A": seeds.W[:1]}
    return {
        **{
            f"a note that {what}": {**run, "00000.json": as_json(note)}
            for what, note in notes.items()
        },
        **{
            f"figures of {what}": {**run, kept: save(tensors, {"eckart": json.dumps(document)})}
            for what, document in documents.items()
        },
        "factors of another layer": {**run, kept: save(other, _metadata(run[kept]))},
        "settings that are a list": {**run, "settings.json": b"[]"},
    }


def _metadata(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]


def recommenders() -> dict[str, Files]:
    """Models whose files fit their check sums and not one another."""
    own = seeded(seeds.recommenders)[0]
    history = pq.read_table(io.BytesIO(own["history.parquet"]))
    users = pq.read_table(io.BytesIO(own["users.parquet"]))
    count = len(history)
    columns = {
        "a user that is none": ("user", pa.array([9] * count, pa.int32())),
        "a user below 0": ("user", pa.array([-1] * count, pa.int32())),
        "one entry many times": ("item", pa.array([0] * count, pa.int32())),
        "places in lists": ("user", pa.array([[1]] * count)),
        "places of 64 bits": ("user", pa.array([0] * count, pa.int64())),
        "ratings that are text": ("rating", pa.array(["x"] * count)),
        "ratings that are NaN": ("rating", pa.array([np.nan] * count, pa.float32())),
    }
    ids = {
        "ids that are lists": pa.array([[1]] * len(users)),
        "ids that are one": pa.array([7] * len(users)),
        "ids that are views": pa.array(list("abcde")[: len(users)], pa.string_view()),
    }
    return {
        **{what: {**own, "history.parquet": _with(history, name, column)}
           for what, (name, column) in columns.items()},
        **{what: {**own, "users.parquet": _with(users, "id", column)}
           for what, column in ids.items()},
    }  # fmt: skip


def _with(table: Any, name: str, column: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index(name), name, column), stream)
    return stream.getvalue()


CORPUS = {
    "JSON lines": lines,
    "Matrix Market": market,
    "npy": arrays,
    "npz": archives,
    "Parquet": parquet,
    "HDF5": hdf5,
    "Zarr": zarr_folders,
    "pictures": pictures,
    "safetensors": weights,
    "folder of factors": factor_folders,
    "model": models,
    "adapter": adapters,
    "unfinished extraction": runs,
    "recommender": recommenders,
}
