"""The bytes of an adapter: one budget for all layers, and an estimate of disk, memory and time."""

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from typing import Final, final

import numpy as np

from eckart.adapters.layer_runner import LayerRunner
from eckart.adapters.model_pair import open_pair
from eckart.adapters.placement import TensorPair, Way
from eckart.adapters.result import TensorRecord
from eckart.adapters.settings import Document, LayerRanks, Settings
from eckart.adapters.tensor_pairs import cover
from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import AdapterDType, adapter_bytes, matrix_shape, uniform_groups
from eckart.errors import ArgumentError
from eckart.factorization import FAST_SIDE
from eckart.progress import Report
from eckart.ranks.allocation import allocate


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerDemand:
    """The demand of one layer on a budget.

    Fields:
        gains: Fall of the squared error with each further column, descending; empty for an
            unchanged expert, which is padded with zeros to the rank of the others.
        least: Smallest number of columns that the layer gets, if it has as many.
        fixed: Rank that the layer gets whatever the budget, or None.
    """

    module: str
    shape: tuple[int, ...]
    gains: Array
    least: int = 0
    fixed: int | None = None


def share_out(
    demands: Iterable[LayerDemand],
    budget: int,
    dtype: AdapterDType,
    *,
    multiple: int = 1,
    most: int | None = None,
) -> dict[str, int]:
    """The rank of each layer, by module, that lowers the squared error most within a budget.

    Experts that PEFT stacks get one rank: their gains add, and so do their bytes. Layers with a
    fixed rank are paid for first.

    Raises:
        ArgumentError: If the budget is too small for the fixed and the least ranks, or for one
            column of any layer.

    Example:
        >>> demands = [LayerDemand(module=name, shape=(4, 4), gains=np.array(gains))
        ...           for name, gains in (("q", [9.0, 1.0]), ("v", [4.0, 4.0]))]
        >>> share_out(demands, 3 * 4 * 8, "float32")
        {'q': 1, 'v': 2}
    """
    known = {demand.module: demand for demand in demands}
    ranks = {
        # no matrix has a higher rank than its rows or columns
        module: min(demand.fixed, *matrix_shape(demand.shape))
        for module, demand in known.items()
        if demand.fixed is not None
    }
    paid = sum(adapter_bytes(known[module].shape, rank, dtype) for module, rank in ranks.items())
    if paid > budget:
        raise ArgumentError(
            f"The ranks that are fixed take {paid} bytes, the budget is {budget}.",
            hint=f"Give a budget of at least {paid} bytes.",
            code="budget-too-small",
        )
    open_ones = {module: one for module, one in known.items() if module not in ranks}
    experts = uniform_groups(open_ones)
    stacked = set(chain(*experts))
    groups = [[one] for module, one in open_ones.items() if module not in stacked]
    groups += [[open_ones[module] for module in group] for group in experts]
    chosen = allocate(
        # `allocate` takes singular values, whose squares are the gains
        [np.sqrt(_summed(group)) for group in groups],
        [sum(adapter_bytes(one.shape, 1, dtype) for one in group) for group in groups],
        budget - paid,
        multiple=multiple,
        least=[max(one.least for one in group) for group in groups],
        most=most,
    )
    for group, rank in zip(groups, chosen, strict=True):
        ranks |= {one.module: min(rank, *matrix_shape(one.shape)) for one in group}
    if known and not any(ranks.values()):
        cheapest = min(adapter_bytes(demand.shape, multiple, dtype) for demand in known.values())
        raise ArgumentError(
            f"A budget of {budget} bytes for the factors does not reach for one column of any.",
            hint=f"Give at least {cheapest - budget} bytes more.",
            code="budget-too-small",
        )
    return ranks


def _summed(group: list[LayerDemand]) -> Array:
    total = np.zeros(max(len(one.gains) for one in group), FLOAT64)
    for one in group:
        total[: len(one.gains)] += one.gains
    return total


ROOM: Final = 4
"""Columns factored at first, as a multiple of the uniform rank that the budget would buy."""
FEWEST: Final = 16
"""Smallest number of columns factored at first, however small the budget is."""
ROUNDS: Final = 6
"""Most rounds in which layers that use all their columns are factored again, twice as wide."""


def stored_bytes(tuned: Checkpoint, pairs: Iterable[TensorPair], *ways: Way) -> int:
    """The bytes of the tensors of the fine-tune whose change is taken in by these ways."""
    return sum(
        tuned.tensors[p.tuned].nbytes for p in pairs if p.way in ways and p.tuned is not None
    )


def first_columns(settings: Settings, pairs: Sequence[TensorPair], budget: int) -> dict[str, int]:
    """The rank, by module, that each layer is factored with before a budget is shared."""
    ranks, dtype = settings.ranks, settings.dtype
    if not ranks.is_shared:
        return {}
    layers = [pair for pair in pairs if pair.way is Way.FACTORS]
    # the rank of all layers if each got the same one
    uniform = budget // max(1, sum(adapter_bytes(pair.shape, 1, dtype) for pair in layers))
    caps: dict[str, int] = {}
    for pair in layers:
        wanted = max(FEWEST, ROOM * uniform, ranks.least)
        # the whole budget spent on this layer is the most that it can get
        affordable = max(1, budget // adapter_bytes(pair.shape, 1, dtype))
        most = ranks.most or wanted
        caps[pair.module] = min(wanted, affordable, most, *matrix_shape(pair.shape))
    return caps


def share_budget(
    runner: LayerRunner, records: Sequence[TensorRecord], budget: int, report: Report
) -> list[TensorRecord]:
    """The records with every layer at its share of the budget.

    A layer whose share is all the columns it was factored with may deserve more: it is factored
    again with twice as many, until no share reaches its limit. Each round depends only on the
    results of earlier rounds, so that a resumed job comes to the same ranks.
    """
    known, shares, ranks = list(records), dict[str, int](), runner.worker.settings.ranks
    for number in range(ROUNDS):
        shares = _shares(runner, known, budget)
        wider = {
            one.pair.module: columns
            for one in known
            if one.figures and (columns := _more_columns(one, shares[one.pair.module], ranks))
        }
        if not wider:
            break
        # each round has its own stage, so that a resumed job finds the files of all rounds
        known = _at(runner, known, wider, f"round-{number + 1}", report)
    return _at(runner, known, shares, "final", report)


def _at(
    runner: LayerRunner,
    records: Sequence[TensorRecord],
    ranks: dict[str, int],
    stage: str,
    report: Report,
) -> list[TensorRecord]:
    """The records with some layers at other ranks, for which their tensors are read again."""
    changing = [
        one
        for one in records
        if one.figures and ranks.get(one.pair.module, one.figures.rank) != one.figures.rank
    ]
    done = {
        one.pair.number: runner.at_stage(one, stage, ranks[one.pair.module]) for one in changing
    }
    missing = [one for one in changing if done[one.pair.number] is None]
    with closing(runner.resize(missing, ranks, stage)) as resized:
        for one in resized:
            done[one.pair.number] = one
            report(0, said=one.pair.name)  # its entries were counted when it was read first
    return [done.get(one.pair.number) or one for one in records]


def _shares(runner: LayerRunner, records: Sequence[TensorRecord], budget: int) -> dict[str, int]:
    """The rank of each changed layer by module; stacked experts pay for unchanged ones."""
    ranks = runner.worker.settings.ranks
    typical = runner.worker.calibration.typical() if runner.worker.calibration else 1.0
    layers = [one for one in records if one.pair.way is Way.FACTORS]
    stacked = set(chain(*uniform_groups(one.pair.module for one in layers)))
    demands = [
        LayerDemand(
            module=one.pair.module,
            shape=one.pair.shape,
            gains=_gains(one, ranks, typical),
            least=ranks.least,
            fixed=ranks.override(one.pair.module),
        )
        for one in layers
        if one.figures is not None or one.pair.module in stacked
    ]
    dtype = runner.worker.settings.dtype
    return share_out(demands, budget, dtype, multiple=ranks.multiple, most=ranks.most)


def _gains(record: TensorRecord, ranks: LayerRanks, typical: float) -> Array:
    """The gain of each column of a layer; a layer without moments gets typical inputs.

    Weighted and plain errors have other units; the typical mean square makes them comparable.
    """
    figures = record.figures
    if figures is None:
        return np.zeros(0)
    scale = typical if figures.weighted_error is None else 1.0
    return gains(np.array(figures.spectrum.leading), ranks, figures.weight_norm, scale)


def gains(values: Array, ranks: LayerRanks, weight_norm: float, scale: float = 1.0) -> Array:
    """The fall of the squared error with each column, times a scale, from the singular values."""
    # gains are squared errors, so relative ones are divided by ‖W‖²
    if ranks.relative and weight_norm:
        scale /= weight_norm**2
    return scale * np.square(values)


def _more_columns(record: TensorRecord, share: int, ranks: LayerRanks) -> int:
    """Twice the columns of a layer whose share is all that are known of more; else 0."""
    figures = record.figures
    if figures is None or figures.spectrum.is_whole:
        return 0
    known = len(figures.spectrum.leading)
    most = min(*matrix_shape(record.pair.shape), ranks.most or 2 * known)
    # by doubling, ROUNDS rounds reach 2^ROUNDS times the first rank
    return min(2 * known, most) if share >= known and known < most else 0


GUESSED_RANK: Final = 64
"""Rank assumed for a layer whose rank depends on its singular values."""
PRODUCTS_PER_LAYER: Final = 22
"""Products of the change with a block of max(32, rank/2) columns: those of the subspace, of its
certificate and of the error."""
SVD_CUBES: Final = 30
"""Operations of a full singular value decomposition of an n × n matrix, in units of n³."""
SPEED_TEST_ROWS: Final = 1024
"""Rows and columns of the matrices whose product measures the speed of the machine."""
READ_BYTES_PER_SECOND: Final = 1e9
"""Assumed speed, in bytes a second, of reading a file that is not in memory yet."""


def estimate_resources(
    base: str | PathLike[str], tuned: str | PathLike[str], settings: Settings
) -> Document:
    """Estimate the bytes, memory and time of an extraction from the headers of both checkpoints.

    Returns:
        The number of `layers` that become factors if all of them have changed; `read_bytes` of both
        checkpoints; `adapter_bytes` at most, or a guess (`is_guess`) if ranks depend on singular
        values; `disk_bytes` of the unfinished work and the adapter; `memory_bytes` at the peak; and
        the `seconds` on this machine under its present load.

    Cost:
        Reads headers, and multiplies two small matrices for a tenth of a second.
    """
    before, after = open_pair(base, tuned)
    pairs = cover(before, after, settings.patterns).tensors
    layers = [pair for pair in pairs if pair.way is Way.FACTORS]
    ranks, dtype = settings.ranks, settings.dtype
    whole = stored_bytes(after, pairs, Way.SAVED, Way.BIAS)
    wanted = ranks.rank if isinstance(ranks.rank, int) else GUESSED_RANK
    ranked: list[tuple[TensorPair, int]] = []
    for pair in layers:
        own = ranks.override(pair.module)
        rank = wanted if own is None else own
        ranked.append((pair, ranks.limit(pair.module, rank, matrix_shape(pair.shape))))
    factors = sum(adapter_bytes(pair.shape, rank, dtype) for pair, rank in ranked)
    if ranks.is_shared:
        factors = ranks.budget_bytes(stored_bytes(after, pairs, Way.FACTORS))
    # unfinished work is kept in float32
    unfinished = sum(adapter_bytes(pair.shape, rank) for pair, rank in ranked)
    stored = before.nbytes + after.nbytes
    largest = max((int(np.prod(pair.shape)) for pair in layers), default=0)
    sizes = before.largest().nbytes + after.largest().nbytes
    return {
        "layers": len(layers),
        "read_bytes": stored,
        "adapter_bytes": factors + whole,
        "is_guess": not ranks.is_shared and not isinstance(ranks.rank, int),
        "disk_bytes": unfinished + factors + whole,
        "memory_bytes": 2 * sizes + 6 * largest + 200 * 2**20,
        "seconds": stored / READ_BYTES_PER_SECOND + _operations(ranked) / _speed(),
    }


def _operations(layers: Sequence[tuple[TensorPair, int]]) -> float:
    """Floating-point operations of factoring all layers."""
    total = 0.0
    for pair, rank in layers:
        rows, width = matrix_shape(pair.shape)
        least = min(rows, width)
        if least <= FAST_SIDE:
            total += SVD_CUBES * least**3 + 4.0 * rows * width * least
        else:
            # a product of a rows × width matrix with k columns takes 2·rows·width·k operations
            total += 2.0 * rows * width * max(32, rank // 2 + 8) * PRODUCTS_PER_LAYER
    return total


def _speed() -> float:
    """Floating-point operations a second of a product on this machine under its present load."""
    X = np.ones((SPEED_TEST_ROWS, SPEED_TEST_ROWS), FLOAT32)
    Y = X @ X
    began, turns = time.perf_counter(), 0
    while time.perf_counter() - began < 0.1:
        np.matmul(X, X, out=Y)
        turns += 1
    # a product of two n × n matrices takes 2·n³ operations
    return turns * 2.0 * SPEED_TEST_ROWS**3 / (time.perf_counter() - began)
