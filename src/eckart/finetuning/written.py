"""The adapter in its folder: written in the format of PEFT, and loaded again as a proof."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from eckart.arrays import FLOAT64, Array
from eckart.checkpoints.running_builder import alone
from eckart.errors import FormatError
from eckart.finetuning.adapter_start import PREFIX
from eckart.finetuning.dataset import Task, constant_loss
from eckart.finetuning.encoded import Encoded
from eckart.finetuning.memory import largest_resident
from eckart.finetuning.metrics import mean_loss, measured
from eckart.finetuning.network import open_network, patterns_of
from eckart.finetuning.pairs import Pair, others
from eckart.finetuning.rank_growth import singular_values
from eckart.finetuning.result import FineTuning, Layer
from eckart.finetuning.run import Run
from eckart.finetuning.starts import plain_
from eckart.finetuning.training import answers, digest_of, frozen

PROOF_ROWS: Final = 64
"""Rows held back with which the adapter that was written is tried."""
PROOF: Final = 1e-5
"""Largest difference of an output of the adapter loaded again, relative to the largest output."""
SINGLE_ROWS: Final = 8
"""Of these rows, those that are also tried one by one."""


def write_peft(model: Any, known: Sequence[Pair], folder: Path) -> None:
    """Write an adapter in the format of PEFT, with the same bytes whatever the hashes of names.

    The ranks are those that the factors have, and α of each layer is s times its rank.
    """
    # "auto" would ask a hub whether the vocabulary has changed
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    path = folder / "adapter_config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "modules_to_save"):
        if isinstance(document.get(name), list):
            document[name] = sorted(document[name])
    ranks = {pair.name.removeprefix(PREFIX): pair.rank for pair in known}
    usual, scale = max(ranks.values()), known[0].scale
    document |= {"r": usual, "lora_alpha": scale * usual, **patterns_of(ranks, usual, scale)}
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)


def outputs_of(model: Any, rows: Encoded, batch: int, *, batches: bool = True) -> list[Array]:
    """Outputs of a model for the rows of the proof, as arrays of numbers that are compared.

    They are those for some texts one at a time, and those for batches. Of a language they are the
    losses, and all outputs for a few texts, at their tokens.
    """
    plain = replace(rows, below=())
    few = range(min(SINGLE_ROWS, len(rows)))
    found = [answers(model, plain.take([place]), 1) for place in few]
    if batches:
        places = np.arange(min(PROOF_ROWS, len(rows)))
        found.append(answers(model, plain.take(places), batch))
    if rows.task.name == "language":
        with torch.no_grad():
            for place in few:
                one = plain.batch([place])
                del one["labels"]
                found.append(model(**one).logits.double().numpy())
    return found


def reload_difference(
    folder: Path,
    base: Path,
    task: Task,
    seed: int,
    known: Sequence[Array],
    rows: Encoded,
    batch: int,
) -> float:
    """The largest difference of outputs of the adapter, loaded into the base anew.

    The base draws what its folder lacks from another seed, so that what the adapter does not hold
    shows. A model without a token that fills texts up takes one text at a time.

    Args:
        folder: Folder of the adapter.
        base: Folder of the base.
        task: The task.
        seed: Seed of the run.
        known: What `outputs_of` gave for the model in training.
        rows: Rows held back.
        batch: Rows of a step.

    Returns:
        The difference relative to the largest output; endless if outputs differ in number.
    """
    from peft import PeftModel

    fresh = open_network(base, task, seed + 1)
    with alone():
        again = PeftModel.from_pretrained(fresh.model, folder).eval()
    if fresh.had_no_filler:
        config = fresh.model.config
        config.get_text_config().pad_token_id = config.pad_token_id = None
    found = outputs_of(again, rows, batch, batches=not fresh.had_no_filler)
    if [one.shape for one in found] != [one.shape for one in known]:
        return math.inf
    one, other = (np.concatenate([part.ravel() for part in parts]) for parts in (found, known))
    return float(np.abs(one - other).max()) / (float(np.abs(other).max()) or 1.0)


def layer_of(pair: Pair, cut: float = 0.0) -> Layer:
    """The figures of what a pair has learnt."""
    sigma = singular_values(pair)
    weight = float(pair.module.get_base_layer().weight.detach().double().norm())
    total = float(np.square(sigma.astype(FLOAT64)).sum())
    return Layer(
        name=pair.name.removeprefix(PREFIX),
        shape=(int(pair.B.shape[0]), int(pair.A.shape[1])),
        rank=pair.rank,
        norm=math.sqrt(total),
        relative_change=math.sqrt(total) / weight if weight else 0.0,
        stable_rank=total / float(sigma[0]) ** 2 if sigma[0] else 0.0,
        singular_values=tuple(float(one) for one in sigma),
        cut=cut,
    )


def notes_on(
    data: Sequence[Encoded],
    filler: int | None,
    cut: Mapping[str, float],
    drawn: Sequence[str],
) -> Iterator[str]:
    """Sentences on texts and layers that were cut, on a token that a user of it needs, and more."""
    count, task = sum(one.cut for one in data), data[0].task
    alike = _alike(task.labels)
    if alike:
        yield f"The labels '{alike[0]}' and '{alike[1]}' are two classes."
    if drawn:
        yield f"The folder of the base lacks '{drawn[0]}': it is drawn, and learnt whole."
    if count:
        yield f"{count} texts are longer than {data[0].length} tokens, and were cut there."
    for rows, what in zip(data, ("to learn from", "held back"), strict=True):
        lost = [name for place, name in enumerate(task.labels) if place not in rows.labels]
        if lost:
            yield f"No row {what} is of the class '{lost[0]}'" + (
                f", nor of {len(lost) - 1} others." if lost[1:] else "."
            )
    if filler is not None:
        yield (
            "The model names no token that fills texts up: set config.pad_token_id to "
            f"{filler} before it is given several texts at once."
        )
    if cut:
        worst = max(cut, key=lambda name: cut[name])
        yield (
            "The start moved W: what was learnt beside it has twice the rank for W itself, and was "
            f"cut to the rank, with a relative error of at most {cut[worst]:.2g}, that of "
            f"'{worst.removeprefix(PREFIX)}'. The figures are those after the cut."
        )


def _alike(labels: Sequence[str]) -> tuple[str, str] | None:
    """Two labels that may be meant as one, such as 1 and 1.0, or yes and Yes; None without any."""
    known: dict[object, str] = {}
    for label in labels:
        try:
            key: object = float(label)
        except ValueError:
            key = label.strip().casefold()
        if key in known:
            return known[key], label
        known[key] = label
    return None


def write(run: Run, place: Path, target: Path, command: str, began: float) -> FineTuning:
    """Write the adapter of a run, prove it, and return the result; the run gives its model up.

    Args:
        run: A run that has learnt.
        place: Folder to write to.
        target: Folder in which the adapter will be.
        command: Command line that the report names, or empty.
        began: When the job began.

    Raises:
        FormatError: If W₀ was changed, or the adapter gives other outputs when it is loaded again.
    """
    cut = _made_plain(run)
    settings, held, model = run.settings, replace(run.held, below=()), run.model
    figures = answers(model, held, settings.batch)
    if digest_of(frozen(model)) != run.digest:
        raise FormatError(
            "The weights of the base were changed while it was fine-tuned.",
            hint="Report this fault.",
            code="base-changed",
        )
    write_peft(model, run.known, place)
    lowest = run.state.lowest
    assert lowest is not None
    filler = run.network.tokenizer.pad_token_id if run.network.had_no_filler else None
    result = FineTuning(
        base=str(run.base),
        folder=str(target),
        task=run.task.name,
        labels=run.task.labels,
        rows=(len(run.train), len(held)),
        settings={**asdict(settings), "learning_rate": run.search.rate},
        search=run.search.to_dict(),
        run=run.state.to_dict(),
        chosen_step=lowest.step,
        metrics=measured(figures, held.labels, run.task, settings.seed),
        reference_loss=_reference(run, held),
        layers=tuple(layer_of(pair, cut.get(pair.name, 0.0)) for pair in run.known),
        head=run.network.head,
        groups=tuple(_groups(run)),
        base_digest=run.digest,
        reload_difference=math.inf,
        memory={"expected": run.memory.most, "held": 0},
        kept_blocks=0 if run.below is None else len(run.below.before),
        spent=run.spent,
        seconds=0.0,
        command=command,
        notes=(*run.notes, *notes_on((run.train, held), filler, cut, run.network.drawn)),
    )
    takes_batches = not run.network.had_no_filler
    known = outputs_of(model, held, settings.batch, batches=takes_batches)
    # W₀ is not in memory twice when the adapter is loaded again
    del model
    run.release()
    difference = reload_difference(
        place, run.base, run.task, settings.seed, known, held, settings.batch
    )
    if not difference <= PROOF:  # true for NaN too
        raise FormatError(
            f"The adapter, loaded again, gives outputs that differ by {difference:.1e}.",
            hint="Report this fault, with the type of the model.",
            code="not-reproduced",
        )
    return replace(
        result,
        reload_difference=difference,
        memory={**result.memory, "held": largest_resident()},
        seconds=time.perf_counter() - began,
    )


def _made_plain(run: Run) -> Mapping[str, float]:
    """Turn what was learnt beside a moved W into a plain adapter, and return errors of cuts."""
    if not run.moved:
        return {}
    # the weights of before as they are in the folder, to the last digit
    fresh = open_network(run.base, run.task, run.settings.seed).model
    weights = {
        pair.name: pair.turned(fresh.get_submodule(pair.name.removeprefix(PREFIX)).weight)
        for pair in run.known
    }
    return plain_(run.model, run.moved, weights=weights)


def _reference(run: Run, held: Encoded) -> float:
    """The loss of an answer that does not look at the text, or of the base for a language."""
    if run.task.name != "language":
        return constant_loss(*run.rows, run.task)
    with run.model.disable_adapter():
        figures = answers(run.model, held, run.settings.batch)
    return mean_loss(figures, held.labels, held.task)[0]


def _groups(run: Run) -> Iterator[dict[str, Any]]:
    """What the optimiser moves, with names, rates and decay."""
    names = [name for name, _ in others(run.model, run.known)]
    for group in run.optimizer(run.search.rate).param_groups:
        kept = ("name", "lr", "weight_decay", "ratio", "damping", "momentum")
        yield {
            **{key: group[key] for key in kept if key in group},
            "names": [] if group["name"] else names,
            "numbers": sum(one.numel() for one in group["params"]),
        }
