"""An adapter that PEFT was seen to find a place for, all of it, before it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from eckart.errors import MatrixError
from eckart.jobs.extract.assembly import assemble
from eckart.jobs.extract.placement import Placement
from eckart.jobs.extract.survey import Finding, Survey
from eckart.jobs.extract.way import Way
from eckart.jobs.running import can_attach, forward_distances, unattached
from eckart.storage.adapters import Adapter, described_adapter
from eckart.storage.adapters.experts import expert_of

TRIALS: Final = 3
"""Of the adapter: as planned, with values in the place of factors, and without those either."""


def assembled(
    survey: Survey,
    findings: Sequence[Finding],
    placement: Placement,
    *,
    base_name: str | None,
    check: bool,
) -> tuple[Adapter, Sequence[Finding]]:
    """The adapter of all findings, and what became of each.

    What PEFT does not load as it is meant is saved whole, or not covered where that does not help.

    Args:
        survey: Of the two checkpoints.
        findings: Of every tensor, in order.
        placement: Where they go in the running model.
        base_name: What the adapter says that its base is.
        check: Whether to attach it to the running model, where that and PEFT are there.

    Raises:
        MatrixError: If PEFT loads no such adapter.

    Cost:
        That of `assemble` and `unattached`.
    """
    found = findings
    wrong: Mapping[str, str] = {}
    for _ in range(TRIALS):
        adapter = assemble(survey, found, placement, base_name=base_name)
        running = placement.running
        if not check or running is None or not can_attach():
            return adapter, found
        if not adapter.layers:
            return adapter, found
        wrong = unattached(running, *described_adapter(adapter, base_modules=placement.modules))
        if not wrong:
            return adapter, found
        found = [_otherwise(one, wrong) for one in found]
    module, reason = next(iter(wrong.items()))
    raise MatrixError(
        f"PEFT does not load the adapter{f' for {module}' if module else ''}: {reason}.",
        hint="Leave those layers out with --exclude, or write it unchecked with --no-check.",
        code="not-attached",
    )


def forward_note(placement: Placement, base: Path, tuned: Path, adapter: Path) -> str:
    """What one pass through base + adapter and through the fine-tune shows, in a sentence."""
    if placement.running is None or not can_attach():
        return "No pass through the models was made: the running model or PEFT is not known."
    try:
        found = forward_distances(placement.running, base, tuned, adapter)
    except Exception as error:  # a model may want inputs of any kind
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        return f"No pass through the models could be made: {reason}."
    if found is None:
        return "One pass through the base and the fine-tune shows no difference between them."
    loaded, merged = found
    return (
        f"In one pass over random inputs base + adapter is {loaded:.2g} of the change away from "
        f"the fine-tune as PEFT loads it, {merged:.2g} merged (0 is right, 1 is no effect)."
    )


def _otherwise(finding: Finding, wrong: Mapping[str, str]) -> Finding:
    """The finding with another way, where PEFT does not take the one there is."""
    pair = finding.pair
    above = (name for name in wrong if name and f"{pair.module}.".startswith(f"{name}."))
    reason = wrong.get(pair.name)
    if pair.way is not Way.BIAS:
        reason = next((wrong[name] for name in above), reason)
    if reason is None or pair.way is Way.NONE:
        return finding
    hopeless = pair.in_place or pair.way is Way.BIAS or expert_of(pair.module) is not None
    way = Way.NONE if hopeless else Way.SAVED
    changed = replace(pair, way=way, kind=None, in_place=way is Way.SAVED, why=reason)
    return replace(finding, pair=changed, figures=None)
