"""The result of a fine-tune, and the documents beside the adapter."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

from eckart.engine.result import Grade
from eckart.files import write_text
from eckart.finetuning.metrics import NAMES, Metrics

VERSIONED: Final = ("eckart", "torch", "transformers", "peft")
"""Packages whose versions are in the report."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one layer has learnt.

    Fields:
        name: Name of the module.
        shape: Outputs and inputs.
        rank: Rank of its factors.
        norm: ‖ΔW‖_F of ΔW = s·B·A.
        relative_change: ‖ΔW‖ / ‖W‖.
        stable_rank: ‖ΔW‖²_F / σ₁², between 1 and the rank; 0 if nothing was learnt.
        singular_values: σ₁ ≥ σ₂ ≥ … of ΔW.
        cut: Relative error of cutting ΔW to the rank, if the start moved W; else 0.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    norm: float
    relative_change: float
    stable_rank: float
    singular_values: tuple[float, ...]
    cut: float = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """The result of `finetune`.

    Fields:
        base, folder: The folders of the model and of the adapter.
        task: "classification", "regression" or "language".
        labels: The classes in the order of the outputs.
        rows: Rows to learn from, and rows held back.
        settings: The settings, with the learning rate that was used.
        search: The search for that rate.
        run: Steps, losses, evaluations, and seconds by what they were spent on.
        chosen_step: Steps after which the loss over the rows held back was lowest: the adapter is
            of that moment.
        metrics: Figures over the rows held back, with standard errors.
        reference_loss: The loss over these rows of the best answer that does not look at the text;
            of a language that of the base.
        layers: What each layer has learnt.
        head: Modules that were learnt whole.
        groups: What the optimiser moved, with names, rates and decay.
        base_digest: SHA-256 of the weights of the base, before and after.
        reload_difference: Largest difference of an output of the adapter that was written and
            loaded again, relative to the largest output.
        memory: Bytes of the process: those that were `expected` at most, and those `held` at most.
        kept_blocks: Blocks below the first that is learnt, whose outputs were kept.
        spent: Seconds of what comes before the first step.
        seconds: Duration of the whole job.
        command: Command line, or empty.
        notes: Sentences for the user.
    """

    base: str
    folder: str
    task: str
    labels: tuple[str, ...]
    rows: tuple[int, int]
    settings: dict[str, Any]
    search: dict[str, Any]
    run: dict[str, Any]
    chosen_step: int
    metrics: Metrics
    reference_loss: float
    layers: tuple[Layer, ...]
    head: tuple[str, ...]
    groups: tuple[dict[str, Any], ...]
    base_digest: str
    reload_difference: float
    memory: dict[str, int]
    kept_blocks: int
    spent: dict[str, float]
    seconds: float
    command: str
    notes: tuple[str, ...] = ()

    @property
    def grade(self) -> Grade:
        """Success, or short if the loss is no lower than that without what was learnt."""
        return "success" if self.metrics["loss"][0] < self.reference_loss else "short"

    @property
    def reference(self) -> str:
        """What has the loss `reference_loss`."""
        return "The base" if self.task == "language" else "An answer that does not look at the text"

    @property
    def message(self) -> str:
        """The result in a sentence or two."""
        figures = ", ".join(
            f"{NAMES[name]} {value:.3f} ± {error:.3f}"
            for name, (value, error) in self.metrics.items()
        )
        said = f"Over {self.rows[1]} rows held back, after {self.chosen_step} steps: {figures}."
        if self.grade == "short":
            said += f" {self.reference} has the loss {self.reference_loss:.3f}: nothing was learnt."
        return said

    def to_dict(self) -> dict[str, Any]:
        """The result as plain numbers and text."""
        document = asdict(self)
        document["metrics"] = {
            name: {"value": value, "standard_error": error}
            for name, (value, error) in self.metrics.items()
        }
        return {
            "schema": 1,
            **document,
            "reference": self.reference,
            "grade": self.grade,
            "message": self.message,
            "versions": {name: version(name) for name in VERSIONED},
            "files": {"output": self.folder},
        }


def write_documents(result: FineTuning, folder: Path) -> None:
    """Write the report, its page and the README beside the adapter."""
    from eckart.finetuning.report import finetune_page, readme  # imports plotly, which loads long

    document = result.to_dict()
    write_text(folder / "report.json", json.dumps(document, allow_nan=False))
    write_text(folder / "report.html", finetune_page(document))
    write_text(folder / "README.md", readme(document))
