"""What travels and how many tasks there are: as planned, whatever the rows and the chunks."""

import numpy as np
import pytest

from cluster_processes import planted, workers
from eckart.cluster import Plan, connected
from eckart.engine import components
from eckart.engine.parted import prepared
from eckart.files import open_parts
from eckart.matrices import Matrix
from eckart.matrices.dask_rows import DaskRows
from eckart.matrices.distributed import Distributed
from eckart.solvers import BlockKrylov

RANK = 10


def nothing(W: Matrix, X) -> int:
    """A pass in which X goes to all workers, as when they write B."""
    return 0


def spent(client, rows, held=None):
    """What a factorisation took, and its plan for as many passes."""
    with connected(client) as cluster:
        W = Distributed(rows, cluster, held=held)
        width = BlockKrylov().width(W, RANK)
        found = components(prepared(W, RANK, 0, None), RANK)
        W.summed(nothing, np.ascontiguousarray(found.A.T))
        plan = Plan.of(W, width, RANK, passes=W.passes)
        done = plan.spent(W)
        W.close()
    return plan, done


@pytest.mark.parametrize("columns", [200, 2300])
def test_bytes_are_those_of_the_plan_for_any_number_of_rows(two, tmp_path, columns):
    moved = set()
    for rows, held in ((300, True), (600, False), (1200, True), (2400, False)):
        np.save(tmp_path / "W.npy", planted(rows, columns, dtype=np.float32))
        plan, done = spent(two, open_parts(tmp_path / "W.npy")[1], held)
        assert 0.8 <= done.moved_bytes / plan.moved_bytes <= 1.25
        assert abs(done.tasks / plan.tasks - 1) <= 0.25
        width = columns if columns <= 2048 else 2 * RANK + 8 + 32
        # 4 bytes of X and 8 of a sum, for each worker, column and pass
        assert done.moved_bytes <= 1.01 * 12 * 2 * columns * width * done.passes
        moved.add((done.passes, done.moved_bytes))
    for passes in {one for one, _ in moved}:
        found = [nbytes for one, nbytes in moved if one == passes]
        # edges of a sketch fall into other pieces
        assert max(found) <= 1.01 * min(found)


def test_four_workers_move_as_much_as_planned(tmp_path):
    np.save(tmp_path / "W.npy", planted(600, 2300, dtype=np.float32))
    with workers(4) as client:
        plan, done = spent(client, open_parts(tmp_path / "W.npy")[1])
    assert 0.8 <= done.moved_bytes / plan.moved_bytes <= 1.25


@pytest.mark.parametrize("chunks", [10, 300])
def test_tasks_do_not_depend_on_the_chunks(two, chunks):
    import dask.array as da

    W = planted(3000, 30)
    array = da.from_array(W, chunks=(len(W) // chunks, 30))
    for held in (True, False):
        _, done = spent(two, DaskRows.of(array), held)
        # two threads; reading into memory is once for each segment
        assert done.tasks <= 8 * 2 * done.passes + 4


@pytest.mark.parametrize(("rows", "columns", "held"), [(30_000, 1000, True), (12_000, 2300, False)])
def test_the_memory_of_a_worker_is_that_of_the_plan(tmp_path, rows, columns, held):
    W = np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "first.npy", W[:100])
    with workers(2) as client:
        # libraries are loaded by the first tasks
        spent(client, open_parts(tmp_path / "first.npy")[1], held)
        plan, done = spent(client, open_parts(tmp_path / "W.npy")[1], held)
    assert abs(done.worker_bytes - plan.worker_bytes) <= 0.25 * plan.worker_bytes + 8e6
