"""Whether PEFT finds a place in the running model for all that an adapter holds."""

import copy
import re
import warnings
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Any, Final

from eckart.jobs.running.model import Running
from eckart.storage.adapters import PREFIX

_OWN: Final = re.compile(r"lora_|modules_to_save")
_REST: Final = re.compile(r"\.(?:lora_(?:embedding_)?[AB]|base_layer|modules_to_save)\b.*$")


def can_attach() -> bool:
    """Whether PEFT is installed."""
    return all(map(find_spec, ("torch", "peft")))


def unattached(
    running: Running, document: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """The modules of an adapter that PEFT would not load as they are meant, each with the reason.

    The adapter is attached to the model on the meta device: every tensor has to find its place,
    and every adapted module its tensors.

    Args:
        running: The model.
        document: The configuration of the adapter.
        shapes: Of the tensors of its file.

    Cost:
        A copy of the model without its numbers; where PEFT refuses, one more for each kind of
        module.
    """
    try:
        return _lost(running, document, shapes)
    except Exception as error:  # PEFT refuses a module with any error of its own
        said = _sentence(error)
    found: dict[str, str] = {}
    for names in _alike(document["target_modules"]).values():
        alone = {**document, "target_modules": names[:1], "modules_to_save": None}
        alone.pop("target_parameters", None)
        try:
            _lost(running, alone, {})
        except Exception as error:
            found |= dict.fromkeys(names, _sentence(error))
    return found or {"": said}


def _lost(
    running: Running, document: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    import torch
    from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, LoraConfig, PeftModel
    from peft.utils import set_peft_model_state_dict

    settings = {key: value for key, value in document.items() if key != "peft_type"}
    network = copy.deepcopy(running.network)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        config = LoraConfig(**settings)
        attach = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(document["task_type"]), PeftModel)
        attached = attach(network, config)
        if not shapes:
            return {}
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        result = set_peft_model_state_dict(attached, tensors)
    return {
        **{_module(key): "PEFT finds no tensors for it" for key in _own(result.missing_keys)},
        **{_module(key): "PEFT finds no place for it" for key in result.unexpected_keys},
    }


def _own(keys: Collection[str]) -> list[str]:
    return [key for key in keys if _OWN.search(key)]


def _module(key: str) -> str:
    return _REST.sub("", key.removeprefix(PREFIX))


def _alike(names: Collection[str]) -> dict[str, list[str]]:
    """Names that differ by numbers only."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(re.sub(r"\d+", "0", name), []).append(name)
    return groups


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
