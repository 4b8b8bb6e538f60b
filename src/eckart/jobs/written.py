"""An adapter that was made from others, and what was lost by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from eckart.arrays import FLOAT32
from eckart.storage import whole_file
from eckart.storage.adapters import Adapter, StoredDType, adapter_bytes, write_adapter


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
    dtype: StoredDType
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
    dtype: StoredDType,
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


def _tensor_bytes(adapter: Adapter, dtype: StoredDType) -> int:
    factors = sum(adapter_bytes(layer.shape, layer.rank, dtype) for layer in adapter.layers)
    biases = sum(layer.outputs for layer in adapter.layers if layer.bias is not None)
    return factors + biases * FLOAT32.itemsize + sum(x.nbytes for x in adapter.saved.values())
