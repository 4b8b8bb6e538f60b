"""The weights of a model on disk: a list of all tensors, each of which is read on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final

from eckart.arguments import as_path
from eckart.checkpoints.folder import CONFIG, SAFE, JsonObject, find_weights
from eckart.checkpoints.pickled import PickledFile
from eckart.checkpoints.safetensors_file import (
    SafetensorsDtype,
    SafetensorsFile,
    Tensor,
    TensorInfo,
    open_safetensors,
)
from eckart.errors import FormatError
from eckart.files.outputs import fingerprint
from eckart.files.reading import read_steadily, reading

Shard: TypeAlias = SafetensorsFile | PickledFile
"""A file of a checkpoint, whose tensors are read one at a time."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The weights of a model, in one file or several.

    Fields:
        path: The folder or file that was opened.
        tensors: Records of the tensors by name, file after file, in the order of each file.
        config: Contents of `config.json`; {} if there is none.
        shards: The opened files by path.

    Cost:
        Holds only names and shapes. Reading takes the memory of the tensor that is read.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    config: JsonObject
    shards: Mapping[Path, Shard]

    @property
    def nbytes(self) -> int:
        """Number of stored bytes of all tensors; tied weights count once for each name."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def largest(self) -> TensorInfo:
        """The tensor with the most bytes, and of several such tensors the first."""
        return max(self.tensors.values(), key=lambda tensor: tensor.nbytes)

    def read(self, name: str) -> Tensor:
        """Read a tensor in its stored dtype (for bfloat16 that of ml_dtypes) into a new array.

        Any number of threads may read at once.

        Raises:
            FormatError: If there is no such tensor, NumPy lacks its dtype, such as the float8
                formats, or the file has changed since the checkpoint was opened.
            MatrixError: If the tensor does not fit into memory.

        Cost:
            One read of the bytes of the tensor.
        """
        if name not in self.tensors:
            raise FormatError(
                f"{self.path} has no tensor {name!r}.",
                hint="Check that it is the checkpoint that was meant.",
                code="no-such-tensor",
            )
        return self.shards[self.tensors[name].file].read(name)

    def fingerprint(self) -> dict[str, str]:
        """A fingerprint of each file by name, to recognise this checkpoint later.

        It covers the size and the header of each file, and a page of 4 KiB from the middle of each
        tensor (of every k-th tensor if a file holds more than 4096); `config.json` is covered
        completely. Of a file of PyTorch, which has no header, it covers up to 4096 pages at equal
        distances.

        It detects every change of a name, a shape, a dtype or a size, and every training step that
        changed the middle of a tensor. It misses an edit that leaves those pages unchanged, such as
        one of single rows of an embedding. It does not depend on the place of the folder or on
        times.

        Cost:
            Reads 4 KiB for each tensor.
        """
        prints: dict[str, str] = {}
        for path, shard in self.shards.items():
            with reading(path):
                prints[path.name] = fingerprint(path, shard.samples())
        if self.config:
            config = (self.path if self.path.is_dir() else self.path.parent) / CONFIG
            size = config.stat().st_size
            with reading(config):
                prints[CONFIG] = fingerprint(config, [(0, size)])
        return prints


def open_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Open a checkpoint: a folder with its weights in one file or several, or one such file.

    Names, shapes and sizes are read and checked against the files; no tensor is read. The files of
    a folder are chosen as transformers does it: see `folder.find_weights`.

    Args:
        path: A folder, or a file that ends in `.safetensors`, `.bin`, `.pt` or `.pth`.

    Raises:
        ArgumentError: If there is no such path, or its suffix is unknown.
        FormatError: If a file is damaged or missing, an index names a file elsewhere, two
            files hold the same tensor, or there are no weights.
        MissingExtra: If the checkpoint was written by PyTorch and PyTorch is not installed.

    Cost:
        Reads the headers only.
    """
    source = as_path(path)
    # a folder may be replaced while its files are opened one after another
    return read_steadily(source, lambda: _opened(source))


def _opened(source: Path) -> Checkpoint:
    with reading(source):
        files, index, config = find_weights(source)
        shards = [
            open_safetensors(file) if file.suffix == SAFE else PickledFile(file) for file in files
        ]
    tensors = _union(shards, source, index.files if index else {})
    if index is not None:
        index.check({name: tensor.file for name, tensor in tensors.items()})
    return Checkpoint(
        path=source,
        # nothing can be changed through the record of a checkpoint
        tensors=MappingProxyType(tensors),
        config=MappingProxyType(dict(config)),
        shards=MappingProxyType({shard.path: shard for shard in shards}),
    )


def _union(
    shards: Sequence[Shard], source: Path, files: Mapping[str, str]
) -> dict[str, TensorInfo]:
    """All tensors by name; if several files hold a tensor, the one in the file that is indexed."""
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, tensor in shard.tensors.items():
            # two files may hold one tensor, and only an index can say which of them counts
            if name not in tensors or files.get(name) == shard.path.name:
                tensors[name] = tensor
            elif name not in files:
                raise FormatError(
                    f"The tensor {name!r} is both in {tensors[name].file} and "
                    f"in {shard.path.name}.",
                    hint="Keep the files of one checkpoint in a folder, and no others.",
                    code="duplicate-tensor",
                )
    if not tensors:
        raise FormatError(
            f"{source} holds no tensors.",
            hint="Check that it was copied or downloaded whole.",
            code="no-weights",
        )
    return tensors


METHODS: Final = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "compressed-tensors": "compressed-tensors",
    "mxfp4": "MXFP4",
    "hqq": "HQQ",
}
"""Values of `quantization_config.quant_method` and the usual spelling of these methods."""
TRACES: Final = (
    ("GPTQ", frozenset({"qweight", "qzeros", "scales", "g_idx"})),
    ("AWQ", frozenset({"qweight", "qzeros", "scales"})),
    ("bitsandbytes", frozenset({"absmax"})),
    ("bitsandbytes", frozenset({"SCB"})),
    ("fp8", frozenset({"weight_scale_inv"})),
    ("compressed-tensors", frozenset({"weight_packed", "weight_scale"})),
    ("MXFP4", frozenset({"gate_up_proj_blocks", "gate_up_proj_scales"})),
    ("HQQ", frozenset({"W_q"})),
)
"""Last words of tensor names by which a method is recognised; the most specific sets come first."""
DTYPES: Final = {
    dtype: "fp8" if dtype.startswith(("F8_E4", "F8_E5")) else "MX"
    for dtype in SafetensorsDtype
    if dtype.bits < 8 or dtype.startswith("F8_")
}
"""Dtypes by which quantised weights are recognised."""
INTEGERS: Final = frozenset(dtype for dtype in SafetensorsDtype if dtype[0] in "IU")
"""Dtypes of matrices whose scales are kept elsewhere."""
MLX: Final = frozenset({"bits", "group_size"})
"""Keys of the setting `quantization` that MLX writes, besides others."""


def quantisation(checkpoint: Checkpoint) -> str | None:
    """The method by which the weights are quantised: GPTQ, AWQ, fp8 …; None if they are not.

    The config decides if it names a method; otherwise the names and dtypes of the tensors do.
    """
    return _configured(checkpoint.config) or _traced(checkpoint)


def _configured(config: JsonObject) -> str | None:
    """The method that the config names, for the model or for its part for text."""
    # models of images and text keep the config of the part for text within their own
    for owner in (config, config.get("text_config")):
        known: JsonObject = owner if isinstance(owner, Mapping) else {}
        for key in ("quantization_config", "compression_config"):
            claim = known.get(key)
            if isinstance(claim, dict) and claim:
                method: Any = claim.get("quant_method")
                if isinstance(method, str):  # an unknown name stays as it is
                    return METHODS.get(method.lower(), method)
                # bitsandbytes wrote these settings before `quant_method` existed
                bits = claim.get("load_in_4bit") or claim.get("load_in_8bit")
                return "bitsandbytes" if bits else "an unnamed method"
        claim = known.get("quantization")
        if isinstance(claim, dict) and claim.keys() >= MLX:
            return "MLX"
    return None


def _traced(checkpoint: Checkpoint) -> str | None:
    """The method that the names and dtypes of the tensors tell."""
    words = {name.rpartition(".")[2] for name in checkpoint.tensors}
    # bitsandbytes writes its state beside each weight, under a name that holds the method
    words |= {"absmax" for name in checkpoint.tensors if ".quant_state." in name}
    for method, trace in TRACES:
        if trace <= words:
            return method
    dtypes = [tensor.dtype for tensor in checkpoint.tensors.values()]
    found = next((DTYPES[dtype] for dtype in dtypes if dtype in DTYPES), None)
    whole = any(
        tensor.dtype in INTEGERS and name.endswith(".weight") and len(tensor.shape) == 2
        for name, tensor in checkpoint.tensors.items()
    )
    return found or ("integers" if whole else None)
