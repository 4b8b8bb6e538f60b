"""An adapter that is made from another: every layer cut to a rank, or all of them to a budget."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.adapters.budget import LayerDemand, share_out
from eckart.arguments import as_path
from eckart.arrays import FLOAT32, FLOAT64
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    AdapterDType,
    adapter_bytes,
    factor_dtype,
    pad_experts,
    read_adapter,
    uniform_groups,
    write_adapter,
)
from eckart.errors import ArgumentError
from eckart.factors import check_rank
from eckart.files import check_output, whole_file


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenAdapter:
    """The result of `join_folders` and `truncate_adapter`.

    Fields:
        sources: The folders that it was made from.
        output: Its own.
        layers: How many it adapts.
        left_out: Layers of the sources that are not worth a column.
        ranks: The smallest and the largest.
        dtype: Of the factors.
        nbytes: Of all tensors, without the header of their file.
        relative_change: ‖B·A − B'·A'‖ / ‖B·A‖ over all layers: what the smaller ranks lost.
    """

    sources: tuple[str, ...]
    output: str
    layers: int
    left_out: tuple[str, ...]
    ranks: tuple[int, int]
    dtype: AdapterDType
    nbytes: int
    relative_change: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return {
            "sources": list(self.sources),
            "output": self.output,
            "layers": self.layers,
            "left_out": list(self.left_out),
            "smallest_rank": self.ranks[0],
            "largest_rank": self.ranks[1],
            "dtype": self.dtype,
            "bytes": self.nbytes,
            "relative_change": self.relative_change,
        }

    def sentence(self) -> str:
        """The result for a person."""
        low, high = self.ranks
        ranks = f"rank {low}" if low == high else f"ranks {low} to {high}"
        out = f", {len(self.left_out)} left out" if self.left_out else ""
        return (
            f"{self.layers} layers{out}, {ranks}, {self.dtype}, {self.nbytes:,} bytes, "
            f"relative change {self.relative_change:.4g}"
        )


def write_smaller(
    sources: Sequence[Path],
    whole: Adapter,
    smaller: Adapter,
    out: Path,
    dtype: AdapterDType,
    *,
    force: bool,
) -> WrittenAdapter:
    """Write an adapter that was cut from a whole one, and say what that lost.

    Args:
        sources: The folders that the whole was made from.
        whole: Before.
        smaller: After.
        out: The folder to write.
        dtype: Of the factors.
        force: Overwrite what is there.

    Raises:
        MatrixError: If PEFT could not load it, or its factors do not fit into `dtype`.
        StorageError: If the system refuses to write.

    Cost:
        Two QR factorisations of the factors of each layer.
    """
    with whole_file(out, force=force) as temporary:
        write_adapter(temporary, smaller, dtype)
    ranks = {layer.module: layer.rank for layer in smaller.layers}
    lost = total = 0.0
    for layer in whole.layers:
        squares = np.square(layer.factors.singular_values().astype(np.float64))
        lost += float(squares[ranks.get(layer.module, 0) :].sum())
        total += float(squares.sum())
    return WrittenAdapter(
        sources=tuple(map(str, sources)),
        output=str(out),
        layers=len(ranks),
        left_out=tuple(one.module for one in whole.layers if one.module not in ranks),
        ranks=(min(ranks.values()), max(ranks.values())),
        dtype=dtype,
        nbytes=_tensor_bytes(smaller, dtype),
        relative_change=math.sqrt(lost / total) if total else 0.0,
    )


def _tensor_bytes(adapter: Adapter, dtype: AdapterDType) -> int:
    factors = sum(adapter_bytes(layer.shape, layer.rank, dtype) for layer in adapter.layers)
    biases = sum(layer.outputs for layer in adapter.layers if layer.bias is not None)
    return factors + biases * FLOAT32.itemsize + sum(x.nbytes for x in adapter.saved.values())


def resize_adapter(
    adapter: Adapter,
    *,
    rank: int | None = None,
    budget: int | None = None,
    dtype: AdapterDType = "float32",
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
    dtype: AdapterDType | None = None,
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


def _ranks(adapter: Adapter, budget: int, dtype: AdapterDType) -> dict[str, int]:
    layers = {layer.module: layer for layer in adapter.layers}
    rest = sum(tensor.nbytes for tensor in adapter.saved.values())
    rest += sum(
        layer.outputs * FLOAT32.itemsize for layer in layers.values() if layer.bias is not None
    )
    experts = {module for group in uniform_groups(layers) for module in group}
    claims = [
        LayerDemand(
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
