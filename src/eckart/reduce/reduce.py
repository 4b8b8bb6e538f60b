"""The jobs of `eckart reduce`: reduce a table, project new rows, update a reduction."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from eckart.cluster import Cluster, connected
from eckart.engine import Components
from eckart.engine.result import Grade
from eckart.errors import MatrixError
from eckart.files import (
    Selection,
    beside,
    check_output,
    named_path,
    open_parts,
    whole_file,
    whole_files,
)
from eckart.files.archives import write_arrays
from eckart.files.columns import text_column
from eckart.files.scores import check_score_suffix, score_writer
from eckart.matrices import Matrix, Streamed, is_streamed
from eckart.matrices.distributed import Distributed
from eckart.progress import Watch, each_step, unwatched
from eckart.reduce import Document
from eckart.reduce.fit import fit_pca, update
from eckart.reduce.parted_scores import check_parted_output, linked, write_scores
from eckart.reduce.reduction import Reduction, check_model_path, read_reduction
from eckart.reduce.table import (
    ScoreSample,
    missing_in,
    missing_sentence,
    open_matrix,
    raw_blocks,
    with_names,
)

LISTED_COLUMNS: Final = 8
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

    def to_dict(self) -> Document:
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
            "message": (
                f"{reduction.rank} components hold at least {float(shares.sum()):.4%} of the "
                f"variance of the {reduction.rows} rows they were made of."
            ),
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

    def report_document(self) -> Document:
        """`to_dict` with the sample of scores that the report shows."""
        return {**self.to_dict(), "picture": self.sample.to_dict()}


@final
class _Job:
    """One run: the table that it reads, and the parts of its result."""

    def __init__(self, path: Path, selection: Selection, command: str) -> None:
        self.began = time.perf_counter()
        self.path, self.selection, self.command = path, selection, command
        self.missing = 0

    def open(self, selection: Selection) -> Matrix:
        """Open the table."""
        self.table, self.W = open_matrix(self.path, selection)
        return self.W

    def open_parts(self, cluster: Cluster) -> Distributed:
        """Open the table on a cluster."""
        self.table, rows = open_parts(self.path, self.selection)
        self.W = found = Distributed(rows, cluster)
        return found

    def blocks(self, *, counted: bool) -> Iterator[Any]:
        """Yield the rows in blocks; missing entries are counted if they are not known yet."""
        for block in raw_blocks(self.W):
            self.missing += missing_in(block) if counted else 0
            yield block

    def write_scores(
        self, path: Path, suffix: str, reduction: Reduction, *, inverse: bool, counted: bool
    ) -> ScoreSample:
        """The last pass: project or restore every block of rows, and write it."""
        if isinstance(self.W, Distributed):
            return write_scores(self.W, path, reduction)
        sample = ScoreSample(reduction.rank, self.W.shape[0])
        names = reduction.labels if inverse else list(reduction.score_names)
        companions, ids = self.table.companions(), self.selection.ids
        shape = self.W.shape[0], len(names)
        with score_writer(path, suffix, shape, names, reduction.dtype) as write:
            for block in self.blocks(counted=counted):
                # NaN in one score would spread over the whole restored row
                if inverse and self.missing:
                    raise MatrixError(
                        f"{self.missing} of the scores are missing.",
                        hint="Rows can be restored from whole scores only.",
                        code="not-finite",
                    )
                # blocks of a stream are copies, those of a matrix in memory are not
                may_change = isinstance(self.W, Streamed)
                made = (
                    reduction.restore(block)
                    if inverse
                    else reduction.project(block, may_change=may_change)
                )
                along = companions.take(len(made))
                if not inverse:
                    sample.add(made, along, self.selection.colour, ids)
                write(made, None if along is None else along.select(list(ids)))
        return sample

    def result(
        self,
        reduction: Reduction,
        files: dict[str, Path],
        sample: ScoreSample,
        found: Components | None = None,
    ) -> Reduced:
        """The result of the run when it ends."""
        W, notes = self.W, self.table.notes
        if self.missing:
            notes = (*notes, missing_sentence(self.missing, W.shape[0] * W.shape[1]))
        return Reduced(
            source=str(self.path),
            reduction=reduction,
            found=found,
            shape=W.shape,
            streamed=is_streamed(W),
            passes=self.table.passes + W.passes,
            read_bytes=W.nbytes,
            notes=notes,
            files={kind: str(file) for kind, file in files.items()},
            sample=sample,
            command=self.command,
            seconds=time.perf_counter() - self.began,
        )


def reduce_file(
    path: Path,
    output: Path,
    selection: Selection,
    *,
    force: bool = False,
    command: str = "",
    watch: Watch = unwatched,
    cluster: Any = None,
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
        cluster: Dask cluster whose workers read the rows and write the scores, as in `factorize`;
            None does the work here.
        choice: The other arguments of `fit_pca`.

    Raises:
        EckartError: If the table cannot be read or reduced as requested, or a file cannot be
            written.

    Cost:
        Two passes over a table of up to 2048 columns, some more over a wider one. For a streamed
        table two blocks of rows are in memory, and arrays as wide as a row.
    """
    job, suffix = _Job(path, selection, command), output.suffix.lower()
    if cluster is None:
        check_score_suffix(output, selection.ids)
    else:
        check_parted_output(output, selection)
    files = {
        "scores": output,
        "loadings": loadings_path(output),
        "model": model_path(output),
    }
    outputs = tuple(files.values())
    for place, file in enumerate(outputs):
        # the outputs must differ from one another too
        is_folder = cluster is not None and place == 0
        check_output(file, force=force, inputs=[path, *outputs[:place]], is_folder=is_folder)
    if cluster is None:
        job.open(selection)
        return _reduced(job, outputs, files, suffix, force=force, watch=watch, **choice)
    with connected(cluster) as there, closing(job.open_parts(there)):
        watching = partial(linked, watch, there.link)
        return _reduced(job, outputs, files, suffix, force=force, watch=watching, **choice)


def _reduced(
    job: "_Job",
    outputs: tuple[Path, ...],
    files: dict[str, Path],
    suffix: str,
    *,
    force: bool,
    watch: Watch,
    **choice: Any,
) -> Reduced:
    """Do the work of `reduce_file` once the paths were checked."""
    W, path = job.W, job.path
    with watch("Reducing", None) as report:
        reduction, found = fit_pca(W, names=job.table.names, on_step=each_step(report), **choice)
    with whole_files(outputs, force=force) as (scores, loadings, model):
        sample = job.write_scores(scores, suffix, reduction, inverse=False, counted=False)
        # after the scores were written, which is a pass too
        passes = job.table.passes + W.passes
        # the saved reduction tells later where it came from
        said = {"source": str(path), "message": found.message, "passes": passes}
        reduction = replace(reduction, document=said)
        columns, names = reduction.A[: reduction.rank].T, list(reduction.score_names)
        kind = loadings.suffix.lower()
        # a row for each column of the table, with a value for every component
        with score_writer(loadings, kind, columns.shape, names, columns.dtype) as write:
            write(columns, pa.table({"column": text_column(reduction.labels)}))
        write_arrays(model, reduction.arrays(), reduction.facts())
    return job.result(reduction, files, sample, found)


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
    job, suffix = _Job(path, selection, command), output.suffix.lower()
    check_score_suffix(output, selection.ids)
    check_output(output, force=force, inputs=[path, model])
    reduction = read_reduction(model)
    job.open(with_names(selection, reduction.score_names if inverse else reduction.names))
    with whole_file(output, force=force) as temporary:
        sample = job.write_scores(temporary, suffix, reduction, inverse=inverse, counted=True)
    return job.result(reduction, {"rows" if inverse else "scores": output}, sample)


def update_file(
    path: Path,
    saved: Path,
    output: Path,
    selection: Selection,
    *,
    force: bool = False,
    command: str = "",
) -> Reduced:
    """Update a saved reduction with the rows of a table, without the rows it was made from.

    The output may be the saved reduction itself, with `force`.

    Raises:
        EckartError: If a file cannot be read or written, or the columns do not fit.

    Cost:
        One pass over the new rows.
    """
    job = _Job(path, selection, command)
    check_model_path(output)
    check_output(output, force=force, inputs=[path], updates=saved)
    with whole_file(output, force=force) as temporary:
        reduction = read_reduction(saved)
        W = job.open(with_names(selection, reduction.names))
        if W.shape[1] != reduction.columns:
            # raises the error about the number of columns, which an empty table would not reach
            reduction.project(np.zeros((1, W.shape[1])))
        for block in job.blocks(counted=True):
            reduction = update(reduction, block)
        write_arrays(temporary, reduction.arrays(), reduction.facts())
    # an update writes no scores, so the sample stays empty
    return job.result(reduction, {"model": output}, ScoreSample(reduction.rank, W.shape[0]))


def strongest(reduction: Reduction) -> list[Document]:
    """The columns with the largest loadings in size, for each component."""
    names = reduction.labels
    found: list[Document] = []
    for row in reduction.A[: reduction.rank]:
        places = np.argsort(-np.abs(row))[:LISTED_COLUMNS]
        found.append(
            {"columns": [names[p] for p in places], "loadings": [float(row[p]) for p in places]}
        )
    return found


def model_path(output: Path) -> Path:
    """The path of the saved reduction, beside its scores.

    Example:
        >>> model_path(Path("scores.parquet")).name
        'scores.model.npz'
    """
    return beside(output, f"{named_path(output).stem}.model.npz")


def loadings_path(output: Path) -> Path:
    """The path of the loadings, beside the scores; a .csv file if the scores are an array.

    Example:
        >>> loadings_path(Path("scores.npy")).name
        'scores.loadings.csv'
    """
    suffix = ".csv" if output.suffix.lower() in (".npy", ".zarr") else output.suffix
    return beside(output, f"{named_path(output).stem}.loadings{suffix}")
