"""The name of each tensor in the running model, and the way in which an adapter changes it.

Both come from the model of transformers if the config names one, else from rules.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, final

from eckart.adapters.model_pair import HEAD, is_tied, is_unchanged
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.peft import Kind
from eckart.checkpoints.peft.adapter import (
    BIAS,
    WEIGHT,
    expert_of,
    is_taken_for_an_expert,
    split_parameter,
)
from eckart.checkpoints.running import (
    Running,
    Use,
    convolves,
    is_read,
    kind_of,
    may_be_tied,
    rename,
)
from eckart.checkpoints.running_builder import running_model


class Way(StrEnum):
    """The way in which an adapter takes in the change of a tensor."""

    FACTORS = "factors"
    BIAS = "bias"
    SAVED = "saved whole"
    NONE = "not covered"


TABLE: Final = "embed_tokens.weight"
"""Ending of the name of an input table whose tie to the head PEFT keeps when it replaces both."""
STACKED: Final = "all experts are in one tensor, which PEFT cannot replace in a part"
"""Reason why fused experts are not covered."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPair:
    """A tensor of the fine-tune, of the base, or of both.

    Fields:
        number: Number of the tensor among those of both checkpoints.
        name: Name in the running model.
        base: Name in the base checkpoint; None where that has no such tensor.
        tuned: Name in the checkpoint of the fine-tune; None where that has no such tensor.
        shape: Shape in the fine-tune, or in the base if only that has it.
        way: How an adapter would take in its change.
        kind: Kind of its module, for factors.
        in_place: Whether new values are put into the base itself, not into a copy of the module.
        why: Reason why the way is not the expected one, or empty.
        resized: Whether the base has the tensor in another shape.
    """

    number: int = 0
    name: str
    base: str | None
    tuned: str | None
    shape: tuple[int, ...]
    way: Way = Way.NONE
    kind: Kind | None = None
    in_place: bool = False
    why: str = ""
    resized: bool = False

    @property
    def module(self) -> str:
        """Name of the module that the tensor belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def has_delta(self) -> bool:
        """Whether both checkpoints have the tensor in one shape, so that they can be subtracted."""
        return self.base is not None and self.tuned is not None and not self.resized


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The tensors of a base and of its fine-tune by their names in the running model.

    Fields:
        base, tuned: Stored names by names in the running model; a table that is stored under two
            names counts once.
        running: The running model, or None if it is unknown.
        shapes: Shapes of the tensors of the fine-tune by names in the running model.
        whys: Reasons why tensors have no place in the running model, by name.
        ties: Groups of names of one shared table each.
        config: Config of the fine-tune, or of the base if the fine-tune has none.
    """

    base: Mapping[str, str]
    tuned: Mapping[str, str]
    running: Running | None
    shapes: Mapping[str, tuple[int, ...]]
    whys: Mapping[str, str]
    ties: tuple[tuple[str, ...], ...]
    config: JsonObject

    @staticmethod
    def of(base: Checkpoint, tuned: Checkpoint) -> "Placement":
        """Find the running model and the names in it.

        Cost:
            The cost of `running_model`, twice if the fine-tune has new tensors; reads tables that
            are stored twice.
        """
        config = tuned.config or base.config
        running = running_model(tuned.config, base.config)
        # a config may have been copied from another model
        if running is not None and not _describes(running, tuned):
            running = None
        uses = [
            running.uses(one.tensors) if running else rename(one.tensors, one.config)
            for one in (base, tuned)
        ]
        before, after = ({use.name: name for name, use in one.items()} for one in uses)
        ties = []
        for group in running.ties if running else _ties_by_rule(base, tuned, after):
            # a checkpoint may store both names of a table that its config ties, with two values
            kept = _is_shared(tuned, after, group) and _is_shared(base, before, group)
            if kept:
                before, after = _once(before, group), _once(after, group)
                ties.append(group)
        whys = {use.name: use.why for one in uses for use in one.values() if use.why}
        if running is not None:
            new, classes = after.keys() - before.keys(), base.config.get("architectures")
            # tensors without a place in a base of the same class, such as those of further layers
            if new and classes and classes == tuned.config.get("architectures"):
                own = running_model(base.config)
                why = "the model that the config of the base describes has no such tensor"
                whys |= {n: why for n in new if own is not None and n not in own.shapes}
        return Placement(
            base=before,
            tuned=after,
            running=running,
            shapes={live: tuned.tensors[name].shape for live, name in after.items()},
            whys=whys,
            ties=tuple(ties),
            config=config,
        )

    def uses(self, stored: Iterable[str]) -> dict[str, Use]:
        """The use of each of these stored tensors in the running model."""
        known = self.running
        return rename(stored, self.config) if known is None else known.uses(stored)

    def notes(self) -> Iterator[str]:
        """Sentences on the source of names and kinds, and on tensors that are stored otherwise."""
        known = self.running
        if known is None:
            yield "Names and kinds of layers were told by rules, without the running model."
        else:
            yield f"Names and kinds of layers are those of the model as {known.source} runs it."
        for side, names in (("base", self.base), ("tuned", self.tuned)):
            other = [(stored, live) for live, stored in names.items() if stored != live]
            if other:
                yield (
                    f"{len(other)} tensors of the {side} checkpoint have other names there, "
                    f"such as '{other[0][0]}', which is '{other[0][1]}'."
                )

    @property
    def is_ensured(self) -> bool:
        """Whether PEFT keeps the tie between the input table and the head of this model."""
        return any(_is_ensured(group) for group in self.ties)

    @property
    def modules(self) -> frozenset[str]:
        """Names of all known modules."""
        if self.running is not None:
            return self.running.names
        return frozenset(split_parameter(name)[0] for name in (*self.base, *self.tuned))

    @property
    def is_tied(self) -> bool:
        """Whether the model uses its input table as its head."""
        return any(HEAD in group for group in self.ties)

    def treat(self, pair: TensorPair, known: tuple[int, ...] | None) -> TensorPair:
        """Say how a tensor of the fine-tune, whose shape in the base is `known`, is taken in."""
        if known is None:
            return self._treat_new(pair)
        place, shape = self._treat_equal(pair), pair.shape
        if known == shape:
            return place
        why = f"its shape was {' × '.join(map(str, known))} in the base"
        if self.running is not None:
            fits = self.running.shapes.get(pair.name) == shape
        else:
            # by rule: a table may grow by rows, any other shape is that of another model
            fits = len(shape) == len(known) and shape[1:] == known[1:]
        if not fits or place.way is Way.NONE:
            return replace(pair, way=Way.NONE, why=why)
        return self._save(pair, why)

    def _treat_equal(self, pair: TensorPair) -> TensorPair:
        """The treatment of a tensor that both checkpoints have in one shape."""
        name, shape = pair.name, pair.shape
        module, parameter = split_parameter(name)
        if name in self.whys:
            return replace(pair, way=Way.NONE, why=self.whys[name])
        if parameter == BIAS and module and len(shape) == 1:
            return replace(pair, way=Way.BIAS)
        tied = next((group for group in self.ties if name in group), ())
        if tied:
            others = " and ".join(split_parameter(other)[0] for other in tied if other != name)
            return replace(
                pair,
                way=Way.SAVED,
                in_place=not _is_ensured(tied),
                why=f"the model uses it as {others} too",
            )
        if expert_of(module) is not None:
            if len(shape) == 2 and (self.running is None or self.running.stacks):
                return replace(pair, way=Way.FACTORS, kind=Kind.LINEAR)
            return replace(pair, way=Way.NONE, why="PEFT cannot stack the experts of this model")
        if self.running is None:
            return self._treat_by_rule(pair)
        return self._treat_known(self.running, pair)

    def _treat_new(self, pair: TensorPair) -> TensorPair:
        """The treatment of a tensor that the base does not have."""
        name = pair.name
        known = self.running is None or self.running.shapes.get(name) == pair.shape
        # without a running model, other parameters are not known to belong to a module
        ending = name.endswith((f".{WEIGHT}", f".{BIAS}"))
        if name in self.whys or not known or (self.running is None and not ending):
            return replace(pair, way=Way.NONE, why=self.whys.get(name, "its place is not known"))
        return self._save(pair, "its module is new in the fine-tune")

    def _treat_known(self, running: Running, pair: TensorPair) -> TensorPair:
        """The treatment of a tensor by the type of its module in the running model."""
        (module, parameter), shape = split_parameter(pair.name), pair.shape
        known = running.modules.get(module)
        if known is None or not module:
            return replace(pair, way=Way.SAVED, in_place=True)
        if running.stacks and is_taken_for_an_expert(module) and len(shape) == 2:
            return replace(pair, way=Way.FACTORS, kind=Kind.LINEAR)
        if parameter == WEIGHT and known.kind is not None and len(shape) > 1:
            return replace(pair, way=Way.FACTORS, kind=known.kind)
        # all experts in one tensor: (experts, rows, columns)
        if len(shape) > 2 and "expert" in module.lower():
            return replace(pair, way=Way.NONE, why=STACKED)
        return self._save(pair, known.why if len(shape) > 1 else "")

    def _treat_by_rule(self, pair: TensorPair) -> TensorPair:
        """The treatment of a tensor by its name and shape, without a running model."""
        name, shape = pair.name, pair.shape
        module, parameter = split_parameter(name)
        # all experts in one tensor: (experts, rows, columns)
        if len(shape) > 2 and "expert" in name:
            return replace(pair, way=Way.NONE, why=STACKED)
        if parameter != WEIGHT or not module or len(shape) < 2:
            return self._save(pair)
        model_type = str(self.config.get("model_type", ""))
        if is_read(module, self.shapes, model_type):
            return self._save(pair, "other modules read it")
        if may_be_tied(module, self.config, self.shapes):
            why = "the model may use it under another name too"
            return replace(pair, way=Way.SAVED, in_place=True, why=why)
        if len(shape) == 2:
            return replace(pair, way=Way.FACTORS, kind=kind_of(module, shape, model_type))
        if convolves(name, self.shapes, self.config):
            return replace(pair, way=Way.FACTORS, kind=Kind.CONVOLUTION)
        return self._save(pair, "whether it is a plain convolution is not known")

    def _save(self, pair: TensorPair, why: str = "") -> TensorPair:
        """Save a tensor whole: in place, if PEFT cannot replace its module by a copy.

        PEFT replaces every module whose name ends like that of the saved one, needs all its
        parameters, and replaces only one of two names of a module.
        """
        module, parameter = split_parameter(pair.name)
        if self.running is None:
            own = {
                split_parameter(other)[1] for other in self.shapes if other.startswith(f"{module}.")
            }
            is_whole = parameter in (WEIGHT, BIAS) and own <= {WEIGHT, BIAS}
        else:
            known = self.running.modules.get(module)
            is_whole = known is not None and known.is_leaf
            if known is not None:
                stored = {f"{module}.{own}" for own in known.parameters}
                is_whole &= stored <= self.shapes.keys() and known.is_single
        is_alone = not any(one.endswith(module) and one != module for one in self.modules)
        return replace(pair, way=Way.SAVED, in_place=not (is_whole and is_alone), why=why)


def _describes(running: Running, checkpoint: Checkpoint) -> bool:
    """Whether the config fits these weights: more than half of them have the expected shape."""
    uses = running.uses(checkpoint.tensors)
    wrong = sum(
        not use.why
        and expert_of(split_parameter(use.name)[0]) is None
        and running.shapes.get(use.name) != checkpoint.tensors[name].shape
        for name, use in uses.items()
    )
    placed = sum(not use.why for use in uses.values())
    return 2 * wrong < placed


def _ties_by_rule(
    base: Checkpoint, tuned: Checkpoint, names: Collection[str]
) -> tuple[tuple[str, ...], ...]:
    tables = [name for name in names if name.endswith(TABLE)]
    asked = (tuned.config or base.config).get("tie_word_embeddings") is True and HEAD in names
    return ((tables[0], HEAD),) if len(tables) == 1 and (asked or is_tied(tuned, base)) else ()


def _is_shared(checkpoint: Checkpoint, names: Mapping[str, str], group: tuple[str, ...]) -> bool:
    """Whether the tensors that a checkpoint stores under names of one table are equal."""
    stored = [names[name] for name in group if name in names]
    if len(stored) < 2:
        return True
    first = checkpoint.read(stored[0])
    return all(is_unchanged(first, checkpoint.read(other)) for other in stored[1:])


def _once(names: Mapping[str, str], group: tuple[str, ...]) -> dict[str, str]:
    """The names with all names of a group replaced by its first, which keeps one stored tensor."""
    stored = [name for name in names if name in group]
    return {
        group[0] if name in group else name: own
        for name, own in names.items()
        if name not in stored[1:]
    }


def _is_ensured(group: tuple[str, ...]) -> bool:
    return len(group) == 2 and group[1] == HEAD and group[0].endswith(TABLE)
