"""safetensors written one tensor at a time: the bytes are those of the library."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from eckart.errors import FormatError
from eckart.storage.tensor_stream import Entry, write_tensors

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int8, np.bool_]


def entry(name, tensor, **changes):
    return Entry(**{"name": name, "dtype": tensor.dtype, "shape": tensor.shape,
                    "make": lambda: tensor, **changes})  # fmt: skip


def tensors():
    generator = np.random.default_rng(0)
    shapes = [(3, 5), (), (7,), (2, 3, 4), (0, 3)]
    return {
        f"{place}.weight": np.asarray(3 * generator.standard_normal(shape)).astype(dtype)
        for place, (dtype, shape) in enumerate(zip(DTYPES * 5, shapes * 7, strict=True))
    }


def test_the_bytes_are_those_of_the_library(tmp_path):
    write_tensors(tmp_path / "f", [entry(name, X) for name, X in tensors().items()])
    assert (tmp_path / "f").read_bytes() == save(tensors(), metadata={"format": "pt"})


def test_any_order_in_memory_is_written_in_rows(tmp_path):
    X = np.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "f", [entry("x", X.T), entry("y", X[:, ::2])])
    rows = {"x": np.ascontiguousarray(X.T), "y": np.ascontiguousarray(X[:, ::2])}
    assert (tmp_path / "f").read_bytes() == save(rows, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"shape": (2, 2)}, "tensor-changed"), ({"dtype": np.dtype("f2")}, "tensor-changed"),
     ({"dtype": np.dtype("c8")}, "unsupported-dtype")],
)  # fmt: skip
def test_what_is_not_as_foretold_leaves_nothing(changes, code, tmp_path):
    with pytest.raises(FormatError) as error:
        write_tensors(tmp_path / "f", [entry("x", np.ones((3, 3)), **changes)])
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []
