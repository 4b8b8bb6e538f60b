"""Factoring the change of one layer, and measuring its error with the factors as stored."""

import hashlib
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np

from eckart.adapters.coverage import TensorPair
from eckart.adapters.delta import Delta
from eckart.arrays import Array, rounding
from eckart.certificates import Certificate, certify
from eckart.checkpoints.peft import AdaptedLayer, AdapterDType, Kind, stored_factors
from eckart.factorization import factorize
from eckart.factors import MOST_RANK, Factors
from eckart.objectives import distance
from eckart.ranks import tail_errors

SAME: Final = 1e-5
"""Share of the error that rounding the factors may move B·A by without a new measurement: the
error itself is measured to 10⁻⁴ of its value."""
MOST_VALUES: Final = 4096
"""Largest number of singular values that are kept of a layer."""


OPTIONAL: Final = ("gap", "weighted_error")
"""Figures that may be None, where nothing bounds the error or no inputs were measured."""


def finite(value: Any) -> float:
    """The value of a document as a finite number from 0.

    Raises:
        TypeError: If the value is no number.
        ValueError: If the value is NaN, infinite or below 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no finite number from 0")
    return float(value)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """The known singular values of a change.

    Fields:
        leading: The largest singular values, descending.
        is_whole: Whether these are all singular values.
    """

    leading: tuple[float, ...]
    is_whole: bool

    def above(self, threshold: float) -> int:
        """The number of known singular values above a threshold."""
        return sum(value > threshold for value in self.leading)


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
        spectrum: Known singular values of ΔW.
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

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, in the form that a file keeps."""
        return asdict(self)

    @staticmethod
    def from_dict(document: dict[str, Any]) -> "LayerFigures":
        """The figures from a document that `to_dict` made.

        Raises:
            KeyError: If the spectrum or a part of it is missing.
            TypeError: If a figure is missing, unknown or of another type.
            ValueError: If a number is not finite, below 0, or no possible rank.
        """
        known = document["spectrum"]
        leading = tuple(map(finite, known["leading"]))
        spectrum = Spectrum(leading=leading, is_whole=bool(known["is_whole"]))
        rest: dict[str, Any] = {
            name: None if value is None and name in OPTIONAL else finite(value)
            for name, value in document.items()
            if name != "spectrum"
        }
        figures = LayerFigures(spectrum=spectrum, **rest)
        # `finite` made a float of it
        if figures.rank != int(figures.rank) or not 0 <= figures.rank <= MOST_RANK:
            raise ValueError(f"its rank is {figures.rank}")
        return replace(figures, rank=int(figures.rank))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FactoredLayer:
    """The factors of a layer, before they are rounded for a file, and its figures."""

    factors: Factors
    figures: LayerFigures


def factor_layer(
    pair: TensorPair, delta: Delta, rank: dict[str, Any], dtype: AdapterDType, seed: int
) -> FactoredLayer:
    """Factor the change of a layer.

    Args:
        pair: Name, shape and kind of the layer.
        delta: Change of its weight.
        rank: Arguments of `factorize` that choose the rank.
        dtype: Dtype that the factors will be stored in.
        seed: Seed of the whole job, from which the layer derives its own.

    Raises:
        MatrixError: If the change cannot be factored, or its factors overflow `dtype`.

    Cost:
        The cost of `factorize` with a certificate, and a new measurement of the error if rounding
        the factors changes it.
    """
    began = time.perf_counter()
    run = factorize(delta.matrix, **rank, seed=layer_seed(seed, pair.name))
    factors = _kept(run.factors)
    values = run.singular_values
    known = factors.singular_values() if values is None else values
    spectrum = Spectrum(
        leading=tuple(float(value) for value in known[:MOST_VALUES]), is_whole=values is not None
    )
    stored = stored_factors(as_adapted(pair, factors), dtype)
    if distance(run.factors, stored) <= SAME * run.certificate.error:
        proof = run.certificate
    else:
        proof = _proof(delta, stored, run.certificate.best_possible_error or 0.0)
    return _factored(delta, factors, proof, spectrum, time.perf_counter() - began)


def cut_layer(
    pair: TensorPair, delta: Delta, layer: FactoredLayer, rank: int, dtype: AdapterDType
) -> FactoredLayer:
    """A factored layer at a smaller rank, with its error measured again.

    The factors keep their leading components; the bound comes from the singular values if all of
    them are known, else from products with the change.
    """
    began = time.perf_counter()
    factors, known = layer.factors.truncate(rank), layer.figures.spectrum
    # Eckart–Young: the best error is the norm of the tail of the singular values
    best = float(tail_errors(np.array(known.leading))[rank]) if known.is_whole else None
    proof = _proof(delta, stored_factors(as_adapted(pair, factors), dtype), best)
    seconds = layer.figures.seconds + time.perf_counter() - began
    return _factored(delta, factors, proof, known, seconds)


def left_out(delta: Delta, figures: LayerFigures | None = None) -> LayerFigures:
    """The figures of a layer at rank 0."""
    norm = math.sqrt(delta.matrix.squared_norm())
    return LayerFigures(
        delta_norm=norm,
        weight_norm=delta.weight_norm,
        rank=0,
        error=norm,
        # no other matrix has rank 0, so this error is the best possible
        best_possible_error=norm,
        gap=0.0,
        spectrum=figures.spectrum if figures else Spectrum(leading=(), is_whole=False),
        seconds=figures.seconds if figures else 0.0,
    )


def _proof(delta: Delta, stored: Factors, best: float | None) -> Certificate:
    """The certificate of the factors as stored; if `best` is None, a bound is computed."""
    own = certify(delta.matrix, stored, bound=best is None)
    if best is None or own.gap == 0:
        return own
    # both are computed numbers, so the bound may come out a little above the measured error
    best = min(best, own.error)
    return replace(own, best_possible_error=best, gap=own.error / best - 1 if best else None)


def _factored(
    delta: Delta, factors: Factors, proof: Certificate, spectrum: Spectrum, seconds: float
) -> FactoredLayer:
    figures = LayerFigures(
        delta_norm=math.sqrt(delta.matrix.squared_norm()),
        weight_norm=delta.weight_norm,
        rank=factors.rank,
        error=proof.error,
        best_possible_error=proof.best_possible_error or 0.0,
        gap=proof.gap,
        spectrum=spectrum,
        seconds=seconds,
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


def layer_seed(seed: int, name: str) -> int:
    """The seed of a layer, derived from its name, so that it does not depend on other layers."""
    # not `hash`, which gives another number in every process
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8])


def _kept(factors: Factors) -> Factors:
    """The factors without components at the level of rounding.

    They occur where the change has a lower rank than was asked for.
    """
    # ‖b_j·a_jᵀ‖ = ‖b_j‖·‖a_j‖: the norm of each component
    lengths = np.linalg.norm(factors.B, axis=0) * np.linalg.norm(factors.A, axis=1)
    noise = rounding(factors.shape, factors.dtype) * lengths.max()
    # factors have at least one column
    count = max(1, int(np.count_nonzero(lengths > noise)))
    return factors if count == factors.rank else factors.truncate(count)
