"""A model with its adapters merged into the weights, written one tensor at a time."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, final

from eckart.adapters.join import check_weights
from eckart.adapters.merge_plan import Plan, plan
from eckart.adapters.sources import open_weights
from eckart.arguments import as_path, check_list
from eckart.checkpoints import Checkpoint, CheckpointWriter
from eckart.checkpoints.folder import SAFE, copy_companions
from eckart.checkpoints.peft import AdapterDType, read_adapter
from eckart.checkpoints.peft.adapter import Tensor
from eckart.checkpoints.writer import SHARD_BYTES
from eckart.files import check_output, whole_file
from eckart.progress import Watch, unwatched


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

    def to_dict(self) -> dict[str, Any]:
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
    used = [
        (read_adapter(folder), weight)
        for folder, weight in zip(folders, chosen, strict=True)
        if weight
    ]
    planned = plan(checkpoint, used, dtype)
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
        values=sum(not change.factors for change in planned.changes.values()) + len(planned.new),
        tensors=len(planned.layouts),
        nbytes=sum(layout.nbytes for layout in planned.layouts.values()),
        files=names,
        notes=(*planned.notes, *(f"'{name}' is large and was left behind." for name in left)),
        seconds=time.perf_counter() - began,
    )


def _write(
    target: Path, checkpoint: Checkpoint, planned: Plan, shard_bytes: int, watch: Watch
) -> None:
    total = sum(math.prod(layout.shape) for layout in planned.layouts.values())
    with (
        watch("Merging", total) as report,
        CheckpointWriter(target, planned.layouts, shard_bytes=shard_bytes) as writer,
    ):
        for name in writer.order:
            tensor = _tensor(name, checkpoint, planned)
            writer.write(name, tensor)
            report(tensor.size, said=name)
            del tensor  # else the next tensor would be read while this one is still held


def _tensor(name: str, checkpoint: Checkpoint, planned: Plan) -> Tensor:
    """One tensor of the merged model."""
    dtype, change = planned.layouts[name].dtype.numpy, planned.change(name)
    start = checkpoint.read(name) if change.replacement is None else change.replacement
    # copied as stored: no dtype of NumPy, or nothing to add and nothing to convert
    if dtype is None or (start.dtype == dtype and not change.adds):
        return start
    return change.added(name, start, dtype)
