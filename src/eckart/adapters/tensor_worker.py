"""The work on one tensor of two checkpoints: its change, the norm of that, its factors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import final

from eckart.adapters.calibrate import Calibration
from eckart.adapters.layer import FactoredLayer, LayerChange
from eckart.adapters.model_pair import Delta, noise_edge, subtract
from eckart.adapters.placement import TensorPair, Way
from eckart.adapters.result import FIRST_STAGE, TensorRecord
from eckart.adapters.resume_store import ResumeStore
from eckart.adapters.settings import NOISE, OF_WEIGHT, Settings
from eckart.adapters.tensor_pairs import StoredPair, read_pair
from eckart.checkpoints import Checkpoint, open_checkpoint
from eckart.checkpoints.peft import matrix_shape
from eckart.checkpoints.peft.adapter import Tensor
from eckart.ranks import AboveThreshold, WithinTolerance


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorWorker:
    """Subtracts and factors tensors of two checkpoints, and stores the finished work.

    Fields:
        base, tuned: The checkpoints.
        settings: The settings of the job.
        caps: Ranks, by module, that layers are factored with at first, where a budget is shared.
        work: Where finished work is stored.
        calibration: Second moments of the inputs of layers, if there are any.
    """

    base: Checkpoint
    tuned: Checkpoint
    settings: Settings
    caps: Mapping[str, int]
    work: ResumeStore
    calibration: Calibration | None

    def read(self, pair: TensorPair) -> StoredPair:
        """A pair with its tensors."""
        return read_pair(self.base, self.tuned, pair)

    def factors(self, record: TensorRecord) -> FactoredLayer:
        """The factors of a layer, read from the store."""
        layer = self.work.load_layer(record.pair, record.stage)
        assert layer is not None
        return layer

    def resize(
        self, stored: StoredPair, record: TensorRecord, rank: int, stage: str
    ) -> TensorRecord:
        """The record of a layer at another rank, stored under the given stage."""
        pair, change = stored[0], self._change(stored)
        assert change is not None
        layer = self.factors(record)
        if rank == 0:
            # the factors stay in the file: a pair of rank 0 does not exist
            layer = replace(layer, figures=change.without_factors(layer.figures))
        elif rank > layer.factors.rank:
            # the components beyond the factored ones are not known
            layer = change.factor(rank)
        elif rank < layer.factors.rank:
            layer = change.cut(layer, rank)
        self.work.keep(pair, layer, stage)
        return replace(record, figures=layer.figures, stage=stage)

    def _change(self, stored: StoredPair) -> LayerChange | None:
        """The change of a tensor that both checkpoints have; None if there is none."""
        pair, before, after = stored
        assert before is not None
        assert after is not None
        delta = subtract((pair.base, pair.tuned), before, after)
        if delta is None:
            return None
        return LayerChange(
            pair=pair,
            delta=delta,
            objective=self.calibration and self.calibration.objective(pair),
            dtype=self.settings.dtype,
            seed=self.settings.seed,
        )

    def run(self, stored: StoredPair) -> TensorRecord:
        """Subtract one tensor, factor its change if it is to become factors, and store the work."""
        pair, _, after = stored
        record = TensorRecord(pair=pair, delta_norm=None)
        if pair.has_delta:
            change = self._change(stored)
            record = replace(record, delta_norm=change.delta.norm if change else 0.0)
            if change and after is not None and pair.way is Way.FACTORS:
                layer = self._factor(change, after)
                figures = layer.figures if layer else change.without_factors()
                record = replace(record, figures=figures)
                if layer is not None:
                    self.work.keep(pair, layer, FIRST_STAGE)
                    return record
        self.work.note(record)
        return record

    def _factor(self, change: LayerChange, after: Tensor) -> FactoredLayer | None:
        """The layer at the rank that its rule chooses; None if that is 0."""
        module, ranks, shape = change.pair.module, self.settings.ranks, matrix_shape(after.shape)
        own = ranks.override(module)
        if own is None and ranks.is_shared:
            return change.factor(self.caps[module])
        edge = None
        if own is None and ranks.rank == NOISE:
            edge = noise_edge(after.reshape(shape))
        chosen = self._rank(module, shape, change.delta, edge)
        if chosen is None:
            return None
        layer = change.factor(chosen)
        rank = layer.factors.rank
        # `factorize` keeps at least one component, even if no singular value is above the noise
        if edge is not None and max(layer.figures.spectrum.leading, default=0.0) <= edge:
            rank = 0
        limited = ranks.limit(module, rank, shape)
        if limited == layer.factors.rank:
            return layer
        # a least rank or a multiple asks for more components than the rule
        if limited > layer.factors.rank:
            return change.factor(limited)
        return change.cut(layer, limited) if limited else None

    def _rank(
        self, module: str, shape: tuple[int, int], delta: Delta, edge: float | None
    ) -> int | AboveThreshold | WithinTolerance | None:
        """The rank of a layer, or the rule that chooses it; None for rank 0."""
        ranks = self.settings.ranks
        own = ranks.override(module)
        if own is not None:
            return min(own, *shape) if own > 0 else None
        if ranks.tolerance is not None:
            # `factorize` takes tolerances relative to ‖ΔW‖
            scale = delta.weight_norm / delta.norm if ranks.of == OF_WEIGHT else 1.0
            # the error without factors is ‖ΔW‖, which is within such a tolerance
            if ranks.tolerance * scale >= 1:
                return 1 if ranks.least else None
            return WithinTolerance(ranks.tolerance * scale)
        if edge is not None:
            return AboveThreshold(edge)
        assert isinstance(ranks.rank, int)  # a budget is shared, and names no rank
        return ranks.limit(module, ranks.rank, shape)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorJob:
    """The work on one tensor in any process that sees the checkpoints and the store.

    Fields:
        base, tuned: Paths of the checkpoints.
        settings: The settings of the job.
        caps: As in `TensorWorker`, of this tensor.
        folder: Folder of the store.
        pair: The tensor.
        record: The record of its factors, if these are to be resized.
        rank, stage: Their rank, and the stage under which they are stored.
    """

    base: Path
    tuned: Path
    settings: Settings
    caps: Mapping[str, int]
    folder: Path
    pair: TensorPair
    record: TensorRecord | None = None
    rank: int = 0
    stage: str = ""

    def __call__(self) -> TensorRecord:
        """Do the work."""
        path = self.settings.calibration
        worker = TensorWorker(
            base=_opened(self.base),
            tuned=_opened(self.tuned),
            settings=self.settings,
            caps=self.caps,
            work=ResumeStore(self.folder),
            calibration=None if path is None else Calibration.open(path),
        )
        stored = worker.read(self.pair)
        if self.record is None:
            return worker.run(stored)
        return worker.resize(stored, self.record, self.rank, self.stage)


@lru_cache(maxsize=4)
def _opened(path: Path) -> Checkpoint:
    """A checkpoint, opened once by a process; a file that changes is found when it is read."""
    return open_checkpoint(path)
