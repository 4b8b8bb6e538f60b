"""Factor one matrix with several solvers at one rank, and show them beside one another."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from eckart.engine import Diverged, Factorization
from eckart.engine.result import Grade
from eckart.factor.factor import named, reached, start_of, worst
from eckart.files import Part
from eckart.matrices import Matrix
from eckart.matrices.derived import check_entries
from eckart.solvers import IterativeSolver, Solver, Step

Watch: TypeAlias = Callable[
    [Solver], AbstractContextManager[Callable[[str, Step], None] | None]
]  # around each run; gives what is called with the solver's name and every step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run of one solver.

    Fields:
        name: Of the solver.
        factorization: Its answer; where the loss diverged, the run up to there.
        message: How it ended, for a person.
    """

    name: str
    factorization: Factorization
    message: str

    def gap(self, best: float | None) -> float | None:
        """How far its error may be above the best possible; None where nothing bounds it."""
        certificate = self.factorization.certificate
        if certificate.gap == 0:
            return 0.0
        return max(0.0, certificate.error / best - 1) if best else None

    def to_dict(self, best: float | None) -> dict[str, Any]:
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
        source: Name of the input.
        part: Of the input, where it has several; else empty.
        matrix: What was factored.
        rank: Columns of every B.
        runs: One for each solver, in the order asked for.
        not_run: Solvers that an interruption left out.
        command: The command that makes it again, or empty.
        seconds: All runs with their proofs, without reading.
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
        """The highest bound that any run has proven: all of them hold for W and this rank."""
        bounds = [run.factorization.certificate.best_possible_error for run in self.runs]
        return max((bound for bound in bounds if bound is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Figures of W and of each run, as plain numbers and text."""
        best = self.best_possible_error
        runs = [run.to_dict(best) for run in self.runs]
        values = [run.pop("singular_values") for run in runs]  # those of W: once for all runs
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
            "failure_probability": sum(chances),
            "singular_values": next(filter(None, values), None),
            "seconds": self.seconds,
            "files": {},
            "not_run": list(self.not_run),
            "runs": runs,
        }

    def report_document(self) -> dict[str, Any]:
        """What a report draws: all of `to_dict`."""
        return self.to_dict()


def _unwatched(_: Solver) -> AbstractContextManager[None]:
    return nullcontext()


def compare_solvers(
    part: Part,
    source: str,
    rank: int,
    solvers: Mapping[str, Solver],
    *,
    start: object = None,
    accuracy: float | None = None,
    certificate: bool = True,
    time_limit: float | None = None,
    seed: int = 0,
    command: str = "",
    watch: Watch = _unwatched,
) -> Comparison:
    """Factor one matrix with each solver in turn, all with the same rank, seed and start.

    Args:
        part: The matrix, as `read_parts` gives it.
        source: Name of the input.
        rank: Columns of every B.
        solvers: By name, in the order to run them.
        start: As for `factor_parts`, for those that begin at given factors.
        accuracy: As for `factorize`.
        certificate: As for `factorize`.
        time_limit: Seconds for each solver.
        seed: As for `factorize`.
        command: What a person typed, for the report.
        watch: Entered around each run; gives what is called with its name and every step.

    Returns:
        The result. A run that diverged is in it with what it had; at Ctrl-C the runs up to there.

    Raises:
        EckartError: As `factorize`, but for `Diverged`.
    """
    check_entries(part.matrix)  # reads W once, so that the first run is not the one to fetch it
    began = time.perf_counter()
    first = start_of(part, start)
    shared: dict[str, Any] = {
        "accuracy": accuracy,
        "certificate": certificate,
        "time_limit": time_limit,
        "seed": seed,
    }
    runs: list[Run] = []
    for name, solver in solvers.items():
        begun = first if isinstance(solver, IterativeSolver) else None
        try:
            with watch(solver) as on_step:
                told = None if on_step is None else named(on_step, name)
                arguments = {**shared, "solver": solver, "start": begun, "on_step": told}
                runs.append(_run(name, part.matrix, rank=rank, **arguments))
        except KeyboardInterrupt:
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


def _run(name: str, W: Matrix, **arguments: Any) -> Run:
    try:
        done = reached(W, **arguments)
    except Diverged as error:
        return Run(name=name, factorization=error.partial, message=str(error))
    return Run(name=name, factorization=done, message=done.message)
