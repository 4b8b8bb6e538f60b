"""`factorize` of a matrix whose rows lie on a cluster, without anything as tall as it here."""

import time
from collections.abc import Callable

from eckart.arrays import Randomness, as_randomness
from eckart.cluster import Plan
from eckart.engine.components import components
from eckart.engine.result import Factorization
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.matrices.distributed import Distributed
from eckart.matrices.standardised import Standardised, measured
from eckart.ranks import RANK_GUESS, GrowingRule, rank_rule
from eckart.solvers import BlockKrylov, GramSVD, Solver, Step


def prepared(
    W: Distributed, rank: int, seed: int | Randomness, solver: Solver | None
) -> Standardised:
    """W as it is, with its norm, and WᵀW or a sketch of its rows, from one pass.

    Raises:
        MatrixError: If W is no matrix of finite numbers.
    """
    found = measured(
        W,
        centre=False,
        scale=False,
        width=BlockKrylov().width(W, rank),
        seed=as_randomness(seed),
        whole=not isinstance(solver, BlockKrylov),
    )
    found.check()
    return found


def plan_of(W: Distributed, rank: int | None, *, width: int | None = None) -> Plan:
    """What factoring W at a rank will take; a rank that is searched for counts as the first guess.

    Args:
        W: The rows.
        rank: Columns of B.
        width: Columns of a block; None takes those of the solver.
    """
    wanted = rank or RANK_GUESS
    return Plan.of(W, BlockKrylov().width(W, wanted) if width is None else width, wanted)


def factorize_parted(
    W: Distributed,
    rank: int | str | None,
    *,
    tolerance: float | None,
    budget: int | str | None,
    ratio: float | None,
    solver: Solver | None,
    certificate: bool,
    time_limit: float | None,
    seed: int | Randomness,
    on_step: Callable[[Step], None] | None,
) -> Factorization:
    """Do the work of `factorize` for rows on a cluster; B comes here at the end, if it is small.

    Raises:
        ArgumentError: If the solver needs W or a factor as tall as W.
        MatrixError: As `factorize`, and if B would take more than 128 MB.
        ClusterError: If the cluster cannot do the work.

    Cost:
        One pass for the norm and a sketch, some for the directions, and one for B; arrays as wide
        as W are here, of about 5·rank + 8·block numbers for each column.
    """
    began, read_before = time.perf_counter(), W.passes
    if solver is not None and not isinstance(solver, BlockKrylov | GramSVD):
        raise ArgumentError(
            f"The solver {solver.settings()['name']} needs all of W in one memory, and W lies on a "
            "cluster.",
            hint="Leave the solver out, or choose krylov.",
            code="on-a-cluster",
        )
    rule = rank_rule(rank, tolerance, budget, ratio, W.nbytes)
    searched = isinstance(rule, GrowingRule)
    wanted = RANK_GUESS if searched else rule.choose(W.shape, W.dtype, None)
    W.check_gathered(wanted)
    working = prepared(W, wanted, seed, solver)
    found = components(
        working,
        rank if searched else wanted,
        tolerance=tolerance,
        # without W·V a space takes its own way; else `components` chooses
        solver=solver if isinstance(solver, GramSVD) else None,
        certificate=certificate,
        time_limit=time_limit,
        seed=seed,
        on_step=on_step,
        energy="sum of squares",
    )
    A = found.A
    return Factorization(
        factors=Factors(W.times(A.T), A),
        outcome=found.outcome,
        message=found.message,
        history=found.history,
        certificate=found.certificate,
        recipe=found.recipe,
        singular_values=None,
        passes=W.passes - read_before,
        seconds=time.perf_counter() - began,
    )
