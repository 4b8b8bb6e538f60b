"""Workers that die at any moment: the same answer, to the bit, and nothing left behind."""

import time
from pathlib import Path

import numpy as np
import pytest

import eckart
from cluster_processes import Killer, keys, planted, workers
from eckart.reduce.reduce import Selection, reduce_file

MOMENTS = (0.15, 0.5, 0.9)


def factored(path, client, _):
    run = eckart.factorize(path, 10, cluster=client)
    return run.factors.B.tobytes() + run.factors.A.tobytes()


def reduced(path, client, out):
    import zarr

    reduce_file(path, out, Selection(), rank=10, cluster=client, force=True)
    return zarr.open_array(str(out), mode="r")[:].tobytes()


def recommended(_, client, __):
    generator = np.random.default_rng(0)
    places = np.flatnonzero(generator.random(2000 * 300) < 0.05)
    entries = eckart.Entries.of(places // 300, places % 300, generator.random(len(places)))
    solver = eckart.AlternatingLeastSquares(epochs=3)
    run = eckart.factorize(entries, 8, solver=solver, certificate=False, cluster=client)
    return run.factors.B.tobytes() + run.factors.A.tobytes()


@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning")
@pytest.mark.parametrize("job", [factored, reduced, recommended])
def test_any_worker_may_die_at_any_moment(job, tmp_path):
    path, out = tmp_path / "W.npy", tmp_path / "S.zarr"
    np.save(path, planted(1500, 2100, dtype=np.float32))
    with workers(4) as client:
        job(path, client, out)  # libraries are loaded
        began = time.monotonic()
        expected = job(path, client, out)
        whole = time.monotonic() - began
        for share in MOMENTS:
            killer = Killer(client, share * whole)
            killer.start()
            assert job(path, client, out) == expected
            killer.join()
            assert keys(client) == 0


def test_of_no_worker_it_is_told_in_time(tmp_path, monkeypatch):
    from eckart.cluster import connection, watcher

    monkeypatch.setattr(watcher, "LOST_SECONDS", 2.0)
    monkeypatch.setattr(connection, "WORKERS_SECONDS", 1.0)
    np.save(tmp_path / "W.npy", planted(1000, 2100, dtype=np.float32))
    with workers(1) as client:
        client.cluster.scale(0)
        for _ in range(100):
            if not client.nthreads():
                break
            time.sleep(0.1)
        with pytest.raises(eckart.ClusterError) as failed:
            eckart.factorize(tmp_path / "W.npy", 10, cluster=client)
        assert failed.value.code == "no-workers"
        client.cluster.scale(1)
        client.wait_for_workers(1)

        def leave(_):
            client.cluster.scale(0)

        with pytest.raises(eckart.ClusterError) as failed:
            eckart.factorize(tmp_path / "W.npy", 10, cluster=client, on_step=leave)
        assert failed.value.code == "workers-lost"


def test_of_a_scheduler_that_is_gone_it_is_told(tmp_path, monkeypatch):
    np.save(tmp_path / "W.npy", planted(1000, 2100, dtype=np.float32))
    with workers(1) as client:

        def stop(_):
            client.cluster.close(timeout=5)

        with pytest.raises(eckart.ClusterError) as failed:
            eckart.factorize(tmp_path / "W.npy", 10, cluster=client, on_step=stop)
        assert failed.value.code in ("scheduler-lost", "no-answer", "workers-lost")


def test_a_frozen_worker_is_told_of(tmp_path, monkeypatch):
    import os
    import signal

    from eckart.cluster import watcher

    monkeypatch.setattr(watcher, "FROZEN_SECONDS", 4.0)
    np.save(tmp_path / "W.npy", planted(1000, 2100, dtype=np.float32))
    with workers(1) as client:
        (pid,) = client.run(os.getpid).values()

        def freeze(_):
            os.kill(pid, signal.SIGSTOP)

        try:
            with pytest.raises(eckart.ClusterError) as failed:
                eckart.factorize(tmp_path / "W.npy", 10, cluster=client, on_step=freeze)
            assert failed.value.code == "worker-frozen"
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("held", [True, False])
def test_work_that_the_scheduler_drops_is_sent_again(two, wide, held):
    """As when it loses what a task needs; here another client's key is cancelled by force."""
    from eckart.cluster import connected, sender
    from eckart.files import open_parts
    from eckart.matrices.distributed import Distributed

    X = np.ones((2100, 3), np.float32)
    with connected(two) as cluster:
        W = Distributed(open_parts(wide[0])[1], cluster, held=held)
        expected = W.gram_times(X)
        sent = sender.Sender.task
        dropped = []

        def dropping(self, function, *arguments, at=""):
            future = sent(self, function, *arguments, at=at)
            if function.__name__ == "_segment_sum" and len(dropped) < 2:
                dropped.append(future)
                two.cancel([future], force=True)
            return future

        sender.Sender.task = dropping
        try:
            assert (W.gram_times(X) == expected).all()
        finally:
            sender.Sender.task = sent
        W.close()
    assert dropped
    assert keys(two) == 0


def test_a_task_may_take_longer_than_anything_is_waited_for(two, monkeypatch, tall):
    """As one that reads for an hour: its worker is heard of all the while."""
    from eckart.cluster import connected, watcher
    from eckart.files import open_parts
    from eckart.matrices.distributed import Distributed

    monkeypatch.setattr(watcher, "FROZEN_SECONDS", 2.5)
    monkeypatch.setattr(watcher, "LOST_SECONDS", 2.5)
    with connected(two) as cluster:
        W = Distributed(open_parts(tall[0])[1], cluster)
        assert W.summed(slow) == 64
        W.close()


def slow(W):
    time.sleep(0.3)
    return 1


def test_after_ctrl_c_the_cluster_is_free(two, wide):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eckart.factorize(wide[0], 10, cluster=two, on_step=stop)
    assert keys(two) == 0
    assert not any(two.processing().values())


def test_what_the_data_lacks_is_tried_once(two, tmp_path):
    from eckart.cluster import connected
    from eckart.files import open_parts
    from eckart.matrices.distributed import Distributed

    np.save(tmp_path / "W.npy", planted(64, 3))
    with connected(two) as cluster:
        W = Distributed(open_parts(tmp_path / "W.npy")[1], cluster)
        with pytest.raises(eckart.MatrixError) as failed:
            W.summed(refused, str(tmp_path / "tries"))
        W.close()
    # of all parts the first is told, as one machine does
    assert failed.value.message == "Row 0."
    assert (tmp_path / "tries0").read_text() == "1"


def refused(W, path):
    with Path(f"{path}{W.first_row}").open("a") as file:
        file.write("1")
    raise eckart.MatrixError(f"Row {W.first_row}.", hint="-", code="-")


@pytest.mark.filterwarnings("ignore::eckart.ConvergenceWarning")
def test_results_of_a_worker_that_died_after_its_work_are_made_again(monkeypatch):
    """Dask waits for ever for them: their task is pinned to a worker that is gone."""
    import os
    import signal

    from eckart.cluster import sender

    asked = sender.asked
    with workers(2) as client:
        expected = recommended(None, client, None)
        left = sorted(client.run(os.getpid).values())[:1]

        def killing(ask):
            for pid in (left.pop(),) if left else ():
                os.kill(pid, signal.SIGKILL)
                time.sleep(0.5)  # the scheduler has noticed it
            return asked(ask)

        monkeypatch.setattr(sender, "asked", killing)
        assert recommended(None, client, None) == expected
        assert not left
        assert keys(client) == 0
