"""The result of `verify_adapter`, tensor by tensor."""

import math
from dataclasses import dataclass
from typing import Any, Final, final

from eckart.arrays import FLOAT32, rounding
from eckart.checkpoints.peft import matrix_shape
from eckart.engine.result import Grade

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
