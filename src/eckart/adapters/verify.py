"""Verifying that an adapter is the difference of two models."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Final, final

import numpy as np

from eckart.adapters.alignment import Alignment, place
from eckart.adapters.assembly import is_input_table
from eckart.adapters.coverage import Coverage, Patterns, TensorPair, cover
from eckart.adapters.delta import Delta, digits, subtract
from eckart.adapters.documents import read_report
from eckart.adapters.sources import HEAD, is_unchanged, open_pair
from eckart.adapters.survey import read_ahead
from eckart.adapters.verification import LayerCheck, Uncovered, ValueCheck, Verification
from eckart.arguments import as_path, check_number
from eckart.arrays import FLOAT32, Array
from eckart.checkpoints.peft import read_adapter
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.objectives import residual_norm
from eckart.progress import Watch, unwatched

DIFFERENT: Final = "its values are not those of the fine-tune"
"""Reason why a bias or a saved value does not fit."""


def verify_adapter(
    adapter: str | PathLike[str],
    base: str | PathLike[str],
    tuned: str | PathLike[str],
    *,
    tolerance: float | None = None,
    watch: Watch = unwatched,
) -> Verification:
    """Measure how far an adapter is from the change between two models.

    Names and shapes of the adapter and of the models are compared. The error of every layer is
    measured anew, with the factors as they are in the file, and compared with the error that eckart
    recorded beside the adapter, if it did. Saved values and biases have to equal those of the
    fine-tune. A changed tensor that the adapter lacks is no fault of the adapter; it is listed, and
    counts in the error of the whole.

    Args:
        adapter: Folder of an adapter that eckart or PEFT wrote.
        base: Folder or file of the base checkpoint.
        tuned: Folder or file of the checkpoint of the fine-tune.
        tolerance: Largest relative error to accept, of each layer and of the whole change.
        watch: Shows the progress, in entries of the tensors.

    Raises:
        ArgumentError: If a path is missing, or the tolerance is not above 0.
        FormatError: If a file is damaged, or the two checkpoints do not belong together.
        MatrixError: If a tensor of a checkpoint holds NaN or infinity.
        StorageError: If the system refuses to read.

    Cost:
        Reads both checkpoints once; a product with the factors of each layer. The memory of the
        adapter, of two pairs of tensors as stored, and of one change in float32.
    """
    began = time.perf_counter()
    if tolerance is not None and not 0 < check_number("tolerance", tolerance) < math.inf:
        raise ArgumentError(
            f"The tolerance is {tolerance}.",
            hint="Give a number above 0, such as 0.05.",
            code="bad-tolerance",
        )
    folder = as_path(adapter)
    before, after = open_pair(base, tuned)
    content = read_adapter(folder)
    # without patterns: all that changed counts, whatever the adapter was made of
    coverage = cover(before, after, Patterns())
    # tensors of the base alone are not in the fine-tune, and are listed at the end
    pairs = [pair for pair in coverage.tensors if pair.tuned is not None]
    shapes = {pair.name: pair.shape for pair in pairs}
    placing = place(content, shapes, coverage.placement)
    checks = _Checks(placing=placing, recorded=_recorded(folder))
    with watch("Verifying", sum(math.prod(pair.shape) for pair in pairs)) as report:
        for pair, first, second in read_ahead(before, after, pairs):
            assert second is not None
            checks.add(pair, first, second)
            report(second.size, said=pair.name)
    unplaced = checks.shared(tied=coverage.placement.is_tied)
    return Verification(
        adapter=str(adapter),
        base=str(base),
        tuned=str(tuned),
        layers=tuple(checks.layers),
        values=tuple(checks.values),
        uncovered=(*checks.uncovered, *_only_in_base(coverage)),
        unknown=(*placing.unknown, *placing.apart, *unplaced),
        misfits=(*placing.misfits, *checks.misfits),
        delta_norm=math.sqrt(checks.squares),
        tolerance=tolerance,
        notes=tuple(_notes(coverage, placing)),
        seconds=time.perf_counter() - began,
    )


@final
@dataclass(slots=True, kw_only=True)
class _Checks:
    """The results of the checks, collected over the pairs of tensors."""

    placing: Alignment
    recorded: Mapping[str, float]
    layers: list[LayerCheck] = field(default_factory=list[LayerCheck])
    values: list[ValueCheck] = field(default_factory=list[ValueCheck])
    uncovered: list[Uncovered] = field(default_factory=list[Uncovered])
    misfits: list[str] = field(default_factory=list[str])
    squares: float = 0.0

    def add(self, pair: TensorPair, before: Tensor | None, after: Tensor) -> None:
        """Check one tensor."""
        delta = None
        if pair.has_delta and before is not None:
            delta = subtract(pair, before, after)
        norm = math.sqrt(delta.matrix.squared_norm()) if delta else 0.0
        self.squares += norm**2
        saved = self.placing.saved.get(pair.name)
        adapted = pair.name in self.placing.layers
        if adapted and saved is not None and saved.shape == after.shape:
            # PEFT saves the table beneath the factors of an embedding, and they are added to it
            delta = subtract(pair, saved, after)
            self._layer(pair, delta, math.sqrt(delta.matrix.squared_norm()) if delta else 0.0)
        elif saved is not None:
            self._saved(pair, saved, after, norm)
        elif adapted and pair.has_delta:
            self._layer(pair, delta, norm)
        elif adapted:
            self.misfits.append(f"'{pair.name}' cannot be adapted: {pair.why}.")
        elif pair.name in self.placing.biases and before is not None:
            self._bias(pair, self.placing.biases[pair.name], before, after, norm)
        elif not pair.has_delta or norm:
            known = norm if pair.has_delta else None
            self.uncovered.append(Uncovered(name=pair.name, delta_norm=known, why=pair.why))

    def shared(self, *, tied: bool) -> Iterator[str]:
        """The names of saved values without a place in the model; a tied head is in its table."""
        for name, values in self.placing.unplaced.items():
            tables = [own for own in self.placing.saved if is_input_table(own)]
            if not tied or name != HEAD or not tables:
                yield name
            elif not is_unchanged(values, self.placing.saved[tables[0]]):
                self.misfits.append(f"'{name}' and '{tables[0]}' are one table and differ.")

    def _layer(self, pair: TensorPair, delta: Delta | None, norm: float) -> None:
        layer = self.placing.layers[pair.name]
        self.layers.append(
            LayerCheck(
                name=layer.module,
                shape=layer.shape,
                rank=layer.rank,
                delta_norm=norm,
                error=_error(delta, layer.factors),
                recorded=self.recorded.get(layer.module),
            )
        )

    def _saved(self, pair: TensorPair, saved: Tensor, after: Tensor, norm: float) -> None:
        if saved.shape != after.shape:
            self.misfits.append(f"'{pair.name}' is saved in another shape.")
            return
        # PEFT keeps saved values in float32 even if the model is in bfloat16
        fits = is_unchanged(saved, after) or is_unchanged(saved.astype(after.dtype), after)
        rest = None if fits else subtract(pair, saved, after)
        error = math.sqrt(rest.matrix.squared_norm()) if rest else 0.0
        why = "" if fits else DIFFERENT
        self.values.append(ValueCheck(name=pair.name, delta_norm=norm, error=error, why=why))

    def _bias(
        self, pair: TensorPair, change: Array, before: Tensor, after: Tensor, norm: float
    ) -> None:
        wide, narrow = after.astype(FLOAT32), before.astype(FLOAT32)
        error = float(np.linalg.norm(wide - narrow - change))
        scale = float(np.linalg.norm(wide) + np.linalg.norm(narrow))
        # rounding to its dtype moves a bias by at most this share of its size
        fits = error <= 2.0 ** -min(digits(after.dtype), digits(FLOAT32)) * scale
        why = "" if fits else DIFFERENT
        self.values.append(ValueCheck(name=pair.name, delta_norm=norm, error=error, why=why))


def _error(delta: Delta | None, factors: Factors) -> float:
    """The norm ‖ΔW − B·A‖, which is ‖B·A‖ for an unchanged tensor."""
    if delta is None:
        return math.sqrt(factors.squared_norm())
    return residual_norm(delta.matrix, factors)


def _recorded(folder: Path) -> dict[str, float]:
    """The relative errors that eckart recorded beside an adapter, by module."""
    report = read_report(folder) or {"tensors": []}
    return {
        str(one["name"]): float(one["relative_error"])
        for one in report["tensors"]
        if one.get("rank") and isinstance(one.get("relative_error"), int | float)
    }


def _only_in_base(coverage: Coverage) -> Iterator[Uncovered]:
    for pair in coverage.tensors:
        if pair.tuned is None:
            yield Uncovered(name=pair.name, delta_norm=None, why=pair.why)


def _notes(coverage: Coverage, placing: Alignment) -> Iterator[str]:
    for said in (coverage.matching.prefix(), placing.prefix):
        if said:
            yield said
    if coverage.placement.is_tied:
        yield "The head is the table of the vocabulary, so the two count once."
