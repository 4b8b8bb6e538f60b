"""The functions that commands read files with, each with what a command does next."""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from adapters.pairs import saved_pair
from eckart.adapters import extract_adapter
from eckart.adapters.calibrate import Calibration
from eckart.adapters.cut_extraction import extract_again
from eckart.adapters.settings import LayerRanks
from eckart.checkpoints import open_checkpoint, quantisation
from eckart.checkpoints.peft import factor_dtype, read_adapter
from eckart.cli.main import main
from eckart.files import read_parts
from eckart.files.records import Selection
from eckart.files.registry import open_table
from eckart.matrices import Streamed
from eckart.matrices.derived import check_entries
from eckart.recommend import load_model, read_interactions, similar_items, top_items
from eckart.recommend.attribute_tables import read_attributes
from eckart.recommend.attributes import learn_features, matrix_of
from eckart.recommend.columns import ColumnNames, read_ids, read_names
from eckart.reduce.reduction import read_reduction

BLOCKS = 2**24
SEALED = "model.json"


def whole(path: Path) -> None:
    """As `factor` reads a matrix."""
    for part in read_parts(path).parts:
        check_entries(part.matrix)


def in_rows(path: Path) -> None:
    """As `reduce` reads a table that is larger than memory: up to its first block."""
    table = open_table(path)
    names = table.names or ()
    blocks = Streamed(table.source, memory=BLOCKS).row_blocks()
    next(blocks)
    blocks.close()
    if path.suffix in (".csv", ".tsv", ".parquet") and names:
        open_table(path, Selection(ids=names[:1], index=False)).companions().take(5)


def interactions(path: Path) -> None:
    """As `recommend fit` reads ratings."""
    read_interactions(path)


def attributes(path: Path) -> None:
    """As `recommend fit` reads what else is known of items."""
    table = read_attributes(path, "item", ColumnNames(), None)
    features, _ = learn_features(table.columns, table.words, table.source, named=table.named)
    matrix_of(features, table.columns, table.source)


def ids(path: Path) -> None:
    """As `recommend top` reads users."""
    read_ids(path, "user")


def titles(path: Path) -> None:
    """As `recommend top` reads the names of items."""
    read_names(path)


def shown(path: Path) -> None:
    """As `show` describes factors, to a person and to a program."""
    _run("show", str(path))
    _run("show", str(path), "--json")


def reduction(path: Path) -> None:
    """As `reduce --with` takes up a reduction."""
    read = read_reduction(path)
    scores = read.project(np.zeros((2, read.columns), read.dtype))
    read.restore(scores)
    json.dumps(read.promise(), allow_nan=False)
    _ = read.shares


def checkpoint(path: Path) -> None:
    """As every command reads weights."""
    opened = open_checkpoint(path)
    quantisation(opened)
    opened.fingerprint()
    for name, tensor in opened.tensors.items():
        if tensor.dtype.is_weight:
            opened.read(name)


def moments(path: Path) -> None:
    """As `extract --calibration` reads what `calibrate` wrote."""
    Calibration.open(path).typical()


def adapter(folder: Path) -> None:
    """As `merge`, `join`, `truncate` and `verify` read an adapter."""
    read_adapter(folder)
    factor_dtype(folder)


def again(folder: Path) -> None:
    """As `extract --again` reads an adapter and its report."""
    extract_again(folder, folder.parent / "out", LayerRanks(rank=1))


def tuned(folder: Path) -> None:
    """As `extract` reads a model, its settings included."""
    extract_adapter(_pair()[0], folder, folder.parent / "out", rank=1)


def resumed(folder: Path) -> None:
    """As `extract --resume` goes on with the work of an earlier run."""
    work = folder.parent / "out.unfinished"
    folder.rename(work)
    base, model = _pair()
    extract_adapter(base, model, folder.parent / "out", rank=2, resume=True)


def recommender(folder: Path) -> None:
    """As every command of `recommend` loads a model, after its check sums were made to fit."""
    seal(folder)
    model = load_model(folder)
    first = model.data.users.to_list()[:1]
    top_items(model, first, 3)
    similar_items(model, model.data.items.to_list()[0], 3)


def seal(folder: Path) -> None:
    """Write the check sums of a model as they are now, as whoever changed its files can."""
    path = folder / SEALED
    none = (ValueError, OSError, RecursionError, LookupError, AttributeError, TypeError)
    with contextlib.suppress(*none):
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        for name in document["files"]:
            if (folder / name).is_file():
                document["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        document.pop("digest", None)
        path.write_text(json.dumps(document), encoding="utf-8")


def _run(*words: str) -> None:
    """Run a command; what a person would be told is raised."""
    before = os.environ.get("ECKART_DEBUG")
    os.environ["ECKART_DEBUG"] = "1"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = main(list(words))
    finally:
        os.environ.pop("ECKART_DEBUG")
        if before is not None:
            os.environ["ECKART_DEBUG"] = before
    if status:
        raise AssertionError(f"{' '.join(words)} ended with {status}")


@cache
def _pair() -> tuple[Path, Path]:
    """A tiny base and its fine-tune, made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="eckart-fuzz-"))
    return saved_pair(folder)
