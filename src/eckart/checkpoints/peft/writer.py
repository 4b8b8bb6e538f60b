"""Writing an adapter as PEFT reads it: rounded factors, biases, a configuration and one file."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, final

import ml_dtypes
import numpy as np

from eckart.arrays import FLOAT32, Array, DType
from eckart.checkpoints.peft.adapter import (
    BIAS,
    BIAS_TENSOR,
    PREFIX,
    AdaptedLayer,
    Adapter,
    Kind,
    Outline,
    Tensor,
    expert_of,
    matrix_shape,
    outline,
    stored_shapes,
    stored_tensors,
)
from eckart.checkpoints.peft.configuration import (
    SavedNames,
    check_experts,
    check_layers,
    check_saved,
    configuration,
    saved_names,
)
from eckart.checkpoints.safetensors_file import stored_dtype
from eckart.checkpoints.writer import CheckpointWriter, TensorLayout
from eckart.errors import FormatError, MatrixError
from eckart.factors import Factors
from eckart.files import whole_file, write_text

AdapterDType: TypeAlias = Literal["float32", "float16", "bfloat16"]

DTYPES: Final[dict[AdapterDType, DType]] = {
    "float32": FLOAT32,
    "float16": np.dtype(np.float16),
    "bfloat16": cast(DType, np.dtype(ml_dtypes.bfloat16)),
}


def adapter_bytes(shape: tuple[int, ...], rank: int, dtype: AdapterDType = "float32") -> int:
    """Number of bytes of the factors of a weight of this shape, without the header of the file.

    Example:
        >>> adapter_bytes((8, 3, 5, 5), rank=2, dtype="float16")
        332
    """
    return rank * sum(matrix_shape(shape)) * DTYPES[dtype].itemsize


def round_factors(layer: AdaptedLayer, dtype: AdapterDType = "float32") -> Factors:
    """The factors of a layer as they will be read back, in float32.

    Both factors contain √σ, which makes their largest entries as small as possible. Rounding each
    entry by at most u then changes the product by at most 2u + u², relative to its norm, because
    the rows of A and the columns of B are orthogonal.

    Raises:
        MatrixError: If an entry is too large for the dtype, or so many entries are too small that
            the product changes by more than twice the bound of rounding alone.

    Cost:
        Two thin QR factorisations and a singular value decomposition of rank × rank.
    """
    balanced = layer.factors.balance()
    # as they are read back: entries that are too large for the dtype are infinite
    with np.errstate(over="ignore", under="ignore"):
        B, A = (X.astype(DTYPES[dtype]).astype(FLOAT32) for X in (balanced.B, balanced.A))
    is_finite = bool(np.isfinite(B).all() and np.isfinite(A).all())
    factors = Factors(B, A) if is_finite else None
    most = 2 * float(np.finfo(np.float16).eps)
    # float32 and bfloat16 reach down to 1e-38; a product of such entries is 0 in both anyway
    if factors is None or (dtype == "float16" and _change(balanced, factors) > most):
        wrong = "too large" if factors is None else "too small"
        raise MatrixError(
            f"The factors of '{layer.module}' are {wrong} for {dtype}.",
            hint="Store the adapter in float32 or bfloat16.",
            code="out-of-range",
        )
    return factors


def _change(exact: Factors, near: Factors) -> float:
    """‖B·A − B̂·Â‖/‖B·A‖, from (B − B̂)·A + B̂·(A − Â), so that nothing cancels."""
    size = exact.squared_norm()
    if size == 0:
        return 0.0
    B = np.hstack([exact.B - near.B, near.B])
    A = np.vstack([exact.A, exact.A - near.A])
    return float(np.sqrt(Factors(B, A).squared_norm() / size))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Biases:
    """The changed biases of a model.

    Fields:
        changes: Differences b_tuned − b_base by module, for all adapted modules or for none.
        saved: New values by name of the parameter, for `Adapter.saved`.
    """

    changes: Mapping[str, Array]
    saved: Mapping[str, Tensor]


def compare_biases(
    adapted: Mapping[str, Kind],
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    *,
    experts: bool = False,
) -> Biases:
    """How to store every bias that differs between two models.

    PEFT's `lora_bias` is one setting for all adapted layers. PEFT can merge it only if each of them
    has a bias in the base, and embeddings and experts refuse it. Changes are therefore stored if a
    bias of an adapted layer changed and all these layers can have one, with zeros for the unchanged
    biases; otherwise new values are stored, which PEFT puts in the place of those of the base.
    Biases of modules that are not adapted are always stored as new values.

    Example:
        A model in which not every adapted layer has a bias, like Qwen2:

        >>> compare_biases({"q": Kind.LINEAR, "o": Kind.LINEAR}, base={"q.bias": np.zeros(1)},
        ...                tuned={"q.bias": np.ones(1)}).saved
        {'q.bias': array([1.])}
    """
    changed = {
        name: values
        for name, values in tuned.items()
        if name in base and not np.array_equal(base[name], values)
    }
    names = {f"{module}.{BIAS}": module for module in adapted}
    refused = experts or any(
        kind is Kind.EMBEDDING or expert_of(module) is not None for module, kind in adapted.items()
    )
    # lora_bias is one setting for all adapted layers, so each of them needs a bias in both models
    everywhere = names.keys() <= base.keys() & tuned.keys()
    if refused or not everywhere or not names.keys() & changed.keys():
        return Biases(changes={}, saved=changed)
    return Biases(
        changes={
            module: tuned[name].astype(FLOAT32) - base[name].astype(FLOAT32)
            for name, module in names.items()
        },
        saved={name: values for name, values in changed.items() if name not in names},
    )


CONFIGURATION: Final = "adapter_config.json"
TENSORS: Final = "adapter_model.safetensors"


def write_adapter(
    folder: Path,
    adapter: Adapter,
    dtype: AdapterDType = "float32",
    *,
    base_modules: Collection[str] = (),
) -> None:
    """Write an adapter that PEFT loads, unmerged and merged alike, without a warning.

    The factors are balanced and rounded as `round_factors` says, with alpha = r, so that the
    scale is 1. Changes of biases are stored in float32, and new values in their own dtype. The same
    adapter gives the same bytes: no time, path or version is written.

    Args:
        folder: The folder, made if it does not exist; other files in it are left alone.
        adapter: The adapter to write.
        dtype: Dtype of the factors.
        base_modules: Names of all modules of the base, if they are known. Modules whose name ends
            like that of an adapted one are then excluded, and a saved module that would replace
            another one is refused.

    Raises:
        MatrixError: If PEFT could not load the adapter, or would load it wrongly; or if the factors
            do not fit into `dtype`.
        FormatError: If new values have a dtype that the file cannot hold.

    Cost:
        Each layer is read twice from `adapter.layers`, once for its shape and once for its
        numbers, and is not kept.
    """
    document, entries = _described(adapter, dtype, base_modules)
    folder.mkdir(parents=True, exist_ok=True)
    layouts: dict[str, TensorLayout] = {}
    for name, entry in entries.items():
        stored = stored_dtype(entry.dtype)
        if stored is None:
            raise FormatError(
                f"{folder / TENSORS} cannot hold '{name}', which is {entry.dtype}.",
                hint="Convert it to float32.",
                code="unsupported-dtype",
            )
        layouts[name] = TensorLayout(dtype=stored, shape=entry.shape)
    with (
        whole_file(folder / TENSORS, force=True) as temporary,
        CheckpointWriter(temporary, layouts) as writer,
    ):
        for name in writer.order:
            writer.write(name, entries[name].make())
    with whole_file(folder / CONFIGURATION, force=True) as temporary:
        write_text(temporary, json.dumps(document, indent=2) + "\n")


def describe_adapter(
    adapter: Adapter, *, base_modules: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The configuration of an adapter and the shapes of the tensors that its file will hold.

    Cost:
        Each layer is read once, for its shape.
    """
    document, entries = _described(adapter, "float32", base_modules)
    return document, {name: entry.shape for name, entry in entries.items()}


class _Entry(NamedTuple):
    """One tensor of the file; `make` computes it when it is written."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def _described(
    adapter: Adapter, dtype: AdapterDType, base_modules: Collection[str]
) -> tuple[dict[str, Any], dict[str, _Entry]]:
    """The configuration, and the tensors of the file by name, after all checks."""
    layers = [outline(layer) for layer in adapter.layers]
    saved = saved_names(adapter.saved, {layer.module for layer in layers}, adapter.in_place)
    check_layers(adapter, layers)
    check_experts(layers)
    check_saved(saved, {*base_modules, *(layer.module for layer in layers)})
    document = configuration(adapter, layers, saved, {*base_modules, *adapter.excluded})
    return document, dict(_entries(adapter, layers, saved, dtype))


def _entries(
    adapter: Adapter, layers: list[Outline], saved: SavedNames, dtype: AdapterDType
) -> Iterator[tuple[str, _Entry]]:
    """Yield the tensors of the file: factors and biases layer by layer, then new values."""

    # the file is sorted by name, so both factors of a layer are written together
    @lru_cache(maxsize=1)
    def factors(position: int) -> dict[str, Array]:
        layer = adapter.layers[position]
        return stored_tensors(outline(layer), round_factors(layer, dtype))

    def factor(position: int, name: str) -> Tensor:
        return factors(position)[name].astype(DTYPES[dtype])

    for position, layer in enumerate(layers):
        stem = f"{PREFIX}{layer.module}"
        for name, shape in stored_shapes(layer).items():
            yield f"{stem}.{name}", _Entry(DTYPES[dtype], shape, partial(factor, position, name))
        if layer.has_bias:
            make = partial(_bias, adapter, position)
            yield f"{stem}.{BIAS_TENSOR}", _Entry(FLOAT32, (layer.outputs,), make)
    for name, key in saved.keys.items():
        tensor = adapter.saved[name]
        yield f"{PREFIX}{key}", _Entry(tensor.dtype, tensor.shape, partial(_saved, adapter, name))


def _bias(adapter: Adapter, position: int) -> Tensor:
    layer = adapter.layers[position]
    assert layer.bias is not None
    what = f"The change of the bias of '{layer.module}' holds"
    return _finite(layer.bias, what).astype(FLOAT32)


def _saved(adapter: Adapter, name: str) -> Tensor:
    return _finite(adapter.saved[name], f"The saved values of '{name}' hold")


def _finite(tensor: Tensor, what: str) -> Tensor:
    if not np.isfinite(tensor).all():
        raise MatrixError(
            f"{what} NaN or infinity.", hint="Give finite numbers only.", code="not-finite"
        )
    return tensor
