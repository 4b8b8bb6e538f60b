"""The profile that other programs than PEFT accept.

vLLM and llama.cpp read one alpha and one rank for all layers, and neither takes biases or whole
modules: https://docs.vllm.ai/en/latest/features/lora, llama.cpp's `convert_lora_to_gguf.py`.
"""

from dataclasses import dataclass, replace
from typing import Final, final

from eckart.errors import MatrixError
from eckart.storage.adapters.adapter import BIAS, AdaptedLayer, Adapter, Kind
from eckart.storage.adapters.configuration import TABLES
from eckart.storage.adapters.experts import expert_of

REASONS: Final = {
    Kind.EMBEDDING: "an embedding",
    Kind.TRANSPOSED: "stored as (inputs, outputs)",
    Kind.CONVOLUTION: "a convolution",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A part of an adapter that a profile has no place for.

    Fields:
        name: Of the module, or of the parameter.
        reason: What it is, to follow "is" or "are".
        squared_norm: ‖B·A‖²_F of a layer, or the squares of the change of a bias; None for saved
            values, whose change only the base tells.
    """

    name: str
    reason: str
    squared_norm: float | None


def portable(adapter: Adapter) -> tuple[Adapter, tuple[LeftOut, ...]]:
    """Its linear layers with one rank, padded with zeros, and what was left out.

    Raises:
        MatrixError: If nothing is left.
    """
    kept: list[AdaptedLayer] = []
    left: list[LeftOut] = []
    for layer in adapter.layers:
        reason = _reason(layer)
        if reason is None:
            kept.append(replace(layer, bias=None))
        else:
            norm = layer.factors.squared_norm()
            left.append(LeftOut(name=layer.module, reason=reason, squared_norm=norm))
        if layer.bias is not None and layer.bias.any():
            change = float((layer.bias.astype(float) ** 2).sum())
            name = f"{layer.module}.{BIAS}"
            left.append(LeftOut(name=name, reason="a bias", squared_norm=change))
    left.extend(LeftOut(name=n, reason="saved values", squared_norm=None) for n in adapter.saved)
    if not kept:
        raise MatrixError(
            "Nothing of the adapter is portable: it adapts no linear layer.",
            hint="Use the profile peft.",
            code="nothing-portable",
        )
    rank = max(layer.rank for layer in kept)
    layers = tuple(replace(layer, factors=layer.factors.pad(rank)) for layer in kept)
    return replace(adapter, layers=layers, saved={}, in_place=frozenset(), tied=False), tuple(left)


def _reason(layer: AdaptedLayer) -> str | None:
    """Why a layer is left out; None where it is kept."""
    if layer.module.rpartition(".")[2] in TABLES:
        return "a head or a table of the vocabulary"
    if expert_of(layer.module) is not None:
        return "an expert"
    return REASONS.get(layer.kind)
