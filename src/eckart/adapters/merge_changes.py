"""The changes of tensors by adapters, W + Σ weight·B·A, added one block of rows at a time."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import ml_dtypes
import numpy as np

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.alignment import Alignment
from eckart.adapters.join_and_truncate import SUM_OF_WEIGHTS
from eckart.adapters.model_pair import HEAD, is_unchanged, widened
from eckart.adapters.placement import Placement
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.checkpoints import Checkpoint, stored_dtype
from eckart.checkpoints.peft import matrix_shape
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import MatrixError
from eckart.factors import Factors

MERGED_ENTRIES: Final = 2**18
"""Entries of one block of rows: a megabyte in float32."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The changes of one tensor by adapters, each with the weight of its adapter.

    Fields:
        factors: Factors B and A, oriented as the tensor is stored.
        biases: Changes of a bias.
        saved: Saved values in the shape of the tensor, which count with their difference from it.
        replacement: Values of any shape that replace the tensor, or None.
    """

    factors: Sequence[tuple[Factors, float]] = ()
    biases: Sequence[tuple[Array, float]] = ()
    saved: Sequence[tuple[Tensor, float]] = ()
    replacement: Tensor | None = None

    @property
    def adds(self) -> bool:
        """Whether anything is added to the tensor or to its replacement."""
        return bool(self.factors or self.biases or self.saved)

    def added(self, name: str, start: Tensor, dtype: np.dtype[Any]) -> Tensor:
        """The changed tensor, added up in float32 (float64 stays) and rounded once.

        Args:
            name: Name of the tensor, for the error message.
            start: The tensor, which is overwritten if its dtype is `dtype`; or its replacement,
                which is not.
            dtype: Dtype of the result.

        Raises:
            MatrixError: If a number is not finite or overflows the dtype.

        Cost:
            One pass, and one product with each pair of factors. Three blocks of 1 MB, and a copy
            of the tensor if its dtype changes.
        """
        W = start.reshape(_flat(start.shape))
        own = self.replacement is None and start.dtype == dtype
        merged = W if own else np.empty(W.shape, dtype)
        # checked before the rounding, which would turn a large number into infinity
        most = _largest(dtype)
        height = max(1, MERGED_ENTRIES // max(1, W.shape[1]))
        kind = FLOAT64 if start.dtype == FLOAT64 else FLOAT32
        # the blocks are reused: allocating them anew costs more time than the sum
        total, product = np.empty((2, min(height, W.shape[0]), W.shape[1]), kind)
        for first in range(0, W.shape[0] if W.size else 0, height):
            rows = slice(first, first + height)
            block = total[: len(W[rows])]
            np.copyto(block, widened(W[rows]))
            self._add(block, rows, product[: len(block)])
            # not > most: a comparison with NaN is false, and NaN has to be refused too
            if not max(float(block.max()), -float(block.min())) <= most:
                raise MatrixError(
                    f"'{name}' would hold a number that is not finite in {dtype}.",
                    hint="Write float32 or bfloat16, or check the base for NaN and infinity.",
                    code="not-finite",
                )
            merged[rows] = block.astype(dtype, copy=False)
        return merged.reshape(start.shape)

    def _add(self, total: Array, rows: slice, product: Array) -> None:
        """Add all changes to some rows of the tensor; `product` is memory for one more block."""
        if self.saved:
            # W + Σ w·(S − W) = (1 − Σ w)·W + Σ w·S, which needs no copy of W
            total *= total.dtype.type(1 - math.fsum(weight for _, weight in self.saved))
        for values, weight in self.saved:
            total += total.dtype.type(weight) * widened(values.reshape(_flat(values.shape))[rows])
        for change, weight in self.biases:
            total += total.dtype.type(weight) * change.reshape(-1, 1)[rows]
        for factors, weight in self.factors:
            # the weight goes on the rows of B, which are smaller than the product
            np.matmul(total.dtype.type(weight) * factors.B[rows], factors.A, out=product)
            total += product


def _largest(dtype: np.dtype[Any]) -> float:
    """The largest number of a floating-point dtype of weights, infinity for other dtypes."""
    stored = stored_dtype(dtype)
    is_weight = stored is not None and stored.is_weight
    return float(ml_dtypes.finfo(dtype).max) if is_weight else math.inf


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a tensor as a matrix; a vector has one column, a scalar is 1 × 1."""
    return matrix_shape(shape or (1,))


UNCHANGED: Final = Change()
"""The change of a tensor that no adapter touches."""


def _lists() -> Any:
    return defaultdict(list)


@final
@dataclass(slots=True, kw_only=True)
class _Parts:
    """The changes of all adapters by the names of tensors, each with the weight of its adapter."""

    base: Checkpoint
    tied: bool
    factors: dict[str, list[tuple[Factors, float]]] = field(default_factory=_lists)
    biases: dict[str, list[tuple[Array, float]]] = field(default_factory=_lists)
    saved: dict[str, list[tuple[Tensor, float]]] = field(default_factory=_lists)
    unplaced: dict[str, list[tuple[Tensor, float]]] = field(default_factory=_lists)
    notes: list[str] = field(default_factory=list[str])
    heads: list[tuple[Factors, float]] = field(default_factory=list[tuple[Factors, float]])
    is_apart: bool = False
    is_together: bool = False

    def add(self, placing: Alignment, weight: float) -> None:
        """Add the changes of one adapter."""
        if placing.prefix and placing.prefix not in self.notes:
            self.notes.append(placing.prefix)
        for name, layer in placing.layers.items():
            self.factors[name].append((layer.factors, weight))
        for name, change in placing.biases.items():
            self.biases[name].append((change, weight))
        for name, values in placing.saved.items():
            self.saved[name].append((values, weight))
        for name, values in placing.unplaced.items():
            shared = self.tied and name == HEAD
            # a saved head that equals the saved table is that table
            if not (shared and any(_are_equal(values, own) for own in _tables(placing.saved))):
                self.unplaced[name].append((values, weight))

    def part(self, placing: Alignment, weight: float, table: str, *, alone: bool) -> None:
        """Add the change of one adapter to a head apart from the table that the base shares."""
        if HEAD in placing.apart:
            self.heads.append((placing.apart[HEAD].factors, weight))
        touched = table in placing.layers or table in placing.saved
        self.is_apart |= alone or HEAD in placing.apart
        self.is_together |= touched and not alone and HEAD not in placing.apart

    def head(self, table: str) -> Tensor:
        """The values of a head that no longer shares its table."""
        if self.is_together:
            raise _not_addable(HEAD, f"adapters change it both with '{table}' and apart from it")
        beneath = self.unplaced.get(HEAD)  # PEFT saves the table beneath the factors
        values = self.base.read(table) if beneath is None else _replacement(HEAD, beneath)
        return Change(factors=self.heads).added(HEAD, values.copy(), values.dtype)

    def touch(self, name: str) -> bool:
        """Whether any adapter changes this tensor of the base."""
        return name in self.factors or name in self.biases or name in self.saved

    def change(self, name: str, shape: tuple[int, ...]) -> Change:
        """The change of a tensor of the base by all adapters."""
        saved, factors = self.saved.get(name, []), self.factors.get(name, [])
        replaced = _is_one_value(saved)
        if any(values.shape != shape for values, _ in saved) and (factors or not replaced):
            raise _not_addable(name, "it has another shape than in the base")
        return Change(
            factors=factors,
            biases=self.biases.get(name, []),
            saved=[] if replaced else saved,
            replacement=saved[0][0] if replaced else None,
        )


def _copies(
    changes: Mapping[str, Change], base: Checkpoint, placement: Placement
) -> dict[str, Change]:
    """The changes of further copies of a table that the base stores under several names."""
    uses = placement.uses(base.tensors)
    copies: dict[str, Change] = {}
    for group in placement.ties:
        stored = [name for name, use in uses.items() if use.name in group]
        touched = [name for name in stored if name in changes]
        if touched:
            copies |= {name: changes[touched[0]] for name in stored if name not in changes}
    return copies


def _check(placing: Alignment, base: Checkpoint, *, tied: bool, table: str) -> None:
    parted = {HEAD} if table else set[str]()
    unknown = [*placing.unknown, *(name for name in placing.apart if name not in parted)]
    if unknown:
        name = unknown[0]
        more = f", nor {len(unknown) - 1} more" if unknown[1:] else ""
        head = tied and name == HEAD
        raise MatrixError(
            f"{base.path} has no tensor '{name}' that the adapter changes{more}.",
            hint="The base uses its table as its head: merge into a copy that has both."
            if head
            else "Give the base that the adapter was made for.",
            code="no-such-tensor",
        )
    if placing.misfits:
        raise MatrixError(
            placing.misfits[0],
            hint="Give the base that the adapter was made for.",
            code="shapes-differ",
        )


def _check_numbers(changes: Mapping[str, Change], base: Checkpoint) -> None:
    """Refuse to add to a tensor of integers or other numbers that would round the sum away."""
    for name, change in changes.items():
        dtype = base.tensors[name].dtype
        if change.adds and not dtype.is_weight:
            raise MatrixError(
                f"'{name}' is {dtype} in {base.path}, to which no change can be added.",
                hint="Give the base in float16, bfloat16 or float32.",
                code="quantised",
            )


def _replacement(name: str, saved: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The saved values of a tensor that the base does not have."""
    if not _is_one_value(saved):
        raise _not_addable(name, "it is not in the base")
    return saved[0][0]


def _is_one_value(saved: Sequence[tuple[Tensor, float]]) -> bool:
    """Whether all saved values are equal and their weights add up to 1."""
    total = math.fsum(weight for _, weight in saved)
    # the sum w·S₁ + … of equal values is S only then
    one = math.isclose(total, 1.0, rel_tol=0.0, abs_tol=SUM_OF_WEIGHTS)
    return one and all(_are_equal(values, saved[0][0]) for values, _ in saved[1:])


def _are_equal(x: Tensor, y: Tensor) -> bool:
    return x is y or is_unchanged(x, y)


def _tables(saved: Mapping[str, Tensor]) -> list[Tensor]:
    return [values for name, values in saved.items() if is_input_table(name)]


def _not_addable(name: str, why: str) -> MatrixError:
    return MatrixError(
        f"The values that adapters save of '{name}' cannot be added up: {why}.",
        hint="Merge the adapter that saves it alone, with weight 1.",
        code="saved-differ",
    )
