"""The report of a fine-tune: its page, its figures, and the table of page and terminal."""

from html import escape
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go

from eckart.finetuning.metrics import NAMES
from eckart.reporting.figures import ACCENT, FLOOR, GREY, axis, styled
from eckart.reporting.html import draw, frame, grid, table
from eckart.reporting.tables import figure, seconds

NUMBER: Final = 4
"""Bytes of a number of the factors."""
SMOOTHED: Final = 20
"""Steps over which the loss of a step is averaged at most, so that the curve can be read."""


def finetune_table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values of a fine-tune, for the terminal and the page."""
    settings, search = document["settings"], document["search"]
    found = "" if not search["trials"] else f", the best of {len(search['trials'])} trials"
    if search["good_range"]:
        found += "; good from {:.1e} to {:.1e}".format(*search["good_range"])
    ranks = sorted(one["rank"] for one in document["layers"])
    memory, kept = document["memory"], document["kept_blocks"]
    train, held = document["rows"]
    whole = ", ".join(document["head"]) or "none"
    spent = {**document["spent"], **document["run"]["seconds"]}
    return [
        ("rows to learn from, held back", f"{train}, {held}"),
        *(
            (NAMES[name], f"{one['value']:.4f} ± {one['standard_error']:.4f}")
            for name, one in document["metrics"].items()
        ),
        (f"loss: {document['reference'].lower()}", figure(document["reference_loss"])),
        ("steps, best after", f"{document['run']['step']}, {document['chosen_step']}"),
        ("layers, rank", f"{len(ranks)}, {_range(ranks[0], ranks[-1])}"),
        ("bytes of the factors", f"{_bytes(document['layers']):,}"),
        ("learnt whole", whole),
        ("start, optimizer", f"{settings['start']}, {settings['optimizer']}"),
        ("learning rate", f"{search['rate']:.2g}{found}"),
        ("loaded again, outputs differ by", f"{document['reload_difference']:.1e}"),
        (
            "memory at most, expected, held",
            ", ".join(f"{memory[key] / 1e9:.2f} GB" for key in memory),
        ),
        *([("blocks run once for each text", str(kept))] if kept else []),
        ("time", f"{seconds(document['seconds'])}: {_spent(spent)}"),
    ]


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _bytes(layers: list[dict[str, Any]]) -> int:
    return sum(NUMBER * one["rank"] * sum(one["shape"]) for one in layers)


def _spent(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds(count)}" for name, count in parts.items())


def learning_curve(document: dict[str, Any]) -> go.Figure:
    """The loss over the steps, over the rows held back, and of an answer without the text."""
    history, evaluations = document["run"]["history"], document["run"]["evaluations"]
    width = max(1, min(SMOOTHED, len(history) // 10))
    smooth = [
        sum(one["loss"] for one in history[max(0, place + 1 - width) : place + 1])
        / min(width, place + 1)
        for place in range(len(history))
    ]
    drawn = go.Figure(
        go.Scatter(
            x=[one["step"] for one in history],
            y=smooth,
            mode="lines",
            name=f"learning, mean of {width} steps" if width > 1 else "learning",
            line={"color": GREY, "width": 1.5},
            hovertemplate="step %{x}<br>loss %{y:.4f}<extra></extra>",
        )
    )
    drawn.add_scatter(
        x=[one["step"] for one in evaluations],
        y=[one["loss"] for one in evaluations],
        mode="lines+markers",
        name="rows held back",
        line={"color": ACCENT, "width": 2.5},
        hovertemplate="step %{x}<br>loss %{y:.4f}<extra></extra>",
    )
    constant = document["reference_loss"]
    drawn.add_hline(y=constant, line={"color": FLOOR, "width": 1.5, "dash": "dot"})
    losses = [*smooth, *(one["loss"] for one in evaluations), constant]
    drawn.update_xaxes(title="step")
    drawn.update_yaxes(title="loss", **axis(min(losses), max(losses), wide=False))
    return styled(drawn, 380)


def rate_curve(document: dict[str, Any]) -> go.Figure | None:
    """The loss of every trial over its learning rate, a line for each length; None without any."""
    trials = [one for one in document["search"]["trials"] if one["loss"] is not None]
    if not trials:
        return None
    drawn = go.Figure()
    lengths = sorted({one["steps"] for one in trials})
    for place, length in enumerate(lengths):
        own = sorted((one for one in trials if one["steps"] == length), key=lambda one: one["rate"])
        drawn.add_scatter(
            x=[one["rate"] for one in own],
            y=[one["loss"] for one in own],
            mode="lines+markers",
            name=f"{length} steps",
            line={"color": ACCENT if place == len(lengths) - 1 else GREY, "width": 2},
            opacity=0.4 + 0.6 * (place + 1) / len(lengths),
            hovertemplate="rate %{x:.2g}<br>loss %{y:.4f}<extra></extra>",
        )
    drawn.add_vline(
        x=document["search"]["rate"], line={"color": FLOOR, "width": 1.5, "dash": "dot"}
    )
    good = document["search"]["good_range"]
    if good and good[0] < good[1]:
        drawn.add_vrect(x0=good[0], x1=good[1], fillcolor=ACCENT, opacity=0.08, line_width=0)
    drawn.update_xaxes(title="learning rate", type="log", exponentformat="power")
    drawn.update_yaxes(title="loss of the trial")
    return styled(drawn, 380)


def layer_bars(document: dict[str, Any]) -> go.Figure:
    """The relative change of each layer."""
    layers = document["layers"]
    drawn = go.Figure(
        go.Bar(
            x=[one["relative_change"] for one in layers],
            y=[one["name"] for one in layers],
            orientation="h",
            marker={"color": ACCENT},
            customdata=[[one["rank"], one["stable_rank"]] for one in layers],
            hovertemplate="%{y}<br>‖ΔW‖/‖W‖ %{x:.4f}<br>rank %{customdata[0]}, "
            "stable rank %{customdata[1]:.2f}<extra></extra>",
        )
    )
    drawn.update_xaxes(title="‖ΔW‖ / ‖W‖")
    # every name, and not each second one
    drawn.update_yaxes(autorange="reversed", automargin=True, dtick=1)
    return styled(drawn, 120 + 16 * len(layers))


LAYERS: Final = ("layer", "shape", "rank", "relative change", "stable rank", "σ₁", "σᵣ", "cut")
GROUPS: Final = ("moved together", "numbers", "rate", "decay", "more")


def layer_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each layer."""
    return [
        (
            one["name"],
            " × ".join(map(str, one["shape"])),
            str(one["rank"]),
            f"{one['relative_change']:.4f}",
            f"{one['stable_rank']:.2f}",
            figure(one["singular_values"][0]),
            figure(one["singular_values"][-1]),
            figure(one["cut"]) if one["cut"] else "",
        )
        for one in document["layers"]
    ]


def group_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each group of parameters of the optimiser."""
    rows: list[tuple[str, ...]] = []
    for one in document["groups"]:
        more = ", ".join(
            f"{key} {one[key]:g}" for key in ("ratio", "damping", "momentum") if key in one
        )
        names = one["name"] or ", ".join(one["names"])
        rows.append(
            (names, str(one["numbers"]), f"{one['lr']:.2g}", f"{one['weight_decay']:g}", more)
        )
    return rows


def finetune_page(document: dict[str, Any]) -> str:
    """The HTML report of a fine-tune, which needs no other file."""
    curves = [learning_curve(document), rate_curve(document)]
    cards = "".join(f'<div class="card">{draw(curve)}</div>' for curve in curves if curve)
    layers, groups = layer_rows(document), group_rows(document)
    notes = "".join(f"<p>{escape(note)}</p>" for note in document["notes"])
    return frame(
        title=f"Adapter {document['folder']}",
        body=f"""
<h1>{escape(document["folder"])}</h1>
<p class="equation">W = W₀ + s·B·A, learnt from {escape(document["base"])}</p>
<p class="message">{escape(document["message"])}</p>
{notes}
<h2>Figures</h2>
<div class="card">{table(finetune_table(document))}</div>
<h2>How it learnt</h2>
<div class="pair">{cards}</div>
<h2>What each layer has learnt</h2>
<div class="card wide">{draw(layer_bars(document))}</div>
<details><summary>The layers</summary>
<div class="card wide">{grid(LAYERS, layers, [""] * len(layers))}</div></details>
<details><summary>What the optimizer moved</summary>
<div class="card wide">{grid(GROUPS, groups, [""] * len(groups))}</div></details>
<h2>Run it again</h2>
<pre>{escape(document["command"] or "eckart.finetune(…)")}</pre>
<p>The weights of the base have the SHA-256 {document["base_digest"]}, before and after.</p>
<footer>{escape(_versions(document))}</footer>""",
    )


def _versions(document: dict[str, Any]) -> str:
    return ", ".join(f"{name} {said}" for name, said in document["versions"].items())


def _head_of(labels: list[str]) -> str:
    """What a user gives to load a base with the head that the adapter replaces."""
    if not labels:
        return ", num_labels=1, ignore_mismatched_sizes=True"
    names = dict(enumerate(labels))
    return (
        f",\n    id2label={names!r},\n    label2id={dict(zip(labels, names, strict=True))!r},\n"
        "    ignore_mismatched_sizes=True"
    )


def readme(document: dict[str, Any]) -> str:
    """The model card beside an adapter."""
    own, base = Path(document["folder"]).name, document["base"]
    kind = "CausalLM" if document["task"] == "language" else "SequenceClassification"
    more = _head_of(document["labels"]) if document["task"] != "language" else ""
    rows = "\n".join(f"| {label} | {value} |" for label, value in finetune_table(document))
    names = "".join(f"\n{place}. {label}" for place, label in enumerate(document["labels"]))
    notes = "".join(f"\n{note}\n" for note in document["notes"])
    classes = f"\n## Classes\n{names}\n" if names else ""
    return f"""---
library_name: peft
tags:
- lora
- eckart
---

# A low-rank adapter learnt for a {document["task"]}

{document["message"]}

```python
from peft import PeftModel
import torch
from transformers import AutoModelFor{kind}
base = AutoModelFor{kind}.from_pretrained({base!r}, dtype=torch.float32{more})
model = PeftModel.from_pretrained(base, {own!r})
```
{notes}{classes}
| | |
| --- | --- |
{rows}

Made with:

```
{document["command"] or "eckart.finetune(…)"}
```
"""
