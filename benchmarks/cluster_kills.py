"""Kill a worker of a Dask cluster at moments spread over a run: is the answer the same to the bit?

    PYTHONPATH=tests python benchmarks/cluster_kills.py [--kills 20] [--jobs factor reduce]

Each job runs on three processes of one thread; one of them is killed by its id at a share of the
time that the job takes, and a fresh cluster takes its place after two kills.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine, prepare_processes
from safetensors.numpy import save_file

import eckart
from cluster_processes import Killer, keys, planted, workers
from eckart.files import Selection
from eckart.recommend.fit import fit_recommender
from eckart.reduce.reduce import reduce_file

KILLS_OF_A_CLUSTER: Final = 2


def factored(folder: Path, client: Any) -> bytes:
    run = eckart.factorize(folder / "W.npy", 10, cluster=client)
    return run.factors.B.tobytes() + run.factors.A.tobytes()


def reduced(folder: Path, client: Any) -> bytes:
    import zarr

    out = folder / "S.zarr"
    reduce_file(folder / "W.npy", out, Selection(), rank=10, cluster=client, force=True)
    return zarr.open_array(str(out), mode="r")[:].tobytes()


def extracted(folder: Path, client: Any) -> bytes:
    out = folder / "adapter"
    eckart.extract_adapter(
        folder / "base", folder / "tuned", out, rank=8, cluster=client, force=True
    )
    return (out / "adapter_model.safetensors").read_bytes()


def recommended(folder: Path, client: Any) -> bytes:
    out = folder / "model"
    fit_recommender(
        folder / "ratings.parquet", out, settings={"rank": 16, "regularization": 0.1},
        cluster=client, force=True,
    )  # fmt: skip
    return (out / "factors.safetensors").read_bytes()


JOBS: Final[dict[str, Callable[[Path, Any], bytes]]] = {
    "factor": factored,
    "reduce": reduced,
    "extract": extracted,
    "recommend fit": recommended,
}


def prepare(folder: Path) -> None:
    np.save(folder / "W.npy", planted(4000, 2300, dtype=np.float32))
    drawn = np.random.default_rng(1)
    places = np.flatnonzero(drawn.random(20_000 * 1_000) < 0.02)
    columns = {"user": places // 1_000, "item": places % 1_000}
    pq.write_table(
        pa.table({**columns, "rating": drawn.integers(1, 11, len(places)) / 2}),
        folder / "ratings.parquet",
    )
    generator, sides = np.random.default_rng(0), ({}, {})
    for number in range(40):
        name = f"model.layers.{number}.self_attn.q_proj.weight"
        W = generator.standard_normal((384, 512), dtype=np.float32)
        sides[0][name] = W
        sides[1][name] = W + 0.01 * generator.standard_normal(W.shape, dtype=np.float32)
    for name, tensors in zip(("base", "tuned"), sides, strict=True):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    chosen = parser.parse_args()
    prepare_processes(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(machine())
    print("\n| job | kills | right to the bit | keys left | s without a kill | longest |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for job in chosen.jobs:
            do = JOBS[job]
            right, left, longest, whole, done = 0, 0, 0.0, 0.0, 0
            while done < chosen.kills:
                with workers(3) as client:
                    expected = do(folder, client)
                    began = time.monotonic()
                    assert do(folder, client) == expected
                    whole = time.monotonic() - began
                    for _ in range(min(KILLS_OF_A_CLUSTER, chosen.kills - done)):
                        killer = Killer(client, whole * (done + 0.5) / chosen.kills)
                        killer.start()
                        began = time.monotonic()
                        right += do(folder, client) == expected
                        longest = max(longest, time.monotonic() - began)
                        killer.join()
                        left += keys(client)
                        done += 1
            print(
                f"| {job} | {done} | {right} | {left} | {whole:.1f} | {longest:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
