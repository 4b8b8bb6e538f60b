"""A smaller adapter from one that eckart extracted, made without the models."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from eckart.adapters.budget import LayerDemand, gains, share_out
from eckart.adapters.documents import read_report, write_documents
from eckart.adapters.join_and_truncate import with_ranks
from eckart.adapters.settings import NOISE, OF_WEIGHT, Document, LayerRanks
from eckart.arrays import FLOAT64, Array
from eckart.checkpoints.peft import (
    AdaptedLayer,
    Adapter,
    AdapterDType,
    adapter_bytes,
    matrix_shape,
    read_adapter,
    uniform_groups,
    write_adapter,
)
from eckart.errors import ArgumentError, EckartError, FormatError
from eckart.files import check_output, whole_file
from eckart.files.reading import as_written


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A stored layer, the singular values of its B·A, and the figures of its extraction."""

    layer: AdaptedLayer
    values: Array
    figures: Document

    @property
    def delta_norm(self) -> float:
        """‖ΔW‖."""
        return float(self.figures["delta_norm"])

    @property
    def weight_norm(self) -> float:
        """‖W‖, since the relative change is ‖ΔW‖ / ‖W‖."""
        return self.delta_norm / (float(self.figures["relative_change"]) or 1.0)

    @property
    def least(self) -> int:
        """The smallest rank: a changed bias is stored with its layer, so that keeps one column."""
        return int(self.layer.bias is not None)

    def error(self, rank: int) -> float:
        """‖ΔW − B·A‖ at a smaller rank, from the recorded error and the dropped singular values."""
        before = float(self.figures["relative_error"]) * self.delta_norm
        # the residual of an SVD is orthogonal to the kept components, so the squares add
        return math.hypot(before, float(np.linalg.norm(self.values[rank:])))


def extract_again(
    adapter: Path, out: Path, ranks: LayerRanks, *, command: str = "", force: bool = False
) -> Document:
    """Write a smaller adapter from one that eckart extracted, whose `report.json` is beside it.

    Returns:
        The document of the new adapter, in the form of `Extraction.to_dict`.

    Raises:
        ArgumentError: If the rule asks for more than the adapter holds.
        FormatError: If the folder holds no adapter with the report of an extraction.

    Cost:
        Two thin QR factorisations of the factors of each layer.
    """
    began = time.perf_counter()
    check_output(out, force=force, inputs=[adapter], is_folder=True)
    report = read_report(adapter)
    if report is None:
        raise FormatError(
            f"{adapter} has no report.json of an extraction beside it.",
            hint="Extract from the models, or use eckart truncate.",
            code="no-report",
        )
    stored = read_adapter(adapter)
    altered = FormatError(
        f"The report in {adapter} is not as eckart wrote it.",
        hint="Extract from the models again, or use eckart truncate.",
        code="no-report",
    )
    # an error of eckart says already what is wrong
    with as_written(altered, but=(EckartError,)), whole_file(out, force=force) as temporary:
        dtype: AdapterDType = report["settings"]["dtype"]
        known = _known(stored, report, adapter)
        smaller = with_ranks(stored, _ranks(known, ranks, dtype))
        document = _document(report, known, smaller, dtype)
        note = "the errors follow from its spectra and were not measured again."
        document |= {
            "folder": str(out),
            "command": command,
            "seconds": time.perf_counter() - began,
            "notes": [*report["notes"], f"Cut from {adapter.name}: {note}"],
        }
        write_adapter(temporary, smaller, dtype)
        write_documents(document, temporary)
    return document


def _known(stored: Adapter, report: Document, path: Path) -> dict[str, _Known]:
    figures = {one["name"]: one for one in report["tensors"]}
    known: dict[str, _Known] = {}
    for one in stored.layers:
        own, values = figures.get(one.module, {}), one.factors.singular_values()
        if "relative_error" not in own:
            raise FormatError(
                f"The report in {path} does not know the layer '{one.module}'.",
                hint="Extract from the models again.",
                code="no-report",
            )
        known[one.module] = _Known(layer=one, values=values, figures=own)
    return known


def _ranks(known: Mapping[str, _Known], ranks: LayerRanks, dtype: AdapterDType) -> dict[str, int]:
    """The rank of each layer by module; all experts that PEFT stacks get one rank."""
    if ranks.rank == NOISE:
        raise ArgumentError(
            "The noise of the stored weights is not known without the models.",
            hint="Give BASE and TUNED.",
            code="needs-models",
        )
    rule = _share_budget(known, ranks, dtype) if ranks.is_shared else {}
    chosen = rule or {module: _rank(one, ranks) for module, one in known.items()}
    # PEFT stacks these experts into one tensor, which has one rank
    for group in uniform_groups(known):
        chosen |= dict.fromkeys(group, max(chosen[module] for module in group))
    # an adapter holds no more components than it has columns
    return {module: min(rank, known[module].layer.rank) for module, rank in chosen.items()}


def _rank(one: _Known, ranks: LayerRanks) -> int:
    """The rank of a layer by a rule that looks at one layer at a time."""
    module, own = one.layer.module, ranks.override(one.layer.module)
    if own is not None:
        return own
    wanted = ranks.rank if isinstance(ranks.rank, int) else _within(one, ranks)
    return max(ranks.limit(module, wanted, matrix_shape(one.layer.shape)), one.least)


def _within(one: _Known, ranks: LayerRanks) -> int:
    """The smallest rank whose error is within the tolerance; refused if the stored one is not."""
    norm = one.weight_norm if ranks.of == OF_WEIGHT else one.delta_norm
    allowed = (ranks.tolerance or 0.0) * norm
    if one.error(one.layer.rank) > allowed:
        raise ArgumentError(
            f"'{one.layer.module}' has a relative error of {one.figures['relative_error']:.3g} at "
            f"the {one.layer.rank} columns that the adapter holds.",
            hint="Give a larger tolerance, or extract from the models again.",
            code="needs-models",
        )
    return next(rank for rank in range(one.layer.rank + 1) if one.error(rank) <= allowed)


def _share_budget(
    known: Mapping[str, _Known], ranks: LayerRanks, dtype: AdapterDType
) -> dict[str, int]:
    """The ranks within a budget; a ratio is a share of the bytes of the layers in float32."""
    # the report does not tell in which dtype the models were stored
    whole = sum(4 * math.prod(one.layer.shape) for one in known.values())
    demands = [
        LayerDemand(
            module=module,
            shape=one.layer.shape,
            gains=gains(one.values.astype(FLOAT64), ranks, one.weight_norm),
            least=max(ranks.least, one.least),
            fixed=ranks.override(module),
        )
        for module, one in known.items()
    ]
    budget = ranks.budget_bytes(whole)
    return share_out(demands, budget, dtype, multiple=ranks.multiple, most=ranks.most)


def _document(
    report: Document, known: Mapping[str, _Known], smaller: Adapter, dtype: AdapterDType
) -> Document:
    """The report of the extraction with the figures of the smaller layers put in."""
    ranks = {layer.module: layer.rank for layer in smaller.layers}
    tensors: list[Document] = []
    squares, of_layers, total_of_layers = 0.0, 0.0, 0.0
    for one in report["tensors"]:
        figures = dict(one)
        norm = one["delta_norm"] or 0.0
        # biases and values that are saved whole have no error
        error = norm if one["state"] in ("not covered", "left out") else 0.0
        # PEFT keeps a changed bias with the factors of its layer, and a layer without any is gone
        module = one["name"].rpartition(".")[0]
        if one["state"] == "bias" and module in known and not ranks.get(module):
            error, why = norm, "the rank of its layer is 0"
            figures |= {"state": "left out", "why": why, "bytes": 0}
        if one["name"] in known:
            rank, layer = ranks.get(one["name"], 0), known[one["name"]]
            error = layer.error(rank)
            relative = error / (norm or 1.0)
            figures |= {
                "rank": rank,
                "state": "factors" if rank else "left out",
                "relative_error": relative,
                "best_possible_error": min(one["best_possible_error"], relative)
                if rank == one["rank"]
                else relative / (1 + (one["gap"] or 0.0)),
                "bytes": adapter_bytes(layer.layer.shape, rank, dtype),
            }
        if "relative_error" in one:  # layers that were left out count too
            of_layers += error**2
            total_of_layers += norm**2
        squares += error**2
        tensors.append(figures)
    total = float(report["delta_norm"]) or 1.0
    return {
        **report,
        "tensors": tensors,
        "relative_error": math.sqrt(squares) / total,
        "relative_error_of_layers": math.sqrt(of_layers / (total_of_layers or 1.0)),
        "bytes": sum(one["bytes"] for one in tensors),
        "factor_bytes": sum(one["bytes"] for one in tensors if one["state"] == "factors"),
    }
