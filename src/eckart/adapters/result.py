"""What an extraction found, layer by layer, what it left out, and what a byte buys."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.adapters.coverage import TensorPair
from eckart.adapters.layer import LayerFigures
from eckart.adapters.placement import Way
from eckart.adapters.survey import TensorRecord
from eckart.arrays import Array
from eckart.checkpoints.peft import Adapter, AdapterDType, LeftOut, adapter_bytes
from eckart.engine.result import Grade
from eckart.ranks.allocation import allocate

UNCHANGED: Final = "unchanged"
FEWEST_VALUES: Final = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorReport:
    """What became of one tensor.

    Fields:
        pair: Which one.
        delta_norm: ‖W_tuned − W_base‖_F; None where one of the two is missing.
        error: What of that the adapter leaves out; None where delta_norm is.
        figures: Of a layer that was factored, also one that was left out at rank 0.
        nbytes: In the adapter.
    """

    pair: TensorPair
    delta_norm: float | None
    error: float | None
    figures: LayerFigures | None = None
    nbytes: int = 0

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.pair.way is Way.FACTORS and self.figures and self.figures.rank == 0:
            return "left out"
        return UNCHANGED if self.delta_norm == 0 else str(self.pair.way)

    def to_dict(self, total: float) -> dict[str, Any]:
        """Plain numbers and text; `total` is the norm of the whole change."""
        document: dict[str, Any] = {
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
            document |= {
                "kind": str(self.pair.kind),
                "rank": figures.rank,
                "relative_error": figures.relative_error,
                "best_possible_error": figures.best_possible_error / (figures.delta_norm or 1.0),
                "gap": figures.gap,
                "weighted_error": figures.weighted_error,
                "relative_change": figures.delta_norm / (figures.weight_norm or 1.0),
                "singular_values": list(figures.spectrum.leading[: _shown(figures.rank)]),
                "seconds": figures.seconds,
            }
        return document


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The result of `extract_adapter`.

    Fields:
        base, tuned: What was given.
        folder: Of the adapter.
        tensors: What became of each tensor of either checkpoint.
        settings: Enough to run it again.
        notes: What a person should know, in sentences.
        curve: See `size_curve`.
        command: The command that makes it again, or empty.
        seconds: The whole job, without the writing.
    """

    base: str
    tuned: str
    folder: Path
    tensors: tuple[TensorReport, ...]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    curve: dict[str, Any]
    command: str = ""
    seconds: float = 0.0

    @property
    def grade(self) -> Grade:
        """Success: what is not covered is said, and none of it was promised."""
        return "success"

    @property
    def layers(self) -> tuple[TensorReport, ...]:
        """Those with factors."""
        return tuple(one for one in self.tensors if one.figures and one.figures.rank)

    @property
    def delta_norm(self) -> float:
        """‖W_tuned − W_base‖ over all tensors of both."""
        return math.hypot(*(one.delta_norm or 0.0 for one in self.tensors))

    @property
    def relative_error(self) -> float:
        """What the adapter leaves out of the whole change, relative to it."""
        total = self.delta_norm
        return math.hypot(*(one.error or 0.0 for one in self.tensors)) / total if total else 0.0

    @property
    def nbytes(self) -> int:
        """Of all tensors of the adapter."""
        return sum(one.nbytes for one in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text: what `report.json`, `--json` and the report are made from."""
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
            "relative_error_of_layers": _relative(one for one in self.tensors if one.figures),
            "bytes": self.nbytes,
            "factor_bytes": sum(one.nbytes for one in self.layers),
            "curve": self.curve,
            "unchanged": len(self.tensors) - len(changed),
            "tensors": [one.to_dict(total or 1.0) for one in changed],
        }


def _shown(rank: int) -> int:
    """How many singular values a document holds of a layer of this rank."""
    return max(FEWEST_VALUES, 2 * rank)


def reports(
    findings: Iterable[TensorRecord], adapter: Adapter, left: Iterable[LeftOut], dtype: AdapterDType
) -> Iterator[TensorReport]:
    """What became of every tensor in the adapter as it is written."""
    ranks: dict[str, int] = {}
    biased: set[str] = set()
    for layer in adapter.layers:
        ranks[layer.module] = layer.rank
        if layer.bias is not None:
            biased.add(layer.module)
    dropped = {one.name: f"the profile has no place for it: {one.reason}" for one in left}
    for one in findings:
        pair, nbytes = one.pair, 0
        covered = pair.name in adapter.saved
        if covered:
            nbytes = adapter.saved[pair.name].nbytes
        elif pair.way is Way.BIAS and pair.module in biased:
            covered, nbytes = True, 4 * math.prod(pair.shape)
        error = 0.0 if covered else one.delta_norm
        if pair.way is Way.FACTORS and one.figures and pair.module in ranks:
            error = one.figures.error
            nbytes = adapter_bytes(pair.shape, ranks[pair.module], dtype)
        why = dropped.get(pair.module if pair.way is Way.FACTORS else pair.name)
        if why is not None:
            pair = replace(pair, way=Way.NONE, why=why)
        yield TensorReport(
            pair=pair,
            delta_norm=one.delta_norm,
            error=None if one.delta_norm is None else error,
            figures=None if why else one.figures,
            nbytes=nbytes,
        )


def _relative(layers: Iterable[TensorReport]) -> float:
    """The error of all factored layers together, relative to their change."""
    listed = list(layers)
    total = math.hypot(*(one.delta_norm or 0.0 for one in listed))
    return math.hypot(*(one.error or 0.0 for one in listed)) / total if total else 0.0


POINTS: Final = 24


def size_curve(layers: Sequence[TensorReport], dtype: AdapterDType) -> dict[str, Any]:
    """Relative errors for bytes from nothing to all that is known, shared and with one rank.

    From the singular values that are known of each layer: ‖ΔW‖² less the squares that are kept.

    Returns:
        `bytes`, and for each `shared` (where they lower the error most) and `uniform` (one rank
        for all layers), in ascending order.
    """
    known = [one for one in layers if one.figures is not None and one.figures.spectrum.leading]
    spectra = [np.array(one.figures.spectrum.leading) for one in known if one.figures]
    if not spectra:
        return {"bytes": [], "shared": [], "uniform": []}
    costs = [adapter_bytes(one.pair.shape, 1, dtype) for one in known]
    total = math.fsum((one.delta_norm or 0.0) ** 2 for one in known)
    most = max(len(spectrum) for spectrum in spectra)
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
    return math.sqrt(max(0.0, total - kept) / total) if total else 0.0
