"""The model into which transformers loads a checkpoint: its names, modules and tied parameters."""

from eckart.checkpoints.running.building import alone, running_model
from eckart.checkpoints.running.forward import forward_distances, loaded_network
from eckart.checkpoints.running.model import Module, Running, Use, can_attach, unattached

__all__ = [
    "Module",
    "Running",
    "Use",
    "alone",
    "can_attach",
    "forward_distances",
    "loaded_network",
    "running_model",
    "unattached",
]
