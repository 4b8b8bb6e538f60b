"""What `verify_adapter` found, tensor by tensor."""

import math
from dataclasses import dataclass
from typing import Any, Final, final

from eckart.arrays import FLOAT32, rounding
from eckart.checkpoints.peft import matrix_shape
from eckart.engine.result import Grade

SAME: Final = 1e-3
"""How much larger than the recorded one an error may be: other machines sum in another order."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCheck:
    """The factors of one layer against the change of its weight.

    Fields:
        name: Of the module.
        shape: Of the weight.
        rank: Columns of B.
        delta_norm: ‖ΔW‖_F.
        error: ‖ΔW − B·A‖_F with the factors as they are in the file.
        recorded: The relative error that eckart wrote beside the adapter; None where it did not.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    delta_norm: float
    error: float
    recorded: float | None

    @property
    def relative_error(self) -> float | None:
        """‖ΔW − B·A‖ / ‖ΔW‖; None where the weight did not change and the adapter changes it."""
        return _relative(self.error, self.delta_norm)

    @property
    def fits(self) -> bool:
        """Whether the error is no larger than the recorded one, but for rounding."""
        if self.recorded is None:
            return True
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
    """A bias or a saved value against that of the fine-tune.

    Fields:
        name: Of the tensor.
        delta_norm: How far the fine-tune is from the base; 0 where the base has no such tensor.
        error: How far base + adapter is from the fine-tune.
        why: What is wrong with it, or empty.
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
    """A tensor that differs and is not in the adapter.

    Fields:
        name: Of the tensor.
        delta_norm: How far it differs; None where one of the two models lacks it.
        why: What is known of the reason, or empty.
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
        adapter, base, tuned: What was given.
        layers: The adapted weights.
        values: Biases and saved values.
        uncovered: What changed and is not in the adapter.
        unknown: What the adapter changes and the models do not have.
        misfits: Sentences on what is in both and cannot belong together.
        delta_norm: ‖W_tuned − W_base‖ over all tensors of both.
        tolerance: That was asked for.
        notes: What a person should know, in sentences.
        seconds: The whole job.
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
        """What the adapter leaves of the whole change, relative to it."""
        known = [*self.layers, *self.values]
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
        errors |= {"": self.relative_error}
        most = self.tolerance
        return tuple(name for name, error in errors.items() if error is None or error > most)

    @property
    def grade(self) -> Grade:
        """Failed where it does not fit, short where a tolerance was set and is not met."""
        if not self.fits:
            return "failed"
        return "short" if self.short else "success"

    @property
    def _different(self) -> bool:
        return any(one.why for one in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text."""
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
