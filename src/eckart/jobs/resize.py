"""A smaller adapter: every layer cut to a rank, or all of them to a budget at once."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

import numpy as np

from eckart.arguments import as_path
from eckart.arrays import FLOAT32, FLOAT64
from eckart.errors import ArgumentError
from eckart.factors import check_rank
from eckart.jobs.shares import Claim, share_out
from eckart.jobs.written import WrittenAdapter, write_smaller
from eckart.storage import check_output
from eckart.storage.adapters import (
    AdaptedLayer,
    Adapter,
    StoredDType,
    factor_dtype,
    pad_experts,
    read_adapter,
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


def truncate_adapter(
    folder: str | PathLike[str],
    out: str | PathLike[str],
    *,
    rank: int | None = None,
    budget: int | None = None,
    dtype: StoredDType | None = None,
    force: bool = False,
) -> WrittenAdapter:
    """Write a smaller adapter beside another, as `resize_adapter` cuts it.

    Args:
        folder: Of the adapter.
        out: Of the smaller one.
        rank: The most columns of B of any layer.
        budget: Bytes of all tensors.
        dtype: Of the stored factors; None keeps it.
        force: Overwrite what is there.

    Raises:
        ArgumentError: As `resize_adapter`, or if a path is not there or `out` exists.
        FormatError: If the adapter is damaged.
        MatrixError: If the factors do not fit into the dtype.
        StorageError: If the system refuses to read or write.
    """
    source, target = as_path(folder), as_path(out)
    check_output(target, force=force, inputs=[source], is_folder=True)
    adapter, own = read_adapter(source), dtype or factor_dtype(source)
    smaller = resize_adapter(adapter, rank=rank, budget=budget, dtype=own)
    return write_smaller([source], adapter, smaller, target, own, force=force)


def _cut(layer: AdaptedLayer, rank: int) -> AdaptedLayer:
    return replace(layer, factors=layer.factors.truncate(rank))


def _ranks(adapter: Adapter, budget: int, dtype: StoredDType) -> dict[str, int]:
    layers = {layer.module: layer for layer in adapter.layers}
    rest = sum(tensor.nbytes for tensor in adapter.saved.values())
    rest += sum(
        layer.outputs * FLOAT32.itemsize for layer in layers.values() if layer.bias is not None
    )
    experts = {module for group in uniform_groups(layers) for module in group}
    claims = [
        Claim(
            module=module,
            shape=layer.shape,
            gains=np.square(layer.factors.singular_values().astype(FLOAT64)),
            least=least_columns(layer, is_expert=module in experts),
        )
        for module, layer in layers.items()
    ]
    return share_out(claims, max(0, budget - rest), dtype)


def least_columns(layer: AdaptedLayer, *, is_expert: bool) -> int:
    """The fewest columns of a layer that its adapter can be without: its bias hangs on it."""
    return int(is_expert or layer.bias is not None)
