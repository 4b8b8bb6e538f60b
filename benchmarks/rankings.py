"""Ranked lists for users that no model has seen, each library tuned with the same budget.

Of held-out users 80 % of the items are shown to the model and the others are to be found; half of
those users choose the settings, the other half is measured. PEER is a Python with implicit,
irspack, Optuna and PyTorch. SPLITS as in `ratings.py`; without it only the generated set is
measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse
from machine import machine

HIDES = 5
LIBRARIES = ("eckart", "irspack", "implicit")
THREADS = {"implicit": "1"}
"""Of BLAS, where a library asks for it."""


def generated(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Choices of 4000 users among 1500 items, by 12 tastes and a popularity of a power law."""
    drawn = np.random.default_rng(seed)
    users, items, rank = 4000, 1500, 12
    scores = drawn.standard_normal((users, rank)) @ drawn.standard_normal((rank, items)) * 0.6
    scores += -0.8 * np.log(np.arange(1, items + 1))
    scores += drawn.gumbel(size=scores.shape)  # the highest of these are a draw without replacement
    counts = np.clip(drawn.lognormal(3.4, 0.7, users).astype(int), 8, 300)
    order = np.argsort(-scores, axis=1)
    rows = np.repeat(np.arange(users), counts)
    columns = np.concatenate([order[user, :count] for user, count in enumerate(counts)])
    return rows, columns


def liked(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as splits:
        rows = np.concatenate([splits["u1_base"], splits["u1_test"]])
    high = rows[rows[:, 2] >= 4].astype(np.int64)
    return high[:, 0], high[:, 1]


def parts(rows: np.ndarray, columns: np.ndarray, share: float, seed: int = 0) -> dict[str, object]:
    """Training users, and what is shown and hidden of validation and test users.

    Of a validation user other items are hidden each of a few times, so that the settings owe less
    to luck; each fit is judged by all of them.
    """
    drawn = np.random.default_rng(seed)
    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    W = scipy.sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(rows.max() + 1, columns.max() + 1)
    )
    counts = np.diff(W.indptr)
    able = drawn.permutation(np.flatnonzero(counts >= 5))
    size = int(share * W.shape[0])
    validation, test = np.sort(able[:size]), np.sort(able[size : 2 * size])
    train = np.setdiff1d(np.arange(W.shape[0]), np.concatenate([validation, test]))
    known = W[train].sum(axis=0) > 0
    W = W[:, np.flatnonzero(known)]
    found: dict[str, object] = {"train": W[train]}
    for name, chosen in (("validation", np.tile(validation, HIDES)), ("test", test)):
        own = W[chosen].tocoo()
        order = np.lexsort((drawn.random(own.nnz), own.row))
        lengths = np.bincount(own.row, minlength=len(chosen))
        place = np.arange(own.nnz) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        hidden = np.zeros(own.nnz, bool)
        hidden[order] = place < np.repeat(lengths // 5, lengths)
        for part, mask in (("shown", ~hidden), ("hidden", hidden)):
            pairs = (np.ones(mask.sum(), np.float32), (own.row[mask], own.col[mask]))
            found[f"{name}_{part}"] = scipy.sparse.csr_array(pairs, shape=own.shape)
    return found


def save(found: dict[str, object], path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, W in found.items():
        for field in ("data", "indices", "indptr"):
            arrays[f"{name}.{field}"] = getattr(W, field)
        arrays[f"{name}.shape"] = np.array(W.shape)  # type: ignore[attr-defined]
    np.savez(path, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits")
    parser.add_argument("--peer", help="A Python with implicit, irspack, Optuna and PyTorch.")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=1, help="Of the splits.")
    parser.add_argument("--only", default="", help="Sets whose names hold this.")
    arguments = parser.parse_args()
    print(machine())
    sets = {"generated, rank 12": generated()}
    if arguments.splits:
        sets["MovieLens 100K, ratings of at least 4"] = liked(arguments.splits)
    for name, (rows, columns) in sets.items():
        if arguments.only not in name:
            continue
        print(f"\n{name}: {arguments.trials} trials each\n")
        print("| library | test users | NDCG@100 | eckart minus it | s | settings |")
        print("|---|---:|---:|---:|---:|---|")
        figures: dict[str, list[np.ndarray]] = {}
        seconds: dict[str, float] = {}
        settings: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(arguments.seeds):
                path = Path(folder) / f"parts{seed}.npz"
                save(parts(rows, columns, 0.2, seed), path)
                for library in LIBRARIES if arguments.peer else LIBRARIES[:1]:
                    python = sys.executable if library == "eckart" else arguments.peer
                    out = Path(folder) / f"{library}{seed}.npz"
                    words = [python, "-W", "ignore", str(Path(__file__).with_name("tuned_peer.py"))]
                    subprocess.run(
                        env={**os.environ, "OPENBLAS_NUM_THREADS": THREADS.get(library, "2")},
                        args=[
                            *words,
                            library,
                            str(path),
                            str(out),
                            str(arguments.trials),
                            str(seed),
                        ],
                        check=True,
                        stdout=subprocess.DEVNULL,  # irspack draws a progress bar
                        stderr=subprocess.DEVNULL,
                    )
                    with np.load(out, allow_pickle=False) as found:
                        figures.setdefault(library, []).append(found["ndcg"])
                        seconds[library] = seconds.get(library, 0) + float(found["seconds"])
                        settings[library] = str(found["settings"])
        own = np.concatenate(figures["eckart"])
        for library, each in figures.items():
            ndcg = np.concatenate(each)
            gap = own - ndcg
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            beside = "" if library == "eckart" else f"{gap.mean():+.4f} ± {error:.4f}"
            spread = ndcg.std(ddof=1) / np.sqrt(len(ndcg))
            print(
                f"| {library} | {len(ndcg)} | {ndcg.mean():.4f} ± {spread:.4f} | {beside} | "
                f"{seconds[library]:.0f} | {settings[library]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
