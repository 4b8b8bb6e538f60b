"""A start from an adapter that was extracted or learnt before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from eckart.checkpoints.peft import Kind, read_adapter
from eckart.errors import ArgumentError, EckartError, FormatError
from eckart.factors import Factors
from eckart.files.reading import read_object
from eckart.finetuning.dataset import Task
from eckart.finetuning.network import Network, within
from eckart.finetuning.pairs import Pair
from eckart.finetuning.starts import put_factors
from eckart.finetuning.training import learnt

PREFIX: Final = "base_model.model."
"""What PEFT puts in front of the names of modules."""
SAVED: Final = ".modules_to_save.default"
"""What PEFT puts into the names of modules that are learnt whole."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken from an adapter.

    Fields:
        cut: Relative error ‖ΔW − s·B·A‖ / ‖ΔW‖ of each layer whose rank was lowered, by name.
        drawn: Names of layers that the adapter does not change, whose A was drawn.
        left: Names of values of the adapter that are not learnt here, and stay as the base has
            them.
    """

    cut: Mapping[str, float]
    drawn: Sequence[str]
    left: Sequence[str]

    def notes(self, folder: Path) -> list[str]:
        """Sentences about what is not as it is in the adapter."""
        found: list[str] = []
        if self.cut:
            worst = max(self.cut, key=lambda name: self.cut[name])
            found.append(
                f"{len(self.cut)} layers of {folder} were cut to the rank, with a relative error "
                f"of at most {self.cut[worst]:.2g}, that of '{worst}'."
            )
        for names, what in (
            (self.drawn, "layers are not in {}, and began with a drawn A"),
            (self.left, "other values of {} are not learnt here, and stay as the base has them"),
        ):
            if names:
                said = what.format(folder)
                found.append(f"{len(names)} {said}, such as '{names[0]}'.")
        return found


def start_from_adapter(
    model: Any, known: Sequence[Pair], network: Network, folder: Path, task: Task, seed: int
) -> Taken:
    """Set the factors and the head of an adapted model to those of an adapter.

    A layer of a higher rank is cut by the singular value decomposition; further rows of A are
    drawn, and B is 0 beside them, so that ΔW is that of the adapter.

    Args:
        model: The adapted model.
        known: Its pairs.
        network: The base and its head.
        folder: Folder of the adapter.
        task: The task, whose classes have to be those of the adapter if it names any.
        seed: Seed of what is drawn.

    Raises:
        ArgumentError: If the adapter changes a layer that is not learnt, or has other classes.
        FormatError: If it is damaged, no plain LoRA, or of another shape.
    """
    _check_classes(folder, task)
    turned = {pair.name: pair.weight is not pair.module.get_base_layer().weight for pair in known}
    names = {name.removeprefix(PREFIX) for name, is_turned in turned.items() if is_turned}
    content = read_adapter(folder, transposed=names)
    factors: dict[str, Factors] = {}
    for layer in content.layers:
        own = layer.factors
        is_turned = layer.kind in (Kind.TRANSPOSED, Kind.EMBEDDING)
        factors[layer.module] = Factors(own.A.T, own.B.T) if is_turned else own
    here = {pair.name.removeprefix(PREFIX): pair for pair in known}
    # the name of the base within the model, which an adapter of the base alone lacks
    prefix = network.model.base_model_prefix
    # a change of a head belongs to the one that the folder of the base holds, or may lack
    whole = [name for name in factors if within(name, network.head)]
    rest = {name: own for name, own in factors.items() if name not in whole}
    found = {_placed(name, here, prefix, folder): own for name, own in rest.items()}
    cut: dict[str, float] = {}
    for name, own in found.items():
        error = _put(here[name], own, folder, seed)
        if error:
            cut[name] = error
    left = [*whole, *_put_head(model, content.saved, prefix)]
    left += [f"{layer.module}.bias" for layer in content.layers if layer.bias is not None]
    return Taken(cut=cut, drawn=[name for name in here if name not in found], left=left)


def _check_classes(folder: Path, task: Task) -> None:
    """Refuse an adapter that was learnt for other classes, since its head means those."""
    try:
        known = read_object(folder / "report.json").get("labels")
    except EckartError:  # the report of an adapter of other programs, or none
        return
    if isinstance(known, list) and known and list(map(str, known)) != list(task.labels):
        raise ArgumentError(
            f"{folder} was learnt for the classes {', '.join(map(str, known[:5]))}, and the table "
            f"has {', '.join(task.labels[:5]) or 'none'}.",
            hint="Give a table with the same classes, or another start.",
            code="other-classes",
        )


def _placed(name: str, here: Mapping[str, Pair], prefix: str, folder: Path) -> str:
    """The name in the model of a layer of the adapter."""
    for own in (name, f"{prefix}.{name}"):
        if own in here:
            return own
    raise ArgumentError(
        f"{folder} changes '{name}', which is not learnt here.",
        hint="Take in that layer by `targets`, or give an adapter of this model.",
        code="other-layers",
    )


def _put(pair: Pair, own: Factors, folder: Path, seed: int) -> float:
    """Set a pair to some factors, and return the relative error of cutting them."""
    if own.shape != (pair.B.shape[0], pair.A.shape[1]):
        raise FormatError(
            f"'{pair.name.removeprefix(PREFIX)}' is {pair.B.shape[0]} × {pair.A.shape[1]}, and in "
            f"{folder} {own.shape[0]} × {own.shape[1]}.",
            hint="Give an adapter of this model.",
            code="shapes-differ",
        )
    return put_factors(pair, own, seed)


def _put_head(model: Any, saved: Mapping[str, Any], prefix: str) -> list[str]:
    """Set what is learnt whole to saved values; the names of those with no place here."""
    places = {
        name.removeprefix(PREFIX).replace(SAVED, ""): one for name, one in learnt(model).items()
    }
    left: list[str] = []
    for name, values in saved.items():
        place = places.get(name, places.get(f"{prefix}.{name}"))
        if place is None or tuple(place.shape) != tuple(values.shape):
            left.append(name)
            continue
        with torch.no_grad():
            place.copy_(torch.from_numpy(np.array(values, np.float32)))
    return left
