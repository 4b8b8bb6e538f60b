"""What is extracted from a full fine-tune, beside what was learnt at the same rank."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_contender import BATCH, encoded_rows
from finetune_inputs import Inputs

from eckart import compare_adapters, extract_adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """An adapter that was extracted, and one that was learnt, held against the full ΔW.

    Fields:
        accuracy: Of the one that was extracted.
        learnt, error: Relative error ‖ΔW − s·B·A‖ / ‖ΔW‖ over the layers that both adapt.
        best: A lower bound on the error of any adapter of this rank, proven.
    """

    accuracy: float
    learnt: float
    error: float
    best: float


def extracted(task: Inputs, learnt: Path, tuned: Path, rank: int) -> Extracted:
    """Extract an adapter of a rank, ask it, and compare both adapters with the full ΔW."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "extracted"
        extract_adapter(task.model, tuned, out, rank=rank, exclude=("*embeddings*",))
        found = compare_adapters([learnt, out], base=task.model, tuned=tuned)
        document = found.to_dict()
        # the layers that were learnt; an extraction also saves biases and norms
        names = {one["name"] for one in document["learnt"][0]["layers"]}
        accuracy = _accuracy(task, out)
    errors: list[float] = []
    best = 0.0
    for own in document["learnt"]:
        layers = [one for one in own["layers"] if _in(one["name"], names)]
        total = sum(one["delta_norm"] ** 2 for one in layers)
        lost = sum((one["relative_error"] * one["delta_norm"]) ** 2 for one in layers)
        least = sum((one["best_possible_error"] * one["delta_norm"]) ** 2 for one in layers)
        errors.append((lost / total) ** 0.5)
        best = (least / total) ** 0.5
    return Extracted(accuracy=accuracy, learnt=errors[0], error=errors[1], best=best)


def _in(name: str, names: set[str]) -> bool:
    return name in names or f"bert.{name}" in names


def _accuracy(task: Inputs, adapter: Path) -> float:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from eckart.finetuning.metrics import measured
    from eckart.finetuning.training import answers

    kind, _, held = encoded_rows(task)
    base: Any = AutoModelForSequenceClassification.from_pretrained(
        task.model, num_labels=kind.outputs
    )
    model = PeftModel.from_pretrained(base, adapter)
    return measured(answers(model, held, BATCH), held.labels, kind, 0)["accuracy"][0]
