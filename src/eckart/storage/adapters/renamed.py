"""Names of modules in models that see, which transformers 5 calls otherwise than 4 did."""

import re
from collections.abc import Iterable
from typing import Final

SEEING: Final = (
    (re.compile(r"^language_model\.lm_head\b"), "lm_head"),
    (re.compile(r"^language_model\.model\b"), "model.language_model"),
    (re.compile(r"^(?=(?:vision_tower|multi_modal_projector|vision_embed_tokens)\b)"), "model."),
)
"""Names as transformers 4 wrote them, and what they are since."""


def since(name: str) -> str:
    """The name of a module or of a parameter since transformers 5.

    Example:
        >>> since("language_model.model.layers.0.self_attn.q_proj")
        'model.language_model.layers.0.self_attn.q_proj'
    """
    for pattern, replacement in SEEING:
        name = pattern.sub(replacement, name)
    return name


def also(names: Iterable[str]) -> list[str]:
    """All names, and what they are called since where they are of a model that sees.

    Example:
        >>> also(["model.layers.0.self_attn.q_proj"])
        ['model.layers.0.self_attn.q_proj']
    """
    known = list(names)
    if not any(name.startswith("language_model.model.") for name in known):
        return known
    return sorted({*known, *map(since, known)})
