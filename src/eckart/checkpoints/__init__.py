"""Checkpoints: the weights of a model on disk, read and written one tensor at a time.

Whatever touches a file here raises StorageError if the system refuses.
"""

from eckart.checkpoints.checkpoint import Checkpoint, open_checkpoint, quantisation
from eckart.checkpoints.safetensors_file import SafetensorsDtype, TensorInfo, stored_dtype
from eckart.checkpoints.writer import CheckpointWriter, TensorLayout

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "SafetensorsDtype",
    "TensorInfo",
    "TensorLayout",
    "open_checkpoint",
    "quantisation",
    "stored_dtype",
]
