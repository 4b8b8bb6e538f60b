"""Verifying that an adapter is the difference of two models, tensor by tensor."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from os import PathLike
from typing import Final, final

import numpy as np

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.alignment import Alignment, align
from eckart.adapters.documents import read_report
from eckart.adapters.model_pair import HEAD, Delta, digits, is_unchanged, open_pair, subtract
from eckart.adapters.placement import TensorPair
from eckart.adapters.settings import Document, Patterns
from eckart.adapters.tensor_pairs import StoredPair, cover, read_ahead
from eckart.arguments import as_path, check_number
from eckart.arrays import FLOAT32, Array, rounding
from eckart.checkpoints.peft import AdaptedLayer, matrix_shape, read_adapter
from eckart.checkpoints.peft.adapter import Tensor
from eckart.engine.result import Grade
from eckart.errors import ArgumentError
from eckart.objectives import residual_norm
from eckart.progress import Watch, unwatched

SAME: Final = 1e-3
"""Share by which an error may exceed the recorded one, since machines sum in different orders."""
LAYER_KEYS: Final = (
    *("name", "shape", "rank", "delta_norm", "share_of_delta", "error", "relative_error"),
    *("recorded_error", "fits"),
)
VALUE_KEYS: Final = ("name", "share_of_delta", "error", "fits", "why")
UNCOVERED_KEYS: Final = ("name", "delta_norm", "share_of_delta", "why")
"""Keys of the documents of a layer, of a value, and of a change that is not covered, in order."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCheck:
    """One tensor of the adapter compared with the change of the model, or a change it lacks.

    Fields:
        name: Name of the module of a layer with factors, else of the tensor.
        delta_norm: Distance ‖ΔW‖_F of the fine-tune from the base; None if one of them lacks it.
        error: Distance of base + adapter from the fine-tune.
        why: Reason why values do not fit, or why a change is not covered, if known; or empty.
        layer: The factors, as they are in the file; None of values and of what is not covered.
        recorded: Relative error of the factors that eckart wrote beside the adapter, or None.
    """

    name: str
    delta_norm: float | None
    error: float
    why: str = ""
    layer: AdaptedLayer | None = None
    recorded: float | None = None

    @property
    def relative_error(self) -> float | None:
        """‖ΔW − B·A‖ / ‖ΔW‖; None if only the adapter changes the weight."""
        return _relative(self.error, self.delta_norm or 0.0)

    @property
    def fits(self) -> bool:
        """Whether the error is at most the recorded one, up to rounding, or the values agree."""
        if self.layer is None or self.recorded is None:
            return not self.why
        # the second term is for recorded errors at the level of rounding
        most = self.recorded * (1 + SAME) + rounding(matrix_shape(self.layer.shape), FLOAT32)
        return self.relative_error is not None and self.relative_error <= most

    def to_dict(self, total: float, *keys: str) -> Document:
        """Some figures as plain numbers and text; `total` is the norm of the whole change."""
        share = ((self.delta_norm or 0.0) / total) ** 2 if total else 0.0
        document: Document = {
            "name": self.name,
            "delta_norm": self.delta_norm,
            "share_of_delta": share,
            "error": self.error,
            "relative_error": self.relative_error,
            "recorded_error": self.recorded,
            "fits": self.fits,
            "why": self.why,
        }
        if self.layer is not None:
            document |= {"shape": list(self.layer.shape), "rank": self.layer.rank}
        return {key: document[key] for key in keys}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of `verify_adapter`.

    Fields:
        adapter, base, tuned, tolerance: Arguments of `verify_adapter`.
        layers: Checks of the adapted weights.
        values: Checks of biases and saved values.
        uncovered: Tensors that changed and are not in the adapter, which loses all of that change.
        unknown: Names of tensors that the adapter changes and the models lack.
        misfits: Sentences on tensors that are in both and do not fit together.
        delta_norm: ‖W_tuned − W_base‖ over all tensors that both models have.
        notes: Sentences that a user should read.
        seconds: Duration of the whole job.
    """

    adapter: str
    base: str
    tuned: str
    layers: tuple[TensorCheck, ...]
    values: tuple[TensorCheck, ...]
    uncovered: tuple[TensorCheck, ...]
    unknown: tuple[str, ...]
    misfits: tuple[str, ...]
    delta_norm: float
    tolerance: float | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def relative_error(self) -> float | None:
        """The norm of the difference between adapter and change, relative to the whole change."""
        checks = (*self.layers, *self.values, *self.uncovered)
        return _relative(math.hypot(*(one.error for one in checks)), self.delta_norm)

    @property
    def fits(self) -> bool:
        """Whether nothing contradicts the two models or the record beside the adapter."""
        checks = (*self.layers, *self.values)
        return not self.unknown and not self.misfits and all(one.fits for one in checks)

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

    def to_dict(self) -> Document:
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
            "layers": [one.to_dict(total, *LAYER_KEYS) for one in self.layers],
            "values": [one.to_dict(total, *VALUE_KEYS) for one in self.values],
            "uncovered": [one.to_dict(total, *UNCOVERED_KEYS) for one in missing],
            "notes": list(self.notes),
        }


def _relative(error: float, norm: float) -> float | None:
    if norm == 0:
        return 0.0 if error == 0 else None
    return error / norm


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
    alignment = align(content, {pair.name: pair.shape for pair in pairs}, coverage.placement)
    report = read_report(folder) or {"tensors": []}
    recorded = {
        one["name"]: float(one["relative_error"]) for one in report["tensors"] if one.get("rank")
    }
    checks = _Checks(alignment=alignment, recorded=recorded)
    total = sum(math.prod(pair.shape) for pair in pairs)
    with (
        watch("Verifying", total) as progress,
        closing(read_ahead(before, after, pairs)) as stored,
    ):
        for one in stored:
            checks.add(one)
            progress(math.prod(one[0].shape), said=one[0].name)
    tied = coverage.placement.is_tied
    unplaced = checks.unplaced(tied=tied)
    for pair in coverage.tensors:
        if pair.tuned is None:
            checks.miss(pair, None)
    notes = [said for said in (coverage.matching.prefix(), alignment.prefix) if said]
    if tied:
        notes.append("The head is the table of the vocabulary, so the two count once.")
    return Verification(
        adapter=str(adapter),
        base=str(base),
        tuned=str(tuned),
        layers=tuple(checks.layers),
        values=tuple(checks.values),
        uncovered=tuple(checks.uncovered),
        unknown=(*alignment.unknown, *alignment.apart, *unplaced),
        misfits=(*alignment.misfits, *checks.misfits),
        delta_norm=math.sqrt(checks.squares),
        tolerance=tolerance,
        notes=tuple(notes),
        seconds=time.perf_counter() - began,
    )


@final
@dataclass(slots=True, kw_only=True)
class _Checks:
    """The results of the checks, collected over the pairs of tensors."""

    alignment: Alignment
    recorded: Mapping[str, float]
    layers: list[TensorCheck] = field(default_factory=list[TensorCheck])
    values: list[TensorCheck] = field(default_factory=list[TensorCheck])
    uncovered: list[TensorCheck] = field(default_factory=list[TensorCheck])
    misfits: list[str] = field(default_factory=list[str])
    squares: float = 0.0

    def add(self, stored: StoredPair) -> None:
        """Check one tensor of the fine-tune."""
        pair, before, after = stored
        assert after is not None
        names = pair.base, pair.tuned
        delta = subtract(names, before, after) if before is not None and pair.has_delta else None
        norm = delta.norm if delta else 0.0
        self.squares += norm**2
        saved = self.alignment.saved.get(pair.name)
        adapted = pair.name in self.alignment.layers
        if adapted and saved is not None and saved.shape == after.shape:
            # PEFT saves the table beneath the factors of an embedding, and they are added to it
            self._layer(pair, subtract(names, saved, after))
        elif saved is not None:
            self._saved(pair, saved, after, norm)
        elif adapted and pair.has_delta:
            self._layer(pair, delta)
        elif adapted:
            self.misfits.append(f"'{pair.name}' cannot be adapted: {pair.why}.")
        elif pair.name in self.alignment.biases and before is not None:
            self._bias(pair, self.alignment.biases[pair.name], before, after, norm)
        elif not pair.has_delta or norm:
            self.miss(pair, norm if pair.has_delta else None)

    def miss(self, pair: TensorPair, norm: float | None) -> None:
        """Note a change that the adapter lacks."""
        check = TensorCheck(name=pair.name, delta_norm=norm, error=norm or 0.0, why=pair.why)
        self.uncovered.append(check)

    def unplaced(self, *, tied: bool) -> Iterator[str]:
        """The names of saved values without a place in the model; a tied head is in its table."""
        saved = self.alignment.saved
        for name, values in self.alignment.unplaced.items():
            tables = [own for own in saved if is_input_table(own)]
            if not tied or name != HEAD or not tables:
                yield name
            elif not is_unchanged(values, saved[tables[0]]):
                self.misfits.append(f"'{name}' and '{tables[0]}' are one table and differ.")

    def _layer(self, pair: TensorPair, delta: Delta | None) -> None:
        layer = self.alignment.layers[pair.name]
        norm = error = 0.0
        if delta is None:  # then the error is ‖B·A‖
            error = math.sqrt(layer.factors.squared_norm())
        else:
            norm, error = delta.norm, residual_norm(delta.matrix, layer.factors)
        name, known = layer.module, self.recorded.get(layer.module)
        check = TensorCheck(name=name, delta_norm=norm, error=error, layer=layer, recorded=known)
        self.layers.append(check)

    def _saved(self, pair: TensorPair, saved: Tensor, after: Tensor, norm: float) -> None:
        if saved.shape != after.shape:
            self.misfits.append(f"'{pair.name}' is saved in another shape.")
            return
        # PEFT keeps saved values in float32 even if the model is in bfloat16
        fits = is_unchanged(saved, after) or is_unchanged(saved.astype(after.dtype), after)
        rest = None if fits else subtract((pair.base, pair.tuned), saved, after)
        self._value(pair, norm, rest.norm if rest else 0.0, fits=fits)

    def _bias(
        self, pair: TensorPair, change: Array, before: Tensor, after: Tensor, norm: float
    ) -> None:
        wide, narrow = after.astype(FLOAT32), before.astype(FLOAT32)
        error = float(np.linalg.norm(wide - narrow - change))
        scale = float(np.linalg.norm(wide) + np.linalg.norm(narrow))
        # rounding to its dtype moves a bias by at most this share of its size
        fits = error <= 2.0 ** -min(digits(after.dtype), digits(FLOAT32)) * scale
        self._value(pair, norm, error, fits=fits)

    def _value(self, pair: TensorPair, norm: float, error: float, *, fits: bool) -> None:
        why = "" if fits else "its values are not those of the fine-tune"
        self.values.append(TensorCheck(name=pair.name, delta_norm=norm, error=error, why=why))
