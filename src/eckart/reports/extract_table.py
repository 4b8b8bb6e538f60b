"""The figures of an adapter as labels and values, the same in the terminal and on the page."""

from typing import Any, Final

from eckart.reports.table import byte_size, figure, gap, seconds

EXACT: Final = 1e-5
"""A relative error up to this is what rounding to float32 leaves."""
SEEN: Final = 5e-6
"""A gap that shows in percent with three places."""
MOST_MISSING: Final = 200


def extract_table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values for a person.

    Args:
        document: `Extraction.to_dict()`.
    """
    layers = _layers(document)
    ranks = sorted(one["rank"] for one in layers)
    states = [one["state"] for one in document["tensors"]]
    whole = states.count("bias") + states.count("saved whole")
    spread = "none"
    if ranks:
        middle = ranks[len(ranks) // 2]
        span = f", {ranks[0]} to {ranks[-1]}" if ranks[0] != ranks[-1] else ""
        spread = f"{middle}{span}"
    return [
        ("layers with factors", str(len(layers))),
        ("ranks", spread),
        ("biases and saved whole", str(whole)),
        ("unchanged", str(document["unchanged"])),
        (
            "not covered",
            str(sum(one["state"] in ("not covered", "left out") for one in document["tensors"])),
        ),
        ("relative error of these layers", figure(document["relative_error_of_layers"])),
        ("relative error of the whole change", figure(document["relative_error"])),
        ("bytes", byte_size(document["bytes"])),
        ("time", seconds(document["seconds"])),
    ]


def extract_verdict(document: dict[str, Any]) -> str:
    """How much of the change is taken in, how near to the best that is, and what is missing."""
    layers = _layers(document)
    taken = 1 - document["relative_error"] ** 2
    sentences = [
        f"The adapter takes in {taken:.2%} of the change (its squared norm), "
        f"in {byte_size(document['bytes'])}."
    ]
    if document["relative_error"] <= EXACT:
        sentences = [f"The adapter takes in the whole change, in {byte_size(document['bytes'])}."]
    gaps = [one["gap"] for one in layers if one["gap"] is not None]
    if gaps:
        most = f" by more than {gap(max(gaps))} in any layer" if max(gaps) >= SEEN else ""
        sentences.append(f"No factors of the same ranks are closer{most}.")
    lost = sum(one["share_of_delta"] for one in _missing(document))
    if lost:
        sentences.append(f"{lost:.2%} is in tensors that it does not cover.")
    new = [one for one in _missing(document) if one["delta_norm"] is None]
    if new:
        sentences.append(
            f"{len(new)} tensor{'s are' if len(new) > 1 else ' is'} in one of the two only."
        )
    return " ".join(sentences)


def layer_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each layer with factors."""
    return [
        (
            one["name"],
            " × ".join(map(str, one["shape"])),
            str(one["rank"]),
            figure(one["relative_error"]),
            figure(one["best_possible_error"]),
            gap(one["gap"]),
            byte_size(one["bytes"]),
            f"{one['share_of_delta']:.2%}",
            seconds(one["seconds"]),
        )
        for one in _layers(document)
    ]


def missing_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each tensor whose change is not in the adapter, the largest first."""
    missing = sorted(_missing(document), key=lambda one: -one["share_of_delta"])
    rows = [
        (
            one["name"],
            "" if one["delta_norm"] is None else f"{one['share_of_delta']:.2%}",
            one["why"] or "its rank is 0",
        )
        for one in missing[:MOST_MISSING]
    ]
    more = len(missing) - len(rows)
    return [*rows, (f"and {more} more", "", "")] if more else rows


def _layers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in document["tensors"] if one.get("rank") and one["state"] == "factors"]


def _missing(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in document["tensors"] if one["state"] in ("not covered", "left out")]
