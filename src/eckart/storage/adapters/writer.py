"""Writing an adapter as PEFT reads it: `adapter_config.json` and `adapter_model.safetensors`."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT32, Array
from eckart.errors import FormatError, MatrixError
from eckart.storage.adapters.adapter import AdaptedLayer, Adapter, Outline, Tensor, outline
from eckart.storage.adapters.configuration import (
    SavedNames,
    check_layers,
    check_saved,
    configuration,
    saved_names,
)
from eckart.storage.adapters.experts import check_experts
from eckart.storage.adapters.orientation import BIAS_TENSOR, stored_shapes, stored_tensors
from eckart.storage.adapters.rounding import DTYPES, StoredDType, stored_factors
from eckart.storage.adapters.wrapped import PREFIX
from eckart.storage.checkpoints.dtypes import stored_dtype
from eckart.storage.checkpoints.layout import TensorLayout
from eckart.storage.checkpoints.writer import CheckpointWriter
from eckart.storage.whole import whole_file, write_text

CONFIGURATION: Final = "adapter_config.json"
TENSORS: Final = "adapter_model.safetensors"


def write_adapter(
    folder: Path,
    adapter: Adapter,
    dtype: StoredDType = "float32",
    *,
    base_modules: Collection[str] = (),
) -> None:
    """Write an adapter that PEFT loads, unmerged and merged alike, without a warning.

    The factors are balanced and rounded as `stored_factors` says, with alpha = r, so that the
    scale is 1. Changes of biases are kept in float32 and new values in their own dtype. The same
    adapter gives the same bytes: no time, no path and no version is written.

    Args:
        folder: Made where it does not exist; other files in it are left alone.
        adapter: What to write.
        dtype: Of the factors.
        base_modules: Names of all modules of the base, where they are known: modules whose name
            ends like that of an adapted one are then excluded, and a saved one that would be put
            in the place of another is refused.

    Raises:
        MatrixError: If PEFT could not load it, or would load it wrongly; or if the factors do not
            fit into `dtype`.
        FormatError: If new values have a dtype that the file cannot hold.
        StorageError: If the system refuses to write.

    Cost:
        Each layer is taken twice from `adapter.layers`, once for its shape and once for its
        numbers, and not kept.
    """
    document, entries = _described(adapter, dtype, base_modules)
    folder.mkdir(parents=True, exist_ok=True)
    layouts = {name: entry.layout(folder / TENSORS) for name, entry in entries.items()}
    with (
        whole_file(folder / TENSORS, force=True) as temporary,
        CheckpointWriter(temporary, layouts) as writer,
    ):
        for name in writer.order:
            writer.write(name, entries[name].make())
    with whole_file(folder / CONFIGURATION, force=True) as temporary:
        write_text(temporary, json.dumps(document, indent=2) + "\n")


def described_adapter(
    adapter: Adapter, *, base_modules: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The configuration of an adapter and the shapes of the tensors that its file will hold.

    Raises:
        MatrixError: As `write_adapter`.

    Cost:
        Each layer is taken once, for its shape.
    """
    document, entries = _described(adapter, "float32", base_modules)
    return document, {name: entry.shape for name, entry in entries.items()}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One tensor of the file; `make` gives it when its turn comes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    def layout(self, path: Path) -> TensorLayout:
        """Its place in the file."""
        stored = stored_dtype(self.dtype)
        if stored is None:
            raise FormatError(
                f"{path} cannot hold '{self.name}', which is {self.dtype}.",
                hint="Convert it to float32.",
                code="unsupported-dtype",
            )
        return TensorLayout(dtype=stored, shape=self.shape)


@final
@dataclass(slots=True)
class _Rounded:
    """The tensors of the layer that is being written; its two factors are made together."""

    layers: Sequence[AdaptedLayer]
    dtype: StoredDType
    position: int = -1
    tensors: dict[str, Array] = field(default_factory=dict[str, Array])

    def tensor(self, position: int, name: str) -> Array:
        """A tensor of a layer, in the dtype of the file."""
        if position != self.position:
            layer = self.layers[position]
            factors = stored_factors(layer, self.dtype)
            self.tensors = stored_tensors(outline(layer), factors)
            self.position = position
        return self.tensors[name].astype(DTYPES[self.dtype])

    def bias(self, position: int) -> Array:
        """The change of the bias of a layer."""
        layer = self.layers[position]
        if layer.bias is None or not np.isfinite(layer.bias).all():
            raise MatrixError(
                f"The change of the bias of '{layer.module}' holds NaN or infinity.",
                hint="Give finite numbers only.",
                code="not-finite",
            )
        return layer.bias.astype(FLOAT32)


def _described(
    adapter: Adapter, dtype: StoredDType, base_modules: Collection[str]
) -> tuple[dict[str, Any], dict[str, _Entry]]:
    """The configuration, and the tensors of the file by name."""
    layers = [outline(layer) for layer in adapter.layers]
    saved = saved_names(adapter.saved, {layer.module for layer in layers}, adapter.in_place)
    check_layers(adapter, layers)
    check_experts(layers)
    check_saved(saved, {*base_modules, *(layer.module for layer in layers)})
    document = configuration(adapter, layers, saved, {*base_modules, *adapter.excluded})
    return document, {entry.name: entry for entry in _entries(adapter, layers, saved, dtype)}


def _entries(
    adapter: Adapter, layers: list[Outline], saved: SavedNames, dtype: StoredDType
) -> Iterator[_Entry]:
    rounded = _Rounded(adapter.layers, dtype)
    for position, layer in enumerate(layers):
        stem = f"{PREFIX}{layer.module}"
        for name, shape in stored_shapes(layer).items():
            yield _Entry(
                name=f"{stem}.{name}",
                dtype=DTYPES[dtype],
                shape=shape,
                make=lambda position=position, name=name: rounded.tensor(position, name),
            )
        if layer.has_bias:
            yield _Entry(
                name=f"{stem}.{BIAS_TENSOR}",
                dtype=FLOAT32,
                shape=(layer.outputs,),
                make=lambda position=position: rounded.bias(position),
            )
    for parameter, key in saved.keys.items():
        tensor = adapter.saved[parameter]
        yield _Entry(
            name=f"{PREFIX}{key}",
            dtype=tensor.dtype,
            shape=tensor.shape,
            make=lambda parameter=parameter: _saved(adapter, parameter),
        )


def _saved(adapter: Adapter, parameter: str) -> Tensor:
    tensor = adapter.saved[parameter]
    if not np.isfinite(tensor).all():
        raise MatrixError(
            f"The saved values of '{parameter}' hold NaN or infinity.",
            hint="Give finite numbers only.",
            code="not-finite",
        )
    return tensor
