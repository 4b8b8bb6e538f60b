"""Factoring one matrix with several solvers at one rank, to compare them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from eckart.engine import Diverged, Factorization
from eckart.engine.result import Grade
from eckart.factor.factor import run_factorize, start_of, worst
from eckart.files import Part
from eckart.matrices import Matrix
from eckart.matrices.derived import check_entries
from eckart.progress import Watch, unwatched
from eckart.reporting import Document
from eckart.solvers import IterativeSolver, Solver


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run of one solver, up to its end if the loss diverged, and how it ended."""

    name: str
    factorization: Factorization
    message: str

    def gap(self, best: float | None) -> float | None:
        """The gap of its error to the best possible error; None if nothing bounds it."""
        certificate = self.factorization.certificate
        # an exact run stays at gap 0, although its error is a little above the bound by rounding
        if certificate.gap == 0:
            return 0.0
        return max(0.0, certificate.error / best - 1) if best else None

    def to_dict(self, best: float | None) -> Document:
        """The run as plain numbers and text, with its gap to the best possible error."""
        document = self.factorization.to_dict()
        history = document["history"]
        return {
            **document,
            "name": self.name,
            "message": self.message,
            "gap": self.gap(best),
            "solving_seconds": history[-1]["seconds"] if history else 0.0,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of `compare_solvers`.

    Fields:
        source, rank, command: Arguments of `compare_solvers`.
        part: Name of the part of the input, or empty if it has one part.
        matrix: Matrix W that was factored.
        runs: Runs of the solvers, in the given order.
        not_run: Names of solvers that did not run because of an interruption.
        seconds: Duration of all runs and certificates, without reading.
    """

    source: str
    part: str
    matrix: Matrix
    rank: int
    runs: tuple[Run, ...]
    not_run: tuple[str, ...]
    command: str
    seconds: float

    @property
    def grade(self) -> Grade:
        """The worst grade of its runs."""
        if self.not_run:
            return "interrupted"
        return worst(run.factorization.outcome.grade for run in self.runs)

    @property
    def best_possible_error(self) -> float | None:
        """The highest lower bound that any run proved; each holds for W at this rank."""
        bounds = [run.factorization.certificate.best_possible_error for run in self.runs]
        return max((bound for bound in bounds if bound is not None), default=None)

    def to_dict(self) -> Document:
        """Figures of W and of each run, as plain numbers and text."""
        best = self.best_possible_error
        runs = [run.to_dict(best) for run in self.runs]
        # the singular values are those of W, so the document holds them once for all runs
        values = [run.pop("singular_values") for run in runs]
        chances = [run.factorization.certificate.failure_probability for run in self.runs]
        return {
            "source": self.source,
            "part": self.part,
            "command": self.command,
            "grade": self.grade,
            "shape": list(self.matrix.shape),
            "original_bytes": self.matrix.nbytes,
            "rank": self.rank,
            "best_possible_error": best,
            # the bound is the best of all runs, so it fails if any of them fails: a union bound
            "failure_probability": sum(chances),
            "singular_values": next(filter(None, values), None),
            "seconds": self.seconds,
            "files": {},
            "not_run": list(self.not_run),
            "runs": runs,
        }

    def report_document(self) -> Document:
        """The document that a report draws, which is `to_dict`."""
        return self.to_dict()


def compare_solvers(
    part: Part,
    source: str,
    rank: int,
    solvers: Mapping[str, Solver],
    *,
    start: object = None,
    command: str = "",
    watch: Watch = unwatched,
    **settings: Any,
) -> Comparison:
    """Factor one matrix with each solver in turn, all with the same rank, seed and start.

    Args:
        part: Matrix to factor, from `read_parts`.
        source: Name of the input.
        rank: Columns of every B.
        solvers: Solvers by name, in the order in which they run.
        start: Start as in `factor_parts`, for the solvers that begin at given factors.
        command: Command line for the report, or empty.
        watch: Shows the progress of each run.
        settings: Other arguments of `factorize` for every run, such as `seed`.

    Returns:
        The result. It holds a diverged run up to its end, and after Ctrl-C the runs up to then.

    Raises:
        EckartError: For the reasons of `factorize`, except `Diverged`.
    """
    check_entries(part.matrix)  # reads W once, else the first run alone would pay for fetching it
    began = time.perf_counter()
    first = start_of(part, start)
    runs: list[Run] = []
    for name, solver in solvers.items():
        # other solvers take no start and would refuse it
        own = settings | {"rank": rank, "solver": solver}
        own["start"] = first if isinstance(solver, IterativeSolver) else None
        try:
            done = run_factorize(part, f"Factoring by {name}", watch, **own)
            runs.append(Run(name=name, factorization=done, message=done.message))
        # a diverged run is a result of the comparison, not its end
        except Diverged as error:
            runs.append(Run(name=name, factorization=error.partial, message=str(error)))
        except KeyboardInterrupt:
            # nothing to show yet: the interruption is all there is to tell
            if not runs:
                raise
            break
        if runs[-1].factorization.outcome.grade == "interrupted":
            break
    return Comparison(
        source=source,
        part=part.name,
        matrix=part.matrix,
        rank=rank,
        runs=tuple(runs),
        not_run=tuple(solvers)[len(runs) :],
        command=command,
        seconds=time.perf_counter() - began,
    )
