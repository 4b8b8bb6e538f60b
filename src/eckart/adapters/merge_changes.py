"""The changes of tensors by adapters, W + Σ weight·B·A, added one block of rows at a time."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import ml_dtypes
import numpy as np

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.alignment import Alignment, align, changes_alone, check_ties, own_table
from eckart.adapters.join_and_truncate import SUM_OF_WEIGHTS
from eckart.adapters.model_pair import HEAD, is_unchanged, widen
from eckart.adapters.placement import Placement
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.checkpoints import Checkpoint, stored_dtype
from eckart.checkpoints.peft import Adapter, matrix_shape
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

    factors: list[tuple[Factors, float]] = field(default_factory=list[tuple[Factors, float]])
    biases: list[tuple[Array, float]] = field(default_factory=list[tuple[Array, float]])
    saved: list[tuple[Tensor, float]] = field(default_factory=list[tuple[Tensor, float]])
    replacement: Tensor | None = None

    @property
    def adds(self) -> bool:
        """Whether anything is added to the tensor or to its replacement."""
        return bool(self.factors or self.biases or self.saved)

    def add(self, name: str, start: Tensor, dtype: np.dtype[Any]) -> Tensor:
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
        stored = stored_dtype(dtype)
        is_weight = stored is not None and stored.is_weight
        most = float(ml_dtypes.finfo(dtype).max) if is_weight else math.inf
        height = max(1, MERGED_ENTRIES // max(1, W.shape[1]))
        kind = FLOAT64 if start.dtype == FLOAT64 else FLOAT32
        # the blocks are reused: allocating them anew costs more time than the sum
        total, product = np.empty((2, min(height, W.shape[0]), W.shape[1]), kind)
        for first in range(0, W.shape[0] if W.size else 0, height):
            rows = slice(first, first + height)
            block = total[: len(W[rows])]
            np.copyto(block, widen(W[rows]))
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
            total += total.dtype.type(weight) * widen(values.reshape(_flat(values.shape))[rows])
        for change, weight in self.biases:
            total += total.dtype.type(weight) * change.reshape(-1, 1)[rows]
        for factors, weight in self.factors:
            # the weight goes on the rows of B, which are smaller than the product
            np.matmul(total.dtype.type(weight) * factors.B[rows], factors.A, out=product)
            total += product


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a tensor as a matrix; a vector has one column, a scalar is 1 × 1."""
    return matrix_shape(shape or (1,))


UNCHANGED: Final = Change()
"""The change of a tensor that no adapter touches."""


@final
@dataclass(slots=True, kw_only=True)
class AdapterChanges:
    """The changes of all adapters by the names of tensors, each with the weight of its adapter.

    Fields:
        table: The stored table that the base uses as its input table and head only, or "".
        parts: Changes of tensors that the base has.
        unplaced: Saved values of tensors that the base does not have.
        heads: Changes of a head that no longer shares the table.
        is_apart, is_together: Whether an adapter changes the head apart from the table, and whether
            one changes both as one.
    """

    base: Checkpoint
    placement: Placement
    table: str
    notes: list[str] = field(default_factory=list[str])
    parts: dict[str, Change] = field(default_factory=lambda: defaultdict(Change))
    unplaced: dict[str, list[tuple[Tensor, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    heads: list[tuple[Factors, float]] = field(default_factory=list[tuple[Factors, float]])
    is_apart: bool = False
    is_together: bool = False

    @staticmethod
    def of(base: Checkpoint, adapters: Sequence[tuple[Adapter, float]]) -> "AdapterChanges":
        """The changes of a base by adapters, each with its weight."""
        placement = Placement.of(base, base)
        found = AdapterChanges(base=base, placement=placement, table=own_table(placement))
        shapes = {name: info.shape for name, info in base.tensors.items()}
        for adapter, weight in adapters:
            alignment = align(adapter, shapes, placement)
            check_ties(adapter, alignment, placement, found.table, shapes)
            found._check(alignment)
            found._add(alignment, weight, alone=changes_alone(adapter, alignment, found.table))
        return found

    def changes(self) -> dict[str, Change]:
        """The changes of tensors of the base, further copies of shared tables included."""
        changes = {
            name: self._change(name, info.shape)
            for name, info in self.base.tensors.items()
            if name in self.parts
        }
        for name, change in changes.items():
            dtype = self.base.tensors[name].dtype
            # integers and floats of few bits would round the sum away
            if change.adds and not dtype.is_weight:
                raise MatrixError(
                    f"'{name}' is {dtype} in {self.base.path}, to which no change can be added.",
                    hint="Give the base in float16, bfloat16 or float32.",
                    code="quantised",
                )
        uses = self.placement.uses(self.base.tensors)
        for group in self.placement.ties:
            stored = [name for name, use in uses.items() if use.name in group]
            touched = [name for name in stored if name in changes]
            if touched:
                changes |= {n: changes[touched[0]] for n in stored if n not in changes}
        return changes

    def new(self) -> dict[str, Tensor]:
        """Values of tensors that the base does not have."""
        new: dict[str, Tensor] = {}
        for name, saved in self.unplaced.items():
            if not _is_one_value(saved):
                raise _not_addable(name, "it is not in the base")
            new[name] = saved[0][0]
        if self.is_apart:
            if self.is_together:
                why = f"adapters change it both with '{self.table}' and apart from it"
                raise _not_addable(HEAD, why)
            beneath = new.get(HEAD)  # PEFT saves the table beneath the factors
            values = self.base.read(self.table) if beneath is None else beneath.copy()
            new[HEAD] = Change(factors=self.heads).add(HEAD, values, values.dtype)
        return new

    def _check(self, alignment: Alignment) -> None:
        """Refuse an adapter of another base."""
        parted = {HEAD} if self.table else set[str]()
        unknown = [*alignment.unknown, *(name for name in alignment.apart if name not in parted)]
        hint = "Give the base that the adapter was made for."
        if unknown:
            name, more = unknown[0], f", nor {len(unknown) - 1} more" if unknown[1:] else ""
            if self.placement.is_tied and name == HEAD:
                hint = "The base uses its table as its head: merge into a copy that has both."
            raise MatrixError(
                f"{self.base.path} has no tensor '{name}' that the adapter changes{more}.",
                hint=hint,
                code="no-such-tensor",
            )
        if alignment.misfits:
            raise MatrixError(alignment.misfits[0], hint=hint, code="shapes-differ")

    def _add(self, alignment: Alignment, weight: float, *, alone: bool) -> None:
        """Add the changes of one adapter, which may change the table without the head."""
        if alignment.prefix and alignment.prefix not in self.notes:
            self.notes.append(alignment.prefix)
        for name, layer in alignment.layers.items():
            self.parts[name].factors.append((layer.factors, weight))
        for name, change in alignment.biases.items():
            self.parts[name].biases.append((change, weight))
        for name, values in alignment.saved.items():
            self.parts[name].saved.append((values, weight))
        tables = [values for name, values in alignment.saved.items() if is_input_table(name)]
        for name, values in alignment.unplaced.items():
            shared = self.placement.is_tied and name == HEAD
            # a saved head that equals the saved table is that table
            if not (shared and any(_are_equal(values, own) for own in tables)):
                self.unplaced[name].append((values, weight))
        if HEAD in alignment.apart:
            self.heads.append((alignment.apart[HEAD].factors, weight))
        touched = self.table in alignment.layers or self.table in alignment.saved
        apart = alone or HEAD in alignment.apart
        self.is_apart |= apart
        self.is_together |= touched and not apart

    def _change(self, name: str, shape: tuple[int, ...]) -> Change:
        """The change of a tensor of the base by all adapters."""
        part = self.parts[name]
        replaced = _is_one_value(part.saved)
        fits = all(values.shape == shape for values, _ in part.saved)
        if not fits and (part.factors or not replaced):
            raise _not_addable(name, "it has another shape than in the base")
        return replace(part, saved=[], replacement=part.saved[0][0]) if replaced else part


def _is_one_value(saved: Sequence[tuple[Tensor, float]]) -> bool:
    """Whether all saved values are equal and their weights add up to 1."""
    total = math.fsum(weight for _, weight in saved)
    # the sum w·S₁ + … of equal values is S only then
    one = math.isclose(total, 1.0, rel_tol=0.0, abs_tol=SUM_OF_WEIGHTS)
    return one and all(_are_equal(values, saved[0][0]) for values, _ in saved[1:])


def _are_equal(x: Tensor, y: Tensor) -> bool:
    return x is y or is_unchanged(x, y)


def _not_addable(name: str, why: str) -> MatrixError:
    return MatrixError(
        f"The values that adapters save of '{name}' cannot be added up: {why}.",
        hint="Merge the adapter that saves it alone, with weight 1.",
        code="saved-differ",
    )
