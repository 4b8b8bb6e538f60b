"""What an adapter has learnt of the full change between two models, layer by layer."""

import math
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np

from eckart.adapters.layer import layer_seed
from eckart.adapters.model_pair import Delta
from eckart.adapters.overlap import Directions, Overlap, distance_between, overlap_of
from eckart.adapters.settings import Document
from eckart.adapters.tensor_checks import (
    UNCOVERED_KEYS,
    VALUE_KEYS,
    AdapterChecks,
    TensorCheck,
    relative,
)
from eckart.arrays import FLOAT64, Array, rounding
from eckart.certificates import KNOWN_SHARE, SMALL_SIDE, Certificate, certify, spectrum, together
from eckart.checkpoints.peft import AdaptedLayer
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.matrices import Matrix
from eckart.objectives import is_large
from eckart.reporting.tables import figure

MOST_NAMED: Final = 5
"""Names in a sentence."""
UNCHANGED: Final = "the models do not differ here"
"""Method of the certificate of a layer without a change."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LearntLayer:
    """What an adapter of rank r has learnt of the change D of one weight.

    Fields:
        name: Name of the module.
        shape: Shape of the weight.
        rank: Columns r of B.
        delta_norm: ‖D‖_F.
        certificate: Error ‖D − B·A‖ beside the best possible error of rank r.
        overlap: How the best part of rank r of D lies to the learnt change.
        doubt: How far the best part that was found can be from the true one, in the norm.
        share: Share of ‖D‖² in the column and row spaces of the learnt change; None if D is 0.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    delta_norm: float
    certificate: Certificate
    overlap: Overlap
    doubt: float
    share: float | None

    def to_dict(self, total: float) -> Document:
        """The figures as plain numbers; `total` is the norm of the whole change."""
        angles = self.overlap.to_dict()
        proof, norm = self.certificate, self.delta_norm
        return {
            "name": self.name,
            "shape": list(self.shape),
            "rank": self.rank,
            "numerical_rank": self.overlap.ranks[0],
            "delta_norm": norm,
            "share_of_delta": (norm / total) ** 2 if total else 0.0,
            "learnt_norm": self.overlap.norms[0],
            "relative_error": relative(proof.error, norm),
            "best_possible_error": None
            if proof.best_possible_error is None
            else relative(proof.best_possible_error, norm),
            "gap": proof.gap,
            "failure_probability": proof.failure_probability,
            "distance_from_best": relative(self.overlap.distance, norm),
            "distance_doubt": relative(self.doubt, norm),
            "share_in_spaces": self.share,
            **{key: angles[key] for key in ("column_cosines", "row_cosines")},
            **{key: angles[key] for key in ("column_angles", "row_angles")},
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LearntChange:
    """What one adapter has learnt of the change between two models.

    Fields:
        adapter: Folder of the adapter.
        checks: Comparison of every tensor of the models with the adapter.
        layers: Figures of the adapted weights.
    """

    adapter: str
    checks: AdapterChecks
    layers: tuple[LearntLayer, ...]

    @property
    def fits(self) -> bool:
        """Whether the models have every tensor that the adapter changes, in the same shape."""
        return not self.checks.unknown and not self.checks.misfits

    @property
    def norm_of_layers(self) -> float:
        """‖D‖ over the adapted weights."""
        return math.hypot(*(one.delta_norm for one in self.layers))

    @property
    def message(self) -> str:
        """The result in a sentence or two."""
        wrong = [*self.checks.unknown, *self.checks.misfits]
        if not self.layers:
            return f"{self.adapter} changes no weight that both models have."
        proof, norm = self.proof(), self.norm_of_layers
        sentence = f"{self.adapter}: nothing changed in its layers"
        if norm:
            error = figure(proof.relative_error)
            sentence = f"{self.adapter}: the relative error of its layers is {error}"
        if norm and proof.best_possible_error and proof.gap != 0:
            best = figure(proof.best_possible_error / norm)
            sentence += f", and no adapter of the same ranks is below {best}"
        missed = f" It does not fit: {', '.join(wrong[:MOST_NAMED])}." if wrong else ""
        return f"{sentence}.{missed}"

    def proof(self) -> Certificate:
        """The certificate of all layers together."""
        norms = [one.delta_norm for one in self.layers]
        return together([one.certificate for one in self.layers], norms)

    def to_dict(self) -> Document:
        """The result as plain numbers and text."""
        checks, proof = self.checks, self.proof()
        total, norm = checks.delta_norm, self.norm_of_layers
        missing = sorted(checks.uncovered, key=lambda one: -(one.delta_norm or 0.0))
        best = proof.best_possible_error
        shares = [(one.share or 0.0) * (one.delta_norm / (norm or 1.0)) ** 2 for one in self.layers]
        return {
            "adapter": self.adapter,
            "delta_norm": total,
            "relative_error": checks.relative_error,
            "delta_norm_of_layers": norm,
            "relative_error_of_layers": relative(proof.error, norm),
            "best_possible_error_of_layers": None if best is None else relative(best, norm),
            "gap": proof.gap,
            "failure_probability": proof.failure_probability,
            "distance_from_best": relative(self._all("distance"), norm),
            "distance_doubt": relative(math.hypot(*(one.doubt for one in self.layers)), norm),
            "share_in_spaces": math.fsum(shares) if norm else None,
            "message": self.message,
            "unknown": list(checks.unknown),
            "misfits": list(checks.misfits),
            "layers": [one.to_dict(total) for one in self.layers],
            "values": [one.to_dict(total, *VALUE_KEYS) for one in checks.values],
            "uncovered": [one.to_dict(total, *UNCOVERED_KEYS) for one in missing],
            "notes": list(checks.notes),
        }

    def _all(self, figure: str) -> float:
        return math.hypot(*(getattr(one.overlap, figure) for one in self.layers))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BestPart:
    """The best part of some rank of a matrix W, as it was found.

    Fields:
        factors: The part.
        certificate: Error ‖W − B·A‖ of the part beside a bound on that of the best.
        singular_values: All singular values of W, descending, if they are known.
    """

    factors: Factors
    certificate: Certificate
    singular_values: Array | None

    @staticmethod
    def of(W: Matrix, rank: int, values: Array | None, seed: int) -> "BestPart":
        """Find the best part of a rank, with a certificate from the singular values if given."""
        run = factorize(W, rank=rank, seed=seed, certificate=values is None)
        if values is None:
            return BestPart(
                factors=run.factors,
                certificate=run.certificate,
                singular_values=run.singular_values,
            )
        proof = certify(W, run.factors, values)
        return BestPart(factors=run.factors, certificate=proof, singular_values=values)

    def doubt(self, W: Matrix) -> float:
        """How far the factors can be from the true best part, in the Frobenius norm, proven.

        Let X have rank r, W_r be the best part of W and τ = σ_{r+1}/σ_r. Then
        (1 − τ)·‖X − W_r‖² ≤ ‖W − X‖² − ‖W − W_r‖², because W_r is also a best part of rank r of
        W_r + (W − W_r)/τ, whose singular values after the r-th are at most σ_r. The right side is
        at most E² − L² for the error E of X and the bound L of the certificate; and whatever τ is,
        ‖X − W_r‖ ≤ 2E.
        """
        norm, best = math.sqrt(W.squared_norm()), self.certificate.best_possible_error
        # the error of a large matrix may come from the products of the solver
        share = KNOWN_SHARE[W.dtype] if is_large(W) else 0.0
        error = self.certificate.error * (1 + share) + rounding(W.shape, FLOAT64) * norm
        values, rank = self.singular_values, self.factors.rank
        if values is None or best is None or rank >= len(values):
            return 2 * error
        # both singular values moved by the largest possible rounding, to the worse side
        noise = rounding(W.shape, values.dtype) * float(values[0])
        apart = float(values[rank - 1]) - float(values[rank]) - 2 * noise
        if apart <= 0:
            return 2 * error
        rest = apart / (float(values[rank - 1]) - noise)
        return min(2 * error, math.sqrt(max(0.0, (error - best) * (error + best)) / rest))


@final
@dataclass(slots=True)
class Measurer:
    """Figures of the layers of several adapters, collected while their checks go on.

    The best part of a change is computed once for all adapters of one rank.

    Fields:
        seed: Seed of the whole job, from which each layer derives its own.
        layers: Figures found so far, by the number of the adapter.
    """

    seed: int
    layers: dict[int, list[LearntLayer]] = field(default_factory=dict[int, list[LearntLayer]])
    _delta: Delta | None = None
    _values: Array | None = None
    _parts: dict[int, BestPart] = field(default_factory=dict[int, BestPart])

    def __call__(
        self, number: int, layer: AdaptedLayer, delta: Delta | None, check: TensorCheck
    ) -> None:
        """Measure a layer of the adapter of this number.

        Cost:
            The cost of `factorize` with a certificate, if the change was not factored at this rank
            before, and a product of the width of the rank.
        """
        found = self._changed(layer, delta, check) if delta and delta.norm else None
        self.layers.setdefault(number, []).append(found or _unchanged(layer, check))

    def _changed(self, layer: AdaptedLayer, delta: Delta, check: TensorCheck) -> LearntLayer:
        matrix, factors = delta.matrix, layer.factors
        part = self._part(layer, delta)
        learnt, best = Directions.of(factors), Directions.of(part.factors)
        within = rounding(matrix.shape, factors.dtype) * delta.norm
        proof = Certificate.of(
            check.error,
            delta.norm,
            part.certificate.best_possible_error,
            exact=check.error <= within,
            failure=part.certificate.failure_probability,
            method=part.certificate.method,
        )
        return LearntLayer(
            name=layer.module,
            shape=layer.shape,
            rank=layer.rank,
            delta_norm=delta.norm,
            certificate=proof,
            overlap=overlap_of(learnt, best, distance_between(factors, part.factors)),
            doubt=part.doubt(matrix),
            share=learnt.share_of(matrix),
        )

    def _part(self, layer: AdaptedLayer, delta: Delta) -> BestPart:
        """The best part of a change at the rank of a layer; of the last change all are kept."""
        matrix = delta.matrix
        if delta is not self._delta:
            # a larger matrix is certified by products with it
            self._values = spectrum(matrix) if min(matrix.shape) <= SMALL_SIDE else None
            self._delta, self._parts = delta, {}
        rank = min(layer.rank, *matrix.shape)
        if rank not in self._parts:
            seed = layer_seed(self.seed, layer.module)
            self._parts[rank] = BestPart.of(matrix, rank, self._values, seed)
        return self._parts[rank]


def _unchanged(layer: AdaptedLayer, check: TensorCheck) -> LearntLayer:
    """The figures of a layer in which the models do not differ."""
    learnt = Directions.of(layer.factors)
    nothing = Directions.of(zeros(layer.factors.shape))
    return LearntLayer(
        name=layer.module,
        shape=layer.shape,
        rank=layer.rank,
        delta_norm=0.0,
        certificate=Certificate.of(
            check.error, 0.0, 0.0, exact=check.error == 0, failure=0.0, method=UNCHANGED
        ),
        overlap=overlap_of(learnt, nothing, learnt.norm),
        doubt=0.0,
        share=None,
    )


def zeros(shape: tuple[int, int]) -> Factors:
    """Factors of no change."""
    return Factors(np.zeros((shape[0], 1)), np.zeros((1, shape[1])))
