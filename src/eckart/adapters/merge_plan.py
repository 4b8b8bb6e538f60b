"""The plan of a merged model: every tensor with its dtype, its shape and its change."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from eckart.adapters.alignment import Alignment, changes_alone, check_ties, own_table, place
from eckart.adapters.assembly import is_input_table
from eckart.adapters.join import SUM_OF_WEIGHTS
from eckart.adapters.merged_weight import Change
from eckart.adapters.placement import Placement
from eckart.adapters.sources import HEAD, is_unchanged
from eckart.arrays import Array
from eckart.checkpoints import Checkpoint, SafetensorsDtype, TensorLayout, stored_dtype
from eckart.checkpoints.peft import Adapter, AdapterDType
from eckart.checkpoints.peft.adapter import BIAS, WEIGHT, Tensor, split_parameter
from eckart.checkpoints.peft.writer import DTYPES
from eckart.errors import MatrixError
from eckart.factors import Factors

UNCHANGED: Final = Change()
"""The change of a tensor that no adapter touches."""
CLASSIFIERS: Final = ("Classification",)
"""Endings of the names of classes whose head has a row for each label."""
LABELLING: Final = frozenset({"SEQ_CLS", "TOKEN_CLS"})
"""PEFT's names of tasks whose head has a row for each label."""
CLASSIFIER_HEADS: Final = frozenset({"classifier", "score", "out_proj", "decoder"})
"""Last names of modules whose weight has a row for each label."""


def _lists() -> Any:
    return defaultdict(list)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A merged model before its numbers are known.

    Fields:
        layouts: Layouts of all tensors, those of the base first; shards are filled in this order.
        changes: Changes of tensors of the base, by name.
        new: Values of tensors that the base does not have.
        config: Settings of `config.json` that differ from those of the base.
        notes: Sentences that a user should read.
    """

    layouts: Mapping[str, TensorLayout]
    changes: Mapping[str, Change]
    new: Mapping[str, Tensor]
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    def change(self, name: str) -> Change:
        """The change of a tensor of the merged model, which may be empty."""
        if name in self.new:
            return Change(replacement=self.new[name])
        return self.changes.get(name, UNCHANGED)


def plan(
    base: Checkpoint, adapters: Sequence[tuple[Adapter, float]], dtype: AdapterDType | None
) -> Plan:
    """Decide what a merged model holds.

    Where the base shares one table between its inputs and its head and adapters save both with
    equal values, the head is left out, so that the table stays shared. Where an adapter changes
    one of the two alone, as PEFT trains it, each gets values of its own.

    Args:
        base: Checkpoint of the base model.
        adapters: Adapters, each with its weight, which is not 0.
        dtype: Dtype of all weights; None keeps the dtype of each tensor.

    Raises:
        MatrixError: If an adapter changes a tensor that the base lacks or has in another shape, or
            saved values cannot be added up.
    """
    shapes = {name: info.shape for name, info in base.tensors.items()}
    placement = Placement.of(base, base)
    parts = _Parts(base=base, tied=placement.is_tied)
    table = own_table(placement)
    for adapter, weight in adapters:
        placing = place(adapter, shapes, placement)
        check_ties(adapter, placing, placement, table, shapes)
        _check(placing, base, tied=parts.tied, table=table)
        parts.add(placing, weight)
        parts.part(placing, weight, table, alone=changes_alone(adapter, placing, table))
    changes = {name: parts.change(name, shapes[name]) for name in shapes if parts.touch(name)}
    _check_numbers(changes, base)
    changes |= _copies(changes, base, placement)
    new = {name: _replacement(name, values) for name, values in parts.unplaced.items()}
    if parts.is_apart:
        new[HEAD] = parts.head(table)
    config, notes = _settings(changes, new, parts, dtype)
    if any(adapter.task_type in LABELLING for adapter, _ in adapters):
        config |= _new_labels(new)
    return Plan(
        layouts=_layouts(base, changes, new, dtype),
        changes=changes,
        new=new,
        config=config,
        notes=(*parts.notes, *notes),
    )


@final
@dataclass(slots=True, kw_only=True)
class _Parts:
    """The changes of all adapters by the names of tensors, each with the weight of its adapter."""

    base: Checkpoint
    tied: bool
    factors: dict[str, list[tuple[Factors, float]]] = field(default_factory=_lists)
    biases: dict[str, list[tuple[Array, float]]] = field(default_factory=_lists)
    saved: dict[str, list[tuple[Tensor, float]]] = field(default_factory=_lists)
    unplaced: dict[str, list[tuple[Tensor, float]]] = field(default_factory=_lists)
    notes: list[str] = field(default_factory=list[str])
    heads: list[tuple[Factors, float]] = field(default_factory=list[tuple[Factors, float]])
    is_apart: bool = False
    is_together: bool = False

    def add(self, placing: Alignment, weight: float) -> None:
        """Add the changes of one adapter."""
        if placing.prefix and placing.prefix not in self.notes:
            self.notes.append(placing.prefix)
        for name, layer in placing.layers.items():
            self.factors[name].append((layer.factors, weight))
        for name, change in placing.biases.items():
            self.biases[name].append((change, weight))
        for name, values in placing.saved.items():
            self.saved[name].append((values, weight))
        for name, values in placing.unplaced.items():
            shared = self.tied and name == HEAD
            # a saved head that equals the saved table is that table
            if not (shared and any(_are_equal(values, own) for own in _tables(placing.saved))):
                self.unplaced[name].append((values, weight))

    def part(self, placing: Alignment, weight: float, table: str, *, alone: bool) -> None:
        """Add the change of one adapter to a head apart from the table that the base shares."""
        if HEAD in placing.apart:
            self.heads.append((placing.apart[HEAD].factors, weight))
        touched = table in placing.layers or table in placing.saved
        self.is_apart |= alone or HEAD in placing.apart
        self.is_together |= touched and not alone and HEAD not in placing.apart

    def head(self, table: str) -> Tensor:
        """The values of a head that no longer shares its table."""
        if self.is_together:
            raise _not_addable(HEAD, f"adapters change it both with '{table}' and apart from it")
        beneath = self.unplaced.get(HEAD)  # PEFT saves the table beneath the factors
        values = self.base.read(table) if beneath is None else _replacement(HEAD, beneath)
        return Change(factors=self.heads).added(HEAD, values.copy(), values.dtype)

    def touch(self, name: str) -> bool:
        """Whether any adapter changes this tensor of the base."""
        return name in self.factors or name in self.biases or name in self.saved

    def change(self, name: str, shape: tuple[int, ...]) -> Change:
        """The change of a tensor of the base by all adapters."""
        saved, factors = self.saved.get(name, []), self.factors.get(name, [])
        replaced = _is_one_value(saved)
        if any(values.shape != shape for values, _ in saved) and (factors or not replaced):
            raise _not_addable(name, "it has another shape than in the base")
        return Change(
            factors=factors,
            biases=self.biases.get(name, []),
            saved=[] if replaced else saved,
            replacement=saved[0][0] if replaced else None,
        )


def _settings(
    changes: Mapping[str, Change],
    new: Mapping[str, Tensor],
    parts: _Parts,
    dtype: AdapterDType | None,
) -> tuple[dict[str, Any], list[str]]:
    """The settings of `config.json` that change, and the notes for the user."""
    config: dict[str, Any] = {}
    notes = [f"'{name}' is not in the base; it was added." for name in new]
    tables = [name for name in changes if is_input_table(name)]
    if parts.tied and HEAD in new:
        config["tie_word_embeddings"] = False
        notes.append("The head was the table of the vocabulary; now each has its own values.")
    elif parts.tied and tables:
        notes.append(f"The head is the table '{tables[0]}' and changes with it.")
    sizes, said = _sizes(changes, tables, parts.base)
    config |= sizes
    notes += said
    if dtype is not None:
        # older versions of transformers wrote torch_dtype
        config |= {key: dtype for key in ("dtype", "torch_dtype") if key in parts.base.config}
    between = [name for name, change in changes.items() if change.saved]
    if between:
        notes.append(
            f"{len(between)} saved value{'s' if len(between) > 1 else ''} of adapters that differ "
            f"or whose weights do not add up to 1 count with their difference from the base, such "
            f"as '{between[0]}'."
        )
    return config, notes


def _sizes(
    changes: Mapping[str, Change], tables: Sequence[str], base: Checkpoint
) -> tuple[dict[str, Any], list[str]]:
    """The settings of a changed vocabulary size or number of labels, and notes about them."""
    config: dict[str, Any] = {}
    notes: list[str] = []
    for name, change in changes.items():
        before, after = base.tensors[name].shape, change.replacement
        if after is None or after.shape == before:
            continue
        _check_rows(name, after.shape, before)
        if name in tables:
            notes.append(f"'{name}' has {len(after)} rows, {before[0]} in the base.")
            config |= _sized(base.config, before[0], len(after))
        elif _is_of_labels(name, after, base):
            notes.append(f"'{name}' has {len(after)} labels, {before[0]} in the base.")
            config |= _labels(len(after))
    return config, notes


def _check_rows(name: str, shape: tuple[int, ...], before: tuple[int, ...]) -> None:
    """Refuse saved values of another shape, unless only the number of rows differs."""
    is_head = len(shape) > 1 or name.endswith(f".{BIAS}")
    if not is_head or shape[1:] != before[1:] or len(shape) != len(before):
        raise MatrixError(
            f"The adapter saves '{name}' as {' × '.join(map(str, shape))}, "
            f"and it is {' × '.join(map(str, before))} in the base.",
            hint="Give the base that the adapter was made for.",
            code="shapes-differ",
        )


def _new_labels(new: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of the labels of a classifier head that the base does not have."""
    heads = [
        values
        for name, values in new.items()
        if _is_head(name) and values.ndim == 2 and name != HEAD
    ]
    return _labels(len(heads[0])) if len(heads) == 1 else {}


def _labels(count: int) -> dict[str, Any]:
    # the default names of transformers
    named = [f"LABEL_{number}" for number in range(count)]
    return {
        "id2label": {str(number): label for number, label in enumerate(named)},
        "label2id": {label: number for number, label in enumerate(named)},
    }


def _sized(config: Mapping[str, Any], before: int, after: int) -> dict[str, Any]:
    """The settings of a config, nested ones included, that give the size of the vocabulary."""
    changed: dict[str, Any] = {}
    for key, setting in config.items():
        if key == "vocab_size" and setting == before:
            changed[key] = after
        elif isinstance(setting, dict):
            # models of text and pictures keep it in a part such as text_config
            inner = _sized(setting, before, after)
            if inner:
                changed[key] = {**setting, **inner}
    return changed


def _is_of_labels(name: str, values: Tensor, base: Checkpoint) -> bool:
    """Whether a tensor is the weight of a classifier head, which has a row for each label."""
    architecture = str((base.config.get("architectures") or [""])[0])
    return architecture.endswith(CLASSIFIERS) and _is_head(name) and values.ndim == 2


def _is_head(name: str) -> bool:
    module, parameter = split_parameter(name)
    return module.rpartition(".")[2] in CLASSIFIER_HEADS and parameter == WEIGHT


def _copies(
    changes: Mapping[str, Change], base: Checkpoint, placement: Placement
) -> dict[str, Change]:
    """The changes of further copies of a table that the base stores under several names."""
    uses = placement.uses(base.tensors)
    copies: dict[str, Change] = {}
    for group in placement.ties:
        stored = [name for name, use in uses.items() if use.name in group]
        touched = [name for name in stored if name in changes]
        if touched:
            copies |= {name: changes[touched[0]] for name in stored if name not in changes}
    return copies


def _layouts(
    base: Checkpoint,
    changes: Mapping[str, Change],
    new: Mapping[str, Tensor],
    dtype: AdapterDType | None,
) -> dict[str, TensorLayout]:
    wanted = None if dtype is None else stored_dtype(DTYPES[dtype])
    layouts: dict[str, TensorLayout] = {}
    for name, info in base.tensors.items():
        replacement = changes.get(name, UNCHANGED).replacement
        layouts[name] = TensorLayout(
            # integers, such as positions, keep their dtype
            dtype=wanted if wanted is not None and info.dtype.is_weight else info.dtype,
            shape=info.shape if replacement is None else replacement.shape,
        )
    # a new tensor gets the dtype of the weights, of which the largest tensor is one
    largest = layouts[base.largest().name].dtype
    for name, values in new.items():
        own = stored_dtype(values.dtype) or SafetensorsDtype.F32
        both = own.is_weight and largest.is_weight
        layouts[name] = TensorLayout(dtype=largest if both else own, shape=values.shape)
    return layouts


def _check(placing: Alignment, base: Checkpoint, *, tied: bool, table: str) -> None:
    parted = {HEAD} if table else set[str]()
    unknown = [*placing.unknown, *(name for name in placing.apart if name not in parted)]
    if unknown:
        name = unknown[0]
        more = f", nor {len(unknown) - 1} more" if unknown[1:] else ""
        head = tied and name == HEAD
        raise MatrixError(
            f"{base.path} has no tensor '{name}' that the adapter changes{more}.",
            hint="The base uses its table as its head: merge into a copy that has both."
            if head
            else "Give the base that the adapter was made for.",
            code="no-such-tensor",
        )
    if placing.misfits:
        raise MatrixError(
            placing.misfits[0],
            hint="Give the base that the adapter was made for.",
            code="shapes-differ",
        )


def _check_numbers(changes: Mapping[str, Change], base: Checkpoint) -> None:
    """Refuse to add to a tensor of integers or other numbers that would round the sum away."""
    for name, change in changes.items():
        dtype = base.tensors[name].dtype
        if change.adds and not dtype.is_weight:
            raise MatrixError(
                f"'{name}' is {dtype} in {base.path}, to which no change can be added.",
                hint="Give the base in float16, bfloat16 or float32.",
                code="quantised",
            )


def _replacement(name: str, saved: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The saved values of a tensor that the base does not have."""
    if not _is_one_value(saved):
        raise _not_addable(name, "it is not in the base")
    return saved[0][0]


def _is_one_value(saved: Sequence[tuple[Tensor, float]]) -> bool:
    """Whether all saved values are equal and their weights add up to 1."""
    total = math.fsum(weight for _, weight in saved)
    # the sum w·S₁ + … of equal values is S only then
    one = math.isclose(total, 1.0, rel_tol=0.0, abs_tol=SUM_OF_WEIGHTS)
    return one and all(_are_equal(values, saved[0][0]) for values, _ in saved[1:])


def _are_equal(x: Tensor, y: Tensor) -> bool:
    return x is y or is_unchanged(x, y)


def _tables(saved: Mapping[str, Tensor]) -> list[Tensor]:
    return [values for name, values in saved.items() if is_input_table(name)]


def _not_addable(name: str, why: str) -> MatrixError:
    return MatrixError(
        f"The values that adapters save of '{name}' cannot be added up: {why}.",
        hint="Merge the adapter that saves it alone, with weight 1.",
        code="saved-differ",
    )
