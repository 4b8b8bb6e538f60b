"""Verifying that an adapter is the difference of two models, tensor by tensor."""

import math
import time
from dataclasses import dataclass
from os import PathLike
from typing import Final, final

from eckart.adapters.documents import read_report
from eckart.adapters.model_pair import open_pair
from eckart.adapters.settings import Document
from eckart.adapters.tensor_checks import (
    UNCOVERED_KEYS,
    VALUE_KEYS,
    TensorCheck,
    check_adapters,
    relative_error_of,
)
from eckart.arguments import as_path, check_number
from eckart.checkpoints.peft import read_adapter
from eckart.engine.result import Grade
from eckart.errors import ArgumentError
from eckart.progress import Watch, unwatched

LAYER_KEYS: Final = (
    *("name", "shape", "rank", "delta_norm", "share_of_delta", "error", "relative_error"),
    *("recorded_error", "fits"),
)
"""Keys of the document of a layer, in order."""


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
        return relative_error_of(checks, self.delta_norm)

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
    report = read_report(folder) or {"tensors": []}
    recorded = {
        one["name"]: float(one["relative_error"]) for one in report["tensors"] if one.get("rank")
    }
    (checks,) = check_adapters(
        [content], before, after, recorded=recorded, watch=("Verifying", watch)
    )
    return Verification(
        adapter=str(adapter),
        base=str(base),
        tuned=str(tuned),
        layers=tuple(checks.layers),
        values=tuple(checks.values),
        uncovered=tuple(checks.uncovered),
        unknown=checks.unknown,
        misfits=tuple(checks.misfits),
        delta_norm=checks.delta_norm,
        tolerance=tolerance,
        notes=tuple(checks.notes),
        seconds=time.perf_counter() - began,
    )
