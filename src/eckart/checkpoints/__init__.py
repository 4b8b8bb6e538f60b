"""Checkpoints: the weights of a model on disk, read and written one tensor at a time.

Whatever touches a file here raises StorageError if the system refuses.
"""

from eckart.checkpoints.checkpoint import Checkpoint as Checkpoint
from eckart.checkpoints.checkpoint import open_checkpoint as open_checkpoint
from eckart.checkpoints.checkpoint import quantisation as quantisation
from eckart.checkpoints.safetensors_file import SafetensorsDtype as SafetensorsDtype
from eckart.checkpoints.safetensors_file import stored_dtype as stored_dtype
from eckart.checkpoints.writer import CheckpointWriter as CheckpointWriter
from eckart.checkpoints.writer import TensorLayout as TensorLayout
