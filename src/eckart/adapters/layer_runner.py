"""Running over all tensors of two checkpoints: here, side by side, or on a cluster."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, TypeAlias, final

from eckart.adapters.layer import FactoredLayer
from eckart.adapters.placement import TensorPair
from eckart.adapters.result import TensorRecord
from eckart.adapters.tensor_pairs import Coverage, StoredPair, read_ahead, side_by_side
from eckart.adapters.tensor_worker import TensorJob, TensorWorker
from eckart.cluster import Cluster, each
from eckart.progress import Report

Resized: TypeAlias = tuple[TensorRecord, int, str]
"""The record of a layer, another rank, and the stage under which that is stored."""
ENTRIES_WORKED_ON_ALONE: Final = 2**25
"""Entries above which a tensor is worked on alone, by all threads of BLAS."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRunner:
    """The runner over all tensors of two checkpoints, which stores finished work.

    Fields:
        coverage: All tensors, and how an adapter takes in each.
        worker: Who works on a tensor.
        cluster: Cluster whose workers do it; None does it here.
    """

    coverage: Coverage
    worker: TensorWorker
    cluster: Cluster | None = None

    def records(self, report: Report) -> list[TensorRecord]:
        """The records of all tensors, in order; tensors that earlier runs finished are not read."""
        pairs = self.coverage.tensors
        known = [self.worker.work.record(pair) for pair in pairs]
        missing = [pair for pair, record in zip(pairs, known, strict=True) if record is None]
        found: dict[int, TensorRecord] = {}
        # finished tensors count in the progress too
        with closing(self._each(missing)) as others:
            for record in chain(filter(None, known), others):
                report(math.prod(record.pair.shape), said=record.pair.name)
                found[record.pair.number] = record
        return [found[pair.number] for pair in pairs]

    def factors(self, record: TensorRecord) -> FactoredLayer:
        """The factors of a layer, read from the store."""
        return self.worker.factors(record)

    def at_stage(self, record: TensorRecord, stage: str, rank: int) -> TensorRecord | None:
        """The record of a layer that an earlier run stored under a stage at this rank, or None."""
        layer = self.worker.work.load_layer(record.pair, stage)
        if layer is None or layer.figures.rank != rank:
            return None
        return replace(record, figures=layer.figures, stage=stage)

    def resize(
        self, records: Sequence[TensorRecord], ranks: Mapping[str, int], stage: str
    ) -> Generator[TensorRecord, None, None]:
        """The records of layers at other ranks, by module, stored under the given stage."""
        wanted = {
            record.pair.number: (record, ranks[record.pair.module], stage) for record in records
        }
        yield from self._each([record.pair for record in records], wanted)

    def _each(
        self, pairs: Sequence[TensorPair], wanted: Mapping[int, Resized] | None = None
    ) -> Generator[TensorRecord, None, None]:
        """The result of the work on each tensor, small ones side by side, in any order.

        Which tensors are small depends only on their shapes, and so do the bits of their factors.

        Args:
            pairs: The tensors.
            wanted: What each is resized to, by its number; None factors them.
        """
        if self.cluster is not None:
            with closing(each(self.cluster, self._jobs(pairs, wanted))) as found:
                yield from found
            return

        def work(stored: StoredPair) -> TensorRecord:
            if wanted is None:
                return self.worker.run(stored)
            return self.worker.resize(stored, *wanted[stored[0].number])

        sized = [(math.prod(pair.shape) > ENTRIES_WORKED_ON_ALONE, pair) for pair in pairs]
        small, large = ([pair for size, pair in sized if size is one] for one in (False, True))
        with closing(read_ahead(self.worker.base, self.worker.tuned, small)) as stored:
            yield from side_by_side(work, stored)
        for pair in large:  # not read ahead, which would hold a second large pair
            yield work(self.worker.read(pair))

    def _jobs(
        self, pairs: Sequence[TensorPair], wanted: Mapping[int, Resized] | None
    ) -> Iterator[TensorJob]:
        """The work on each tensor for a cluster, the largest first, so that none comes last."""
        worker = self.worker
        for pair in sorted(pairs, key=lambda one: -math.prod(one.shape)):
            cap = worker.caps.get(pair.module)
            job = TensorJob(
                base=worker.base.path.resolve(),
                tuned=worker.tuned.path.resolve(),
                settings=worker.settings,
                caps={} if cap is None else {pair.module: cap},
                folder=worker.work.folder.resolve(),
                pair=pair,
            )
            if wanted is not None:
                record, rank, stage = wanted[pair.number]
                job = replace(job, record=record, rank=rank, stage=stage)
            yield job
