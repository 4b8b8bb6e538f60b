"""Factoring the change of one layer, and measuring its error with the factors as stored."""

import hashlib
import math
import time
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.adapters.model_pair import Delta
from eckart.adapters.placement import TensorPair
from eckart.adapters.settings import Document
from eckart.arrays import FLOAT64, Array, rounding
from eckart.certificates import Certificate, certify
from eckart.checkpoints.peft import AdaptedLayer, AdapterDType, Kind, round_factors
from eckart.factorization import factorize
from eckart.factors import MOST_RANK, Factors
from eckart.matrices import Dense
from eckart.objectives import Weighted, distance, residual_norm
from eckart.ranks import AboveThreshold, WithinTolerance, tail_errors

SAME: Final = 1e-5
"""Share of the error that rounding the factors may move B·A by without a new measurement: the
error itself is measured to 10⁻⁴ of its value."""
MOST_VALUES: Final = 4096
"""Largest number of singular values that are kept of a layer."""
OPTIONAL: Final = ("gap", "weighted_error")
"""Figures that may be None, where nothing bounds the error or no inputs were measured."""


def finite(value: Any) -> float:
    """The value of a document as a finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no finite number from 0")
    return float(value)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """The largest singular values of a change, descending, and whether they are all of them."""

    leading: tuple[float, ...]
    is_whole: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigures:
    """The figures of one layer, as plain numbers.

    Fields:
        delta_norm: Frobenius norm ‖ΔW‖_F.
        weight_norm: Frobenius norm ‖W_tuned‖_F.
        rank: Columns of B; 0 for a layer that is left out.
        error: ‖ΔW − B·A‖_F with the factors as stored.
        best_possible_error: Lower bound of the error of any factors of this rank; 0 if unknown.
        gap: error / best_possible_error − 1, at least 0; None where nothing bounds it.
        seconds: Time spent on factoring and measuring.
        weighted_error: ‖(ΔW − B·A)·x‖ relative to ‖ΔW·x‖ over the measured inputs x, or None
            without inputs. If it is known, the spectrum and the gap are those of the outputs.
    """

    delta_norm: float
    weight_norm: float
    rank: int
    error: float
    best_possible_error: float
    gap: float | None
    spectrum: Spectrum
    seconds: float
    weighted_error: float | None = None

    @property
    def relative_error(self) -> float:
        """‖ΔW − B·A‖ / ‖ΔW‖."""
        return self.error / self.delta_norm if self.delta_norm else 0.0

    @staticmethod
    def from_dict(document: Document) -> "LayerFigures":
        """The figures from a document that `asdict` made."""
        known = document["spectrum"]
        leading = tuple(map(finite, known["leading"]))
        figures: Document = {
            name: None if value is None and name in OPTIONAL else finite(value)
            for name, value in document.items()
            if name != "spectrum"
        }
        figures["spectrum"] = Spectrum(leading=leading, is_whole=bool(known["is_whole"]))
        rank = figures["rank"]  # a float, since `finite` made one of it
        if rank != int(rank) or rank > MOST_RANK:
            raise ValueError(f"its rank is {rank}")
        figures["rank"] = int(rank)
        return LayerFigures(**figures)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FactoredLayer:
    """The factors of a layer, before they are rounded for a file, and its figures."""

    factors: Factors
    figures: LayerFigures


def layer_seed(seed: int, name: str) -> int:
    """The seed of one layer, from that of the whole job and the name of the tensor.

    It depends on no other layer, and is the same in every process.
    """
    # `hash` would give another number in every process
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """The change of one layer, and all that its factors depend on besides the rank.

    Fields:
        objective: The objective ‖(ΔW − B·A)·X‖ of the outputs; None to minimise ‖ΔW − B·A‖.
        dtype: Dtype that the factors will be stored in.
        seed: Seed of the whole job, from which the layer derives its own.
    """

    pair: TensorPair
    delta: Delta
    objective: Weighted | None
    dtype: AdapterDType
    seed: int

    def factor(self, rank: int | AboveThreshold | WithinTolerance) -> FactoredLayer:
        """Factor the change, at this rank or at the one that a rule chooses.

        Raises:
            MatrixError: If the change cannot be factored, or its factors overflow the dtype.

        Cost:
            The cost of `factorize` with a certificate, and a new measurement of the error if
            rounding the factors changes it; with an objective also a symmetric eigenvalue problem
            of size inputs.
        """
        began = time.perf_counter()
        is_given = not isinstance(rank, WithinTolerance)
        run = factorize(
            self._matrix,
            rank=rank if is_given else None,
            tolerance=None if is_given else rank.tolerance,
            objective=self.objective,
            seed=layer_seed(self.seed, self.pair.name),
        )
        factors, values = run.factors, run.singular_values
        if self.objective is None:
            factors = _without_noise(factors)
        known, weigh = values, self.objective
        if known is None:
            weighted = factors if weigh is None else weigh.transform_factors(factors)
            known = weighted.singular_values()
        spectrum = Spectrum(
            leading=tuple(float(value) for value in known[:MOST_VALUES]),
            is_whole=values is not None,
        )
        if self.objective is not None:
            # the gap of the outputs, since the bound of `factorize` is on their error
            return self._weighted(self._turn(factors), run.certificate.gap, spectrum, began)
        stored = self._stored(factors)
        proof = run.certificate
        if distance(run.factors, stored) > SAME * proof.error:
            proof = self._certify(stored, proof.best_possible_error or 0.0)
        return self._plain(factors, proof, spectrum, began)

    def cut(self, layer: FactoredLayer, rank: int) -> FactoredLayer:
        """A factored layer at a smaller rank, with its error measured again.

        The factors keep their leading components; the bound comes from the singular values if all
        of them are known, else from products with the change.
        """
        known = layer.figures
        began = time.perf_counter() - known.seconds  # the time for the larger factors counts too
        if self.objective is not None:
            # not `truncate`, which would sort by the singular values of B·A and not of the outputs
            cut = Factors(layer.factors.B[:, :rank], layer.factors.A[:rank])
            return self._weighted(cut, known.gap, known.spectrum, began)
        factors = layer.factors.truncate(rank)
        # Eckart–Young: the best error is the norm of the tail of the singular values
        values = np.array(known.spectrum.leading)
        best = float(tail_errors(values)[rank]) if known.spectrum.is_whole else None
        proof = self._certify(self._stored(factors), best)
        return self._plain(factors, proof, known.spectrum, began)

    def without_factors(self, figures: LayerFigures | None = None) -> LayerFigures:
        """The figures of the layer at rank 0, with the spectrum of figures at another rank."""
        norm = self.delta.norm
        return LayerFigures(
            delta_norm=norm,
            weight_norm=self.delta.weight_norm,
            rank=0,
            error=norm,
            # no other matrix has rank 0, so this error is the best possible
            best_possible_error=norm,
            gap=0.0,
            spectrum=figures.spectrum if figures else Spectrum(leading=(), is_whole=False),
            seconds=figures.seconds if figures else 0.0,
        )

    @property
    def _is_turned(self) -> bool:
        # moments weight the columns, so a weight stored as (inputs, outputs) is transposed first
        return self.objective is not None and self.pair.kind is Kind.TRANSPOSED

    @property
    def _matrix(self) -> Dense:
        """The change as it is factored."""
        matrix = self.delta.matrix
        return Dense(np.ascontiguousarray(matrix.array.T)) if self._is_turned else matrix

    def _turn(self, factors: Factors) -> Factors:
        """Factors of the change as it is factored from those of the weight, and the reverse."""
        return Factors(factors.A.T, factors.B.T) if self._is_turned else factors

    def _stored(self, factors: Factors) -> Factors:
        return round_factors(as_adapted(self.pair, factors), self.dtype)

    def _certify(self, stored: Factors, best: float | None) -> Certificate:
        """The certificate of the factors as stored; if `best` is None, a bound is computed."""
        own = certify(self.delta.matrix, stored, bound=best is None)
        if best is None or own.gap == 0:
            return own
        # both are computed numbers, so the bound may come out a little above the measured error
        best = min(best, own.error)
        return replace(own, best_possible_error=best, gap=own.error / best - 1 if best else None)

    def _plain(
        self, factors: Factors, proof: Certificate, spectrum: Spectrum, began: float
    ) -> FactoredLayer:
        figures = LayerFigures(
            delta_norm=self.delta.norm,
            weight_norm=self.delta.weight_norm,
            rank=factors.rank,
            error=proof.error,
            best_possible_error=proof.best_possible_error or 0.0,
            gap=proof.gap,
            spectrum=spectrum,
            seconds=time.perf_counter() - began,
        )
        return FactoredLayer(factors=factors, figures=figures)

    def _weighted(
        self, factors: Factors, gap: float | None, spectrum: Spectrum, began: float
    ) -> FactoredLayer:
        """The layer with the errors of its weight and of its outputs, with the stored factors."""
        assert self.objective is not None
        stored = self._stored(factors)
        outputs = self.objective.transform(self._matrix)
        lost = residual_norm(outputs, self.objective.transform_factors(self._turn(stored)))
        figures = LayerFigures(
            delta_norm=self.delta.norm,
            weight_norm=self.delta.weight_norm,
            rank=factors.rank,
            error=residual_norm(self.delta.matrix, stored),
            # no bound is known on the error of the weights at this rank
            best_possible_error=0.0,
            gap=gap,
            spectrum=spectrum,
            seconds=time.perf_counter() - began,
            weighted_error=lost / (math.sqrt(outputs.squared_norm()) or 1.0),
        )
        return FactoredLayer(factors=factors, figures=figures)


def as_adapted(pair: TensorPair, factors: Factors, bias: Array | None = None) -> AdaptedLayer:
    """The layer of an adapter with these factors."""
    return AdaptedLayer(
        module=pair.module,
        kind=pair.kind or Kind.LINEAR,
        factors=factors,
        shape=pair.shape,
        bias=bias,
    )


def _without_noise(factors: Factors) -> Factors:
    """The factors without components at the level of rounding.

    They occur where the change has a lower rank than was asked for.
    """
    # in float64, since squares of 1e-25 are 0 in float32
    wide = factors.astype(FLOAT64)
    # ‖b_j·a_jᵀ‖ = ‖b_j‖·‖a_j‖: the norm of each component
    lengths = np.linalg.norm(wide.B, axis=0) * np.linalg.norm(wide.A, axis=1)
    noise = rounding(factors.shape, factors.dtype) * lengths.max()
    # factors have at least one column
    count = max(1, int(np.count_nonzero(lengths > noise)))
    return factors if count == factors.rank else factors.truncate(count)
