"""Adapters as PEFT loads them, with everything it says and every key it could not place."""

import copy
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tolerances import LOGITS

HARMLESS = (
    # transformers 5.23 of itself
    r"`is_gradient_checkpointing` is deprecated",
    # PEFT 0.21 compares patterns with modules only, not with the parameters that they are meant for
    r"The following (rank|alpha)_pattern keys did not match any targeted module",
)


@dataclass
class Loaded:
    """A model with its adapter.

    Fields:
        model: The `PeftModel`.
        warnings: What was said, but for what is known to be harmless.
        missing: Keys of the adapter that the model has and the file has not.
        unexpected: Keys of the file that the model has not.
    """

    model: Any
    warnings: list[str]
    missing: list[str]
    unexpected: list[str]


def load(base: Any, folder: Path) -> Loaded:
    """`PeftModel.from_pretrained` on a copy of the base."""
    import peft.peft_model as peft_model

    results = []
    original = peft_model.set_peft_model_state_dict

    def recorded(*arguments: Any, **settings: Any) -> Any:
        result = original(*arguments, **settings)
        results.append((list(result.missing_keys), list(result.unexpected_keys)))
        return result

    peft_model.set_peft_model_state_dict = recorded
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = peft_model.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
    finally:
        peft_model.set_peft_model_state_dict = original
    missing, unexpected = results[0]
    texts = [str(warning.message) for warning in said]
    return Loaded(
        model=model,
        warnings=[text for text in texts if not any(re.search(known, text) for known in HARMLESS)],
        missing=[key for key in missing if "lora_" in key or "modules_to_save" in key],
        unexpected=unexpected,
    )


def merged(loaded: Loaded) -> Any:
    """The model after `merge_and_unload`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return loaded.model.merge_and_unload()


def check_fine_tune(pair: Any, folder: Path) -> None:
    """The base of a `Pair` with its adapter answers as the fine-tune: loaded, and merged."""
    loaded = load(pair.base, folder)
    assert loaded.warnings == []
    assert loaded.missing == []
    assert loaded.unexpected == []
    expected = pair.logits(pair.tuned)
    assert difference(pair.logits(pair.base), expected) > 100 * LOGITS
    unmerged = difference(pair.logits(loaded.model), expected)
    after = difference(pair.logits(merged(loaded)), expected)
    assert unmerged < LOGITS
    assert after < LOGITS


def difference(x: np.ndarray, y: np.ndarray) -> float:
    """‖x − y‖/‖y‖."""
    return float(np.linalg.norm((x - y).astype(np.float64)) / np.linalg.norm(y))
