"""The two checkpoints: opened, and refused where no adapter can come of them."""

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Final

from eckart.arguments import as_path
from eckart.errors import ArgumentError, FormatError
from eckart.storage.adapters import unwrapped
from eckart.storage.checkpoints import Checkpoint, open_checkpoint, quantisation
from eckart.storage.checkpoints.strict_json import read_object
from eckart.storage.outputs import located

_ADAPTER: Final = "adapter_config.json"
_BASE_MODEL: Final = re.compile(r"^base_model:\s*(?:-\s*)?[\"']?([^\s\"']+)", re.MULTILINE)
_UNMERGED: Final = re.compile(r"\.(?:base_layer|lora_A|lora_B|modules_to_save)\.")
HEAD: Final = "lm_head.weight"
CLAIMED: Final = "; if its weights are plain, take quantization_config out of its config.json."
"""What to do where the config is of the model before it was merged."""


def open_pair(
    base: str | PathLike[str], tuned: str | PathLike[str]
) -> tuple[Checkpoint, Checkpoint]:
    """Open a base and its fine-tune.

    Raises:
        ArgumentError: If there is no such path, or both are the same.
        FormatError: If either is damaged or quantised, or the two are the wrong way round.
    """
    if located(as_path(base)) == located(as_path(tuned)):
        raise ArgumentError(
            f"{base} is given both as the base and as its fine-tune.",
            hint="Give two checkpoints.",
            code="same-checkpoint",
        )
    before, after = open_weights(base), open_weights(tuned)
    if _comes_from(before, after) and not _comes_from(after, before):
        raise FormatError(
            f"{before.path} says that it was made from {after.path.name}: "
            "they are the wrong way round.",
            hint="Give the base first and its fine-tune second.",
            code="wrong-way-round",
        )
    return before, after


def open_weights(path: str | PathLike[str]) -> Checkpoint:
    """Open a checkpoint whose tensors are plain numbers.

    Raises:
        ArgumentError: If there is no such path.
        FormatError: If it is damaged or quantised.
    """
    checkpoint = open_checkpoint(path)
    factors = next((name for name in checkpoint.tensors if _UNMERGED.search(name)), None)
    if factors is not None:
        raise FormatError(
            f"{checkpoint.path} holds a LoRA that is not merged, such as '{factors}'.",
            hint="Merge it with PEFT (merge_and_unload) and save the model again.",
            code="unmerged",
        )
    method = quantisation(checkpoint)
    if method is not None:
        raise FormatError(
            f"{checkpoint.path} is quantised ({method}), so its tensors are no weights.",
            hint="Give the checkpoint it was made from, in float16, bfloat16 or float32"
            + (CLAIMED if "quantization_config" in checkpoint.config else "."),
            code="quantised",
        )
    return checkpoint


def is_tied(tuned: Checkpoint, base: Checkpoint) -> bool:
    """Whether the model uses its embedding table as its head too."""
    names = {unwrapped(name) for name in tuned.tensors}
    architectures = tuned.config.get("architectures") or base.config.get("architectures") or [""]
    is_language_model = str(architectures[0]).endswith(("ForCausalLM", "LMHeadModel"))
    asked = tuned.config.get("tie_word_embeddings", base.config.get("tie_word_embeddings"))
    return is_language_model and HEAD not in names and asked is not False


def _comes_from(child: Checkpoint, parent: Checkpoint) -> bool:
    """Whether a trace in a checkpoint names the other one as what it was made from."""
    return any(Path(trace).name == parent.path.resolve().name for trace in _traces(child))


def _traces(checkpoint: Checkpoint) -> Iterator[str]:
    yield str(checkpoint.config.get("_name_or_path", ""))
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if (folder / _ADAPTER).is_file():
        yield str(read_object(folder / _ADAPTER).get("base_model_name_or_path", ""))
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            found = _BASE_MODEL.search(file.read(10_000))
        if found:
            yield found[1]
