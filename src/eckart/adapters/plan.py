"""The disk space, memory and time that an extraction would take."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Final, final

import numpy as np

from eckart.adapters.budget import budget_bytes
from eckart.adapters.choice import LayerRanks
from eckart.adapters.coverage import TensorPair, cover
from eckart.adapters.extract import Settings
from eckart.adapters.placement import Way
from eckart.adapters.sources import open_pair
from eckart.arrays import FLOAT32
from eckart.checkpoints.peft import adapter_bytes, matrix_shape
from eckart.factorization import FAST_SIDE

GUESSED_RANK: Final = 64
"""Rank assumed for a layer whose rank depends on its singular values."""
PASSES: Final = 22
"""Products of the change with a block of max(32, rank/2) columns: those of the subspace, of its
certificate and of the error."""
CUBES: Final = 30
"""Operations of a full singular value decomposition of an n × n matrix, in units of n³."""
SIDE: Final = 1024
"""Rows and columns of the matrices whose product measures the speed of the machine."""
MEGABYTE: Final = 2**20
READING: Final = 1e9
"""Assumed speed, in bytes a second, of reading a file that is not in memory yet."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The resources that an extraction would take.

    Fields:
        layers: Number of layers that would become factors if all of them have changed.
        read_bytes: Bytes of both checkpoints.
        adapter_bytes: Bytes of the adapter at most; a guess if ranks depend on singular values.
        is_guess: Whether `adapter_bytes` is a guess.
        disk_bytes: Bytes on disk while it runs: the unfinished work and the adapter.
        memory_bytes: Peak of the memory.
        seconds: Approximate time on this machine under its present load.
    """

    layers: int
    read_bytes: int
    adapter_bytes: int
    is_guess: bool
    disk_bytes: int
    memory_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return asdict(self)


def plan_extraction(
    base: str | PathLike[str], tuned: str | PathLike[str], settings: Settings
) -> Plan:
    """Estimate the bytes, memory and time of an extraction from the headers of both checkpoints.

    Raises:
        ArgumentError: For the reasons of `extract_adapter`.
        FormatError: For the reasons of `extract_adapter`.

    Cost:
        Reads headers, and multiplies two small matrices for a tenth of a second.
    """
    before, after = open_pair(base, tuned)
    coverage = cover(before, after, settings.patterns)
    pairs = coverage.tensors
    layers = [pair for pair in pairs if pair.way is Way.FACTORS]
    ranks, dtype = settings.ranks, settings.dtype
    whole = sum(
        after.tensors[pair.tuned].nbytes
        for pair in pairs
        if pair.way in (Way.SAVED, Way.BIAS) and pair.tuned is not None
    )
    columns = [_columns(pair, ranks) for pair in layers]
    factors = sum(
        adapter_bytes(pair.shape, rank, dtype) for pair, rank in zip(layers, columns, strict=True)
    )
    if ranks.is_shared:
        factors = budget_bytes(ranks, pairs, after)
    # unfinished work is kept in float32
    unfinished = sum(
        adapter_bytes(pair.shape, rank) for pair, rank in zip(layers, columns, strict=True)
    )
    stored = before.nbytes + after.nbytes
    largest = max((int(np.prod(pair.shape)) for pair in layers), default=0)
    sizes = before.largest().nbytes + after.largest().nbytes
    return Plan(
        layers=len(layers),
        read_bytes=stored,
        adapter_bytes=factors + whole,
        is_guess=not ranks.is_shared and not isinstance(ranks.rank, int),
        disk_bytes=unfinished + factors + whole,
        memory_bytes=2 * sizes + 6 * largest + 200 * MEGABYTE,
        seconds=stored / READING + _operations(layers, columns) / _speed(),
    )


def _columns(pair: TensorPair, ranks: LayerRanks) -> int:
    own = ranks.override(pair.module)
    rank = ranks.rank if isinstance(ranks.rank, int) else GUESSED_RANK
    shape = matrix_shape(pair.shape)
    return ranks.limited(pair.module, rank if own is None else own, (shape[0], shape[1]))


def _operations(layers: Sequence[TensorPair], columns: Sequence[int]) -> float:
    """Floating-point operations of factoring all layers."""
    total = 0.0
    for pair, rank in zip(layers, columns, strict=True):
        rows, width = matrix_shape(pair.shape)
        least = min(rows, width)
        if least <= FAST_SIDE:
            total += CUBES * least**3 + 4.0 * rows * width * least
        else:
            # a product of a rows × width matrix with k columns takes 2·rows·width·k operations
            total += 2.0 * rows * width * max(32, rank // 2 + 8) * PASSES
    return total


def _speed() -> float:
    """Floating-point operations a second of a product on this machine under its present load."""
    X = np.ones((SIDE, SIDE), FLOAT32)
    Y = X @ X
    began, turns = time.perf_counter(), 0
    while time.perf_counter() - began < 0.1:
        np.matmul(X, X, out=Y)
        turns += 1
    # a product of two n × n matrices takes 2·n³ operations
    return turns * 2.0 * SIDE**3 / (time.perf_counter() - began)
