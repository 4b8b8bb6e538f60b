"""Comparing adapters of one model with one another, and with the full change between two models."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from typing import Literal, TypeAlias, final

import numpy as np

from eckart.adapters.alignment import turned
from eckart.adapters.learnt import LearntChange, Measurer, zeros
from eckart.adapters.model_pair import is_unchanged, open_pair
from eckart.adapters.overlap import Overlap, overlap
from eckart.adapters.settings import Document
from eckart.adapters.tensor_checks import check_adapters, relative
from eckart.arguments import as_path, check_list, check_whole
from eckart.checkpoints.peft import AdaptedLayer, Adapter, Kind, read_adapter
from eckart.checkpoints.peft.adapter import BIAS, Tensor
from eckart.engine.result import Grade
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.progress import Watch, unwatched
from eckart.reporting.tables import figure, share

State: TypeAlias = Literal["equal", "different", "only in the first", "only in the other"]
"""What is known of a value in two adapters."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOverlap:
    """How two adapters change one weight.

    Fields:
        name: Name of the module.
        shape: Shape of the weight, outputs first if it is linear.
        ranks: Columns of B in both; 0 in an adapter that lacks the layer, whose ΔW is 0 here.
        overlap: How the change of the other lies to that of the first.
    """

    name: str
    shape: tuple[int, ...]
    ranks: tuple[int, int]
    overlap: Overlap

    def to_dict(self) -> Document:
        """The figures as plain numbers and text."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "ranks": list(self.ranks),
            **self.overlap.to_dict(),
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValueState:
    """A saved value of a parameter, or a change of a bias, in two adapters.

    Fields:
        name: Name of the parameter.
        is_change: Whether it is a change, which is 0 in an adapter that lacks it.
        state: Whether the values are equal, or which adapter has one.
    """

    name: str
    is_change: bool
    state: State

    def to_dict(self) -> Document:
        """The fields as plain text."""
        return {"name": self.name, "is_change": self.is_change, "state": self.state}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PairOverlap:
    """How another adapter lies to the first.

    Fields:
        first, other: Folders of the two adapters.
        layers: The weights that one of them changes.
        values: Saved values and changes of biases that one of them has.
    """

    first: str
    other: str
    layers: tuple[LayerOverlap, ...]
    values: tuple[ValueState, ...]

    @property
    def norms(self) -> tuple[float, float]:
        """‖ΔA‖ and ‖ΔB‖ over all layers."""
        sides = zip(*(one.overlap.norms for one in self.layers), strict=True)
        first, other = (math.hypot(*side) for side in sides)
        return first, other

    @property
    def relative_difference(self) -> float | None:
        """‖ΔA − ΔB‖ / ‖ΔA‖ over all layers; None if ΔA alone is 0."""
        distance = math.hypot(*(one.overlap.distance for one in self.layers))
        return relative(distance, self.norms[0])

    @property
    def cosine(self) -> float | None:
        """⟨ΔA, ΔB⟩ / (‖ΔA‖·‖ΔB‖) over all layers; None if one of them is 0."""
        first, other = self.norms
        if not first or not other:
            return None
        parts = (one.overlap for one in self.layers)
        # ratios of norms first, since their products may leave the range
        terms = ((x.cosine or 0.0) * (x.norms[0] / first) * (x.norms[1] / other) for x in parts)
        return max(-1.0, min(1.0, math.fsum(terms)))

    @property
    def energy(self) -> float | None:
        """Share of ‖ΔB‖² within the column and row spaces of ΔA; None if ΔB is 0."""
        other = self.norms[1]
        if not other:
            return None
        parts = (one.overlap for one in self.layers)
        return min(1.0, math.fsum((x.energy or 0.0) * (x.norms[1] / other) ** 2 for x in parts))

    def only(self, side: int) -> list[str]:
        """Names of the layers that only the first (0) or only the other (1) has."""
        return [one.name for one in self.layers if not one.ranks[1 - side]]

    @property
    def message(self) -> str:
        """The comparison in a sentence or two."""
        first, other = self.norms
        if not first or not other:
            return f"{self.other if first else self.first} changes no weight."
        differing = sum(one.state != "equal" for one in self.values)
        values = f" {_counted(differing, 'saved value or bias', 'saved values and biases')} "
        differ = f"{values}{'differs' if differing == 1 else 'differ'}." if differing else ""
        return (
            f"{self.other}: {share(self.energy)} of its energy is in the spaces of {self.first}, "
            f"the cosine is {figure(self.cosine)}, and the relative difference "
            f"{figure(self.relative_difference)}.{differ}"
        )

    def to_dict(self) -> Document:
        """The result as plain numbers and text."""
        return {
            "first": self.first,
            "other": self.other,
            "norms": list(self.norms),
            "relative_difference": self.relative_difference,
            "cosine": self.cosine,
            "energy": self.energy,
            "message": self.message,
            "only_first": self.only(0),
            "only_other": self.only(1),
            "layers": [one.to_dict() for one in self.layers],
            "values": [one.to_dict() for one in self.values],
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterComparison:
    """The result of `compare_adapters`.

    Fields:
        adapters, base, tuned, seed: Arguments of `compare_adapters`.
        pairs: The first adapter beside each other one.
        learnt: What each adapter has learnt of the change between the models, if those were given.
        notes: Sentences that a user should read.
        seconds: Duration of the whole job.
    """

    adapters: tuple[str, ...]
    base: str | None
    tuned: str | None
    pairs: tuple[PairOverlap, ...]
    learnt: tuple[LearntChange, ...]
    notes: tuple[str, ...]
    seed: int
    seconds: float

    @property
    def grade(self) -> Grade:
        """Failed if an adapter changes what the models do not have, else success."""
        return "success" if all(one.fits for one in self.learnt) else "failed"

    @property
    def message(self) -> str:
        """All sentences on pairs of adapters, and on each of them beside the models."""
        return " ".join(one.message for one in (*self.pairs, *self.learnt))

    def to_dict(self) -> Document:
        """The result as plain numbers and text."""
        return {
            "adapters": list(self.adapters),
            "base": self.base,
            "tuned": self.tuned,
            "grade": self.grade,
            "message": self.message,
            "seed": self.seed,
            "seconds": self.seconds,
            "pairs": [one.to_dict() for one in self.pairs],
            "learnt": [one.to_dict() for one in self.learnt],
            "notes": list(self.notes),
            "files": {},
        }

    def report_document(self) -> Document:
        """The document that a report draws, which is `to_dict`."""
        return self.to_dict()


def compare_adapters(
    adapters: Sequence[str | PathLike[str]],
    *,
    base: str | PathLike[str] | None = None,
    tuned: str | PathLike[str] | None = None,
    watch: Watch = unwatched,
    seed: int = 0,
) -> AdapterComparison:
    """Compare adapters of one model with the first of them, and with the change between two models.

    Layers are matched by the names of their modules; one that an adapter lacks has ΔW = 0 there.
    B·A is compared, not B and A, so that B·T and T⁻¹·A are the same adapter; no product B·A is
    formed. With a base and its fine-tune, each layer of each adapter is held against the full
    change D = W_tuned − W_base, beside the best possible error of its rank, by a certificate.

    Args:
        adapters: Folders of adapters that eckart or PEFT wrote: two or more, or one with models.
        base: Folder or file of the base checkpoint, given together with `tuned`.
        tuned: Folder or file of the checkpoint of the fine-tune.
        watch: Shows the progress, in layers and in entries of the tensors.
        seed: Seed of the factorisations of D.

    Raises:
        ArgumentError: If there are too few adapters, one of the two models is missing, a path does
            not exist, or the seed is below 0.
        FormatError: If a file is damaged, an adapter is no plain LoRA, or two adapters have no
            layer in common.
        MatrixError: If two adapters have one layer in different shapes, or a tensor of a
            checkpoint holds NaN or infinity.
        StorageError: If the system refuses to read.

    Cost:
        All adapters in memory; for each layer of a pair six thin QR factorisations. With models,
        both are read once, and `factorize` with a certificate runs for each layer and rank.
    """
    began = time.perf_counter()
    folders = [as_path(one) for one in check_list("adapters", adapters)]
    _check_arguments(len(folders), base, tuned, seed)
    models = None if base is None or tuned is None else open_pair(base, tuned)
    contents, names = [read_adapter(folder) for folder in folders], list(map(str, folders))
    pairs = tuple(_compare(names, contents, watch))
    learnt: tuple[LearntChange, ...] = ()
    if models is not None:
        measurer = Measurer(seed)
        checks = check_adapters(contents, *models, on_layer=measurer, watch=("Measuring", watch))
        learnt = tuple(
            LearntChange(adapter=name, checks=one, layers=tuple(measurer.layers.get(number, ())))
            for number, (name, one) in enumerate(zip(names, checks, strict=True))
        )
    said = chain(_notes(names, contents), *(one.checks.notes for one in learnt))
    return AdapterComparison(
        adapters=tuple(names),
        base=None if base is None else str(base),
        tuned=None if tuned is None else str(tuned),
        pairs=pairs,
        learnt=learnt,
        notes=tuple(dict.fromkeys(said)),
        seed=int(seed),  # JSON knows no whole number of NumPy
        seconds=time.perf_counter() - began,
    )


def _check_arguments(count: int, base: object, tuned: object, seed: int) -> None:
    if (base is None) is not (tuned is None):
        raise ArgumentError(
            f"Of the two models only the {'fine-tune' if base is None else 'base'} is given.",
            hint="Give a base and its fine-tune, or neither.",
            code="model-missing",
        )
    if count < (2 if base is None else 1):
        raise ArgumentError(
            f"{'One adapter is' if count else 'No adapters are'} given.",
            hint="Give two or more, or one with a base and its fine-tune.",
            code="too-few-adapters",
        )
    if check_whole("seed", seed) < 0:
        raise ArgumentError(f"The seed is {seed}.", hint="Give 0 or more.", code="bad-seed")


def _notes(names: Sequence[str], contents: Sequence[Adapter]) -> Iterator[str]:
    bases = {one.base_name: name for one, name in zip(contents, names, strict=True)}
    known = [base for base in bases if base]
    if len(known) > 1:
        yield f"The adapters name different bases: {' and '.join(known)}."


def _compare(
    names: Sequence[str], contents: Sequence[Adapter], watch: Watch
) -> Iterator[PairOverlap]:
    """Compare the first adapter with each other one."""
    if len(contents) < 2:
        return
    sides = [{one.module: _straight(one) for one in content.layers} for content in contents]
    matched = [list(dict.fromkeys((*sides[0], *side))) for side in sides[1:]]
    with watch("Comparing", sum(map(len, matched))) as report:
        for place, modules in enumerate(matched, start=1):
            first, other = names[0], names[place]
            _check_fit(sides[0], sides[place], (first, other))
            layers: list[LayerOverlap] = []
            for module in modules:
                layers.append(_layer(module, sides[0].get(module), sides[place].get(module)))
                report(1, said=module)
            yield PairOverlap(
                first=first,
                other=other,
                layers=tuple(layers),
                values=tuple(_values(contents[0], contents[place])),
            )


def _straight(layer: AdaptedLayer) -> AdaptedLayer:
    """The layer with its outputs first: an adapter need not say how the model stores a weight."""
    return turned(layer) if layer.kind is Kind.TRANSPOSED else layer


def _check_fit(
    first: dict[str, AdaptedLayer], other: dict[str, AdaptedLayer], names: tuple[str, str]
) -> None:
    """Refuse two adapters that are not of one model."""
    common = [module for module in first if module in other]
    if not common:
        raise FormatError(
            f"{names[0]} and {names[1]} have no layer in common.",
            hint="Give adapters of one model.",
            code="nothing-matches",
        )
    for module in common:
        one, two = first[module], other[module]
        if one.kind is not two.kind or one.shape != two.shape:
            raise MatrixError(
                f"'{module}' is {_described(one)} in {names[0]} and {_described(two)} in "
                f"{names[1]}.",
                hint="Give adapters of one model.",
                code="shapes-differ",
            )


def _described(layer: AdaptedLayer) -> str:
    return f"{layer.kind} of {' × '.join(map(str, layer.shape))}"


def _layer(module: str, first: AdaptedLayer | None, other: AdaptedLayer | None) -> LayerOverlap:
    known = first or other
    assert known is not None
    nothing = zeros(known.factors.shape)
    return LayerOverlap(
        name=module,
        shape=known.shape,
        ranks=(first.rank if first else 0, other.rank if other else 0),
        overlap=overlap(
            first.factors if first else nothing,
            other.factors if other else nothing,
        ),
    )


def _values(first: Adapter, other: Adapter) -> Iterator[ValueState]:
    """The state of each saved value, and of each change of a bias, which is 0 where it lacks."""
    for name in dict.fromkeys((*first.saved, *other.saved)):
        state = _state(first.saved.get(name), other.saved.get(name))
        yield ValueState(name=name, is_change=False, state=state)
    sides = [
        {one.module: one.bias for one in side.layers if one.bias is not None}
        for side in (first, other)
    ]
    for module in dict.fromkeys((*sides[0], *sides[1])):
        pair = [side.get(module) for side in sides]
        empty = next(np.zeros_like(one) for one in pair if one is not None)
        x, y = (empty if one is None else one for one in pair)
        yield ValueState(name=f"{module}.{BIAS}", is_change=True, state=_state(x, y))


def _state(x: Tensor | None, y: Tensor | None) -> State:
    if x is None or y is None:
        return "only in the other" if x is None else "only in the first"
    return "equal" if is_unchanged(x, y) else "different"


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
