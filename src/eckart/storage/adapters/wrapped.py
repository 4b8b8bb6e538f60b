"""What compilers, parallel training and PEFT put into the names of tensors when they are saved."""

import re
from typing import Final

PREFIX: Final = "base_model.model."
"""What PEFT puts before the names of a model."""

_WRAPPER: Final = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
"""Of torch.compile, FSDP and activation checkpointing, which wrap a model or its blocks."""
_WRAPPED: Final = re.compile(
    rf"^(?:{_WRAPPER}|module\.)*(?:{re.escape(PREFIX)})*|(?<=\.){_WRAPPER}"
)


def unwrapped(name: str) -> str:
    """The name of a tensor or a module in the model that runs.

    Example:
        >>> unwrapped("module.base_model.model.layers.0._orig_mod.q_proj.weight")
        'layers.0.q_proj.weight'
        >>> unwrapped("_orig_mod._fsdp_wrapped_module.module.norm.weight")
        'norm.weight'
    """
    return _WRAPPED.sub("", name)
