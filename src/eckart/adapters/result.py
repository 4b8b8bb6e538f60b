"""The result of an extraction: every tensor, what was left out, and the rate–distortion curve."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final, final

import numpy as np

from eckart.adapters.layer import LayerFigures
from eckart.adapters.placement import TensorPair, Way
from eckart.adapters.settings import Document
from eckart.arrays import Array
from eckart.checkpoints.peft import Adapter, AdapterDType, LeftOut, adapter_bytes
from eckart.engine.result import Grade
from eckart.ranks.allocation import allocate

UNCHANGED: Final = "unchanged"
"""State of a tensor without a change, which documents leave out."""
FEWEST_VALUES: Final = 64
"""Singular values of a layer that a document holds at least, as far as they are known."""


FIRST_STAGE: Final = "first"
"""Stage of the factors before a budget is shared, or of all factors without one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """The record of one tensor, and of its treatment in the adapter.

    Fields:
        pair: Names, shape and way of the tensor.
        delta_norm: ‖W_tuned − W_base‖_F; 0 if unchanged, None where one of the two is missing.
        figures: Figures of a changed layer that becomes factors, also at rank 0; else None.
        stage: Stage under which its factors are stored.
        error: Norm of the part of the change that the adapter lacks; None if `delta_norm` is.
        nbytes: Bytes of the tensor in the adapter.
    """

    pair: TensorPair
    delta_norm: float | None
    figures: LayerFigures | None = None
    stage: str = FIRST_STAGE
    error: float | None = None
    nbytes: int = 0

    @property
    def state(self) -> str:
        """The state of the tensor in a word or two."""
        if self.pair.way is Way.FACTORS and self.figures and self.figures.rank == 0:
            return "left out"
        return UNCHANGED if self.delta_norm == 0 else str(self.pair.way)

    def to_dict(self, total: float) -> Document:
        """The report as plain numbers and text; `total` is the norm of the whole change."""
        document: Document = {
            # PEFT adapts modules, and saves parameters
            "name": self.pair.module if self.pair.way is Way.FACTORS else self.pair.name,
            "state": self.state,
            "shape": list(self.pair.shape),
            "bytes": self.nbytes,
            "delta_norm": self.delta_norm,
            "share_of_delta": (self.delta_norm / total) ** 2 if self.delta_norm else 0.0,
            "why": self.pair.why,
        }
        figures = self.figures
        if figures is not None:
            shown = max(FEWEST_VALUES, 2 * figures.rank)
            document |= {
                "kind": str(self.pair.kind),
                "rank": figures.rank,
                "relative_error": figures.relative_error,
                "best_possible_error": figures.best_possible_error / (figures.delta_norm or 1.0),
                "gap": figures.gap,
                "weighted_error": figures.weighted_error,
                "relative_change": figures.delta_norm / (figures.weight_norm or 1.0),
                "singular_values": list(figures.spectrum.leading[:shown]),
                "seconds": figures.seconds,
            }
        return document


def relative_error(records: Iterable[TensorRecord]) -> float:
    """The part of the change of some tensors that the adapter lacks, by norms; 0 of no change."""
    known = tuple(records)
    total = math.hypot(*(one.delta_norm or 0.0 for one in known))
    return math.hypot(*(one.error or 0.0 for one in known)) / total if total else 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The result of `extract_adapter`.

    Fields:
        base, tuned: Paths of the two checkpoints, as given.
        folder: Folder of the adapter.
        tensors: Records of all tensors of either checkpoint.
        settings: Settings that repeat the job.
        notes: Sentences that a user should read.
        curve: Rate–distortion curve; see `size_curve`.
        command: Command line that repeats the job, or empty.
        seconds: Duration of the whole job, without the writing.
    """

    base: str
    tuned: str
    folder: Path
    tensors: tuple[TensorRecord, ...]
    settings: Document
    notes: tuple[str, ...]
    curve: Document
    command: str = ""
    seconds: float = 0.0

    @property
    def grade(self) -> Grade:
        """Always success: tensors that are not covered are reported, and no target was set."""
        return "success"

    @property
    def layers(self) -> tuple[TensorRecord, ...]:
        """The layers with factors."""
        return tuple(one for one in self.tensors if one.figures and one.figures.rank)

    @property
    def delta_norm(self) -> float:
        """‖W_tuned − W_base‖ over all tensors that both checkpoints have."""
        return math.hypot(*(one.delta_norm or 0.0 for one in self.tensors))

    @property
    def relative_error(self) -> float:
        """The norm of the part of the change that the adapter lacks, relative to the whole."""
        return relative_error(self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors of the adapter."""
        return sum(one.nbytes for one in self.tensors)

    def to_dict(self) -> Document:
        """The result as plain numbers and text: the document of `report.json` and `--json`."""
        total = self.delta_norm
        changed = [one for one in self.tensors if one.state != UNCHANGED]
        return {
            "source": f"{self.base} → {self.tuned}",
            "base": self.base,
            "tuned": self.tuned,
            "folder": str(self.folder),
            "grade": self.grade,
            "command": self.command,
            "version": version("eckart"),
            "seconds": self.seconds,
            "settings": self.settings,
            "notes": list(self.notes),
            "delta_norm": total,
            "relative_error": self.relative_error,
            "relative_error_of_layers": relative_error(one for one in self.tensors if one.figures),
            "bytes": self.nbytes,
            "factor_bytes": sum(one.nbytes for one in self.layers),
            "curve": self.curve,
            "unchanged": len(self.tensors) - len(changed),
            "tensors": [one.to_dict(total or 1.0) for one in changed],
        }


def assess_records(
    records: Iterable[TensorRecord], adapter: Adapter, left: Iterable[LeftOut], dtype: AdapterDType
) -> Iterator[TensorRecord]:
    """The records with their errors and bytes in the adapter as it is written."""
    layers = {one.module: (one.rank, one.bias is not None) for one in adapter.layers}
    dropped = {one.name: f"the profile has no place for it: {one.reason}" for one in left}
    for one in records:
        pair, nbytes = one.pair, 0
        rank, has_bias = layers.get(pair.module, (0, False))
        covered = pair.name in adapter.saved
        if covered:
            nbytes = adapter.saved[pair.name].nbytes
        elif pair.way is Way.BIAS and has_bias:
            covered, nbytes = True, 4 * math.prod(pair.shape)  # biases are stored in float32
        # biases and saved values are those of the fine-tune
        error = 0.0 if covered else one.delta_norm
        if pair.way is Way.FACTORS and one.figures and rank:
            error, nbytes = one.figures.error, adapter_bytes(pair.shape, rank, dtype)
        why = dropped.get(pair.module if pair.way is Way.FACTORS else pair.name)
        if why is not None:
            pair = replace(pair, way=Way.NONE, why=why)
        yield replace(
            one,
            pair=pair,
            error=None if one.delta_norm is None else error,
            figures=None if why else one.figures,
            nbytes=nbytes,
        )


POINTS: Final = 24
"""Points of the rate–distortion curve, evenly spaced in the logarithm of the rank."""


def size_curve(layers: Sequence[TensorRecord], dtype: AdapterDType) -> Document:
    """The rate–distortion curve: relative errors over bytes, with shared and uniform ranks.

    The squared error is ‖ΔW‖² minus the squares of the kept singular values, so the curve ends
    where the known singular values do.

    Returns:
        Lists `bytes`, ascending, and for each entry the errors `shared` (bytes spent where they
        lower the error most) and `uniform` (one rank for all layers).
    """
    known = [one for one in layers if one.figures is not None and one.figures.spectrum.leading]
    spectra = [np.array(one.figures.spectrum.leading) for one in known if one.figures]
    if not spectra:
        return {"bytes": [], "shared": [], "uniform": []}
    costs = [adapter_bytes(one.pair.shape, 1, dtype) for one in known]
    total = math.fsum((one.delta_norm or 0.0) ** 2 for one in known)
    most = max(len(spectrum) for spectrum in spectra)
    # the error falls fast at small ranks, so the points are denser there
    ranks = np.unique(np.geomspace(1, most, POINTS).astype(int))
    sizes: list[int] = []
    shared: list[float] = []
    uniform: list[float] = []
    for rank in ranks:
        even = [min(int(rank), len(spectrum)) for spectrum in spectra]
        budget = sum(cost * count for cost, count in zip(costs, even, strict=True))
        sizes.append(budget)
        shared.append(_left(spectra, allocate(spectra, costs, budget), total))
        uniform.append(_left(spectra, even, total))
    return {"bytes": sizes, "shared": shared, "uniform": uniform}


def _left(spectra: Sequence[Array], ranks: Sequence[int], total: float) -> float:
    kept = math.fsum(
        float(np.square(spectrum[:rank]).sum())
        for spectrum, rank in zip(spectra, ranks, strict=True)
    )
    # rounding may make the difference of nearly equal sums negative
    return math.sqrt(max(0.0, total - kept) / total) if total else 0.0
