"""What a byte buys: the error of all layers together over the bytes of their factors."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from eckart.allocation import allocate
from eckart.arrays import Array
from eckart.jobs.extract.result import TensorReport
from eckart.storage.adapters import StoredDType, adapter_bytes

POINTS: Final = 24


def size_curve(layers: Sequence[TensorReport], dtype: StoredDType) -> dict[str, Any]:
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
