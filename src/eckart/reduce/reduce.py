"""The jobs of `eckart reduce`: reduce a table, project new rows, update a reduction."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from eckart.engine import Components
from eckart.engine.result import Grade
from eckart.errors import MatrixError
from eckart.files import (
    Selection,
    beside,
    check_output,
    named_path,
    whole_file,
    whole_files,
)
from eckart.files.columns import text_column
from eckart.files.records import Table
from eckart.files.scores import check_score_suffix, score_writer
from eckart.matrices import Matrix, Streamed
from eckart.progress import Watch, each_step, unwatched
from eckart.reduce.fit import fit_pca, update
from eckart.reduce.reduction import Reduction, check_model_path, read_reduction, write_reduction
from eckart.reduce.table import (
    ScoreSample,
    missing_in,
    missing_sentence,
    open_matrix,
    raw_blocks,
    with_names,
)

STRONGEST: Final = 8
"""Columns that are listed for each component."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """The result of `reduce_file`, `project_file` and `update_file`.

    Fields:
        source: Name of the input.
        reduction: The components and what they hold of the variance.
        found: The run that found the components; None if they were saved by an earlier run.
        shape: Shape of the table.
        streamed: Whether the table was read in blocks of rows, not held in memory.
        passes: Number of passes over the table, for everything.
        read_bytes: Bytes of numbers that one pass reads.
        notes: Notes for the user on how the table was read.
        files: Paths of the files that were written, by kind.
        sample: A sample of the scores.
        command: The command line that the user typed.
        seconds: Duration of the whole job.
    """

    source: str
    reduction: Reduction
    found: Components | None
    shape: tuple[int, int]
    streamed: bool
    passes: int
    read_bytes: int
    notes: tuple[str, ...]
    files: dict[str, str]
    sample: ScoreSample
    command: str
    seconds: float = 0.0

    @property
    def grade(self) -> Grade:
        """The grade of the run; success if there was none."""
        return "success" if self.found is None else self.found.outcome.grade

    def to_dict(self) -> dict[str, Any]:
        """The fields and the figures of the reduction as plain numbers and text."""
        reduction = self.reduction
        shares = reduction.shares
        document = {
            "source": self.source,
            "command": self.command,
            "grade": self.grade,
            "shape": list(self.shape),
            "rank": reduction.rank,
            "rows_behind": reduction.rows,
            "centred": reduction.centred,
            "scaled": reduction.scales is not None,
            "whitened": reduction.whitened,
            "missing": reduction.missing,
            "explained_variance": reduction.variances.tolist(),
            "explained_share": shares.tolist(),
            "cumulative_share": np.cumsum(shares).tolist(),
            "components": strongest(reduction),
            "spectrum": [],
            "certificate": reduction.promise(),
            "message": _message(reduction),
            "streamed": self.streamed,
            "passes": self.passes,
            "read_bytes": self.read_bytes,
            "notes": list(self.notes),
            "files": dict(self.files),
            "seconds": self.seconds,
        }
        if self.found is not None:
            run = self.found.to_dict()
            spectrum = self.found.spectrum / (reduction.energy or 1.0)
            document |= {key: run[key] for key in ("certificate", "message", "recipe", "history")}
            # more points than a scree plot can show
            document["spectrum"] = spectrum[:500].tolist()
        return document

    def report_document(self) -> dict[str, Any]:
        """`to_dict` with the sample of scores that the report shows."""
        return {**self.to_dict(), "picture": self.sample.to_dict()}


def reduce_file(
    path: Path,
    output: Path,
    selection: Selection,
    *,
    force: bool = False,
    command: str = "",
    watch: Watch = unwatched,
    **choice: Any,
) -> Reduced:
    """Find the components of a table, and write its scores, its loadings and the reduction.

    Args:
        path: A table or a matrix.
        output: Path of the scores: `.parquet`, `.csv`, `.tsv` or `.npy`; the loadings and the
            reduction are written beside it.
        selection: How the table is read.
        force: Whether existing files are overwritten.
        command: The command line that the user typed.
        watch: Shows the progress of the iteration.
        choice: The other arguments of `fit_pca`.

    Raises:
        EckartError: If the table cannot be read or reduced as requested, or a file cannot be
            written.

    Cost:
        Two passes over a table of up to 2048 columns, some more over a wider one. For a streamed
        table two blocks of rows are in memory, and arrays as wide as a row.
    """
    began = time.perf_counter()
    check_reduction_output(output, force=force, inputs=[path], beside=selection.ids)
    table, W = open_matrix(path, selection)
    with watch("Reducing", None) as report:
        reduction, found = fit_pca(W, names=table.names, on_step=each_step(report), **choice)
    files = {
        "scores": output,
        "loadings": tables_path(output, "loadings"),
        "model": model_path(output),
    }
    sample = ScoreSample(reduction.rank, W.shape[0])
    with whole_files(tuple(files.values()), force=force) as (scores, loadings, model):
        suffix = output.suffix.lower()
        _write_scores(scores, suffix, W, table, reduction, selection, sample)
        # after the scores were written, which is a pass too
        said = {"source": str(path), "message": found.message, "passes": table.passes + W.passes}
        # the saved reduction tells later where it came from
        reduction = replace(reduction, document=said)
        write_loadings(loadings, reduction, force=force)
        write_reduction(model, reduction, force=force)
    return _answer(path, table, W, reduction, sample, files, command, began, found)


def project_file(
    path: Path,
    model: Path,
    output: Path,
    selection: Selection,
    *,
    inverse: bool = False,
    force: bool = False,
    command: str = "",
) -> Reduced:
    """Write the scores of new rows by a saved reduction; with `inverse`, the rows of scores.

    Raises:
        EckartError: If a file cannot be read or written, or the columns do not fit.

    Cost:
        One pass.
    """
    began = time.perf_counter()
    check_score_suffix(output, selection.ids)
    check_output(output, force=force, inputs=[path, model])
    reduction = read_reduction(model)
    names = reduction.score_names if inverse else reduction.names
    table, W = open_matrix(path, with_names(selection, names))
    sample = ScoreSample(reduction.rank, W.shape[0])
    with whole_file(output, force=force) as temporary:
        suffix = output.suffix.lower()
        missing = _write_scores(
            temporary, suffix, W, table, reduction, selection, sample, inverse=inverse, counted=True
        )
    files = {"rows" if inverse else "scores": output}
    return _answer(path, _noted(table, missing, W), W, reduction, sample, files, command, began)


def update_file(
    path: Path, saved: Path, output: Path, selection: Selection, *, force: bool = False,
    command: str = "",
) -> Reduced:  # fmt: skip
    """Update a saved reduction with the rows of a table, without the rows it was made from.

    Args:
        path: Path of the new rows.
        saved: Path of the reduction.
        output: Path of the reduction of all rows; `saved` itself with `force`.
        selection: How the table is read.
        force: Whether existing files are overwritten.
        command: The command line that the user typed.

    Raises:
        EckartError: If a file cannot be read or written, or the columns do not fit.

    Cost:
        One pass over the new rows.
    """
    began = time.perf_counter()
    check_model_path(output)
    check_output(output, force=force, inputs=[path], updates=saved)
    with whole_file(output, force=force) as temporary:
        reduction = read_reduction(saved)
        table, W = open_matrix(path, with_names(selection, reduction.names))
        if W.shape[1] != reduction.columns:
            # raises the error about the number of columns, which an empty table would not reach
            reduction.project(np.zeros((1, W.shape[1])))
        missing = 0
        for block in raw_blocks(W):
            missing += missing_in(block)
            reduction = update(reduction, block)
        write_reduction(temporary, reduction, force=force)
    # an update writes no scores, so the sample stays empty
    sample, files = ScoreSample(reduction.rank, W.shape[0]), {"model": output}
    return _answer(path, _noted(table, missing, W), W, reduction, sample, files, command, began)


def _noted(table: Table, missing: int, W: Matrix) -> Table:
    """Add a note of the number of missing entries to a table."""
    if not missing:
        return table
    note = missing_sentence(missing, W.shape[0] * W.shape[1])
    return replace(table, notes=(*table.notes, note))


def _answer(
    path: Path,
    table: Table,
    W: Matrix,
    reduction: Reduction,
    sample: ScoreSample,
    files: dict[str, Path],
    command: str,
    began: float,
    found: Components | None = None,
) -> Reduced:
    """The result of a job when it ends."""
    return Reduced(
        source=str(path),
        reduction=reduction,
        found=found,
        shape=W.shape,
        streamed=isinstance(W, Streamed),
        passes=table.passes + W.passes,
        read_bytes=W.nbytes,
        notes=table.notes,
        files={kind: str(file) for kind, file in files.items()},
        sample=sample,
        command=command,
        seconds=time.perf_counter() - began,
    )


def check_reduction_output(
    output: Path, *, force: bool, inputs: Sequence[Path], beside: Sequence[str] = ()
) -> None:
    """Refuse an output that cannot be written, before any work."""
    check_score_suffix(output, beside)
    others: list[Path] = []
    for path in (output, tables_path(output, "loadings"), model_path(output)):
        check_output(path, force=force, inputs=[*inputs, *others])
        # the outputs must differ from one another too
        others.append(path)


def strongest(reduction: Reduction) -> list[dict[str, Any]]:
    """The columns with the largest loadings in size, for each component."""
    names = reduction.labels
    found: list[dict[str, Any]] = []
    for row in reduction.A[: reduction.rank]:
        places = np.argsort(-np.abs(row))[:STRONGEST]
        found.append(
            {"columns": [names[p] for p in places], "loadings": [float(row[p]) for p in places]}
        )
    return found


def _write_scores(
    temporary: Path,
    suffix: str,
    W: Matrix,
    table: Table,
    reduction: Reduction,
    selection: Selection,
    sample: ScoreSample,
    *,
    inverse: bool = False,
    counted: bool = False,
) -> int:
    """The last pass: project or restore every block of rows, and write it.

    Returns:
        The number of missing entries, if they are counted; else 0.
    """
    missing = 0
    names = reduction.labels if inverse else list(reduction.score_names)
    companions = table.companions()
    shape = W.shape[0], len(names)
    with score_writer(temporary, suffix, shape, names, reduction.dtype) as write:
        for block in raw_blocks(W):
            if counted:
                missing += missing_in(block)
            if inverse:
                # NaN in one score would spread over the whole restored row
                if missing:
                    raise MatrixError(
                        f"{missing} of the scores are missing.",
                        hint="Rows can be restored from whole scores only.",
                        code="not-finite",
                    )
                scores = reduction.restore(block)
            else:
                # blocks of a stream are copies, those of a matrix in memory are not
                scores = reduction.project(block, may_change=isinstance(W, Streamed))
            along = companions.take(len(scores))
            if not inverse:
                sample.add(scores, along, selection.colour, selection.ids)
            write(scores, None if along is None else along.select(list(selection.ids)))
    return missing


def _message(reduction: Reduction) -> str:
    kept = float(reduction.shares.sum())
    return (
        f"{reduction.rank} components hold at least {kept:.4%} of the variance of the "
        f"{reduction.rows} rows they were made of."
    )


def model_path(output: Path) -> Path:
    """The path of the saved reduction, beside its scores.

    Example:
        >>> model_path(Path("scores.parquet")).name
        'scores.model.npz'
    """
    return beside(output, f"{named_path(output).stem}.model.npz")


def tables_path(output: Path, kind: str) -> Path:
    """The path of a table that belongs to the scores; a .csv file if the scores are an array.

    Example:
        >>> tables_path(Path("scores.npy"), "loadings").name
        'scores.loadings.csv'
    """
    suffix = ".csv" if output.suffix.lower() == ".npy" else output.suffix
    return beside(output, f"{named_path(output).stem}.{kind}{suffix}")


def write_loadings(path: Path, reduction: Reduction, *, force: bool) -> None:
    """Write the loadings: a row for each column of the table, with a value for every component."""
    columns, names = reduction.A[: reduction.rank].T, list(reduction.score_names)
    beside = pa.table({"column": text_column(reduction.labels)})
    with (
        whole_file(path, force=force) as temporary,
        score_writer(temporary, path.suffix.lower(), columns.shape, names, columns.dtype) as write,
    ):
        write(columns, beside)
