"""Joining several adapters of one base into one: the exact weighted sum of their changes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eckart.adapters.truncate import WrittenAdapter, resize_adapter, write_smaller
from eckart.arguments import check_number
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    AdapterDType,
    factor_dtype,
    matrix_shape,
    pad_experts,
    read_adapter,
)
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.files import check_output

SUM_OF_WEIGHTS = 1e-9
"""Largest distance of the sum of weights from 1: decimal numbers such as 0.7 are rounded."""


def join_adapters(
    adapters: Sequence[Adapter], weights: Sequence[float], rank: int | None = None
) -> Adapter:
    """The adapter whose change of each weight is Σ weight·B·A over the adapters that have it.

    Changes of biases add in the same way. Saved values are not changes, so they can only be kept
    where all adapters that have them agree and their weights add up to 1.

    Args:
        adapters: Adapters of one base.
        weights: One weight for each adapter, of either sign.
        rank: Largest rank of a layer, at which the sum is truncated optimally; None keeps the sum
            of the ranks, at most the full rank.

    Raises:
        ArgumentError: If there is not one finite weight for each adapter, all weights are 0, or
            the rank is below 1.
        MatrixError: If the adapters have different shapes or kinds of a layer, saved values that
            differ, or different bases.

    Cost:
        Two QR factorisations of the stacked factors of each layer and a singular value
        decomposition whose size is the sum of the ranks; B·A is never formed.
    """
    check_weights(len(adapters), weights)
    if rank is not None:
        check_rank(rank, most=rank, what="an adapter")
    # an adapter of weight 0 adds nothing, so it need not fit the others
    used = [(adapter, weight) for adapter, weight in zip(adapters, weights, strict=True) if weight]
    parts: dict[str, list[tuple[AdaptedLayer, float]]] = {}
    for adapter, weight in used:
        for layer in adapter.layers:
            parts.setdefault(layer.module, []).append((layer, weight))
    joined = Adapter(
        layers=tuple(_sum(parts[module], rank) for module in sorted(parts)),
        saved=_saved(used),
        tied=any(adapter.tied for adapter, _ in used),
        experts=any(adapter.experts for adapter, _ in used),
        base_name=_common([one.base_name for one, _ in used], "base_model_name_or_path"),
        task_type=_common([one.task_type for one, _ in used], "task_type"),
        in_place={name for adapter, _ in used for name in adapter.in_place},
        excluded=sorted({name for adapter, _ in used for name in adapter.excluded}),
    )
    return pad_experts(joined)


def _sum(parts: Sequence[tuple[AdaptedLayer, float]], rank: int | None) -> AdaptedLayer:
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
    most = min(stacked.rank, *matrix_shape(first.shape))
    biases = [weight * layer.bias for layer, weight in parts if layer.bias is not None]
    return replace(
        first,
        factors=stacked.truncate(most if rank is None else min(rank, most)),
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


def join_folders(
    folders: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    *,
    rank: int | None = None,
    dtype: AdapterDType | None = None,
    force: bool = False,
) -> WrittenAdapter:
    """Join the adapters in some folders, as `join_adapters` does, into an adapter in a new folder.

    Args:
        folders: Folders of adapters of one base.
        weights: One weight for each adapter.
        out: Folder of the new adapter.
        rank: Largest rank of a layer; None loses nothing.
        dtype: Dtype of the stored factors; None takes the common one of the adapters, or float32
            if they differ.
        force: Whether to overwrite `out`.

    Raises:
        ArgumentError: For the reasons of `join_adapters`, or if a path is missing or `out` exists.
        FormatError: If an adapter is damaged.
        MatrixError: For the reasons of `join_adapters`, or if the factors overflow the dtype.
        StorageError: If the system refuses to read or write.
    """
    check_weights(len(folders), weights)
    check_output(out, force=force, inputs=folders, is_folder=True)
    joined = join_adapters([read_adapter(folder) for folder in folders], weights)
    # joined in full first, so that the result can say what the smaller rank loses
    smaller = joined if rank is None else resize_adapter(joined, rank=rank)
    dtypes: list[AdapterDType] = [factor_dtype(folder) for folder in folders]
    own = dtypes[0] if len(set(dtypes)) == 1 else "float32"
    return write_smaller(folders, joined, smaller, out, dtype or own, force=force)


def check_weights(count: int, weights: Sequence[float]) -> None:
    """Check that there is one finite weight for each adapter, and one that is not 0.

    Raises:
        ArgumentError: If the weights are otherwise.
    """
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
