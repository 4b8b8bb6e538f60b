"""Running over all tensors, each read once and ahead: its change, the norm of that, its factors.

Finished work is stored beside the adapter that is being made, so that a killed job can go on.
"""

import json
import math
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final, final

from eckart.adapters.calibrate import Calibration
from eckart.adapters.layer import FactoredLayer, LayerChange, LayerFigures, finite
from eckart.adapters.model_pair import Delta, noise_edge, subtract
from eckart.adapters.placement import TensorPair, Way
from eckart.adapters.result import FIRST_STAGE, TensorRecord
from eckart.adapters.settings import NOISE, OF_WEIGHT, Document, Settings
from eckart.adapters.tensor_pairs import Coverage, StoredPair, read_ahead, side_by_side
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import matrix_shape
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import ArgumentError, FormatError
from eckart.files import beside, named_path, read_factor_file, whole_file, write_factors, write_text
from eckart.files.outputs import SIGNED, strangers
from eckart.files.outputs import UNFINISHED as SETTINGS
from eckart.files.reading import as_written, read_object, refused
from eckart.progress import Report
from eckart.ranks import AboveThreshold, WithinTolerance

DRAFT: Final = "adapter"
"""Name of the folder, within that of the unfinished work, to which the adapter is written."""


@final
@dataclass(frozen=True, slots=True)
class ResumeStore:
    """The folder of unfinished work beside the adapter that is being made.

    Every file in it is written whole or not at all, so that a job that was killed at any moment
    can go on: a tensor that has a file is finished.
    """

    folder: Path

    @staticmethod
    def beside(adapter: Path) -> "ResumeStore":
        """The store that belongs to the folder of an adapter."""
        return ResumeStore(beside(adapter, f"{named_path(adapter).name}.unfinished"))

    def begin(self, settings: Document, *, resume: bool, force: bool) -> None:
        """Make the folder, or check that an existing one belongs to the same job.

        Raises:
            ArgumentError: If there is unfinished work and neither `resume` nor `force` is set, or
                it belongs to another job.
        """
        settings = {**settings, **SIGNED}
        if force and not resume:
            self.remove()
        if self.folder.exists() and not resume:
            raise ArgumentError(
                f"{self.folder} holds the unfinished work of an earlier run.",
                hint="Go on with `resume=True`, or begin again with `force=True`.",
                code="unfinished-work",
            )
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise refused(error, self.folder, "write") from error
        # without settings the folder is new, or the job was killed before it did any work
        known = self._read(SETTINGS) or settings
        different = sorted(name for name in settings if known.get(name) != settings[name])
        if different:
            raise ArgumentError(
                f"The unfinished work in {self.folder} is of another job: "
                f"{' and '.join(different)} {'differs' if len(different) == 1 else 'differ'}.",
                hint="Give what it was begun with, or begin again with `force=True`.",
                code="another-job",
            )
        self._write(SETTINGS, settings)

    def note(self, record: TensorRecord) -> None:
        """Store the record of a tensor without factors."""
        figures = record.figures and asdict(record.figures)
        # file names have the form that `eckart.files.outputs.WORK` knows as eckart's
        document = {"delta_norm": record.delta_norm, "figures": figures}
        self._write(f"{record.pair.number:05d}.json", document)

    def record(self, pair: TensorPair) -> TensorRecord | None:
        """The record of a finished tensor, which has a note or a file of factors; else None."""
        name = f"{pair.number:05d}.json"
        note = self._read(name)
        if note is None:
            layer = self.load_layer(pair, FIRST_STAGE)
            figures = layer and layer.figures
            return figures and TensorRecord(
                pair=pair, delta_norm=figures.delta_norm, figures=figures
            )
        with self._as_written(name):
            norm, figures = note["delta_norm"], note["figures"]
            return TensorRecord(
                pair=pair,
                delta_norm=None if norm is None else finite(norm),
                figures=None if figures is None else LayerFigures.from_dict(figures),
            )

    def keep(self, pair: TensorPair, layer: FactoredLayer, stage: str) -> None:
        """Store a factored layer under a stage."""
        path = self._factors(pair, stage)
        write_factors(path, {"": layer.factors}, asdict(layer.figures), force=True)

    def load_layer(self, pair: TensorPair, stage: str) -> FactoredLayer | None:
        """The layer that `keep` stored under a stage, or None if it did not."""
        path = self._factors(pair, stage)
        if not path.exists():
            return None
        file = read_factor_file(path)
        with self._as_written(path.name):
            figures = LayerFigures.from_dict(dict(file.document))
            factors = file.parts[""]
            # a layer that a budget leaves out keeps its factors beside figures of rank 0
            if figures.rank not in (0, factors.rank) or factors.shape != matrix_shape(pair.shape):
                raise ValueError("the factors are of another layer")
        return FactoredLayer(factors=factors, figures=figures)

    @contextmanager
    def draft(self, place: Path) -> Generator[Path, None, None]:
        """Give a folder to write the adapter to, which is moved to `place` at the end.

        It lies within the unfinished work, so that a draft that a killed process left is removed
        with it.
        """
        folder = self.folder / DRAFT
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield folder
            folder.rename(place)
        except BaseException:  # Ctrl-C too leaves no half-written draft
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove the folder, its settings last, because without them the rest cannot be trusted."""
        # files of others are never removed
        if strangers(self.folder):
            return
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != SETTINGS:
                    path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _factors(self, pair: TensorPair, stage: str) -> Path:
        return self.folder / f"{pair.number:05d}.{stage}.safetensors"

    def _write(self, name: str, document: Document) -> None:
        with whole_file(self.folder / name, force=True) as temporary:
            write_text(temporary, json.dumps(document, allow_nan=False))

    def _read(self, name: str) -> Document | None:
        path = self.folder / name
        if not path.exists():
            return None
        with self._as_written(name):
            return read_object(path)

    def _as_written(self, name: str) -> AbstractContextManager[None]:
        damage = f"{self.folder / name} is damaged."
        hint = "Begin again with `force=True`."
        return as_written(FormatError(damage, hint=hint, code="damaged-file"))


ENTRIES_WORKED_ON_ALONE: Final = 2**25
"""Entries above which a tensor is worked on alone, by all threads of BLAS."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRunner:
    """The runner over all tensors of two checkpoints, which stores finished work.

    Fields:
        caps: Ranks, by module, that layers are factored with at first, where a budget is shared.
    """

    base: Checkpoint
    tuned: Checkpoint
    coverage: Coverage
    settings: Settings
    caps: Mapping[str, int]
    work: ResumeStore
    calibration: Calibration | None

    def records(self, report: Report) -> list[TensorRecord]:
        """The records of all tensors, in order; tensors that earlier runs finished are not read."""
        pairs = self.coverage.tensors
        known = [self.work.record(pair) for pair in pairs]
        missing = [pair for pair, record in zip(pairs, known, strict=True) if record is None]
        found: dict[int, TensorRecord] = {}
        # finished tensors count in the progress too
        with closing(self._each(missing, self._run)) as others:
            for record in chain(filter(None, known), others):
                report(math.prod(record.pair.shape), said=record.pair.name)
                found[record.pair.number] = record
        return [found[pair.number] for pair in pairs]

    def factors(self, record: TensorRecord) -> FactoredLayer:
        """The factors of a layer, read from the store."""
        layer = self.work.load_layer(record.pair, record.stage)
        assert layer is not None
        return layer

    def at_stage(self, record: TensorRecord, stage: str, rank: int) -> TensorRecord | None:
        """The record of a layer that an earlier run stored under a stage at this rank, or None."""
        layer = self.work.load_layer(record.pair, stage)
        if layer is None or layer.figures.rank != rank:
            return None
        return replace(record, figures=layer.figures, stage=stage)

    def resize(
        self, records: Sequence[TensorRecord], ranks: Mapping[str, int], stage: str
    ) -> Generator[TensorRecord, None, None]:
        """The records of layers at other ranks, by module, stored under the given stage."""
        by_number = {record.pair.number: record for record in records}

        def work(stored: StoredPair) -> TensorRecord:
            pair, change = stored[0], self._change(stored)
            assert change is not None
            record, rank = by_number[pair.number], ranks[pair.module]
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

        yield from self._each([record.pair for record in records], work)

    def _each(
        self, pairs: Iterable[TensorPair], work: Callable[[StoredPair], TensorRecord]
    ) -> Generator[TensorRecord, None, None]:
        """The result of the work on each tensor, small ones side by side, in any order.

        Which tensors are small depends only on their shapes, and so do the bits of their factors.
        """
        sized = [(math.prod(pair.shape) > ENTRIES_WORKED_ON_ALONE, pair) for pair in pairs]
        small, large = ([pair for size, pair in sized if size is one] for one in (False, True))
        with closing(read_ahead(self.base, self.tuned, small)) as stored:
            yield from side_by_side(work, stored)
        for pair in large:  # not read ahead, which would hold a second large pair
            yield work(next(read_ahead(self.base, self.tuned, [pair])))

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

    def _run(self, stored: StoredPair) -> TensorRecord:
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
