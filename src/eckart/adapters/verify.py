"""Verifying that an adapter is the difference of two models, tensor by tensor."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.alignment import Alignment, place
from eckart.adapters.documents import read_report
from eckart.adapters.model_pair import HEAD, Delta, digits, is_unchanged, open_pair, subtract
from eckart.adapters.settings import Patterns
from eckart.adapters.tensor_pairs import Coverage, TensorPair, cover, read_ahead
from eckart.arguments import as_path, check_number
from eckart.arrays import FLOAT32, Array, rounding
from eckart.checkpoints.peft import matrix_shape, read_adapter
from eckart.checkpoints.peft.adapter import Tensor
from eckart.engine.result import Grade
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.objectives import residual_norm
from eckart.progress import Watch, unwatched

SAME: Final = 1e-3
"""Share by which an error may exceed the recorded one, since machines sum in different orders."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCheck:
    """The factors of one layer compared with the change of its weight.

    Fields:
        name: Name of the module.
        shape: Shape of the weight.
        rank: Columns of B.
        delta_norm: Frobenius norm ‖ΔW‖_F.
        error: ‖ΔW − B·A‖_F with the factors as they are in the file.
        recorded: Relative error that eckart wrote beside the adapter, or None.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    delta_norm: float
    error: float
    recorded: float | None

    @property
    def relative_error(self) -> float | None:
        """‖ΔW − B·A‖ / ‖ΔW‖; None if only the adapter changes the weight."""
        return _relative(self.error, self.delta_norm)

    @property
    def fits(self) -> bool:
        """Whether the error is at most the recorded one, up to rounding."""
        if self.recorded is None:
            return True
        # the second term is for recorded errors at the level of rounding
        most = self.recorded * (1 + SAME) + rounding(matrix_shape(self.shape), FLOAT32)
        return self.relative_error is not None and self.relative_error <= most

    def to_dict(self, total: float) -> dict[str, Any]:
        """Plain numbers and text; `total` is the norm of the whole change."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "rank": self.rank,
            "delta_norm": self.delta_norm,
            "share_of_delta": _share(self.delta_norm, total),
            "error": self.error,
            "relative_error": self.relative_error,
            "recorded_error": self.recorded,
            "fits": self.fits,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCheck:
    """A bias or a saved value compared with that of the fine-tune.

    Fields:
        name: Name of the tensor.
        delta_norm: Distance of the fine-tune from the base; 0 if the base lacks the tensor.
        error: Distance of base + adapter from the fine-tune.
        why: Reason why the values do not fit, or empty.
    """

    name: str
    delta_norm: float
    error: float
    why: str

    def to_dict(self, total: float) -> dict[str, Any]:
        """Plain numbers and text; `total` is the norm of the whole change."""
        return {
            "name": self.name,
            "share_of_delta": _share(self.delta_norm, total),
            "error": self.error,
            "fits": not self.why,
            "why": self.why,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """A tensor that differs between the models and is not in the adapter.

    Fields:
        name: Name of the tensor.
        delta_norm: Norm of its change; None if one of the two models lacks it.
        why: Reason why it is not covered, if known, or empty.
    """

    name: str
    delta_norm: float | None
    why: str

    def to_dict(self, total: float) -> dict[str, Any]:
        """Plain numbers and text; `total` is the norm of the whole change."""
        return {
            "name": self.name,
            "delta_norm": self.delta_norm,
            "share_of_delta": _share(self.delta_norm or 0.0, total),
            "why": self.why,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of `verify_adapter`.

    Fields:
        adapter, base, tuned: Paths of the adapter and the two models, as given.
        layers: Checks of the adapted weights.
        values: Checks of biases and saved values.
        uncovered: Tensors that changed and are not in the adapter.
        unknown: Names of tensors that the adapter changes and the models lack.
        misfits: Sentences on tensors that are in both and do not fit together.
        delta_norm: ‖W_tuned − W_base‖ over all tensors that both models have.
        tolerance: Largest relative error to accept, or None.
        notes: Sentences that a user should read.
        seconds: Duration of the whole job.
    """

    adapter: str
    base: str
    tuned: str
    layers: tuple[LayerCheck, ...]
    values: tuple[ValueCheck, ...]
    uncovered: tuple[Uncovered, ...]
    unknown: tuple[str, ...]
    misfits: tuple[str, ...]
    delta_norm: float
    tolerance: float | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def relative_error(self) -> float | None:
        """The norm of the difference between adapter and change, relative to the whole change."""
        known = [*self.layers, *self.values]
        # a tensor that is not in the adapter loses its whole change
        missing = [one.delta_norm or 0.0 for one in self.uncovered]
        return _relative(math.hypot(*(one.error for one in known), *missing), self.delta_norm)

    @property
    def fits(self) -> bool:
        """Whether nothing contradicts the two models or the record beside the adapter."""
        wrong = self.unknown or self.misfits
        return not wrong and all(one.fits for one in self.layers) and not self._different

    @property
    def short(self) -> tuple[str, ...]:
        """Names of the layers above the tolerance; "" stands for the whole change."""
        if self.tolerance is None:
            return ()
        errors = {one.name: one.relative_error for one in self.layers}
        # no tensor has an empty name
        errors |= {"": self.relative_error}
        most = self.tolerance
        return tuple(name for name, error in errors.items() if error is None or error > most)

    @property
    def grade(self) -> Grade:
        """Failed if the adapter does not fit, short if a tolerance is not met, else success."""
        if not self.fits:
            return "failed"
        return "short" if self.short else "success"

    @property
    def _different(self) -> bool:
        return any(one.why for one in self.values)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain numbers and text."""
        total = self.delta_norm
        missing = sorted(self.uncovered, key=lambda one: -(one.delta_norm or 0.0))
        return {
            "adapter": self.adapter,
            "base": self.base,
            "tuned": self.tuned,
            "grade": self.grade,
            "seconds": self.seconds,
            "delta_norm": total,
            "relative_error": self.relative_error,
            "tolerance": self.tolerance,
            "short": list(self.short),
            "unknown": list(self.unknown),
            "misfits": list(self.misfits),
            "layers": [one.to_dict(total) for one in self.layers],
            "values": [one.to_dict(total) for one in self.values],
            "uncovered": [one.to_dict(total) for one in missing],
            "notes": list(self.notes),
        }


def _relative(error: float, norm: float) -> float | None:
    if norm == 0:
        return 0.0 if error == 0 else None
    return error / norm


def _share(norm: float, total: float) -> float:
    return (norm / total) ** 2 if total else 0.0


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
            delta = subtract((pair.base, pair.tuned), before, after)
        norm = delta.norm if delta else 0.0
        self.squares += norm**2
        saved = self.placing.saved.get(pair.name)
        adapted = pair.name in self.placing.layers
        if adapted and saved is not None and saved.shape == after.shape:
            # PEFT saves the table beneath the factors of an embedding, and they are added to it
            delta = subtract((pair.base, pair.tuned), saved, after)
            self._layer(pair, delta, delta.norm if delta else 0.0)
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
        rest = None if fits else subtract((pair.base, pair.tuned), saved, after)
        error = rest.norm if rest else 0.0
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
