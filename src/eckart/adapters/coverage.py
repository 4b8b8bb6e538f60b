"""What becomes of each tensor of a fine-tune: factors, a new bias, new values, or nothing."""

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
        name: In the model that runs.
        base: In the base checkpoint; None where it has no such tensor.
        tuned: In that of the fine-tune; None where it has no such tensor.
        shape: That of the fine-tune if it has one.
        way: What becomes of it, if it has changed.
        kind: What its module does with it, for factors.
        in_place: Whether new values are put into the base itself, not into a copy of the module.
        why: The reason, where it is not covered or not as a person would expect.
        resized: Whether the base has it in another shape.
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
        """The module that it belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def parameter(self) -> str:
        """Its name in that module."""
        return self.name.rpartition(".")[2]

    @property
    def has_delta(self) -> bool:
        """Whether there are two tensors that can be subtracted."""
        return self.base is not None and self.tuned is not None and not self.resized


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Which tensors a user wants, by shell patterns such as `*.q_proj.*`.

    Fields:
        include: A name has to match one of them, where there are any.
        exclude: A name may match none of them.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def allow(self, name: str) -> bool:
        """Whether a name is wanted."""
        wanted = not self.include or any(fnmatch.fnmatchcase(name, p) for p in self.include)
        return wanted and not any(fnmatch.fnmatchcase(name, p) for p in self.exclude)

    def check(self, names: Sequence[str]) -> None:
        """Refuse a pattern that matches nothing: it is a slip, not a wish.

        Raises:
            FormatError: With the pattern.
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
    """Every tensor of both checkpoints, and how they were told.

    Fields:
        tensors: All of them; a table that is stored twice counts once.
        matching: How the names of the two were paired.
        placement: Where they go in the model that runs.
    """

    tensors: tuple[TensorPair, ...]
    matching: Matching
    placement: Placement


def cover(base: Checkpoint, tuned: Checkpoint, patterns: Patterns) -> Coverage:
    """Decide for every tensor of two checkpoints how an adapter would take in its change.

    Weights of linear layers, embeddings and convolutions become factors; biases and norms are
    small and keep their values; tables of another size, tables that are used twice, new heads and
    what PEFT cannot adapt are saved whole. What there is no place for is named with the reason.

    Args:
        base: The model before.
        tuned: The model after; the running model is that of its config, else of the base's.
        patterns: Which tensors are wanted.

    Raises:
        FormatError: If nothing matches, or a pattern matches nothing.
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
        if tensor.way is Way.NONE or patterns.allow(tensor.name)
        else replace(tensor, way=Way.NONE, why="excluded by a pattern")
        for tensor in found
    )
    return Coverage(tensors=wanted, matching=matching, placement=placement)


def _shapes(checkpoint: Checkpoint, stored: Mapping[str, str]) -> Shapes:
    """Shapes by the names of the running model."""
    return {live: checkpoint.tensors[name].shape for live, name in stored.items()}


def _tensors(
    base: Checkpoint, tuned: Checkpoint, matching: Matching, placement: Placement
) -> Iterator[TensorPair]:
    before, after = placement.base, placement.tuned
    for ours, theirs in (*matching.pairs, *matching.reshaped):
        shape, known = tuned.tensors[after[theirs]].shape, base.tensors[before[ours]].shape
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
    for ours in matching.only_base:
        yield TensorPair(
            name=ours,
            base=before[ours],
            tuned=None,
            shape=base.tensors[before[ours]].shape,
            way=Way.NONE,
            why="its module is not in the fine-tune",
        )
