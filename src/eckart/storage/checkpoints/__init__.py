"""Checkpoints: the weights of a model on disk, read and written one tensor at a time."""

from eckart.storage.checkpoints.checkpoint import Checkpoint, open_checkpoint
from eckart.storage.checkpoints.dtypes import StoredDtype, stored_dtype
from eckart.storage.checkpoints.layout import TensorLayout
from eckart.storage.checkpoints.quantisation import quantisation
from eckart.storage.checkpoints.shard import TensorInfo
from eckart.storage.checkpoints.writer import CheckpointWriter

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "StoredDtype",
    "TensorInfo",
    "TensorLayout",
    "open_checkpoint",
    "quantisation",
    "stored_dtype",
]
