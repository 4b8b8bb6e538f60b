"""Deciding for each tensor how an adapter takes in its change: factors, bias, values, or not."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from eckart.adapters.placement import Placement, Way
from eckart.adapters.sources import Matching, Shapes, match_names
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import Kind
from eckart.errors import FormatError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPair:
    """A tensor of the fine-tune, of the base, or of both.

    Fields:
        name: Name in the running model.
        base: Name in the base checkpoint; None where that has no such tensor.
        tuned: Name in the checkpoint of the fine-tune; None where that has no such tensor.
        shape: Shape in the fine-tune, or in the base if only that has it.
        way: How the adapter takes in its change, if there is one.
        kind: Kind of its module, for factors.
        in_place: Whether new values are put into the base itself, not into a copy of the module.
        why: Reason why the tensor is not covered, or is covered in an unexpected way; or empty.
        resized: Whether the base has the tensor in another shape.
    """

    name: str
    base: str | None
    tuned: str | None
    shape: tuple[int, ...]
    way: Way
    kind: Kind | None = None
    in_place: bool = False
    why: str = ""
    resized: bool = False

    @property
    def module(self) -> str:
        """Name of the module that the tensor belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def parameter(self) -> str:
        """Name of the tensor in its module."""
        return self.name.rpartition(".")[2]

    @property
    def has_delta(self) -> bool:
        """Whether both checkpoints have the tensor in one shape, so that they can be subtracted."""
        return self.base is not None and self.tuned is not None and not self.resized


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """The tensors that a user wants, by shell patterns such as `*.q_proj.*`.

    Fields:
        include: Patterns of which a name has to match one; empty takes every name.
        exclude: Patterns of which a name may match none.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def allow(self, name: str) -> bool:
        """Whether a name is wanted."""
        # not `fnmatch.fnmatch`, which ignores case on Windows
        wanted = not self.include or any(fnmatch.fnmatchcase(name, p) for p in self.include)
        return wanted and not any(fnmatch.fnmatchcase(name, p) for p in self.exclude)

    def check(self, names: Sequence[str]) -> None:
        """Refuse a pattern that matches no name, because it is most likely a mistake.

        Raises:
            FormatError: If a pattern matches no name.
        """
        for pattern in (*self.include, *self.exclude):
            if not fnmatch.filter(names, pattern):
                raise FormatError(
                    f"The pattern '{pattern}' matches no tensor.",
                    hint=f"Names look like '{names[0]}'; use * for any characters.",
                    code="pattern-matches-nothing",
                )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Every tensor of both checkpoints, and how they were matched.

    Fields:
        tensors: All tensors; a table that is stored twice counts once.
        matching: Pairing of the names of the two checkpoints.
        placement: Names of the tensors in the running model.
    """

    tensors: tuple[TensorPair, ...]
    matching: Matching
    placement: Placement


def cover(base: Checkpoint, tuned: Checkpoint, patterns: Patterns) -> Coverage:
    """Decide for every tensor of two checkpoints how an adapter would take in its change.

    Weights of linear layers, embeddings and convolutions become factors; biases and norms are
    small and keep their values; tables of another size, tables that are used twice, new heads and
    weights that PEFT cannot adapt are saved whole. Any other tensor is named with the reason.

    Args:
        base: Checkpoint of the base model.
        tuned: Checkpoint of the fine-tune, whose config (else that of the base) describes the
            running model.
        patterns: Patterns of the wanted tensors.

    Raises:
        FormatError: If no tensor is in both checkpoints, or a pattern matches no tensor.
    """
    placement = Placement.of(base, tuned)
    matching = match_names(_shapes(base, placement.base), _shapes(tuned, placement.tuned))
    if not matching.pairs:
        raise FormatError(
            f"{base.path} and {tuned.path} have no tensor of the same name and shape.",
            hint="Give a base and a fine-tune of it.",
            code="nothing-matches",
        )
    found = tuple(_tensors(base, tuned, matching, placement))
    patterns.check([tensor.name for tensor in found])
    wanted = tuple(
        tensor
        # a tensor that no adapter can cover keeps that reason
        if tensor.way is Way.NONE or patterns.allow(tensor.name)
        else replace(tensor, way=Way.NONE, why="excluded by a pattern")
        for tensor in found
    )
    return Coverage(tensors=wanted, matching=matching, placement=placement)


def _shapes(checkpoint: Checkpoint, stored: Mapping[str, str]) -> Shapes:
    """Shapes of the tensors by their names in the running model."""
    return {live: checkpoint.tensors[name].shape for live, name in stored.items()}


def _tensors(
    base: Checkpoint, tuned: Checkpoint, matching: Matching, placement: Placement
) -> Iterator[TensorPair]:
    before, after = placement.base, placement.tuned
    for ours, theirs in (*matching.pairs, *matching.reshaped):
        shape, known = tuned.tensors[after[theirs]].shape, base.tensors[before[ours]].shape
        # tensors of two shapes cannot be subtracted, so these are saved whole
        place = placement.place(theirs, shape) if shape == known else placement.grown(theirs, known)
        yield TensorPair(
            name=theirs,
            base=before[ours],
            tuned=after[theirs],
            shape=shape,
            way=place.way,
            kind=place.kind,
            in_place=place.in_place,
            why=place.why,
            resized=shape != known,
        )
    for theirs in matching.only_tuned:
        shape = tuned.tensors[after[theirs]].shape
        place = placement.new(theirs, shape)
        yield TensorPair(
            name=theirs,
            base=None,
            tuned=after[theirs],
            shape=shape,
            way=place.way,
            in_place=place.in_place,
            why=place.why,
        )
    # an adapter adds to the modules of the base and cannot remove one
    for ours in matching.only_base:
        yield TensorPair(
            name=ours,
            base=before[ours],
            tuned=None,
            shape=base.tensors[before[ours]].shape,
            way=Way.NONE,
            why="its module is not in the fine-tune",
        )
