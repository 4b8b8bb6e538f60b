"""Scores that the workers of a cluster write, each those of its own rows."""

from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from eckart.cluster import Plan, connected
from eckart.engine.parted import plan_of
from eckart.errors import ArgumentError
from eckart.files import Selection, open_parts
from eckart.files.scores import score_writer
from eckart.files.zarr_arrays import begin_array, write_rows
from eckart.matrices import Matrix
from eckart.matrices.distributed import Distributed
from eckart.progress import Watch
from eckart.reduce.reduction import Reduction
from eckart.reduce.table import ScoreSample


def check_parted_output(output: Path, selection: Selection) -> None:
    """Refuse scores that several processes cannot write at the same time.

    Raises:
        ArgumentError: If the suffix is neither `.parquet` nor `.zarr`, or columns are to accompany
            the scores.
    """
    if output.suffix.lower() not in (".parquet", ".zarr"):
        raise ArgumentError(
            f"Several workers cannot write {output.name} at the same time.",
            hint="Give an output that ends in .parquet (a folder of files) or .zarr.",
            code="unknown-suffix",
        )
    if selection.beside:
        raise ArgumentError(
            f"On a cluster the column '{selection.beside[0]}' cannot accompany the scores.",
            hint="Leave `ids` and `colour` out; the scores are in the order of the rows.",
            code="option-does-not-apply",
        )


def plan_reduction(path: Path, selection: Selection, cluster: Any, rank: int | None) -> Plan:
    """What a reduction on a cluster will take, from the shape of the table and the workers alone.

    Raises:
        EckartError: If the table cannot be opened, or there is no such cluster.
    """
    _, rows = open_parts(path, selection)
    with connected(cluster) as found, closing(Distributed(rows, found)) as W:
        return plan_of(W, rank)


def linked(watch: Watch, link: str, what: str, total: int | None) -> Any:
    """Watch with the address of the dashboard of a cluster beside what is done."""
    return watch(f"{what} {link}".rstrip(), total)


def write_scores(W: Distributed, place: Path, reduction: Reduction) -> ScoreSample:
    """Write the scores of all rows to an array of Zarr or a folder of Parquet. One pass."""
    if place.suffix.lower() == ".zarr":
        begin_array(place, (W.shape[0], reduction.rank), reduction.dtype, W.piece_rows)
    else:
        place.mkdir()
    return W.summed(_write_part, reduction, place, W.shape[0])


def _write_part(W: Matrix, reduction: Reduction, place: Path, rows: int) -> ScoreSample:
    """Write the scores of a piece of the rows, and return a sample of them."""
    first = getattr(W, "first_row", 0)
    sample = ScoreSample(reduction.rank, rows, first)
    parts = [reduction.project(block) for block in W.row_blocks()]
    for scores in parts:
        sample.add(scores, None, None, ())
    if place.suffix.lower() == ".zarr":
        for scores in parts:
            write_rows(place, first, scores)
            first += len(scores)
        return sample
    # under a name of its own first, since a lost worker may still be writing the same part
    draft = place / f".{uuid4().hex}.parquet"
    names = list(reduction.score_names)
    with score_writer(draft, ".parquet", W.shape, names, reduction.dtype) as write:
        for scores in parts:
            write(scores, None)
    draft.replace(place / f"part-{first:015d}.parquet")
    return sample
