"""How many files of eckart a command passes through, and how many hand-overs are between them.

A hand-over is a pair of files of which the first calls a function of the second, counted once
however often it happens; a file that only defines something is not passed through. Each command
runs in a process of its own on small inputs that are made here. A folder of sources, such as that
of another commit, is traced with `--sources FOLDER`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

import numpy as np

ROOT = Path(__file__).parent.parent
WRITTEN = "{folder}"
"""Stands for the folder of the inputs in the words of a command."""
COMMANDS = {
    "factor": ["factor", str(ROOT / "examples" / "article.csv"), "--rank", "2"],
    "extract": ["extract", f"{WRITTEN}/base", f"{WRITTEN}/tuned", "--rank", "2", "--no-check"],
    "recommend fit": ["recommend", "fit", f"{WRITTEN}/ratings.csv", "--rank", "2"],
    "reduce": ["reduce", f"{WRITTEN}/table.csv", "--rank", "2"],
}


def write_inputs(folder: Path) -> None:
    """Two checkpoints, ratings and a table."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(0)
    weights = {
        f"model.layers.{layer}.self_attn.{name}_proj.weight": generator.standard_normal(
            (24, 16), dtype=np.float32
        )
        for layer in range(2)
        for name in "qv"
    }
    tuned = {
        name: weight + 0.1 * generator.standard_normal(weight.shape, dtype=np.float32)
        for name, weight in weights.items()
    }
    for name, tensors in (("base", weights), ("tuned", tuned)):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text(json.dumps({"model_type": "own"}))
    lines = [
        f"u{user},i{item},{1 + (user * item) % 5}"
        for user in range(40)
        for item in range(30)
        if (user + item) % 3
    ]
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    table = generator.standard_normal((50, 6))
    header = ",".join(f"c{column}" for column in range(6))
    np.savetxt(folder / "table.csv", table, delimiter=",", header=header, comments="")


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a frame is at work for a module that is being imported."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return True
        frame = frame.f_back
    return False


def traced(words: list[str]) -> tuple[set[str], set[tuple[str, str]]]:
    """Files that a command passes through, and the pairs of which one calls the other."""
    import threading

    import eckart

    home = str(Path(str(eckart.__file__)).parent)
    files: set[str] = set()
    pairs: set[tuple[str, str]] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_code.co_name == "<module>":
            return
        called = frame.f_code.co_filename
        if not called.startswith(home):
            return
        above = frame.f_back
        while above is not None and not above.f_code.co_filename.startswith(home):
            above = above.f_back
        if above is not None and _is_loading(above):
            return
        files.add(called)
        if above is not None and above.f_code.co_filename != called:
            pairs.add((above.f_code.co_filename, called))

    from eckart.cli.main import main

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        status = main([*words, "--json"])
    finally:
        sys.setprofile(None)
    if status not in (0, 3):
        raise SystemExit(f"{' '.join(words)} ended with {status}.")
    return files, pairs


def main() -> None:
    """Trace the commands, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, default=ROOT / "src")
    parser.add_argument("--trace", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trace:
        files, pairs = traced(options.trace)
        print(f"\n{len(files)} {len(pairs)}")
        return
    print("| command | files | hand-overs |\n| --- | ---: | ---: |")
    for name, words in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder))
            said = [word.replace(WRITTEN, folder) for word in words]
            output = ["--output", f"{folder}/out{'.npz' if name == 'factor' else ''}"]
            if name == "reduce":
                output = ["--output", f"{folder}/scores.csv"]
            ran = subprocess.run(
                [sys.executable, __file__, "--trace", *said, *output],
                env={"PYTHONPATH": str(options.sources), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                check=True,
            )
            files, pairs = ran.stdout.split()[-2:]
        print(f"| {name} | {files} | {pairs} |")


if __name__ == "__main__":
    main()
