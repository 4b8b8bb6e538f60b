"""A model with its adapters merged into the weights, written one tensor at a time."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, final

from eckart.adapters.adapter_builder import is_input_table
from eckart.adapters.join_and_truncate import check_weights
from eckart.adapters.merge_changes import UNCHANGED, AdapterChanges, Change
from eckart.adapters.model_pair import HEAD, open_weights
from eckart.adapters.settings import Document
from eckart.arguments import as_path, check_list
from eckart.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    SafetensorsDtype,
    TensorLayout,
    stored_dtype,
)
from eckart.checkpoints.folder import SAFE, JsonObject, copy_companions
from eckart.checkpoints.peft import Adapter, AdapterDType, read_adapter
from eckart.checkpoints.peft.adapter import BIAS, WEIGHT, Tensor, split_parameter
from eckart.checkpoints.peft.writer import DTYPES
from eckart.checkpoints.writer import SHARD_BYTES
from eckart.errors import MatrixError
from eckart.files import check_output, whole_file
from eckart.progress import Watch, unwatched

LABELLING: Final = frozenset({"SEQ_CLS", "TOKEN_CLS"})
"""PEFT's names of tasks whose head has a row for each label."""
CLASSIFIER_HEADS: Final = frozenset({"classifier", "score", "out_proj", "decoder"})
"""Last names of modules whose weight has a row for each label."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """A merged model before its numbers are known.

    Fields:
        layouts: Layouts of all tensors, those of the base first; shards are filled in this order.
        changes: Changes by name of the tensor; one that the base lacks is a replacement.
        config: Settings of `config.json` that differ from those of the base.
    """

    layouts: Mapping[str, TensorLayout]
    changes: Mapping[str, Change]
    config: JsonObject
    notes: tuple[str, ...]


def plan_merge(
    base: Checkpoint, adapters: Sequence[tuple[Adapter, float]], dtype: AdapterDType | None
) -> MergePlan:
    """Decide what a merged model holds.

    Where the base shares one table between its inputs and its head and adapters save both with
    equal values, the head is left out, so that the table stays shared. Where an adapter changes
    one of the two alone, as PEFT trains it, each gets values of its own. What cannot be merged is
    refused as `merge_adapters` says.
    """
    parts = AdapterChanges.of(base, adapters)
    changes, new, tied = parts.changes(), parts.new(), parts.placement.is_tied
    notes = [*parts.notes, *(f"'{name}' is not in the base; it was added." for name in new)]
    config: Document = {}
    tables = [name for name in changes if is_input_table(name)]
    if tied and HEAD in new:
        config["tie_word_embeddings"] = False
        notes.append("The head was the table of the vocabulary; now each has its own values.")
    elif tied and tables:
        notes.append(f"The head is the table '{tables[0]}' and changes with it.")
    sizes, said = _sizes(changes, tables, base)
    config |= sizes
    notes += said
    if dtype is not None:
        # older versions of transformers wrote torch_dtype
        config |= {key: dtype for key in ("dtype", "torch_dtype") if key in base.config}
    between = [name for name, change in changes.items() if change.saved]
    if between:
        notes.append(
            f"{len(between)} saved value{'s' if len(between) > 1 else ''} of adapters that differ "
            f"or whose weights do not add up to 1 count with their difference from the base, such "
            f"as '{between[0]}'."
        )
    heads = [values for name, values in new.items() if _is_head(name, values) and name != HEAD]
    # a classifier head that the base does not have
    if len(heads) == 1 and any(adapter.task_type in LABELLING for adapter, _ in adapters):
        config |= _labels(len(heads[0]))
    layouts = _layouts(base, changes, new, dtype)
    changes |= {name: Change(replacement=values) for name, values in new.items()}
    return MergePlan(layouts=layouts, changes=changes, config=config, notes=tuple(notes))


def _sizes(
    changes: Mapping[str, Change], tables: Sequence[str], base: Checkpoint
) -> tuple[Document, list[str]]:
    """The settings of a changed vocabulary size or number of labels, and notes about them."""
    config: Document = {}
    notes: list[str] = []
    architecture = str((base.config.get("architectures") or [""])[0])
    for name, change in changes.items():
        before, after = base.tensors[name].shape, change.replacement
        if after is None or after.shape == before:
            continue
        _check_rows(name, after.shape, before)
        if name in tables:
            notes.append(f"'{name}' has {len(after)} rows, {before[0]} in the base.")
            config |= _sized(base.config, before[0], len(after))
        elif architecture.endswith("Classification") and _is_head(name, after):
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


def _labels(count: int) -> Document:
    # the default names of transformers
    named = [f"LABEL_{number}" for number in range(count)]
    return {
        "id2label": {str(number): label for number, label in enumerate(named)},
        "label2id": {label: number for number, label in enumerate(named)},
    }


def _sized(config: JsonObject, before: int, after: int) -> Document:
    """The settings of a config, nested ones included, that give the size of the vocabulary."""
    changed: Document = {}
    for key, setting in config.items():
        if key == "vocab_size" and setting == before:
            changed[key] = after
        elif isinstance(setting, dict):
            # models of text and pictures keep it in a part such as text_config
            inner = _sized(setting, before, after)
            if inner:
                changed[key] = {**setting, **inner}
    return changed


def _is_head(name: str, values: Tensor) -> bool:
    """Whether a tensor is the weight of a classifier head, which has a row for each label."""
    module, parameter = split_parameter(name)
    is_weight = parameter == WEIGHT and values.ndim == 2
    return is_weight and module.rpartition(".")[2] in CLASSIFIER_HEADS


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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """The result of `merge_adapters`.

    Fields:
        base: Path of the base model, as given.
        adapters: Folder and weight of each adapter.
        output: Path of the merged model.
        factored: Number of weights that were changed by factors.
        values: Number of biases and saved values that were put in.
        tensors: Number of tensors of the merged model.
        nbytes: Bytes of all tensors.
        files: Names of the files that were written.
        notes: Sentences that a user should read.
        seconds: Duration of the whole job.
    """

    base: str
    adapters: tuple[tuple[str, float], ...]
    output: str
    factored: int
    values: int
    tensors: int
    nbytes: int
    files: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> Document:
        """The fields as plain numbers and text."""
        return {
            "base": self.base,
            "adapters": [{"folder": folder, "weight": one} for folder, one in self.adapters],
            "output": self.output,
            "changed_by_factors": self.factored,
            "changed_values": self.values,
            "tensors": self.tensors,
            "bytes": self.nbytes,
            "files": list(self.files),
            "notes": list(self.notes),
            "seconds": self.seconds,
        }

    def sentence(self) -> str:
        """The result as one sentence."""
        return (
            f"{self.factored} weights changed by factors, {self.values} by values, "
            f"of {self.tensors} tensors"
        )


def merge_adapters(
    base: str | PathLike[str],
    adapters: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    weights: Sequence[float] | None = None,
    dtype: AdapterDType | None = None,
    shard_bytes: int = SHARD_BYTES,
    force: bool = False,
    watch: Watch = unwatched,
) -> Merging:
    """Write a model with W + Σ weight·B·A in the place of every adapted weight W.

    Changes of biases are added in the same way. Saved values of a tensor count with their
    difference from those of the base, so that a single adapter of weight 1 gives exactly its saved
    values. The config, the tokenizer and other small files of the base are copied.

    Args:
        base: Folder or file of the base checkpoint.
        adapters: Folders of adapters, written by eckart or PEFT.
        out: Folder of the merged model; or a `.safetensors` file, for the weights alone.
        weights: One weight for each adapter; None weights each by 1.
        dtype: Dtype of all weights; None keeps the dtype of each tensor of the base.
        shard_bytes: Largest number of bytes in one shard.
        force: Whether to overwrite `out`.
        watch: Shows the progress, in entries of the tensors.

    Raises:
        ArgumentError: If a path is missing, `out` exists or is the base, or there is not one
            finite weight for each adapter.
        FormatError: If a file is damaged.
        MatrixError: If an adapter changes a tensor that the base lacks or has in another shape, if
            saved values cannot be added up, or if a number overflows the dtype.
        StorageError: If the system refuses to read or write.

    Cost:
        Reads the base and writes the model, once each. The memory of the adapters and of one
        tensor, twice where its dtype changes, and a few megabytes.
    """
    began = time.perf_counter()
    target, folders = as_path(out), [as_path(one) for one in check_list("adapters", adapters)]
    chosen = [1.0] * len(folders) if weights is None else check_list("weights", weights)
    check_weights(len(folders), chosen)
    sources = [as_path(base), *folders]
    check_output(target, force=force, inputs=sources, is_folder=target.suffix != SAFE)
    checkpoint = open_weights(base)
    weighted = zip(folders, chosen, strict=True)
    used = [(read_adapter(folder), weight) for folder, weight in weighted if weight]
    planned = plan_merge(checkpoint, used, dtype)
    # large files of the base that are no weights, which are not copied
    left: tuple[str, ...] = ()
    with whole_file(target, force=force) as temporary:
        _write(temporary, checkpoint, planned, shard_bytes, watch)
        if temporary.is_dir() and checkpoint.config:
            # a checkpoint may be a file beside its config
            folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
            _, left = copy_companions(folder, temporary, planned.config)
        # the temporary file has another name than the target
        files = sorted(temporary.iterdir()) if temporary.is_dir() else [target]
        names = tuple(path.name for path in files)
    return Merging(
        base=str(base),
        adapters=tuple(zip(map(str, adapters), chosen, strict=True)),
        output=str(target),
        factored=sum(bool(change.factors) for change in planned.changes.values()),
        values=sum(not change.factors for change in planned.changes.values()),
        tensors=len(planned.layouts),
        nbytes=sum(layout.nbytes for layout in planned.layouts.values()),
        files=names,
        notes=(*planned.notes, *(f"'{name}' is large and was left behind." for name in left)),
        seconds=time.perf_counter() - began,
    )


def _write(
    target: Path, checkpoint: Checkpoint, planned: MergePlan, shard_bytes: int, watch: Watch
) -> None:
    total = sum(math.prod(layout.shape) for layout in planned.layouts.values())
    with (
        watch("Merging", total) as report,
        CheckpointWriter(target, planned.layouts, shard_bytes=shard_bytes) as writer,
    ):
        for name in writer.order:
            dtype = planned.layouts[name].dtype.numpy
            change = planned.changes.get(name, UNCHANGED)
            tensor = checkpoint.read(name) if change.replacement is None else change.replacement
            # else copied as stored: no dtype of NumPy, or nothing to add and nothing to convert
            if dtype is not None and (tensor.dtype != dtype or change.adds):
                tensor = change.add(name, tensor, dtype)
            writer.write(name, tensor)
            report(tensor.size, said=name)
            del tensor  # else the next tensor would be read while this one is still held
