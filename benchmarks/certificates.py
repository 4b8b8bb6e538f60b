"""Certificates beside the truth: how often the bound is above the optimum (never), how tight it is.

The bounds are those made from products with W alone, however small W is; the truth is LAPACK's in
float64. Factors come from every solver, converged or not, and are made bad on purpose; the
subspaces behind the bounds are also chosen to mislead. Run with `make bench`, or with `--scale 28`
and few seeds at the sizes where users meet these bounds.
"""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import machine, prepare_processes

import eckart
from eckart import certificates, solvers
from eckart.arrays import Array
from eckart.subspaces import RitzData

COUNT = 30
"""Singular values that are not zero, before scaling."""
SHAPES = {"square": (40, 40), "tall": (80, 40), "wide": (40, 64), "very tall": (500, 40)}
NOISE = 0.5
"""Largest singular value of the noise on the flat spectrum, where that of the signal is 1."""
FEW = 30
"""Epochs of a gradient solver, which leave it far from converged."""


def power_law(places: Array) -> Array:
    return 1.0 / places


def exponential(places: Array) -> Array:
    return np.exp(-places / 3.0)


def flat(places: Array) -> Array:
    return np.where(places <= 20, 1.0, 0.0)


def clustered(places: Array) -> Array:
    return np.select([places <= 10, places <= 20], [8.0, 4.0], 1.0)


def exact_rank(places: Array) -> Array:
    return np.where(places <= 5, 6.0 - places, 0.0)


SPECTRA = {
    "power law": power_law,
    "exponential": exponential,
    "flat with noise": flat,
    "clustered": clustered,
    "exact rank 5": exact_rank,
}


class TensorRecord(NamedTuple):
    """One certificate: of what, whether it claims too much, and its gap."""

    spectrum: str
    source: str
    violated: bool
    gap: float | None


class Place(NamedTuple):
    """One test matrix."""

    spectrum: str
    shape: str
    dtype: str
    seed: int
    scale: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--scale", type=int, default=4, help="times the size of each matrix")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    prepare_processes(1)
    print(machine().rsplit("; ", 1)[0] + f"; {options.processes} processes of one thread\n")
    began = time.perf_counter()
    kinds = itertools.product(SPECTRA, SHAPES, ["float32", "float64"], range(options.seeds))
    places = [Place(*kind, options.scale) for kind in kinds]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        found = list(itertools.chain(*pool.map(findings, places, chunksize=4)))
    violations = report(found, len(places))
    print(f"\n{time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([finding._asdict() for finding in found]))
    if violations:
        raise SystemExit(1)


def findings(place: Place) -> list[TensorRecord]:
    """Every certificate of one test matrix, held against the truth."""
    products_only()
    warnings.simplefilter("ignore")
    W, rank = matrix(place), 1 + place.seed % 8
    exactly = W.astype(np.float64)
    U, S, Vt = np.linalg.svd(exactly, full_matrices=False)
    best = float(np.linalg.norm(S[rank:]))
    # what rounding may do in float64: tests/tolerances.py
    slack = (64 + np.sqrt(max(W.shape))) * np.finfo(np.float64).eps * np.linalg.norm(S)
    found = []
    for source, proof in itertools.chain(
        from_solvers(W, rank, place.seed),
        from_bad_factors(W, rank, place.seed, (U, S, Vt)),
        from_adversaries(W, rank, place.seed, Vt),
    ):
        bound = proof.best_possible_error
        violated = bound is not None and bool(bound > best + slack)
        found.append(TensorRecord(place.spectrum, source, violated, proof.gap))
    return found


def products_only() -> None:
    """Nobody may compute all singular values, however small W is."""
    certificates.SMALL_SIDE = certificates.EXACT_SIDE = 0
    import_module("eckart.factorization").FAST_SIDE = 0


def matrix(place: Place) -> Array:
    """With the singular values of its spectrum, in random directions."""
    rows, columns = (place.scale * size for size in SHAPES[place.shape])
    count = place.scale * COUNT
    generator = np.random.default_rng(place.seed)
    left = np.linalg.qr(generator.standard_normal((rows, count)))[0]
    right = np.linalg.qr(generator.standard_normal((columns, count)))[0]
    W = (left * SPECTRA[place.spectrum](np.arange(1.0, count + 1))) @ right.T
    if place.spectrum == "flat with noise":
        W += generator.standard_normal(W.shape) * (NOISE / np.sqrt(W.shape).sum())
    return W.astype(place.dtype)


def from_solvers(W: Array, rank: int, seed: int) -> Iterator[tuple[str, eckart.Certificate]]:
    """The proof of a run of each solver, and one that knows its factors only."""
    for name, solver in every_solver():
        try:
            run = eckart.factorize(W, rank, solver=solver, seed=seed)
        except eckart.Diverged as diverged:
            run = diverged.partial
        yield name, run.certificate
        yield f"{name}, factors alone", eckart.certify(W, run.factors)


def every_solver() -> Iterator[tuple[str, Any]]:
    """All for whole matrices: gradient solvers cut short, the others to their end too."""
    for name in solvers.__all__:
        kind = getattr(solvers, name)
        if not (dataclasses.is_dataclass(kind) and callable(getattr(kind, "steps", None))):
            continue
        fields = {field.name for field in dataclasses.fields(kind)}
        if "epochs" not in fields:
            yield name, kind()
        for limit, few in (("epochs", FEW), ("blocks", 1)):
            if limit in fields:
                yield f"{name}, {limit}: {few}", kind(**{limit: few})


def from_bad_factors(
    W: Array, rank: int, seed: int, decomposed: tuple[Array, Array, Array]
) -> Iterator[tuple[str, eckart.Certificate]]:
    """Factors far from the best, a little off, of too low a rank."""
    U, S, Vt = decomposed
    generator = np.random.default_rng([seed, 1])
    normal = generator.standard_normal
    B, A = U[:, :rank] * S[:rank], Vt[:rank]
    shorter = np.arange(rank) < rank // 2
    bad = {
        "random factors": (normal(B.shape), normal(A.shape)),
        "zero factors": (0 * B, 0 * A),
        "truncated factors": (B * shorter, A),
        "the second best": (U[:, 1 : rank + 1] * S[1 : rank + 1], Vt[1 : rank + 1]),
        "perturbed factors": (B + 1e-2 * normal(B.shape), A + 1e-2 * normal(A.shape)),
        "the best factors": (B, A),
    }
    for name, pair in bad.items():
        factors = eckart.Factors(*(factor.astype(W.dtype) for factor in pair))
        yield name, eckart.certify(W, factors)


def from_adversaries(
    W: Array, rank: int, seed: int, Vt: Array
) -> Iterator[tuple[str, eckart.Certificate]]:
    """Bounds whose subspace misses what matters."""
    generator = np.random.default_rng([seed, 2])
    columns = W.shape[1]
    width = min(rank + 4, len(Vt) - rank - 1)
    chosen = {
        "a random space": np.linalg.qr(generator.standard_normal((columns, width)))[0],
        "a space orthogonal to the leading vectors": Vt[rank : rank + width].T,
        "a space without the first vector": Vt[1 : 1 + width].T,
        "a space without the last wanted vector": np.delete(Vt, rank - 1, axis=0)[:width].T,
        "the last vectors": Vt[-width:].T,
        "the leading vectors": Vt[:width].T,
    }
    for name, V in chosen.items():
        B = (W @ V[:, :rank]).astype(W.dtype)
        factors = eckart.Factors(B, V[:, :rank].T.astype(W.dtype))
        yield name, eckart.certify(W, factors, evidence=evidence(W, V.astype(W.dtype)))


def evidence(W: Array, V: Array) -> RitzData:
    """What products with V tell of W, in float64 as a solver sums them."""
    exactly, own = W.astype(np.float64), V.astype(np.float64)
    Y = exactly @ own
    H = Y.T @ Y
    rest = exactly.T @ Y - own @ H
    return RitzData(V=V, H=H, rest=rest.T @ rest, tail=np.eye(V.shape[1]))


def report(found: list[TensorRecord], matrices: int) -> int:
    """Violations by where the factors came from, and gaps of converged runs by spectrum.

    Returns:
        The number of violations.
    """
    sources: dict[str, list[TensorRecord]] = defaultdict(list)
    for finding in found:
        sources[finding.source].append(finding)
    print("| factors, or the space behind the bound | certificates | with a bound | violations |")
    print("|---|---:|---:|---:|")
    for source, group in sources.items():
        bounded = sum(finding.gap is not None for finding in group)
        violated = sum(finding.violated for finding in group)
        print(f"| {source} | {len(group)} | {bounded} | {violated} |")
    total = sum(finding.violated for finding in found)
    print(f"\n{total} violations in {len(found)} certificates of {matrices} matrices\n")
    print("| spectrum | median certified gap of a converged krylov run | worst |")
    print("|---|---:|---:|")
    for spectrum in SPECTRA:
        of_run = partial(converged, spectrum)
        gaps = [np.inf if one.gap is None else one.gap for one in found if of_run(one)]
        print(f"| {spectrum} | {statistics.median(gaps):.4%} | {max(gaps):.4%} |")
    return total


def converged(spectrum: str, finding: TensorRecord) -> bool:
    return (finding.spectrum, finding.source) == (spectrum, "BlockKrylov")


if __name__ == "__main__":
    main()
