"""Whether two checkouts of eckart give the same answers: JSON to rounding, files to the byte.

Every line runs in both, in folders that hold the same inputs, with one thread and `--json`. Two
documents are the same if their keys, words and whole numbers are, and other numbers to rounding;
what tells the time, the version or the folder is left out. Files that differ are named.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MARKER = ".eckart.json"
NEAR = 1e-9
"""Relative, of numbers that are not whole."""
TIMED = re.compile(r"seconds|date|time|version|command|machine|threads|blas|rate_per")
"""Keys whose values may differ."""
SPENT = re.compile(r"\d+(\.\d+)?(e-?\d+)? (ms|s|seconds)\b")
FIT = "--rank 1 --regularization 0.1 --epochs 2"
LINES = """
factor W.npy --rank 2 -o o.npz
factor W.npy --rank 2 --solver svd -o o.npz
factor W.npy --rank 2 --solver gd --epochs 50 -o o.npz
factor W.npy --rank 2 --solver scaled-gd --epochs 20 -o o.npz
factor W.npy --rank 2 --solver single-pass -o o.npz
factor W.npy --tolerance 0.3 -o o.safetensors
factor W.npy --budget 300B -o o
factor W.npy
factor p.png --rank 1 -o o.npz --report o.html
factor X.csv --rank auto -o o.npz
compare W.npy --solvers gd,svd,krylov --rank 1
certify W.npy f.npz
show f.npz
show pair
apply f.npz X.csv -o o.npy
apply f.npz W.npy --transpose -o o.csv
expand f.npz -o o.csv
expand pair -o o.npy
truncate f.npz --rank 1 -o o.safetensors
truncate pair --rank 1 -o o
truncate adapter --rank 1 -o o
extract base tuned --rank 1 -o o
extract base tuned --tolerance 0.5 -o o
extract base tuned --budget 4KB -o o
extract base tuned --plan --rank 1
extract --again adapter --rank 1 -o o
verify adapter base tuned
verify small base tuned
compare-adapters adapter small --delta base tuned
merge base adapter -o o
merge base adapter small --weights 0.5,0.5 -o o.safetensors
join adapter small --weights 0.5,0.5 -o o
reduce X.csv --rank 2 -o o.csv
reduce X.csv --rank 2 --scale --solver krylov -o o.npy
reduce X.csv --variance 0.9 -o o.parquet
reduce X.csv --model s.model.npz -o o.npy
reduce X.csv --update s.model.npz -o o.npz
reduce gaps.csv --rank 1 -o o.csv
recommend fit ratings.csv --item-attributes dishes.csv --names names.csv {fit} -o o
recommend fit ratings.csv --solver gd {fit} -o o
recommend fit ratings.csv --rank 1 --solver gibbs --epochs 4 -o o
recommend fit ratings.csv --test random {fit} -o o
recommend fit --from model {fit} -o o
recommend add model more.csv -o o
recommend remove model --user ada -o o
recommend top model --user ada
recommend top model --users users.csv --only only.csv --names names.csv -o o.csv
recommend similar model --item 100
recommend explain model --user ada --item 100
recommend predict model more.csv --names names.csv -o o.csv
recommend export model -o o.npy
""".replace("{fit}", FIT)


def run(checkout: Path, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on the sources of a checkout."""
    paths = os.pathsep.join((str(checkout / "src"), str(checkout / "tests")))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=folder,
        env={**os.environ, **threads, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Where two documents differ."""
    if TIMED.search(place.rpartition(".")[2]):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            yield from differences(before.get(key), after.get(key), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{place}.{number}")
    elif not _is_same(before, after):
        yield f"{place}: {before!r} and {after!r}"


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=NEAR, abs_tol=NEAR)
    if isinstance(before, str) and isinstance(after, str):
        return SPENT.sub("", before) == SPENT.sub("", after)
    return before == after


def content(path: Path) -> str:
    """A digest of what a file holds, without what tells when and by what it was made."""
    data = path.read_bytes()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            held = {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind == "f"}
        data = b"".join(name.encode() + held[name].tobytes() for name in sorted(held))
    elif path.suffix == ".safetensors":
        data = data[8 + int.from_bytes(data[:8], "little") :]
    elif path.suffix == ".json":
        data = json.dumps(_lasting(json.loads(data)), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _lasting(document: Any) -> Any:
    """A document without the values of keys that tell the time."""
    if isinstance(document, dict):
        kept = {key: value for key, value in document.items() if not TIMED.search(key)}
        return {key: _lasting(value) for key, value in kept.items()}
    if isinstance(document, str):
        return SPENT.sub("", document)
    return [_lasting(one) for one in document] if isinstance(document, list) else document


def files(folder: Path) -> dict[str, str]:
    """The content of all files of a folder but markers and pages, which tell the time."""
    found = (path for path in folder.rglob("*") if path.is_file())
    kept = (one for one in found if one.name != MARKER and one.suffix not in (".html", ".md"))
    return {str(path.relative_to(folder)): content(path) for path in kept}


def answers(checkout: Path, line: str, inputs: Path) -> tuple[int, Any, dict[str, str]]:
    """Exit status, document and files of a line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "here"
        shutil.copytree(inputs, folder)
        given = files(folder)
        done = run(checkout, ["-m", "eckart", *line.split(), "--json"], folder)
        said = done.stdout.replace(name, "")
        made = {path: digest for path, digest in files(folder).items() if given.get(path) != digest}
        try:
            return done.returncode, json.loads(said), made
        except ValueError:
            return done.returncode, said + done.stderr, made


def main() -> None:
    """Compare all lines and print those that differ, and how many do not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    lines = LINES.strip().splitlines()
    same = other_files = 0
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name)
        making = (
            "import numpy; from pathlib import Path; from cli.writers import furnish;"
            "furnish(Path('.').resolve()); X = numpy.random.default_rng(1).normal(size=(30, 4));"
            "X[::7, 1] = numpy.nan; numpy.savetxt('gaps.csv', X, delimiter=',', header='a,b,c,d',"
            "comments='')"
        )
        made = run(options.before, ["-c", making], inputs)
        if made.returncode:
            raise SystemExit(made.stderr)
        for line in lines:
            before, after = (
                answers(checkout.resolve(), line, inputs)
                for checkout in (options.before, options.after)
            )
            found = [f"exit {before[0]} and {after[0]}"] if before[0] != after[0] else []
            found += differences(before[1], after[1])
            changed = sorted(
                path
                for path in before[2].keys() | after[2].keys()
                if before[2].get(path) != after[2].get(path)
            )
            same += not found
            other_files += bool(changed)
            if found or changed or before[0] not in (0, 3):
                print(f"{line}: exit {before[0]}", *found, f"files: {changed}", sep="\n    ")
    print(f"{same} of {len(lines)} documents are the same; files of {other_files} lines differ.")


if __name__ == "__main__":
    main()
