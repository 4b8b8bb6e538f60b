"""What each module of a network does with its weight, by its class and by who reads it."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from eckart.jobs.running.model import Module
from eckart.jobs.running.rules import REFUSED
from eckart.storage.adapters import Kind

PLAIN: Final = frozenset({"FalconLinear"})
"""Classes with a `forward` of their own that computes what that of the class above it does."""

HARMLESS: Final = ("dtype", "device", "shape", "size", "is_meta", "ndim", "requires_grad")
"""What may be asked of a weight without using its numbers."""

_READ: Final = re.compile(
    r"(?<!isinstance\()self((?:\.\w+(?:\[[^\]]*\])?)+)\.(?:weight|bias|stride|kernel_size|padding|dilation|"
    rf"in_channels|out_channels|num_embeddings|padding_idx)\b(?!\.(?:{'|'.join(HARMLESS)})\b)"
)
COMMON: Final = (
    "torch.nn.modules.module",
    "torch.nn.modules.container",
    "builtins",
    "transformers.modeling_",
    "transformers.generation",
    "transformers.utils",
    "transformers.integrations",
    "transformers.activations",
)
"""What begins the modules of classes that read no layer of a certain model."""
_PASSED: Final = re.compile(
    r"(?<!isinstance)(?<!hasattr)\((?:[^()]*,)?\s*self((?:\.\w+(?:\[[^\]]*\])?)+)\s*[,)](?!\s*\()"
)
"""A module that is handed to a function, which may read what it has."""
_SPLIT: Final = "pretraining_tp"
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_METHOD: Final = re.compile(r"^    def ", re.MULTILINE)
_SETTING_UP: Final = (
    "__init__",
    "_init_",
    "reset_",
    "_reset_",
    "get_input_",
    "get_output_",
    "set_",
    "tie_",
    "_tie_",
    "resize_",
    "prune_",
    "extra_repr",
)
"""What begins the names of methods that do not compute answers."""


def modules_of(network: Any, state: Mapping[str, Any]) -> dict[str, Module]:
    """The modules of a network that hold parameters, by name."""
    own: dict[str, set[str]] = {}
    for name in state:
        module, _, parameter = name.rpartition(".")
        own.setdefault(module, set()).add(parameter)
    read = frozenset(_read_modules(network))
    refused = REFUSED.get(network.config.model_type, frozenset())
    counts = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    found: dict[str, Module] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if name in own:
            kind = _kind(module)
            why = "" if kind else f"PEFT cannot adapt a {type(module).__name__}"
            if kind and name in read:
                kind, why = None, "its weight is read, where the factors would not act"
            elif name.rpartition(".")[2] in refused:
                kind, why = None, "PEFT refuses to adapt it in this model"
            found[name] = Module(
                kind=kind,
                why=why,
                parameters=frozenset(own[name]),
                is_leaf=not any(True for _ in module.children()),
                is_single=counts[module] == 1,
            )
    return found


def _kind(module: Any) -> Kind | None:
    """What PEFT adapts a module as: only where it computes just what its class is known for."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    forward = type(module).forward
    is_plain = forward is nn.Linear.forward or type(module).__name__ in PLAIN
    if isinstance(module, nn.Linear) and is_plain:
        return Kind.LINEAR
    if isinstance(module, nn.Embedding) and forward is nn.Embedding.forward:
        return None if module.max_norm else Kind.EMBEDDING
    if isinstance(module, Conv1D) and forward is Conv1D.forward:
        return Kind.TRANSPOSED
    for convolution in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        if isinstance(module, convolution) and forward is convolution.forward:
            plain = module.groups == 1 and module.padding_mode == "zeros"
            plain &= set(module.dilation) == {1}  # PEFT's own convolution has no dilation
            return Kind.CONVOLUTION if plain else None
    return None


def _read_modules(network: Any) -> Iterator[str]:
    """Names of the modules whose weight another module reads instead of calling them."""
    is_split = getattr(network.config, "pretraining_tp", None) not in (None, 1)
    for name, module in network.named_modules(remove_duplicate=False):
        for path in _paths_read(type(module), is_split):
            found = [(name, module)]
            for step in path:
                found = [below for one in found for below in _below(*one, step)]
            yield from (read for read, _ in found)


@cache
def _paths_read(kind: type, is_split: bool) -> tuple[tuple[str, ...], ...]:
    """Paths from a module of a class to those that its code reads; "[]" is any of a list.

    Some classes read their weights only where the model is split for pretraining.
    """
    source = "\n".join(_source(one) for one in kind.__mro__)
    if _SPLIT in source and not is_split:
        return ()
    methods = _METHOD.split(source)
    code = "\n".join(one for one in methods if not one.startswith(_SETTING_UP))
    paths = {_INDEX.sub(".[]", match) for way in (_READ, _PASSED) for match in way.findall(code)}
    return tuple(tuple(path.strip(".").split(".")) for path in sorted(paths))


def _source(kind: type) -> str:
    """The code of a class of a model; of what all models are made of there is none to be told."""
    if kind.__module__.startswith(COMMON):
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _below(name: str, module: Any, step: str) -> list[tuple[str, Any]]:
    """The module of that name beneath another, with its full name; all of a list for "[]"."""
    if step == "[]":
        children = module.named_children() if hasattr(module, "named_children") else ()
    else:
        child = getattr(module, "_modules", {}).get(step)
        children = () if child is None else ((step, child),)
    return [(f"{name}.{key}".lstrip("."), child) for key, child in children]
