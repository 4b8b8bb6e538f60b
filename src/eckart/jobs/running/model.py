"""What is known of the model that runs, apart from its numbers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from eckart.storage.adapters import Kind, unwrapped

EXPERTS: Final = ".experts."
"""What the names of single experts hold in a checkpoint."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What a module of the running model is.

    Fields:
        kind: What PEFT can adapt it as; None where it cannot, or where the adapter would not act.
        why: The reason, where it cannot.
        parameters: Names of its own parameters and buffers that a checkpoint holds.
        is_leaf: Whether there is nothing beneath it.
        is_single: Whether it is known by one name only.
    """

    kind: Kind | None
    why: str
    parameters: frozenset[str]
    is_leaf: bool
    is_single: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Where a tensor of a checkpoint goes in the running model.

    Fields:
        name: Of the parameter; of the tensor where it has none of its own.
        why: Why it has no parameter of its own, or empty.
    """

    name: str
    why: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A model as transformers builds it.

    Fields:
        source: What it is known from, such as "transformers 5.23.0".
        network: The model on the meta device: shapes, and no numbers.
        shapes: Of all parameters and buffers that a checkpoint holds, by name.
        modules: Those with parameters, by name.
        names: Of all modules.
        ties: Names of one parameter each, that of the checkpoint first.
        stacks: Whether PEFT stacks the factors of single experts of this model.
        task: PEFT's name of what it is for, or None.
        rename: The name in the model of a tensor of a checkpoint, and whether it is made from
            several or is changed on the way.
    """

    source: str
    network: Any
    shapes: Mapping[str, tuple[int, ...]]
    modules: Mapping[str, Module]
    names: frozenset[str]
    ties: tuple[tuple[str, ...], ...]
    stacks: bool
    task: str | None
    rename: Callable[[Iterable[str]], Mapping[str, tuple[str, bool]]] = field(repr=False)

    def uses(self, stored: Iterable[str]) -> dict[str, Use]:
        """Where each tensor of a checkpoint goes."""
        bare = {name: unwrapped(name) for name in stored}
        found = self.rename(bare.values())
        return {name: self._use(own, *found[own]) for name, own in bare.items()}

    def _use(self, own: str, name: str, is_made: bool) -> Use:
        if is_made and self.stacks and EXPERTS in own:
            return Use(name=own)  # PEFT stacks them by their names in the checkpoint
        if is_made:
            return Use(name=own, why=f"transformers makes '{name}' from it")
        if name not in self.shapes:
            return Use(name=name, why="the running model has no such tensor")
        return Use(name=name)
