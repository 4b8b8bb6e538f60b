"""Every reader of the product by name: what it reads with, seeds, and shapes of wrong files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy

from fuzzing import folders, reads, seeds, shapes
from fuzzing.judging import Reader
from fuzzing.odd import seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader, and what to begin with.

    Fields:
        reader: The functions.
        seeds: Small valid inputs.
        shapes: Inputs that are put together as such files are, and wrong somewhere.
    """

    reader: Reader
    seeds: Callable[[], Iterator[bytes]]
    shapes: Callable[[], SearchStrategy[dict[str, bytes]]]

    def files(self) -> SearchStrategy[dict[str, bytes]]:
        """The shapes, whose seeds are made now: what makes them draws random numbers too."""
        seeded(self.seeds)
        return self.shapes()


COLUMNS = (reads.interactions, reads.attributes, reads.ids, reads.titles)


def _file(
    *functions: Callable[..., object],
    seeds: Callable[[], Iterator[bytes]],
    shapes: Callable[[], SearchStrategy[dict[str, bytes]]],
) -> Target:
    return Target(reader=Reader(reads=functions), seeds=seeds, shapes=shapes)


def _folder(
    *functions: Callable[..., object],
    seeds: Callable[[], Iterator[bytes]],
    shapes: Callable[[], SearchStrategy[dict[str, bytes]]],
) -> Target:
    return Target(reader=Reader(reads=functions, is_folder=True), seeds=seeds, shapes=shapes)


TARGETS = {
    "text": _file(reads.whole, reads.in_rows, seeds=seeds.texts, shapes=shapes.texts),
    "text of ids": _file(*COLUMNS, seeds=seeds.texts, shapes=shapes.texts),
    "JSON lines": _file(*COLUMNS, seeds=seeds.lines, shapes=shapes.lines),
    "Matrix Market": _file(reads.whole, seeds=seeds.market, shapes=shapes.market),
    "npy": _file(reads.whole, reads.in_rows, seeds=seeds.arrays, shapes=shapes.arrays),
    "npz": _file(
        reads.whole, reads.shown, reads.reduction, seeds=seeds.archives, shapes=shapes.archives
    ),
    "Parquet": _file(
        reads.whole, reads.in_rows, *COLUMNS, seeds=seeds.parquet, shapes=shapes.parquet
    ),
    "HDF5": _file(reads.in_rows, seeds=seeds.hdf5, shapes=shapes.hdf5),
    "Zarr": _file(reads.in_rows, seeds=seeds.zarr_folders, shapes=folders.zarr_folders),
    "pictures": _file(reads.whole, seeds=seeds.pictures, shapes=shapes.pictures),
    "safetensors": _file(
        reads.whole, reads.shown, reads.checkpoint, reads.moments,
        seeds=seeds.weights, shapes=folders.weights,
    ),
    "PyTorch": _file(reads.checkpoint, seeds=seeds.pickled, shapes=folders.pickled),
    "folder of factors": _folder(
        reads.shown, seeds=seeds.factor_folders, shapes=folders.factor_folders
    ),
    "model": _folder(reads.checkpoint, reads.tuned, seeds=seeds.models, shapes=folders.models),
    "adapter": _folder(reads.adapter, reads.again, seeds=seeds.adapters, shapes=folders.adapters),
    "unfinished extraction": _folder(reads.resumed, seeds=seeds.runs, shapes=folders.runs),
    "recommender": _folder(
        reads.recommender, seeds=seeds.recommenders, shapes=folders.recommenders
    ),
}  # fmt: skip
