"""A smaller adapter: every layer cut to a rank, or all of them to a budget at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eckart.allocation import allocate
from eckart.arrays import FLOAT32, Array
from eckart.errors import ArgumentError
from eckart.factors import check_rank
from eckart.storage.adapters import (
    AdaptedLayer,
    Adapter,
    StoredDType,
    adapter_bytes,
    pad_experts,
    uniform_groups,
)


def resize_adapter(
    adapter: Adapter,
    *,
    rank: int | None = None,
    budget: int | None = None,
    dtype: StoredDType = "float32",
) -> Adapter:
    """The best adapter of a smaller rank or size; the model is not needed.

    Args:
        adapter: The adapter to cut.
        rank: The most columns of B of any layer.
        budget: Bytes of all tensors of the adapter, spent on the largest σ²/bytes of all layers
            first. A layer that is not worth a column is left out, unless its bias changes or it is
            an expert. Saved values and biases are kept, and counted.
        dtype: Of the factors in the file, for the bytes.

    Raises:
        ArgumentError: If not exactly one of rank and budget is given, the rank is below 1, or the
            budget does not reach for one column.

    Cost:
        Two QR factorisations of the factors of each layer; B·A is never formed.
    """
    if (rank is None) == (budget is None):
        raise ArgumentError(
            f"{'Both' if rank is not None else 'None'} of rank and budget "
            f"{'are' if rank is not None else 'is'} given.",
            hint="Give exactly one of the two.",
            code="rank-chosen-twice" if rank is not None else "rank-not-chosen",
        )
    if budget is not None:
        ranks = _ranks(adapter, budget, dtype)
    else:
        most = rank or 0
        check_rank(most, most=most, what="an adapter")
        ranks = {layer.module: min(most, layer.rank) for layer in adapter.layers}
    return with_ranks(adapter, ranks)


def with_ranks(adapter: Adapter, ranks: Mapping[str, int]) -> Adapter:
    """The adapter with each layer cut to a rank of its own; 0 leaves it out."""
    layers = [_cut(layer, ranks[layer.module]) for layer in adapter.layers if ranks[layer.module]]
    return pad_experts(replace(adapter, layers=tuple(layers)))


def _cut(layer: AdaptedLayer, rank: int) -> AdaptedLayer:
    return replace(layer, factors=layer.factors.truncate(rank))


def _ranks(adapter: Adapter, budget: int, dtype: StoredDType) -> dict[str, int]:
    layers = {layer.module: layer for layer in adapter.layers}
    fixed = sum(tensor.nbytes for tensor in adapter.saved.values())
    fixed += sum(layer.outputs * FLOAT32.itemsize for layer in layers.values() if _changes(layer))
    groups = uniform_groups(layers)
    experts = {module for group in groups for module in group}
    groups += [(module,) for module in layers if module not in experts]
    needed = [int(group[0] in experts or _changes(layers[group[0]])) for group in groups]
    # one column of every expert of a group is taken or left together: their squares add
    spectra = [_together([layers[module] for module in group]) for group in groups]
    costs = [sum(adapter_bytes(layers[m].shape, 1, dtype) for m in group) for group in groups]
    chosen = allocate(spectra, costs, budget - fixed, least=needed)
    if not any(chosen):
        raise ArgumentError(
            f"The budget of {budget} bytes does not reach for one column of any layer.",
            hint=f"Give a budget of at least {fixed + min(costs)} bytes.",
            code="budget-too-small",
        )
    return {
        module: number for group, number in zip(groups, chosen, strict=True) for module in group
    }


def _changes(layer: AdaptedLayer) -> bool:
    return layer.bias is not None


def _together(layers: Sequence[AdaptedLayer]) -> Array:
    squares = [layer.factors.singular_values().astype(np.float64) ** 2 for layer in layers]
    total = np.zeros(max(map(len, squares)))
    for square in squares:
        total[: len(square)] += square
    return np.sqrt(total)
