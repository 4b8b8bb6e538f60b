"""What a cluster cannot do is said in one sentence, before or at once."""

from pathlib import Path

import numpy as np
import pytest

import eckart
from cluster_processes import keys, planted
from commandline import error

UNREACHED = "tcp://127.0.0.1:9"


@pytest.fixture
def saved(tmp_path):
    np.save(tmp_path / "W.npy", planted(300, 20))
    return tmp_path / "W.npy"


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (f"factor W.npy --rank 2 -o F.zarr --cluster {UNREACHED}", 1, "no-scheduler"),
        ("factor W.npy --rank 2 -o F.zarr --cluster somewhere", 2, "bad-cluster"),
        ("factor W.npy --rank 2 -o F.npz --cluster local", 2, "unknown-suffix"),
        ("factor W.npy --rank 2 -o F.zarr --cluster local --solver gd", 2, "option-does-not-apply"),
        ("factor W.npy --rank 2 -o F.zarr --cluster local --epochs 3", 2, "option-does-not-apply"),
        ("factor W.npy -o F.zarr --cluster local", 2, "rank-not-chosen"),
        ("factor article.csv --rank 2 -o F.zarr --cluster local", 2, "unknown-suffix"),
        ("factor None.npy --rank 2 -o F.zarr --cluster local", 2, "no-such-file"),
        (f"reduce W.npy --rank 2 -o S.zarr --cluster {UNREACHED}", 1, "no-scheduler"),
        ("reduce W.npy --rank 2 -o S.csv --cluster local", 2, "unknown-suffix"),
        ("reduce W.npy --rank 2 -o S.zarr --id a --cluster local", 2, "option-does-not-apply"),
        ("reduce W.npy --update M.npz --cluster local", 2, "option-does-not-apply"),
    ],
)
def test_a_command_line_for_a_cluster(run, monkeypatch, line, status, code):
    from eckart.cluster import connection

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1.0)
    np.save("W.npy", planted(300, 20))
    Path("M.npz").write_bytes(b"")
    assert error(run, line, status)["code"] == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"solver": eckart.ExactSVD()}, "on-a-cluster"),
        ({"solver": eckart.GradientDescent()}, "on-a-cluster"),
        ({"objective": eckart.Weighted(moments=np.eye(20))}, "on-a-cluster"),
        ({"accuracy": 0.1}, "on-a-cluster"),
        ({"start": (np.ones((300, 2)), np.ones((2, 20)))}, "on-a-cluster"),
    ],
)
def test_what_needs_one_memory(two, saved, arguments, code):
    with pytest.raises(eckart.EckartError) as failed:
        eckart.factorize(saved, 2, cluster=two, **arguments)
    assert failed.value.code == code


def test_an_array_in_memory_is_no_input_of_a_cluster(two):
    with pytest.raises(eckart.ArgumentError) as failed:
        eckart.factorize(np.ones((3, 3)), 1, cluster=two)
    assert failed.value.code == "not-on-cluster"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_entry_that_is_no_number_is_named(two, saved, value):
    W = np.load(saved)
    W[211, 3] = value
    np.save(saved, W)
    with pytest.raises(eckart.MatrixError) as failed:
        eckart.factorize(saved, 2, cluster=two)
    assert failed.value.code == "not-finite"
    assert "row 211, column 3" in failed.value.message
    assert keys(two) == 0


def test_a_file_that_changes_between_two_passes_is_refused(two, tmp_path):
    W = planted(600, 2300, dtype=np.float32)
    np.save(tmp_path / "W.npy", W)

    def change(_):
        np.save(tmp_path / "W.npy", 2 * W)

    from eckart.cluster import connected
    from eckart.engine import components
    from eckart.files import Selection, open_parts
    from eckart.matrices.distributed import Distributed
    from eckart.matrices.standardised import measured

    _, rows = open_parts(tmp_path / "W.npy", Selection())
    with connected(two) as cluster:
        there = Distributed(rows, cluster, held=False)
        working = measured(there, centre=False, scale=False, width=20, seed=0)
        with pytest.raises(eckart.FormatError) as failed:
            components(working, 5, on_step=change)
    assert failed.value.code == "file-differs"


def test_a_client_without_workers_of_the_same_version_is_refused(two, saved, monkeypatch):
    from eckart.cluster import connection

    own = connection.version_here
    monkeypatch.setattr(
        connection, "version_here", lambda package: "0.0.0" if package == "scipy" else own(package)
    )
    with pytest.raises(eckart.ClusterError) as failed:
        eckart.factorize(saved, 2, cluster=two)
    assert failed.value.code == "other-version"
    assert "scipy" in failed.value.message


def test_lengths_that_are_not_known_are_refused(two):
    import dask.array as da

    array = da.from_array(planted(100, 5), chunks=(50, 5))
    with pytest.raises(eckart.MatrixError) as failed:
        eckart.factorize(array[array[:, 0] > 0], 2, cluster=two)
    assert failed.value.code == "unknown-lengths"
