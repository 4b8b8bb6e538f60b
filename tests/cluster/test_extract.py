"""Adapters that the workers of a cluster extract, a tensor each."""

import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import eckart
from cluster_processes import Killer, keys, workers
from commandline import result

CHOICES = ({"rank": 4}, {"tolerance": 0.5}, {"budget": "60kB"}, {"rank": "noise"})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base and its fine-tune of ten layers."""
    folder = tmp_path_factory.mktemp("models")
    generator = np.random.default_rng(0)
    base, tuned = {}, {}
    for number in range(10):
        rows, columns = 256 + 8 * number, 384
        W = generator.standard_normal((rows, columns)).astype(np.float32)
        change = generator.standard_normal((rows, 6)) @ generator.standard_normal((6, columns))
        name = f"model.layers.{number}.self_attn.q_proj"
        base[f"{name}.weight"], tuned[f"{name}.weight"] = W, W + np.float32(0.01) * change
        base[f"{name}.bias"] = np.zeros(rows, np.float32)
        tuned[f"{name}.bias"] = np.ones(rows, np.float32)
    tuned = {name: np.ascontiguousarray(one, np.float32) for name, one in tuned.items()}
    for name, tensors in (("base", base), ("tuned", tuned)):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")
    return folder / "base", folder / "tuned"


def weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("choice", CHOICES, ids=lambda one: next(iter(one)))
def test_an_adapter_has_the_bytes_of_one_machine(two, models, tmp_path, choice):
    there = eckart.extract_adapter(*models, tmp_path / "there", cluster=two, **choice)
    here = eckart.extract_adapter(*models, tmp_path / "here", **choice)
    assert weights(tmp_path / "there") == weights(tmp_path / "here")
    for one, other in zip(there.tensors, here.tensors, strict=True):
        figures = [found.to_dict(1.0) | {"seconds": 0.0} for found in (one, other)]
        assert figures[0] == figures[1]
    assert keys(two) == 0


def test_a_worker_may_die(models, tmp_path):
    with workers(4) as client:
        began = time.monotonic()
        eckart.extract_adapter(*models, tmp_path / "out", rank=4, cluster=client)
        expected = weights(tmp_path / "out")
        whole = time.monotonic() - began
        for share in (0.1, 0.4, 0.7):
            killer = Killer(client, share * whole)
            killer.start()
            eckart.extract_adapter(*models, tmp_path / "out", rank=4, cluster=client, force=True)
            killer.join()
            assert weights(tmp_path / "out") == expected
            assert keys(client) == 0


def test_a_job_whose_cluster_is_lost_goes_on(models, tmp_path):
    done = []

    with workers(1) as client:

        def stop(name, entries):
            done.append(name)
            if len(done) == 5:
                client.cluster.close(timeout=5)

        with pytest.raises(eckart.ClusterError):
            eckart.extract_adapter(
                *models, tmp_path / "out", rank=4, cluster=client, on_tensor=stop
            )
    eckart.extract_adapter(*models, tmp_path / "out", rank=4, resume=True)
    eckart.extract_adapter(*models, tmp_path / "whole", rank=4)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_the_command_takes_a_cluster(run, two, models, tmp_path):
    base, tuned = models
    address = two.scheduler.address
    line = f"extract {base} {tuned} --rank 2 -o {tmp_path / 'a'} --cluster {address} --json"
    assert result(run, line)["grade"] == "success"


def test_a_tensor_with_nan_is_refused_as_on_one_machine(two, models, tmp_path):
    from safetensors.numpy import load_file

    base, tuned = models
    tensors = load_file(tuned / "model.safetensors")
    name = "model.layers.3.self_attn.q_proj.weight"
    tensors[name] = np.where(np.arange(384) == 5, np.float32(np.nan), tensors[name])
    (tmp_path / "bad").mkdir()
    save_file(tensors, tmp_path / "bad" / "model.safetensors")
    found = []
    for cluster in (None, two):
        with pytest.raises(eckart.MatrixError) as failed:
            eckart.extract_adapter(base, tmp_path / "bad", tmp_path / "o", rank=2, cluster=cluster)
        found.append((failed.value.code, failed.value.message))
    assert found[0] == found[1]
