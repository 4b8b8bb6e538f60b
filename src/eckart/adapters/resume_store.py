"""Finished work of a job, stored beside the adapter that is being made, so that it can go on."""

import json
import shutil
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

from eckart.adapters.layer import FactoredLayer, LayerFigures, finite
from eckart.adapters.placement import TensorPair
from eckart.adapters.result import FIRST_STAGE, TensorRecord
from eckart.adapters.settings import Document
from eckart.checkpoints.peft import matrix_shape
from eckart.errors import ArgumentError, FormatError
from eckart.files import beside, named_path, read_factor_file, whole_file, write_factors, write_text
from eckart.files.outputs import SIGNED, strangers
from eckart.files.outputs import UNFINISHED as SETTINGS
from eckart.files.reading import as_written, read_object, refused

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
