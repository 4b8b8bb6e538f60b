"""Factoring layers for the smallest error of their outputs, by second moments of their inputs."""

import hashlib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.adapters.coverage import Coverage, TensorPair
from eckart.adapters.delta import Delta
from eckart.adapters.layer import (
    MOST_VALUES,
    FactoredLayer,
    LayerFigures,
    Spectrum,
    as_adapted,
    layer_seed,
)
from eckart.arrays import FLOAT64
from eckart.checkpoints import Checkpoint, open_checkpoint
from eckart.checkpoints.peft import AdapterDType, Kind, stored_factors
from eckart.errors import FormatError
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.matrices import Dense
from eckart.objectives import Weighted, residual_norm

WEIGHED: Final = (Kind.LINEAR, Kind.TRANSPOSED)
"""Kinds of layers whose outputs are products of the weight with inputs."""


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """Second moments G = XᵀX / count of the inputs X of layers, by module.

    Fields:
        file: Opened safetensors file with a tensor of shape (inputs, inputs) for each module.
    """

    file: Checkpoint

    @staticmethod
    def open(path: Path) -> "Calibration":
        """Open a file of moments, which `eckart calibrate` writes.

        Raises:
            ArgumentError: If the file does not exist.
            FormatError: If the file is damaged or holds other tensors than moments.
        """
        file = open_checkpoint(path)
        for name, tensor in file.tensors.items():
            if len(tensor.shape) != 2 or tensor.shape[0] != tensor.shape[1] or not tensor.nbytes:
                raise FormatError(
                    f"The tensor '{name}' of {path} is no matrix of second moments.",
                    hint="Give a file that eckart calibrate wrote.",
                    code="not-moments",
                )
        return Calibration(file)

    @staticmethod
    def of(path: Path, coverage: Coverage) -> "Calibration":
        """Open a file of moments for the layers of two checkpoints.

        Raises:
            ArgumentError: For the reasons of `open`.
            FormatError: For the reasons of `open`, or if the moments belong to none of the layers
                and so would have no effect.
        """
        found = Calibration.open(path)
        if not any(p.kind in WEIGHED and p.module in found.file.tensors for p in coverage.tensors):
            raise FormatError(
                f"{path} holds moments of no layer that becomes factors, "
                f"but of layers such as '{next(iter(found.file.tensors))}'.",
                hint="Calibrate the fine-tune, or a base of the same class.",
                code="not-moments",
            )
        return found

    def fingerprint(self) -> str:
        """A digest that identifies these moments."""
        prints = sorted(self.file.fingerprint().items())
        return hashlib.sha256(repr(prints).encode()).hexdigest()

    def objective(self, pair: TensorPair) -> Weighted | None:
        """The objective ‖(ΔW − B·A)·X‖ of a layer; None if it has no moments.

        Raises:
            FormatError: If the moments have another number of inputs than the layer.
        """
        if pair.kind not in WEIGHED or pair.module not in self.file.tensors:
            return None
        moments = self.file.read(pair.module).astype(FLOAT64)
        inputs = pair.shape[0] if pair.kind is Kind.TRANSPOSED else pair.shape[1]
        if len(moments) != inputs:
            raise FormatError(
                f"The moments of '{pair.module}' are of {len(moments)} inputs, it has {inputs}.",
                hint="Calibrate the model that is extracted.",
                code="not-moments",
            )
        return Weighted(moments=moments)

    def typical(self) -> float:
        """The mean square of an input over all layers, assumed for layers without moments."""
        means = [
            float(np.trace(self.file.read(name).astype(FLOAT64))) / tensor.shape[0]
            for name, tensor in self.file.tensors.items()
        ]
        return math.fsum(means) / len(means)


def factor_weighted(
    pair: TensorPair,
    delta: Delta,
    rank: dict[str, Any],
    objective: Weighted,
    dtype: AdapterDType,
    seed: int,
) -> FactoredLayer:
    """Factor the change of a layer for the smallest error of its outputs.

    In the figures, `error` is that of the weights; `spectrum`, `gap` and `weighted_error` are those
    of the outputs.

    Cost:
        The cost of `factor_layer` and a symmetric eigenvalue problem of size inputs.
    """
    began = time.perf_counter()
    # the moments weight the columns, so a weight stored as (inputs, outputs) is transposed first
    turned = pair.kind is Kind.TRANSPOSED
    matrix = Dense(np.ascontiguousarray(delta.matrix.array.T)) if turned else delta.matrix
    run = factorize(matrix, **rank, objective=objective, seed=layer_seed(seed, pair.name))
    factors = run.factors
    values = run.singular_values
    known = objective.transform_factors(factors).singular_values() if values is None else values
    layer = _weighed(pair, delta, _turned(factors, turned), objective, dtype)
    figures = replace(
        layer.figures,
        # the gap of the outputs, since the bound of `factorize` is on their error
        gap=run.certificate.gap,
        spectrum=Spectrum(
            leading=tuple(float(value) for value in known[:MOST_VALUES]),
            is_whole=values is not None,
        ),
        seconds=time.perf_counter() - began,
    )
    return replace(layer, figures=figures)


def cut_weighted(
    pair: TensorPair,
    delta: Delta,
    layer: FactoredLayer,
    rank: int,
    objective: Weighted,
    dtype: AdapterDType,
) -> FactoredLayer:
    """A weighted layer at a smaller rank: its leading components, which are sorted by gain."""
    # not `truncate`, which would sort by the singular values of B·A and not of the outputs
    own = layer.factors
    cut = Factors(own.B[:, :rank], own.A[:rank])
    smaller = _weighed(pair, delta, cut, objective, dtype)
    figures = replace(
        smaller.figures,
        gap=layer.figures.gap,
        spectrum=layer.figures.spectrum,
        seconds=layer.figures.seconds,
    )
    return replace(smaller, figures=figures)


def _turned(factors: Factors, turned: bool) -> Factors:
    return Factors(factors.A.T, factors.B.T) if turned else factors


def _weighed(
    pair: TensorPair, delta: Delta, factors: Factors, objective: Weighted, dtype: AdapterDType
) -> FactoredLayer:
    """The figures of the factors as stored, with the errors of the weights and of the outputs."""
    stored = stored_factors(as_adapted(pair, factors), dtype)
    turned = pair.kind is Kind.TRANSPOSED
    matrix = Dense(np.ascontiguousarray(delta.matrix.array.T)) if turned else delta.matrix
    working = objective.transform(matrix)
    lost = residual_norm(working, objective.transform_factors(_turned(stored, turned)))
    figures = LayerFigures(
        delta_norm=math.sqrt(delta.matrix.squared_norm()),
        weight_norm=delta.weight_norm,
        rank=factors.rank,
        error=residual_norm(delta.matrix, stored),
        # no bound is known on the error of the weights at this rank
        best_possible_error=0.0,
        gap=None,
        spectrum=Spectrum(leading=(), is_whole=False),
        seconds=0.0,
        weighted_error=lost / (math.sqrt(working.squared_norm()) or 1.0),
    )
    return FactoredLayer(factors=factors, figures=figures)
