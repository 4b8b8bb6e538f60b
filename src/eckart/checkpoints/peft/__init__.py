"""Adapters in the format of PEFT, written and read without PEFT, PyTorch or transformers."""

from eckart.checkpoints.peft.adapter import (
    PREFIX,
    AdaptedLayer,
    Adapter,
    Kind,
    matrix_shape,
    pad_experts,
    uniform_groups,
    unwrapped,
)
from eckart.checkpoints.peft.configuration import LeftOut, portable
from eckart.checkpoints.peft.reader import factor_dtype, read_adapter
from eckart.checkpoints.peft.writer import (
    AdapterDType,
    Biases,
    adapter_bytes,
    changed_biases,
    described_adapter,
    stored_factors,
    write_adapter,
)

__all__ = [
    "PREFIX",
    "AdaptedLayer",
    "Adapter",
    "AdapterDType",
    "Biases",
    "Kind",
    "LeftOut",
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
    "write_adapter",
]
