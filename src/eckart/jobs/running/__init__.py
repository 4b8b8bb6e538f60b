"""The model that a checkpoint is loaded into: names, modules and ties as transformers has them."""

from eckart.jobs.running.attaching import can_attach, unattached
from eckart.jobs.running.building import alone, running_model
from eckart.jobs.running.forward import forward_distances, loaded_network
from eckart.jobs.running.model import Module, Running, Use

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
