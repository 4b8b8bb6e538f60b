"""Cutting an adapter: every layer to a rank, or all of them to one byte budget."""

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
        sources: Folders of the adapters that it was made from.
        output: Folder of the new adapter.
        layers: Number of adapted layers.
        left_out: Names of layers of the sources that got rank 0.
        ranks: Smallest and largest rank.
        dtype: Dtype of the factors.
        nbytes: Bytes of all tensors, without the header of their file.
        relative_change: ‖B·A − B'·A'‖ / ‖B·A‖ over all layers: the loss by the smaller ranks.
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
        """The result as one sentence."""
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
    """Write an adapter that was cut from a larger one, and measure the loss.

    Args:
        sources: Folders of the adapters that the larger one was made from.
        whole: Adapter before the cut.
        smaller: Adapter after the cut.
        out: Folder to write.
        dtype: Dtype of the stored factors.
        force: Whether to overwrite `out`.

    Raises:
        MatrixError: If PEFT could not load the adapter, or its factors overflow `dtype`.
        StorageError: If the system refuses to write.

    Cost:
        Two QR factorisations of the factors of each layer.
    """
    with whole_file(out, force=force) as temporary:
        write_adapter(temporary, smaller, dtype)
    ranks = {layer.module: layer.rank for layer in smaller.layers}
    # a truncation keeps the leading components, so the loss is the tail of the singular values
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
    # changes of biases are stored in float32, whatever the dtype of the factors
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
        adapter: Adapter to cut.
        rank: Largest rank of a layer.
        budget: Bytes of all tensors of the adapter, spent on the largest σ²/bytes of all layers
            first. A layer that gets no column is left out, unless its bias changes or it is an
            expert. Saved values and biases are kept, and counted.
        dtype: Dtype of the stored factors, from which their bytes follow.

    Raises:
        ArgumentError: If not exactly one of rank and budget is given, the rank is below 1, or the
            budget is too small for one column.

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
    """The adapter with each layer cut to its own rank; rank 0 leaves a layer out."""
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
    """Write a smaller adapter, cut by `resize_adapter`, to a new folder.

    Args:
        folder: Folder of the adapter.
        out: Folder of the smaller adapter.
        rank: Largest rank of a layer.
        budget: Bytes of all tensors.
        dtype: Dtype of the stored factors; None keeps that of the adapter.
        force: Whether to overwrite `out`.

    Raises:
        ArgumentError: For the reasons of `resize_adapter`, or if a path is missing or `out` exists.
        FormatError: If the adapter is damaged.
        MatrixError: If the factors overflow the dtype.
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
    # PEFT stacks these, so none of them can be left out alone
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
    # saved values and biases are kept, so the factors share what is left of the budget
    return share_out(claims, max(0, budget - rest), dtype)


def least_columns(layer: AdaptedLayer, *, is_expert: bool) -> int:
    """The smallest rank that a layer can be cut to: 1 if it is an expert or has a bias, else 0.

    A change of a bias is stored with the factors of its layer.
    """
    return int(is_expert or layer.bias is not None)
