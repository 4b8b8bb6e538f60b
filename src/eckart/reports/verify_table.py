"""What is known of an adapter held against two models, as rows and sentences."""

from typing import Any, Final

from eckart.reports.table import figure

HEADER: Final = ("layer", "rank", "relative error", "recorded")
MOST_NAMED: Final = 5
MOST_MISSING: Final = 20


def verify_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each adapted layer.

    Args:
        document: `Verification.to_dict()`.
    """
    return [
        (
            one["name"],
            str(one["rank"]),
            figure(one["relative_error"]),
            "" if one["recorded_error"] is None else figure(one["recorded_error"]),
        )
        for one in document["layers"]
    ]


def uncovered_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each tensor that differs and is not in the adapter, the largest first."""
    missing = document["uncovered"]
    rows = [
        (
            one["name"],
            "" if one["delta_norm"] is None else f"{one['share_of_delta']:.2%}",
            one["why"],
        )
        for one in missing[:MOST_MISSING]
    ]
    more = len(missing) - len(rows)
    return [*rows, (f"and {more} more", "", "")] if more else rows


def verify_verdict(document: dict[str, Any]) -> list[str]:
    """What does not fit, what is short, and the error of the whole; a sentence each."""
    larger = [one["name"] for one in document["layers"] if not one["fits"]]
    different = [one["name"] for one in document["values"] if not one["fits"]]
    said = [
        *_named(document["unknown"], "The adapter changes what the models do not have"),
        *document["misfits"][:MOST_NAMED],
        *_named(larger, "The error is larger than the recorded one"),
        *_named(different, "The values are not those of the fine-tune"),
        *_named([name for name in document["short"] if name], "Above the tolerance"),
    ]
    equal = sum(one["fits"] for one in document["values"])
    also = f" and {_counted(equal, 'bias or saved value', 'biases and saved values')} equal"
    also = also if equal else ""
    whole = document["relative_error"]
    error = "not a number: nothing changed" if whole is None else figure(whole)
    short = f", above the tolerance of {document['tolerance']:g}" if "" in document["short"] else ""
    fit = "does not fit" if document["grade"] == "failed" else "fits"
    layers = _counted(len(document["layers"]), "layer", "layers")
    return [
        *said,
        f"The adapter {fit}: {layers} measured{also}.",
        f"The relative error of the whole change is {error}{short}.",
    ]


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _named(names: list[str], what: str) -> list[str]:
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"{what}: {shown}{more}."]
