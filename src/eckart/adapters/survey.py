"""Running over all tensors, each read once and ahead: its change, the norm of that, its factors."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, final

import numpy.typing as npt

from eckart.adapters.choice import NOISE, LayerRanks
from eckart.adapters.coverage import TensorPair
from eckart.adapters.delta import Delta, noise_edge, subtract
from eckart.adapters.layer import FactoredLayer, LayerFigures, cut_layer, factor_layer, left_out
from eckart.adapters.placement import Way
from eckart.adapters.resume import ResumeStore
from eckart.adapters.second_moments import Calibration, cut_weighted, factor_weighted
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import AdapterDType, matrix_shape
from eckart.progress import Report
from eckart.threads import limited_threads, thread_count

T = TypeVar("T")
R = TypeVar("R")

MOST_AT_ONCE: Final = 2
"""Tensors that are worked on at the same time, however many cores there are. With the change of
each and the pair that is being read they stay within four times the bytes of the largest pair."""
Tensor = npt.NDArray[Any]
Stored = tuple[Tensor | None, Tensor | None]
ReadPair = tuple[TensorPair, Tensor | None, Tensor | None]


def read_ahead(
    base: Checkpoint, tuned: Checkpoint, pairs: Sequence[TensorPair]
) -> Iterator[ReadPair]:
    """Each pair with its tensors as stored; the next pair is read while this one is worked on.

    Cost:
        The memory of two pairs.
    """

    def read(pair: TensorPair) -> Stored:
        return (
            None if pair.base is None else base.read(pair.base),
            None if pair.tuned is None else tuned.read(pair.tuned),
        )

    with ThreadPoolExecutor(1) as reader:
        following: Future[Stored] | None = reader.submit(read, pairs[0]) if pairs else None
        for number, pair in enumerate(pairs):
            assert following is not None
            stored = following.result()
            last = number + 1 == len(pairs)
            following = None if last else reader.submit(read, pairs[number + 1])
            yield pair, *stored
            del stored  # else this pair would be held while the caller works on the next


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The result of the work on each item, in order of completion, with one thread for each item.

    The threads of BLAS wait for each other in products of a few columns; threads of different
    items do not. The result of an item does not depend on the number of items.

    Cost:
        The memory of two items and of the work on them, and of the next item.
    """
    count = min(thread_count(), MOST_AT_ONCE)
    with limited_threads(1), ThreadPoolExecutor(count) as pool:
        running: set[Future[R]] = set()
        for item in items:
            # a new thread has an empty context, without the settings of this one
            running.add(pool.submit(copy_context().run, work, item))
            if len(running) == count:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        yield from (one.result() for one in as_completed(running))


ALONE: Final = 2**25
"""Entries above which a tensor is worked on alone, by all threads of BLAS."""
FIRST: Final = "first"
"""Stage of the factors before a budget is shared, or of all factors without one."""
FINAL: Final = "final"
"""Stage of the factors at the ranks that a budget gives."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRecord:
    """The record of one tensor.

    Fields:
        number: Number of the tensor, under which its work is stored.
        pair: Names, shape and way of the tensor.
        delta_norm: ‖W_tuned − W_base‖; 0 if unchanged, None where one of the two is missing.
        figures: Figures of a changed layer that becomes factors, else None.
        stage: Stage under which its factors are stored.
    """

    number: int
    pair: TensorPair
    delta_norm: float | None
    figures: LayerFigures | None = None
    stage: str = FIRST


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRunner:
    """The runner over all tensors of two checkpoints, which stores finished work.

    Fields:
        base, tuned: The opened checkpoints.
        pairs: All tensors.
        ranks: Rule for the ranks.
        caps: Ranks, by module, that layers are factored with at first, where a budget is shared.
        dtype: Dtype of the stored factors.
        seed: Seed of the whole job.
        work: Store of finished work.
        calibration: Second moments of inputs, or None.
    """

    base: Checkpoint
    tuned: Checkpoint
    pairs: Sequence[TensorPair]
    ranks: LayerRanks
    caps: dict[str, int]
    dtype: AdapterDType
    seed: int
    work: ResumeStore
    calibration: Calibration | None

    def entries(self) -> int:
        """The number of entries of all tensors."""
        return sum(math.prod(pair.shape) for pair in self.pairs)

    def findings(self, report: Report) -> list[TensorRecord]:
        """The records of all tensors, in order; tensors that earlier runs finished are not read.

        Args:
            report: Called with the entries of each finished tensor and its name.
        """
        known = {number: self._known(number, pair) for number, pair in enumerate(self.pairs)}
        found = {number: finding for number, finding in known.items() if finding is not None}
        # finished tensors count in the progress too
        for finding in found.values():
            _tell(report, finding)
        missing = [(number, pair) for number, pair in enumerate(self.pairs) if number not in found]
        for finding in self._each(missing, self._found):
            _tell(report, finding)
            found[finding.number] = finding
        return [found[number] for number in known]

    def factors(self, finding: TensorRecord) -> FactoredLayer:
        """The factors of a layer, read from the store."""
        layer = self.work.kept(finding.number, finding.stage, finding.pair.shape)
        assert layer is not None
        return layer

    def at_stage(self, finding: TensorRecord, stage: str, rank: int) -> TensorRecord | None:
        """The record of a layer that an earlier run stored under a stage at this rank, or None."""
        layer = self.work.kept(finding.number, stage, finding.pair.shape)
        if layer is None or layer.figures.rank != rank:
            return None
        return replace(finding, figures=layer.figures, stage=stage)

    def resized(
        self, findings: Sequence[TensorRecord], ranks: Mapping[int, int], stage: str
    ) -> Iterator[TensorRecord]:
        """The records of layers at other ranks, in any order, stored under the given stage."""
        by_number = {finding.number: finding for finding in findings}

        def resize(number: int, stored: ReadPair) -> TensorRecord:
            return self._resized(by_number[number], ranks[number], stored, stage)

        yield from self._each([(one.number, one.pair) for one in findings], resize)

    def _each(
        self,
        tensors: Sequence[tuple[int, TensorPair]],
        work: Callable[[int, ReadPair], TensorRecord],
    ) -> Iterator[TensorRecord]:
        """The result of the work on each tensor and its number, small ones side by side.

        Which tensors are small depends only on their shapes, and so do the bits of their factors.
        """
        small = [one for one in tensors if math.prod(one[1].shape) <= ALONE]
        large = [one for one in tensors if math.prod(one[1].shape) > ALONE]
        reading = read_ahead(self.base, self.tuned, [pair for _, pair in small])
        numbered = zip([number for number, _ in small], reading, strict=True)
        yield from side_by_side(lambda given: work(*given), numbered)
        for number, pair in large:  # not read ahead, which would hold a second large pair
            yield work(number, next(read_ahead(self.base, self.tuned, [pair])))

    def _resized(
        self, finding: TensorRecord, rank: int, stored: ReadPair, stage: str
    ) -> TensorRecord:
        pair, before, after = stored
        assert before is not None
        assert after is not None
        delta = subtract(pair, before, after)
        assert delta is not None
        layer = self.factors(finding)
        if rank == 0:
            # the factors stay in the file: a pair of rank 0 does not exist
            layer = replace(layer, figures=left_out(delta, layer.figures))
        elif rank > layer.factors.rank:
            # the components beyond the factored ones are not known
            layer = self._factored(pair, delta, {"rank": rank})
        elif rank < layer.factors.rank:
            layer = self._cut(pair, delta, layer, rank)
        self.work.keep(finding.number, layer, stage)
        return replace(finding, figures=layer.figures, stage=stage)

    def _known(self, number: int, pair: TensorPair) -> TensorRecord | None:
        # a tensor without factors has a note, any other a file of factors
        note = self.work.noted(number)
        if note is not None:
            return TensorRecord(number=number, pair=pair, delta_norm=note[0], figures=note[1])
        layer = self.work.kept(number, FIRST, pair.shape)
        if layer is None:
            return None
        norm = layer.figures.delta_norm
        return TensorRecord(number=number, pair=pair, delta_norm=norm, figures=layer.figures)

    def _found(self, number: int, stored: ReadPair) -> TensorRecord:
        pair, before, after = stored
        delta = None
        if pair.has_delta and before is not None and after is not None:
            delta = subtract(pair, before, after)
            if delta is None:
                return self._noted(number, pair, 0.0, None)
        if delta is None:
            return self._noted(number, pair, None, None)
        norm = math.sqrt(delta.matrix.squared_norm())
        if pair.way is not Way.FACTORS or after is None:
            return self._noted(number, pair, norm, None)
        layer = self._chosen(pair, delta, after)
        if layer is None:
            return self._noted(number, pair, norm, left_out(delta))
        self.work.keep(number, layer, FIRST)
        return TensorRecord(number=number, pair=pair, delta_norm=norm, figures=layer.figures)

    def _chosen(self, pair: TensorPair, delta: Delta, after: Tensor) -> FactoredLayer | None:
        """The layer at the rank that its rule chooses; None if that is 0."""
        own, shape = self.ranks.override(pair.module), delta.matrix.shape
        if own is None and self.ranks.is_shared:
            return self._factored(pair, delta, {"rank": self.caps[pair.module]})
        edge = None
        if own is None and self.ranks.rank == NOISE:
            edge = noise_edge(after.reshape(matrix_shape(pair.shape)))
        chosen = self.ranks.wanted(pair, delta, edge)
        if chosen is None:
            return None
        layer = self._factored(pair, delta, chosen)
        rank = layer.factors.rank
        # `factorize` keeps at least one component, even if no singular value is above the noise
        if edge is not None and not layer.figures.spectrum.above(edge):
            rank = 0
        limited = self.ranks.limited(pair.module, rank, shape)
        if limited == layer.factors.rank:
            return layer
        # a least rank or a multiple asks for more components than the rule
        if limited > layer.factors.rank:
            return self._factored(pair, delta, {"rank": limited})
        return self._cut(pair, delta, layer, limited) if limited else None

    def _factored(self, pair: TensorPair, delta: Delta, rank: dict[str, Any]) -> FactoredLayer:
        objective = self.calibration and self.calibration.objective(pair)
        if objective is not None:
            return factor_weighted(pair, delta, rank, objective, self.dtype, self.seed)
        return factor_layer(pair, delta, rank, self.dtype, self.seed)

    def _cut(
        self, pair: TensorPair, delta: Delta, layer: FactoredLayer, rank: int
    ) -> FactoredLayer:
        objective = self.calibration and self.calibration.objective(pair)
        if objective is not None:
            return cut_weighted(pair, delta, layer, rank, objective, self.dtype)
        return cut_layer(pair, delta, layer, rank, self.dtype)

    def _noted(
        self, number: int, pair: TensorPair, norm: float | None, figures: LayerFigures | None
    ) -> TensorRecord:
        document = {"delta_norm": norm, "figures": figures and figures.to_dict()}
        self.work.note(number, document)
        return TensorRecord(number=number, pair=pair, delta_norm=norm, figures=figures)


def _tell(report: Report, finding: TensorRecord) -> None:
    report(math.prod(finding.pair.shape), said=finding.pair.name)
