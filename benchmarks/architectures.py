"""Every model type of transformers: is the adapter of it the fine-tune?

`model_trials.py` says what is tried. Each type is tried in a process of its own, with a limit of
time and of memory, and the outcomes are kept in a file, so that a run that was ended goes on where
it was. Writes `docs/models.md` with `--write`.
"""

import argparse
import json
import logging
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_trials import CHECKS, Row, row, sentence
from tiny_models import classes

ROOT = Path(__file__).parent.parent
MEMORY = 6 << 30
"""Bytes that the process of one type may take."""
SECONDS = 240
"""That it may take."""

VERDICTS = {
    "right": "the adapter is the fine-tune",
    "not covered": "the adapter is the fine-tune but for what its report says it does not cover",
    "refused": "refused with a sentence",
    "wrong": "wrong",
    "not made tiny": "not made tiny, so not tried",
}

REASONS = {
    "library|ImportError": "it needs a library that is not installed, such as timm",
    "default config does not build": "transformers does not build it from its default config",
    "too large": "its smallest model has more than eight million parameters",
    "ran out": "it ran out of time or memory",
    "": "its config could not be shrunk",
}
"""Why models were not made tiny, by what their errors hold."""


def tried(model_type: str, architecture: str, checks: Sequence[str], seconds: int) -> Row:
    """The row of one type, from a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _answer(writing, model_type, architecture, checks)
    os.close(writing)
    said = b""
    ending = time.monotonic() + seconds
    while (left := ending - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            said += part
    else:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    if not said:
        return Row(model_type, architecture, "not made tiny", why="it ran out of time or memory")
    return Row(**json.loads(said))


def _answer(writing: int, model_type: str, architecture: str, checks: Sequence[str]) -> None:
    """Try one type, write its row and end the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            found = row(model_type, architecture, Path(folder), checks)
        except MemoryError:
            os._exit(1)
        except Exception as error:  # the trial itself is wrong
            found = Row(model_type, architecture, "wrong", why=sentence(error))
        os.write(writing, json.dumps(asdict(found)).encode())
    os._exit(0)


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """The outcomes in a file, the last of each type."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {one["model_type"]: one for one in map(json.loads, lines)}


def page(rows: Sequence[Row], commits: Sequence[str], untried: Sequence[str]) -> str:
    """`docs/models.md`."""
    import peft
    import transformers

    counts = Counter(one.verdict for one in rows)
    shown = [one for one in rows if one.verdict != "not made tiny"]
    lines = [
        "# Models",
        "",
        "Made by `benchmarks/architectures.py` (`make bench-models`): for every model type of",
        "transformers a tiny random model, a fine-tune of all its parameters, and an adapter of",
        "full rank. *loaded* and *merged* are the distances of its answers to the fine-tune's as",
        "PEFT loads and as it merges it, *weights* that of the worst tensor that PEFT merged, all",
        "in units of the change: 0 is right and 1 is no effect. Where the first two are empty no",
        "inputs were found with which the model runs. The commands: `verify` accepts the adapter;",
        "`merge` writes the fine-tune; `join` of two halves of it is accepted by `verify`; PEFT",
        "finds a place for all that `truncate`, `extract --again`, `--profile portable` and an",
        "extraction with the moments of `calibrate` write.",
        "",
        f"transformers {transformers.__version__}, PEFT {peft.__version__}; rows of the commits "
        f"{', '.join(commits)}.",
        "",
        f"{len(rows)} of {len(rows) + len(untried)} model types:",
        "",
        *(f"- {VERDICTS[verdict]}: {counts[verdict]}" for verdict in VERDICTS),
        "",
        *_check_counts(shown),
        "| model type | class | verdict | loaded | merged | weights | "
        + " | ".join(CHECKS)
        + " | why |",
        "| --- " * (7 + len(CHECKS)) + "|",
        *map(_line, shown),
        "",
        "## Not made tiny",
        "",
        *_reasons([one for one in rows if one.verdict == "not made tiny"]),
    ]
    if untried:
        lines += ["", f"Not tried yet ({len(untried)}): {', '.join(untried)}."]
    return "\n".join(lines) + "\n"


def _check_counts(rows: Sequence[Row]) -> Iterator[str]:
    yield "| command | right | refused with a sentence | wrong |"
    yield "| --- | --- | --- | --- |"
    for name in CHECKS:
        said = Counter(one.checks[name].partition(":")[0] for one in rows if name in one.checks)
        yield f"| {name} | {said['yes']} | {said['refused']} | {said['no']} |"
    yield ""


def _line(one: Row) -> str:
    far = [f"{x:.0e}" if x is not None else "" for x in (one.loaded, one.merged, one.weights)]
    checks = [one.checks.get(name, "").partition(":")[0] for name in CHECKS]
    refused = (said for said in one.checks.values() if not said.startswith("yes"))
    why = re.sub(r"/\S*/(?=base|tuned|adapter)", "", one.why or next(refused, ""))
    cells = (one.model_type, one.architecture, one.verdict, *far, *checks, why.replace("|", "·"))
    return "| " + " | ".join(cells) + " |"


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {reason: [] for reason in REASONS.values()}
    for one in rows:
        reason = next(text for pattern, text in REASONS.items() if re.search(pattern, one.why))
        by_reason[reason].append(one.model_type)
    for reason, names in by_reason.items():
        if names:
            yield f"- {reason} ({len(names)}): {', '.join(names)}."


def _commit() -> str:
    said = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def main() -> None:
    """Try those that are named, or all that the file of outcomes does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--write", action="store_true", help="Write docs/models.md.")
    parser.add_argument("--only-write", action="store_true", help="Try no more than is named.")
    parser.add_argument("--commands", nargs="+", choices=CHECKS, default=CHECKS)
    parser.add_argument("--kept", type=Path, default=ROOT / "dist" / "models.jsonl")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    options.kept.parent.mkdir(exist_ok=True)
    known, commit = kept(options.kept), _commit()
    types = dict(classes())
    left = [] if options.only_write else [one for one in types if one not in known]
    chosen = options.types or left
    if chosen:  # what is imported here is so in every process
        with tempfile.TemporaryDirectory() as folder:
            row("llama", "LlamaForCausalLM", Path(folder), options.commands)
    for model_type in chosen:
        found = tried(model_type, types[model_type], options.commands, options.seconds)
        known[model_type] = {**asdict(found), "commit": commit}
        with options.kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(known[model_type]) + "\n")
        far = [one for one in (found.loaded, found.merged, found.weights) if one is not None]
        bad = [f"{name} {said}" for name, said in found.checks.items() if said != "yes"]
        print(model_type, found.architecture, found.verdict, far, found.missing, found.why, *bad)
        sys.stdout.flush()
    commits = sorted({one.pop("commit") for one in known.values()})
    rows = [Row(**known[model_type]) for model_type in sorted(known)]
    untried = [one for one in types if one not in known]
    if options.write or options.only_write:
        (ROOT / "docs" / "models.md").write_text(page(rows, commits, untried), encoding="utf-8")
    sys.exit(any(one.is_wrong for one in rows))


if __name__ == "__main__":
    main()
