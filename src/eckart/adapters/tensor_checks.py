"""An adapter held against the change from one model to another, tensor by tensor."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias, final

import numpy as np

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.alignment import Alignment, align
from eckart.adapters.model_pair import HEAD, Delta, digits, is_unchanged, subtract
from eckart.adapters.placement import TensorPair
from eckart.adapters.settings import Document, Patterns
from eckart.adapters.tensor_pairs import Coverage, StoredPair, cover, read_ahead
from eckart.arrays import FLOAT32, Array, rounding
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import AdaptedLayer, Adapter, matrix_shape
from eckart.checkpoints.peft.adapter import Tensor
from eckart.objectives import residual_norm
from eckart.progress import Watch

SAME: Final = 1e-3
"""Share by which an error may exceed the recorded one, since machines sum in different orders."""
VALUE_KEYS: Final = ("name", "share_of_delta", "error", "fits", "why")
UNCOVERED_KEYS: Final = ("name", "delta_norm", "share_of_delta", "why")
"""Keys of the documents of a value and of a change that is not covered, in order."""


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
        return relative(self.error, self.delta_norm or 0.0)

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


def relative(error: float, norm: float) -> float | None:
    """The ratio of an error to a norm; None for an error beside a norm of 0."""
    if norm == 0:
        return 0.0 if error == 0 else None
    return error / norm


def relative_error_of(checks: Iterable[TensorCheck], norm: float) -> float | None:
    """The norm of the errors of some tensors, relative to that of the whole change."""
    return relative(math.hypot(*(one.error for one in checks)), norm)


OnLayer: TypeAlias = Callable[[AdaptedLayer, Delta | None, TensorCheck], None]
"""A function of a layer, of the change that its factors stand for, if any, and of its check."""


@final
@dataclass(slots=True, kw_only=True)
class AdapterChecks:
    """The checks of one adapter, collected over the pairs of tensors.

    Fields:
        alignment: The parts of the adapter by the tensors that they change.
        recorded: Relative errors, by module, that eckart wrote beside the adapter.
        on_layer: Function called with every layer that is checked, or None.
        layers: Checks of the adapted weights.
        values: Checks of biases and saved values.
        uncovered: Tensors that changed and are not in the adapter, which loses all of that change.
        unknown: Names of tensors that the adapter changes and the models lack.
        misfits: Sentences on tensors that are in both and do not fit together.
        squares: ‖W_tuned − W_base‖² over all tensors that both models have.
        notes: Sentences that a user should read.
    """

    alignment: Alignment
    recorded: Mapping[str, float]
    on_layer: OnLayer | None = None
    layers: list[TensorCheck] = field(default_factory=list[TensorCheck])
    values: list[TensorCheck] = field(default_factory=list[TensorCheck])
    uncovered: list[TensorCheck] = field(default_factory=list[TensorCheck])
    unknown: tuple[str, ...] = ()
    misfits: list[str] = field(default_factory=list[str])
    squares: float = 0.0
    notes: list[str] = field(default_factory=list[str])

    @property
    def delta_norm(self) -> float:
        """‖W_tuned − W_base‖ over all tensors that both models have."""
        return math.sqrt(self.squares)

    @property
    def relative_error(self) -> float | None:
        """The norm of the difference between adapter and change, relative to the whole change."""
        return relative_error_of((*self.layers, *self.values, *self.uncovered), self.delta_norm)

    def add(self, stored: StoredPair, delta: Delta | None) -> None:
        """Check one tensor of the fine-tune, whose change is `delta`."""
        pair, before, after = stored
        assert after is not None
        names = pair.base, pair.tuned
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

    def finish(self, coverage: Coverage) -> None:
        """Note what is in one of the two models only, or in none, after all tensors were added."""
        tied = coverage.placement.is_tied
        self.unknown = (
            *self.alignment.unknown,
            *self.alignment.apart,
            *self._unplaced(tied=tied),
        )
        self.misfits[:0] = self.alignment.misfits
        for pair in coverage.tensors:
            if pair.tuned is None:
                self.miss(pair, None)
        prefixes = (coverage.matching.prefix(), self.alignment.prefix)
        self.notes += [said for said in prefixes if said]
        if tied:
            self.notes.append("The head is the table of the vocabulary, so the two count once.")

    def _unplaced(self, *, tied: bool) -> Iterator[str]:
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
        if self.on_layer is not None:
            self.on_layer(layer, delta, check)

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


def check_adapters(
    adapters: Sequence[Adapter],
    base: Checkpoint,
    tuned: Checkpoint,
    *,
    recorded: Mapping[str, float] | None = None,
    on_layer: Callable[[int, AdaptedLayer, Delta | None, TensorCheck], None] | None = None,
    watch: tuple[str, Watch],
) -> list[AdapterChecks]:
    """Hold adapters against the change from a base to its fine-tune, which is read once.

    Args:
        adapters: The adapters, as they were read.
        base: The base checkpoint.
        tuned: The checkpoint of the fine-tune.
        recorded: Relative errors by module that eckart recorded; None if there is no record.
        on_layer: Function called with the number of the adapter, one of its layers, the change
            that the factors of that stand for, and its check.
        watch: Name of this part of the work, and who watches it.

    Cost:
        Reads both checkpoints once; a product with the factors of each layer. The memory of the
        adapters, of two pairs of tensors as stored, and of one change in float32.
    """
    # without patterns: all that changed counts, whatever an adapter was made of
    coverage = cover(base, tuned, Patterns())
    # tensors of the base alone are not in the fine-tune, and are listed at the end
    pairs = [pair for pair in coverage.tensors if pair.tuned is not None]
    shapes = {pair.name: pair.shape for pair in pairs}
    every = [
        AdapterChecks(
            alignment=align(adapter, shapes, coverage.placement),
            recorded=recorded or {},
            on_layer=on_layer and partial(on_layer, number),
        )
        for number, adapter in enumerate(adapters)
    ]
    total = sum(math.prod(pair.shape) for pair in pairs)
    what, watcher = watch
    with watcher(what, total) as progress, closing(read_ahead(base, tuned, pairs)) as stored:
        for pair, before, after in stored:
            delta = None
            if pair.has_delta and before is not None and after is not None:
                delta = subtract((pair.base, pair.tuned), before, after)
            for checks in every:
                checks.add((pair, before, after), delta)
            progress(math.prod(pair.shape), said=pair.name)
    for checks in every:
        checks.finish(coverage)
    return every
