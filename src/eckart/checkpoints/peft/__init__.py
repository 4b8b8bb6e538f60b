"""Adapters in the format of PEFT, written and read without PEFT, PyTorch or transformers."""

from eckart.checkpoints.peft.adapter import PREFIX as PREFIX
from eckart.checkpoints.peft.adapter import AdaptedLayer as AdaptedLayer
from eckart.checkpoints.peft.adapter import Adapter as Adapter
from eckart.checkpoints.peft.adapter import Kind as Kind
from eckart.checkpoints.peft.adapter import matrix_shape as matrix_shape
from eckart.checkpoints.peft.adapter import pad_experts as pad_experts
from eckart.checkpoints.peft.adapter import uniform_groups as uniform_groups
from eckart.checkpoints.peft.adapter import unwrap as unwrap
from eckart.checkpoints.peft.configuration import LeftOut as LeftOut
from eckart.checkpoints.peft.configuration import portable as portable
from eckart.checkpoints.peft.reader import factor_dtype as factor_dtype
from eckart.checkpoints.peft.reader import read_adapter as read_adapter
from eckart.checkpoints.peft.writer import AdapterDType as AdapterDType
from eckart.checkpoints.peft.writer import adapter_bytes as adapter_bytes
from eckart.checkpoints.peft.writer import compare_biases as compare_biases
from eckart.checkpoints.peft.writer import describe_adapter as describe_adapter
from eckart.checkpoints.peft.writer import round_factors as round_factors
from eckart.checkpoints.peft.writer import write_adapter as write_adapter
