"""Adapters made from adapters without the model: the weighted sum of several, or fewer columns."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import final

import numpy as np

from eckart.adapters.budget import LayerDemand, share_out
from eckart.adapters.settings import Document
from eckart.arguments import as_path, check_list, check_number
from eckart.arrays import FLOAT32, FLOAT64
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    AdapterDType,
    adapter_bytes,
    factor_dtype,
    matrix_shape,
    pad_experts,
    read_adapter,
    uniform_groups,
    write_adapter,
)
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.files import check_output, whole_file


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenAdapter:
    """The result of `join_adapters` and `truncate_adapter`.

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

    def to_dict(self) -> Document:
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
    """Write an adapter that was cut from the whole one of some sources, and measure the loss."""
    with whole_file(out, force=force) as temporary:
        write_adapter(temporary, smaller, dtype)
    ranks = {layer.module: layer.rank for layer in smaller.layers}
    factors = sum(adapter_bytes(layer.shape, layer.rank, dtype) for layer in smaller.layers)
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
        nbytes=factors + _bytes_of_values(smaller),
        relative_change=math.sqrt(lost / total) if total else 0.0,
    )


def _bytes_of_values(adapter: Adapter) -> int:
    """Bytes of the biases and the saved values of an adapter."""
    biases = sum(layer.outputs for layer in adapter.layers if layer.bias is not None)
    # changes of biases are stored in float32, whatever the dtype of the factors
    return biases * FLOAT32.itemsize + sum(saved.nbytes for saved in adapter.saved.values())


def resize_adapter(
    adapter: Adapter,
    *,
    rank: int | None = None,
    budget: int | None = None,
    dtype: AdapterDType = "float32",
) -> Adapter:
    """The adapter that `truncate_adapter` writes, of one in memory."""
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
    layers = tuple(
        replace(layer, factors=layer.factors.truncate(ranks[layer.module]))
        for layer in adapter.layers
        if ranks[layer.module]
    )
    return pad_experts(replace(adapter, layers=layers))


def truncate_adapter(
    folder: str | PathLike[str],
    out: str | PathLike[str],
    *,
    rank: int | None = None,
    budget: int | None = None,
    dtype: AdapterDType | None = None,
    force: bool = False,
) -> WrittenAdapter:
    """Write the best adapter of a smaller rank or size; the model is not needed.

    Args:
        folder: Folder of the adapter.
        out: Folder of the smaller adapter.
        rank: Largest rank of a layer.
        budget: Bytes of all tensors of the adapter, spent on the largest σ²/bytes of all layers
            first. A layer that gets no column is left out, unless its bias changes or it is an
            expert. Saved values and biases are kept, and counted.
        dtype: Dtype of the stored factors; None keeps that of the adapter.
        force: Whether to overwrite `out`.

    Raises:
        ArgumentError: If not exactly one of rank and budget is given, the rank is below 1, the
            budget is too small for one column, a path is missing or `out` exists.
        FormatError: If the adapter is damaged.
        MatrixError: If the factors overflow the dtype.
        StorageError: If the system refuses to read or write.

    Cost:
        Two QR factorisations of the factors of each layer; B·A is never formed.
    """
    source, target = as_path(folder), as_path(out)
    check_output(target, force=force, inputs=[source], is_folder=True)
    adapter, own = read_adapter(source), dtype or factor_dtype(source)
    smaller = resize_adapter(adapter, rank=rank, budget=budget, dtype=own)
    return write_smaller([source], adapter, smaller, target, own, force=force)


def _ranks(adapter: Adapter, budget: int, dtype: AdapterDType) -> dict[str, int]:
    layers = {layer.module: layer for layer in adapter.layers}
    # PEFT stacks these, so none of them can be left out alone
    experts = set(chain(*uniform_groups(layers)))
    demands = [
        LayerDemand(
            module=module,
            shape=layer.shape,
            gains=np.square(layer.factors.singular_values().astype(FLOAT64)),
            # an expert stays beside the others, a changed bias beside the factors of its layer
            least=int(module in experts or layer.bias is not None),
        )
        for module, layer in layers.items()
    ]
    # saved values and biases are kept, so the factors share what is left of the budget
    return share_out(demands, max(0, budget - _bytes_of_values(adapter)), dtype)


SUM_OF_WEIGHTS = 1e-9
"""Largest distance of the sum of weights from 1: decimal numbers such as 0.7 are rounded."""


def combine(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """The sum that `join_adapters` writes without a rank, of adapters in memory.

    A layer has the sum of the ranks of its parts, at most the full rank.
    """
    # an adapter of weight 0 adds nothing, so it need not fit the others
    used = [(adapter, weight) for adapter, weight in zip(adapters, weights, strict=True) if weight]
    parts: dict[str, list[tuple[AdaptedLayer, float]]] = {}
    for adapter, weight in used:
        for layer in adapter.layers:
            parts.setdefault(layer.module, []).append((layer, weight))
    joined = Adapter(
        layers=tuple(_sum(parts[module]) for module in sorted(parts)),
        saved=_saved(used),
        tied=any(adapter.tied for adapter, _ in used),
        experts=any(adapter.experts for adapter, _ in used),
        base_name=_common([one.base_name for one, _ in used], "base_model_name_or_path"),
        task_type=_common([one.task_type for one, _ in used], "task_type"),
        in_place={name for adapter, _ in used for name in adapter.in_place},
        excluded=sorted({name for adapter, _ in used for name in adapter.excluded}),
    )
    return pad_experts(joined)


def _sum(parts: Sequence[tuple[AdaptedLayer, float]]) -> AdaptedLayer:
    first = parts[0][0]
    for layer, _ in parts:
        if layer.kind is not first.kind or layer.shape != first.shape:
            raise MatrixError(
                f"The adapters do not fit together: '{first.module}' is {first.kind} of "
                f"{first.shape} in one and {layer.kind} of {layer.shape} in another.",
                hint="Join adapters of one base model only.",
                code="shapes-differ",
            )
    # Σ weight·B·A = [w₁·B₁ w₂·B₂ …]·[A₁; A₂; …]
    stacked = Factors(
        np.hstack([weight * layer.factors.B for layer, weight in parts]),
        np.vstack([layer.factors.A for layer, _ in parts]),
    )
    biases = [weight * layer.bias for layer, weight in parts if layer.bias is not None]
    return replace(
        first,
        factors=stacked.truncate(min(stacked.rank, *matrix_shape(first.shape))),
        bias=np.sum(biases, axis=0) if biases else None,
    )


def _saved(used: Sequence[tuple[Adapter, float]]) -> Mapping[str, Tensor]:
    saved: dict[str, Tensor] = {}
    totals: Counter[str] = Counter()
    for adapter, weight in used:
        for name, tensor in adapter.saved.items():
            known = saved.setdefault(name, tensor)
            totals[name] += weight  # pyright: ignore[reportArgumentType] a counter of fractions
            if known is not tensor and not np.array_equal(known, tensor):
                raise _unjoinable(name, "the adapters save different values")
    for name, total in totals.items():
        if not math.isclose(total, 1.0, rel_tol=0.0, abs_tol=SUM_OF_WEIGHTS):
            raise _unjoinable(name, f"the weights of the adapters that save it add up to {total:g}")
    return saved


def _unjoinable(name: str, why: str) -> MatrixError:
    return MatrixError(
        f"'{name}' cannot be joined: {why}.",
        hint="Saved values take the place of the base's; merge into the base model instead.",
        code="saved-differ",
    )


def _common(names: Sequence[str | None], key: str) -> str | None:
    known = sorted({name for name in names if name is not None})
    if len(known) > 1:
        raise MatrixError(
            f"The adapters have different {key}: {' and '.join(known)}.",
            hint="Join adapters of one base; if they are, write one name into each configuration.",
            code="bases-differ",
        )
    return known[0] if known else None


def join_adapters(
    adapters: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    weights: Sequence[float],
    rank: int | None = None,
    dtype: AdapterDType | None = None,
    force: bool = False,
) -> WrittenAdapter:
    """Write one adapter whose change of each weight is Σ weight·B·A over several adapters.

    Changes of biases add in the same way. Saved values are not changes, so they can only be kept
    where all adapters that have them agree and their weights add up to 1.

    Args:
        adapters: Folders of adapters of one base.
        out: Folder of the new adapter.
        weights: One weight for each adapter, of either sign.
        rank: Largest rank of a layer, at which the sum is truncated optimally; None loses nothing.
        dtype: Dtype of the stored factors; None takes the common one of the adapters, or float32
            if they differ.
        force: Whether to overwrite `out`.

    Raises:
        ArgumentError: If there is not one finite weight for each adapter, all weights are 0, the
            rank is below 1, a path is missing or `out` exists.
        FormatError: If an adapter is damaged.
        MatrixError: If the adapters have different shapes or kinds of a layer, saved values that
            differ, or different bases; or if the factors overflow the dtype.
        StorageError: If the system refuses to read or write.

    Cost:
        Two QR factorisations of the stacked factors of each layer and a singular value
        decomposition whose size is the sum of the ranks; B·A is never formed.
    """
    folders = [as_path(one) for one in check_list("adapters", adapters)]
    target, weights = as_path(out), check_list("weights", weights)
    check_weights(len(folders), weights)
    check_output(target, force=force, inputs=folders, is_folder=True)
    joined = combine([read_adapter(folder) for folder in folders], weights)
    # joined in full first, so that the result can say what the smaller rank loses
    smaller = joined if rank is None else resize_adapter(joined, rank=rank)
    dtypes: list[AdapterDType] = [factor_dtype(folder) for folder in folders]
    own = dtypes[0] if len(set(dtypes)) == 1 else "float32"
    return write_smaller(folders, joined, smaller, target, dtype or own, force=force)


def check_weights(count: int, weights: Sequence[float]) -> None:
    """Check that there is one finite weight for each adapter, and one that is not 0."""
    if count != len(weights) or not count:
        raise ArgumentError(
            f"There are {len(weights)} weights for {count} adapters.",
            hint="Give one weight for each adapter.",
            code="lengths-differ",
        )
    for weight in weights:
        # a NaN is refused below, in a message with all weights
        if not isinstance(weight, float):
            check_number("weight", weight)
    if not all(map(math.isfinite, weights)) or not any(weights):
        raise ArgumentError(
            f"The weights are {', '.join(f'{weight:g}' for weight in weights)}.",
            hint="Give finite weights, not all of them 0.",
            code="bad-weights",
        )
