"""What becomes of each tensor of a fine-tune: factors, a new bias, new values, or nothing."""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, final

from eckart.errors import FormatError
from eckart.jobs.extract.matching import Matching, match_names
from eckart.storage.adapters import Kind
from eckart.storage.checkpoints import Checkpoint

WRAPPERS: Final = ("_orig_mod.", "module.", "base_model.model.")
"""What compilers, data parallelism and PEFT put before the names of a model."""
TRANSPOSED_IN: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""`model_type` of models whose layers are transformers' Conv1D."""
CONV1D: Final = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})
_TABLE: Final = re.compile(r"embed.*|.*embeddings?|wte|wpe|shared|relative_attention_bias")
_HEAD: Final = re.compile(r"lm_head|embed_out|.*\.decoder|output")


class Way(StrEnum):
    """How an adapter takes in the change of a tensor."""

    FACTORS = "factors"
    BIAS = "bias"
    SAVED = "saved whole"
    NONE = "not covered"


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
        why: The reason, where it is not covered or not as a person would expect.
        resized: Whether the base has it in another shape.
    """

    name: str
    base: str | None
    tuned: str | None
    shape: tuple[int, ...]
    way: Way
    kind: Kind | None = None
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
    """Every tensor of both checkpoints, and how their names were matched."""

    tensors: tuple[TensorPair, ...]
    matching: Matching


def cover(base: Checkpoint, tuned: Checkpoint, patterns: Patterns) -> Coverage:
    """Decide for every tensor of two checkpoints how an adapter would take in its change.

    Weights of linear layers, embeddings and convolutions become factors; biases and norms are
    small and keep their values; tables of another size and new heads are saved whole. What PEFT
    has no place for is named with the reason.

    Args:
        base: The model before.
        tuned: The model after; its names are those of the model that runs.
        patterns: Which tensors are wanted.

    Raises:
        FormatError: If nothing matches, or a pattern matches nothing.
    """
    matching = match_names(
        {name: info.shape for name, info in base.tensors.items()},
        {name: info.shape for name, info in tuned.tensors.items()},
    )
    if not matching.pairs:
        raise FormatError(
            f"{base.path} and {tuned.path} have no tensor of the same name and shape.",
            hint="Give a base and a fine-tune of it.",
            code="nothing-matches",
        )
    found = tuple(_tensors(base, tuned, matching))
    patterns.check([tensor.name for tensor in found])
    wanted = tuple(
        tensor
        if tensor.way is Way.NONE or patterns.allow(tensor.name)
        else replace(tensor, way=Way.NONE, why="excluded by a pattern")
        for tensor in found
    )
    return Coverage(tensors=wanted, matching=matching)


def model_type(base: Checkpoint, tuned: Checkpoint) -> str:
    """What the configs call the model, such as "gpt2"; "" where neither does."""
    return str(tuned.config.get("model_type", base.config.get("model_type", "")))


def live_name(name: str) -> str:
    """The name of a tensor in the model that runs, without what wrapped it when it was saved.

    Example:
        >>> live_name("_orig_mod.model.norm.weight")
        'model.norm.weight'
    """
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def is_table(name: str) -> bool:
    """Whether a module is an embedding, by its name.

    Example:
        >>> is_table("model.embed_tokens"), is_table("model.layers.0.mlp.up_proj")
        (True, False)
    """
    return _TABLE.fullmatch(name.rpartition(".")[2]) is not None


def _tensors(base: Checkpoint, tuned: Checkpoint, matching: Matching) -> Iterator[TensorPair]:
    known = model_type(base, tuned)
    for ours, theirs in matching.pairs:
        name, shape = live_name(theirs), tuned.tensors[theirs].shape
        way, kind, why = _way(name, shape, known)
        yield TensorPair(
            name=name, base=ours, tuned=theirs, shape=shape, way=way, kind=kind, why=why
        )
    for ours, theirs in matching.reshaped:
        name, shape = live_name(theirs), tuned.tensors[theirs].shape
        before = " × ".join(map(str, base.tensors[ours].shape))
        module = name.rpartition(".")[0]
        resized = is_table(module) or _HEAD.fullmatch(module) is not None
        yield TensorPair(
            name=name,
            base=ours,
            tuned=theirs,
            shape=shape,
            way=Way.SAVED if resized else Way.NONE,
            resized=True,
            why=f"its shape was {before} in the base",
        )
    for theirs in matching.only_tuned:
        name, shape = live_name(theirs), tuned.tensors[theirs].shape
        place = name.endswith((".weight", ".bias"))
        why = "its module is new in the fine-tune" if place else "its place is not known"
        way = Way.SAVED if place else Way.NONE
        yield TensorPair(name=name, base=None, tuned=theirs, shape=shape, way=way, why=why)
    for ours in matching.only_base:
        shape = base.tensors[ours].shape
        why = "its module is not in the fine-tune"
        yield TensorPair(
            name=live_name(ours), base=ours, tuned=None, shape=shape, way=Way.NONE, why=why
        )


def _way(name: str, shape: tuple[int, ...], model_type: str) -> tuple[Way, Kind | None, str]:
    module, _, parameter = name.rpartition(".")
    if parameter == "bias" and module:
        return Way.BIAS, None, ""
    if parameter != "weight" or not module:
        return Way.NONE, None, "PEFT adapts weights and biases of modules only"
    if len(shape) < 2:
        return Way.SAVED, None, ""
    if len(shape) == 2:
        return Way.FACTORS, kind_of(module, shape, model_type), ""
    if shape[1] == 1 and shape[0] > 1:
        return Way.SAVED, None, "a convolution in groups has no factors of its shape"
    return Way.FACTORS, Kind.CONVOLUTION, ""


def kind_of(module: str, shape: tuple[int, ...], model_type: str) -> Kind:
    """What a module does with its weight of two axes, by its name and the model it is in."""
    last = module.rpartition(".")[2]
    if is_table(module):
        return Kind.EMBEDDING
    wide = last == "c_attn" and shape[1] == 3 * shape[0]
    if last in CONV1D and (model_type in TRANSPOSED_IN or (not model_type and wide)):
        return Kind.TRANSPOSED
    return Kind.LINEAR
