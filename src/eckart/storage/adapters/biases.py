"""Changed biases: as changes where PEFT merges them, as new values where it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from eckart.arrays import FLOAT32, Array
from eckart.storage.adapters.adapter import BIAS, Adapter, Kind, Tensor
from eckart.storage.adapters.experts import expert_of


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Biases:
    """The changed biases of a model.

    Fields:
        changes: b_tuned − b_base by module: for all adapted modules, or for none.
        saved: New values by parameter, for `Adapter.saved`.
    """

    changes: Mapping[str, Array]
    saved: Mapping[str, Tensor]


def changed_biases(
    adapted: Mapping[str, Kind],
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    *,
    experts: bool = False,
) -> Biases:
    """How to store every bias that differs between two models.

    PEFT's `lora_bias` is one setting for all adapted layers, which it can merge only where the base
    of each has a bias, and which embeddings and experts refuse. So changes are stored where a bias
    of an adapted layer changed and all of them can take one, zeros for those that did not change;
    otherwise new values, which PEFT puts in the place of the base's own. Biases of modules that are
    not adapted are new values.

    Args:
        adapted: Kinds of the adapted modules by name.
        base: Biases of the base by the full name of the parameter.
        tuned: Biases of the tuned model by the same names.
        experts: Whether the base is a mixture of experts.

    Example:
        A model in which not every adapted layer has a bias, like Qwen2:

        >>> changed_biases({"q": Kind.LINEAR, "o": Kind.LINEAR}, base={"q.bias": np.zeros(1)},
        ...                tuned={"q.bias": np.ones(1)}).saved
        {'q.bias': array([1.])}
    """
    changed = {
        name: values
        for name, values in tuned.items()
        if name in base and not np.array_equal(base[name], values)
    }
    names = {f"{module}.{BIAS}": module for module in adapted}
    refused = experts or any(
        kind is Kind.EMBEDDING or expert_of(module) is not None for module, kind in adapted.items()
    )
    everywhere = names.keys() <= base.keys() & tuned.keys()
    if refused or not everywhere or not names.keys() & changed.keys():
        return Biases(changes={}, saved=changed)
    return Biases(
        changes={
            module: tuned[name].astype(FLOAT32) - base[name].astype(FLOAT32)
            for name, module in names.items()
        },
        saved={name: values for name, values in changed.items() if name not in names},
    )


def with_biases(
    adapter: Adapter, base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]
) -> Adapter:
    """The adapter with every bias that differs between two models, as `changed_biases` has it."""
    adapted = {layer.module: layer.kind for layer in adapter.layers}
    biases = changed_biases(adapted, base, tuned, experts=adapter.experts)
    layers = tuple(
        replace(layer, bias=biases.changes.get(layer.module, layer.bias))
        for layer in adapter.layers
    )
    return replace(adapter, layers=layers, saved={**adapter.saved, **biases.saved})
