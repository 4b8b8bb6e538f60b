"""A model of transformers on the meta device, built from a config, and the kinds of its modules."""

import contextlib
import inspect
import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.peft import Kind
from eckart.checkpoints.running import REFUSED, Module, Running

PLAIN: Final = frozenset({"FalconLinear"})
"""Classes with their own `forward` that computes the same as the one of their base class."""
HARMLESS: Final = ("dtype", "device", "shape", "size", "is_meta", "ndim", "requires_grad")
"""Attributes of a weight that may be read without using its numbers."""
_READ: Final = re.compile(
    r"(?<!isinstance\()self((?:\.\w+(?:\[[^\]]*\])?)+)\.(?:weight|bias|stride|kernel_size|padding|dilation|"
    rf"in_channels|out_channels|num_embeddings|padding_idx)\b(?!\.(?:{'|'.join(HARMLESS)})\b)"
)
"""Code that reads a weight or a size of a submodule instead of calling the submodule."""
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
"""Beginnings of the Python modules whose classes read no layer of a particular model."""
_PASSED: Final = re.compile(
    r"(?<!isinstance)(?<!hasattr)\((?:[^()]*,)?\s*self((?:\.\w+(?:\[[^\]]*\])?)+)\s*[,)](?!\s*\()"
)
"""Code that passes a submodule to a function, which may read its weight."""
_SPLIT: Final = "pretraining_tp"
"""The setting with which a model reads slices of its weights, as it was split for pretraining."""
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
    "apply_weight_norm",
    "remove_weight_norm",
)
"""Beginnings of the names of methods that do not compute outputs."""


def modules_of(network: Any, state: Mapping[str, Any]) -> dict[str, Module]:
    """The modules of a network that hold parameters, by name, with their kinds for PEFT."""
    own: dict[str, set[str]] = {}
    for name in state:
        module, _, parameter = name.rpartition(".")
        own.setdefault(module, set()).add(parameter)
    read = frozenset(_read_modules(network))
    refused = REFUSED.get(network.config.model_type, frozenset())
    # with "remove_duplicate" off, a shared module appears under each of its names
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
    """The kind as which PEFT can adapt a module; None unless it computes what its class does."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    forward = type(module).forward
    is_plain = forward is nn.Linear.forward or type(module).__name__ in PLAIN
    if isinstance(module, nn.Linear) and is_plain:
        return Kind.LINEAR
    if isinstance(module, nn.Embedding) and forward is nn.Embedding.forward:
        # with max_norm the lookup changes the weight itself
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
    """Yield the names of modules whose weight another module reads instead of calling them."""
    is_split = getattr(network.config, _SPLIT, None) not in (None, 1)
    for name, module in network.named_modules(remove_duplicate=False):
        for path in _paths_read(type(module), is_split):
            found = [(name, module)]
            for step in path:
                found = [below for one in found for below in _below(*one, step)]
            yield from (read for read, _ in found)


@cache
def _paths_read(kind: type, is_split: bool) -> tuple[tuple[str, ...], ...]:
    """Paths from a module of a class to the modules that its code reads; "[]" is any of a list.

    Some classes read weights only if the model is split for pretraining.
    """
    source = "\n".join(_source(one) for one in kind.__mro__)
    if _SPLIT in source and not is_split:
        return ()
    methods = _METHOD.split(source)
    code = "\n".join(one for one in methods if not one.startswith(_SETTING_UP))
    paths = {_INDEX.sub(".[]", match) for way in (_READ, _PASSED) for match in way.findall(code)}
    return tuple(tuple(path.strip(".").split(".")) for path in sorted(paths))


def _source(kind: type) -> str:
    """The source code of a class of a model; empty for the base classes that all models share."""
    if kind.__module__.startswith(COMMON):
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _below(name: str, module: Any, step: str) -> list[tuple[str, Any]]:
    """The submodule of a name, with its full name; all submodules of a list for "[]"."""
    if step == "[]":
        children = module.named_children() if hasattr(module, "named_children") else ()
    else:
        child = getattr(module, "_modules", {}).get(step)
        children = () if child is None else ((step, child),)
    return [(f"{name}.{key}".lstrip("."), child) for key, child in children]


STACKED: Final = frozenset({"mixtral", "qwen2_moe"})
"""Layouts of experts that PEFT can stack."""
MOST: Final = 10_000
"""The most layers, experts or stages of a model: building more would take too long."""
_COUNT: Final = re.compile(r"layers?$|depths?$|num_.*(?:block|stage|expert)|n_.*expert")
QUANTISED: Final = "quantization_config"
FLOAT: Final = "__float__"
BACKBONE: Final = "use_pretrained_backbone"
"""The setting with which a model loads weights of its own while it is built."""
TASKS: Final = {
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""Endings of the names of architectures, and the names of their tasks in PEFT."""


def running_model(*configs: JsonObject) -> Running | None:
    """The model that the first usable config describes; None if no config is usable.

    Only classes of transformers itself are built. Code that comes with a model is never executed,
    and no hub is contacted.

    Cost:
        The import of transformers, and some milliseconds for each layer of the model.
    """
    usable = [
        one
        for one in configs
        if one.get("architectures") and one.get("model_type") and _is_bounded(one)
    ]
    if not usable or not all(map(find_spec, ("torch", "transformers"))):
        return None
    for config in usable:
        with alone(), contextlib.suppress(Exception):  # a config may be wrong in any way
            # a config that was read is a mapping proxy, which JSON does not know
            return _built(json.dumps(config, default=dict))
    return None


@lru_cache(maxsize=2)  # the models of a base and of its fine-tune, for further jobs of a process
def _built(text: str) -> Running:
    """The model of a config, given as JSON; any error if transformers cannot build it."""
    import torch
    import transformers
    from transformers import conversion_mapping

    config: JsonObject = json.loads(text)
    architecture = getattr(transformers, str(config["architectures"][0]))
    if not issubclass(architecture, transformers.PreTrainedModel):
        raise TypeError
    kept = _without_weights(config)
    settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(kept)
    with torch.device("meta"):
        network = architecture(settings)
    _without_numbers(network.eval())
    state = network.state_dict()
    # a private table, which another version of transformers may lack
    layouts = getattr(conversion_mapping, "_MODEL_TO_CONVERSION_PATTERN", {})
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return Running(
        source=f"transformers {version('transformers')}",
        network=network,
        shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
        modules=modules_of(network, state),
        names=frozenset(name for name, _ in network.named_modules(remove_duplicate=False)),
        ties=tuple(tuple(group) for group in names.values() if len(group) > 1),
        # PEFT stacks the experts of a type, or of one that shares its layout
        stacks=layouts.get(settings.model_type, settings.model_type) in STACKED,
        task=task_of(network),
        rename=_renaming(network, state),
    )


def _without_numbers(network: Any) -> None:
    """Move to the meta device what a class made elsewhere; shared parameters stay shared."""
    made: dict[int, Any] = {}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if not parameter.is_meta:
                own = type(parameter)(parameter.data.to("meta"), parameter.requires_grad)
                setattr(module, name, made.setdefault(id(parameter), own))
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            module._buffers[name] = buffer.to("meta")


def task_of(network: Any) -> str | None:
    """The name of a model's task in PEFT; None if it does not take the inputs that PEFT passes."""
    name = type(network).__name__
    task = next((task for ending, task in TASKS.items() if name.endswith(ending)), None)
    if network.main_input_name != "input_ids":
        return None
    if task == "SEQ_2_SEQ_LM" and not network.config.is_encoder_decoder:
        return None
    return task


def _renaming(
    network: Any, state: Mapping[str, Any]
) -> Callable[[Iterable[str]], Mapping[str, tuple[str, bool]]]:
    """A function that names the tensors of a checkpoint as transformers does when it loads them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    def rename(stored: Iterable[str]) -> dict[str, tuple[str, bool]]:
        rules = get_model_conversion_mapping(network)  # some rules remember what they have seen
        names = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        prefix, known, found = network.base_model_prefix, dict(state), {}
        # the order of the loader, since some rules remember what they have seen
        for name in sorted(stored, key=dot_natural_key):
            renamed, pattern = rename_source_key(name, names, converters, prefix, known)
            # a rule for checkpoints of an older layout must not rename what fits already
            if renamed not in state and name in state:
                renamed, pattern = rename_source_key(name, [], [], prefix, known)
            found[name] = (renamed, pattern is not None)
        return found

    return rename


def _is_bounded(config: JsonObject) -> bool:
    """Whether the counts in a config are bounded, so that the model is built in a short time."""
    return all(
        _is_bounded(setting)
        if isinstance(setting, dict)
        else not (isinstance(setting, int) and _COUNT.search(key) and setting > MOST)
        for key, setting in config.items()
    )


def _without_weights(setting: Any) -> Any:
    """A setting without the parts that would make transformers load or convert weights.

    Objects become the floats for which they stand: transformers writes infinity and NaN so.
    """
    if isinstance(setting, list):
        return [_without_weights(one) for one in setting]
    if not isinstance(setting, dict):
        return setting
    if setting.keys() == {FLOAT}:
        return float(setting[FLOAT])
    return {
        key: False if key == BACKBONE else _without_weights(one)
        for key, one in setting.items()
        if key != QUANTISED
    }


@contextlib.contextmanager
def alone() -> Generator[None, None, None]:
    """Contact no hub, and suppress the messages of transformers, which do not concern the user."""
    from huggingface_hub import constants
    from transformers.utils import logging as said

    logger = logging.getLogger("transformers")
    level, offline, shows = logger.level, constants.HF_HUB_OFFLINE, said.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = True
    said.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)
        if shows:
            said.enable_progress_bar()
