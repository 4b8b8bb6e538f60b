"""Factoring the rows of a file on a Dask cluster, whose workers write B."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import Array
from eckart.cluster import Plan, Spent, connected
from eckart.engine import Components, components
from eckart.engine.parted import plan_of, prepared
from eckart.engine.result import Grade
from eckart.errors import ArgumentError
from eckart.files import Selection, check_factor_output, open_parts, whole_file
from eckart.files.zarr_arrays import begin_array, end_group, write_rows
from eckart.matrices import Matrix
from eckart.matrices.distributed import Distributed
from eckart.progress import Watch, each_step, unwatched
from eckart.ranks import RANK_GUESS, GrowingRule, rank_rule
from eckart.reporting import Document
from eckart.solvers import Solver

SUFFIX: Final = ".zarr"
"""The format that several processes write at the same time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFactoring:
    """The result of `factor_on_cluster`.

    Fields:
        source: Path of W.
        found: The run that found A.
        shape: Rows and columns of W.
        original_bytes: Bytes of W.
        passes: Number of passes over W, for everything.
        files: Paths of the written files.
        spent: What the cluster did, beside what was planned.
        notes: Sentences for the user on how W was read.
        command: Command line, or empty.
        seconds: Duration of the whole job.
    """

    source: str
    found: Components
    shape: tuple[int, int]
    original_bytes: int
    passes: int
    files: dict[str, str]
    spent: Spent
    notes: tuple[str, ...]
    command: str
    seconds: float

    @property
    def grade(self) -> Grade:
        """The grade of the run."""
        return self.found.outcome.grade

    def to_dict(self) -> Document:
        """The figures as those of `Factoring`, and what the cluster did."""
        proof, A = self.found.certificate.to_dict(), self.found.A
        factor_bytes = sum(self.shape) * len(A) * A.dtype.itemsize
        part = {
            "name": "",
            "original_bytes": self.original_bytes,
            "shape": list(self.shape),
            "dtype": str(A.dtype),
            "factor_bytes": factor_bytes,
            "estimated_gap": None,
            "singular_values": None,
            "passes": self.passes,
            "seconds": self.found.seconds,
            **self.found.to_dict(),
        }
        figures = ("error", "relative_error", "best_possible_error", "share_of_optimum")
        return {
            "source": self.source,
            "command": self.command,
            "grade": self.grade,
            "original_bytes": self.original_bytes,
            "factor_bytes": factor_bytes,
            **{name: proof[name] for name in figures},
            "seconds": self.seconds,
            "files": dict(self.files),
            "cluster": self.spent.to_dict(),
            "parts": [part],
        }


def factor_on_cluster(
    path: Path,
    output: Path,
    selection: Selection,
    cluster: Any,
    *,
    rank: int | str | None = None,
    tolerance: float | None = None,
    budget: str | None = None,
    ratio: float | None = None,
    solver: Solver | None = None,
    certificate: bool = True,
    time_limit: float | None = None,
    seed: int = 0,
    force: bool = False,
    command: str = "",
    watch: Watch = unwatched,
) -> ClusterFactoring:
    """Factor the rows of a file on a cluster; its workers write B to a `.zarr`, beside A.

    Args:
        path: File or folder, which all workers see by the same path.
        output: Path of the factors, a `.zarr` that all workers may write to.
        selection: How the file is read.
        cluster: As in `factorize`.
        rank: As in `factorize`; exactly one of it, `tolerance`, `budget` and `ratio` is given.
        tolerance: As in `factorize`.
        budget: As in `factorize`.
        ratio: As in `factorize`.
        solver: `BlockKrylov`, or None.
        certificate: As in `factorize`.
        time_limit: As in `factorize`.
        seed: As in `factorize`.
        force: Whether to overwrite `output`.
        command: Command line for the result, or empty.
        watch: Shows the progress: the parts of each pass.

    Raises:
        EckartError: For the reasons of `factorize`, and if the output is no `.zarr`.
    """
    began = time.perf_counter()
    check_output_of_cluster(output)
    check_factor_output(output, force=force, inputs=[path])
    table, rows = open_parts(path, selection)
    with (
        connected(cluster) as found,
        closing(Distributed(rows, found)) as W,
        whole_file(output, force=force) as place,
    ):
        rule = rank_rule(rank, tolerance, budget, ratio, W.nbytes)
        searched = isinstance(rule, GrowingRule)
        wanted = RANK_GUESS if searched else rule.choose(W.shape, W.dtype, None)
        plan = plan_of(W, wanted)
        with watch(f"Factoring {found.link}".rstrip(), None) as report:
            answer = components(
                prepared(W, wanted, seed, solver),
                rank if searched else wanted,
                tolerance=tolerance,
                certificate=certificate,
                time_limit=time_limit,
                seed=seed,
                on_step=each_step(report),
                energy="sum of squares",
            )
        with watch("Writing B", len(W.segments)) as W.report:
            A = answer.A
            begin_array(place, (W.shape[0], len(A)), A.dtype, W.piece_rows, name="B")
            W.summed(_write_product, np.ascontiguousarray(A.T), place)
        result = ClusterFactoring(
            source=str(path),
            found=answer,
            shape=W.shape,
            original_bytes=W.nbytes,
            passes=W.passes,
            files={"factors": str(output)},
            spent=plan.spent(W),
            notes=table.notes,
            command=command,
            seconds=0.0,
        )
        document = result.to_dict()
        for part in document["parts"]:  # one record for each step may outweigh the factors
            part["history"] = part["history"][-1:]
        end_group(place, {"A": A}, document)
    return replace(result, seconds=time.perf_counter() - began)


def plan_factoring(
    path: Path,
    selection: Selection,
    cluster: Any,
    *,
    rank: int | str | None = None,
    tolerance: float | None = None,
    budget: str | None = None,
    ratio: float | None = None,
) -> Plan:
    """What `factor_on_cluster` will take, from the shape of the file and the workers alone.

    Raises:
        EckartError: For the reasons of `factor_on_cluster`.
    """
    _, rows = open_parts(path, selection)
    with connected(cluster) as found, closing(Distributed(rows, found)) as W:
        rule = rank_rule(rank, tolerance, budget, ratio, W.nbytes)
        searched = isinstance(rule, GrowingRule)
        return plan_of(W, None if searched else rule.choose(W.shape, W.dtype, None))


def _write_product(W: Matrix, X: Array, place: Path) -> int:
    """Write W·X, of one piece of the rows, and return the number of rows."""
    write_rows(place, getattr(W, "first_row", 0), W.times(X), name="B")
    return W.shape[0]


def check_output_of_cluster(output: Path) -> None:
    """Refuse an output that several processes cannot write at the same time.

    Raises:
        ArgumentError: If its suffix is not `.zarr`.
    """
    if output.suffix.lower() != SUFFIX:
        raise ArgumentError(
            f"Several workers cannot write {output.name} at the same time.",
            hint="Give an output that ends in .zarr.",
            code="unknown-suffix",
        )
