"""Adapters: the format of PEFT, written and read without PEFT, PyTorch or transformers."""

from eckart.storage.adapters.adapter import AdaptedLayer, Adapter, Kind, matrix_shape
from eckart.storage.adapters.biases import Biases, changed_biases, with_biases
from eckart.storage.adapters.experts import pad_experts, uniform_groups
from eckart.storage.adapters.portable import LeftOut, portable
from eckart.storage.adapters.reader import factor_dtype, read_adapter
from eckart.storage.adapters.rounding import StoredDType, adapter_bytes, stored_factors
from eckart.storage.adapters.wrapped import PREFIX, unwrapped
from eckart.storage.adapters.writer import described_adapter, write_adapter

__all__ = [
    "PREFIX",
    "AdaptedLayer",
    "Adapter",
    "Biases",
    "Kind",
    "LeftOut",
    "StoredDType",
    "adapter_bytes",
    "changed_biases",
    "described_adapter",
    "factor_dtype",
    "matrix_shape",
    "pad_experts",
    "portable",
    "read_adapter",
    "stored_factors",
    "uniform_groups",
    "unwrapped",
    "with_biases",
    "write_adapter",
]
