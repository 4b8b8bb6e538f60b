"""Reading an adapter that eckart wrote or that was trained with PEFT."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.arrays import FLOAT32, Array
from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.peft.adapter import (
    BIAS,
    BIAS_TENSOR,
    EMBEDDING_PAIR,
    PAIR,
    AdaptedLayer,
    Adapter,
    Kind,
    Tensor,
    expert_of,
    factors_of,
    live_name,
    split_parameter,
    unwrap,
)
from eckart.checkpoints.peft.configuration import ENSURED
from eckart.checkpoints.peft.scaling import Scaling, check_plain, flag, not_lora, scaling_of
from eckart.checkpoints.peft.writer import CONFIGURATION, DTYPES, TENSORS, AdapterDType
from eckart.checkpoints.safetensors_file import open_safetensors
from eckart.errors import ArgumentError, EckartError, FormatError
from eckart.files.archives import open_tensors, read_tensor
from eckart.files.reading import damaged, read_object, read_steadily, reading

_MARK: Final = ".lora_"
_BENEATH: Final = ".base_layer."
_NAMED: Final = re.compile(
    r"(?<=\.lora_[AB])\.([^.]+)(?=\.(?:weight|bias)$)|(?<=\.lora_embedding_[AB])\.([^.]+)$"
)
"""The name of an adapter, which the state of a running model has in the name of each factor."""
_SCALE: Final = ".alpha"
"""The end of the name of a scale in files of other programs; PEFT keeps it in the configuration."""
_AXES: Final = {2: Kind.LINEAR, 3: Kind.CONVOLUTION, 4: Kind.CONVOLUTION, 5: Kind.CONVOLUTION}


def read_adapter(folder: Path, *, transposed: Collection[str] | None = None) -> Adapter:
    """Read the adapter in a folder, with its scale multiplied into B.

    Args:
        folder: Folder with `adapter_config.json` and `adapter_model.safetensors`.
        transposed: Names of the adapted modules whose weight is stored as (inputs, outputs), which
            the adapter alone does not tell; None takes all linear ones if the configuration sets
            `fan_in_fan_out`, and none otherwise.

    Raises:
        ArgumentError: If a file does not exist.
        FormatError: If a file is damaged, tensors are missing or do not fit together, the
            factors hold NaN or infinity, or the adapter is no plain LoRA.

    Cost:
        The whole adapter in memory.
    """
    # a configuration and its tensors are two files, which may be replaced meanwhile
    return read_steadily(folder, lambda: _read(folder, transposed))


def _read(folder: Path, transposed: Collection[str] | None) -> Adapter:
    document = _document(folder / CONFIGURATION)
    path = folder / TENSORS
    check_plain(document, folder / CONFIGURATION)
    groups, saved = _sorted(_tensors(path), path)
    scaling = scaling_of(document, folder / CONFIGURATION)
    _check_stacked(groups, scaling, path)
    if transposed is None:
        transposed = groups if flag(document, "fan_in_fan_out", folder / CONFIGURATION) else ()
    layers = tuple(
        _layer(module, groups[module], scaling, module in transposed, path)
        for module in sorted(groups)
    )
    texts = {key: value for key, value in document.items() if isinstance(value, str)}
    return Adapter(
        layers=layers,
        saved=saved,
        tied=document.get("ensure_weight_tying") is True,
        experts=bool(scaling.parameters) or any(map(expert_of, groups)),
        base_name=texts.get("base_model_name_or_path"),
        task_type=texts.get("task_type"),
        in_place=_in_place(saved, groups, document),
        excluded=_names(document, "exclude_modules"),
    )


def factor_dtype(folder: Path) -> AdapterDType:
    """The dtype in which the factors of an adapter are stored; float32 if dtypes differ."""
    tensors = open_safetensors(folder / TENSORS).tensors
    known = {tensor.dtype.numpy for name, tensor in tensors.items() if _MARK in name}
    found: list[AdapterDType] = [name for name, dtype in DTYPES.items() if known == {dtype}]
    return found[0] if found else "float32"


def _document(path: Path) -> dict[str, Any]:
    if path.parent.is_file():
        raise ArgumentError(
            f"{path.parent} is a file.",
            hint=f"Give the folder of the adapter, with its {CONFIGURATION}.",
            code="not-a-folder",
        )
    if path.parent.is_dir() and not path.exists():
        below = sorted(str(one.parent) for one in path.parent.glob(f"*/{CONFIGURATION}"))
        raise ArgumentError(
            f"The folder {path.parent} holds no {CONFIGURATION}.",
            hint=f"Give one of the adapters in it, such as {below[0]}."
            if below
            else "Give the folder of an adapter in the format of PEFT.",
            code="no-such-file",
        )
    return read_object(path)


def _names(document: JsonObject, key: str) -> tuple[str, ...]:
    value = document.get(key)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _in_place(
    saved: Collection[str], adapted: Collection[str], document: JsonObject
) -> frozenset[str]:
    """Names of saved values that PEFT puts into the base itself.

    They belong to no adapted module and to no module that PEFT replaces, and are no bias alone.
    """
    replaced = _names(document, "modules_to_save")
    ensured = tuple(ENSURED)
    if document.get("ensure_weight_tying") is True and any(n.endswith(ensured) for n in replaced):
        replaced = (*replaced, *ensured)  # PEFT replaces both tied modules and names one
    found: set[str] = set()
    for name in saved:
        module, parameter = split_parameter(name)
        words = module.split(".")
        above = [".".join(words[: end + 1]) for end in range(len(words))]
        alone = module not in adapted and parameter != BIAS
        if alone and not any(one.endswith(replaced) for one in above):
            found.add(name)
    return frozenset(found)


def _tensors(path: Path) -> dict[str, Tensor]:
    # eckart never unpickles, so a .bin is refused with what to do instead
    pickled = path.with_suffix(".bin")
    if pickled.exists() and not path.exists():
        raise ArgumentError(
            f"{pickled} is pickled, which could run any code.",
            hint="Load it with PEFT and save it again: that writes safetensors.",
            code="pickled",
        )
    open_safetensors(path)  # it recognises a pointer of Git LFS, which the library calls damaged
    with reading(path), open_tensors(path) as file:
        return {name: read_tensor(file, name, path) for name in file.keys()}  # noqa: SIM118 the handle is no dict


def _sorted(
    tensors: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Tensors of each adapted module by their last name, and saved values by name of parameter."""
    groups: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    known = {*PAIR, *EMBEDDING_PAIR, BIAS_TENSOR}
    # names of biases have the wrapper of a saved module, but not the name of the adapter
    wrapper = re.compile(rf"(?<=\.)modules_to_save\.(?:{re.escape(_only_one(tensors, path))}\.)?")
    for name, tensor in tensors.items():
        # ZeRO-3 leaves empty tensors where parameters are spread over devices
        if tensor.size == 0:
            raise FormatError(
                f"The tensor '{name}' of {path} holds no numbers, as ZeRO-3 writes it.",
                hint="Gather the parameters before the adapter is saved.",
                code="empty-tensor",
            )
        bare = unwrap(wrapper.sub("", _NAMED.sub("", name)))
        if ".original_module." in bare:  # the values of the base that a saved module replaces
            continue
        module, mark, last = bare.partition(_MARK)
        if not mark:
            own = bare.replace(_BENEATH, ".")
            _check_once(saved, own, tensor, path)
            saved[own] = _finite(tensor, name, path)
        elif f"lora_{last}" not in known or module.endswith(_BENEATH.rstrip(".")):
            raise _not_plain(name, path)
        else:
            factors = groups.setdefault(module, {})
            _check_once(factors, f"lora_{last}", tensor, path)
            factors[f"lora_{last}"] = tensor
    scale = next((name for name in saved if name.removesuffix(_SCALE) in groups), None)
    if scale is not None:
        raise _not_plain(scale, path)
    if not groups:
        raise FormatError(
            f"{path} adapts no layer.", hint="Give an adapter that PEFT wrote.", code="no-layers"
        )
    return groups, saved


def _check_once(known: Mapping[str, Tensor], name: str, tensor: Tensor, path: Path) -> None:
    """Refuse a second tensor with other numbers, whose name differs only by wrappers."""
    if name in known and not np.array_equal(known[name], tensor):
        raise FormatError(
            f"{path} holds '{name}' twice, with different numbers.",
            hint="Save the adapter again, with save_pretrained of PEFT.",
            code="several-adapters",
        )


def _only_one(names: Collection[str], path: Path) -> str:
    """The name of the only adapter in a file; "default" if it is left out, as PEFT does."""
    found = {match[1] or match[2] for match in map(_NAMED.search, names) if match}
    if len(found) > 1:
        raise FormatError(
            f"{path} holds several adapters: {' and '.join(sorted(found))}.",
            hint="Save each in a file of its own, as save_pretrained of PEFT does.",
            code="several-adapters",
        )
    return found.pop() if found else "default"


def _not_plain(name: str, path: Path) -> FormatError:
    what = f"holds '{name}', which is not of a plain LoRA"
    if not name.endswith((".lora_down.weight", ".lora_up.weight", _SCALE)):
        return not_lora(path, what)
    hint = "Convert it to the format of PEFT first: its names are those of another program."
    return not_lora(path, f"{what} as PEFT writes it", hint)


def _check_stacked(modules: Collection[str], scaling: Scaling, path: Path) -> None:
    """Refuse factors of all experts in a single tensor, which is how PEFT trains them."""
    experts = {expert.parameter for expert in map(expert_of, modules) if expert is not None}
    weights = {f"{live_name(module)}.weight" for module in modules}
    known = [name for name in (*experts, *weights) if scaling.adapts(name)]
    for ending in scaling.parameters:
        if not any(name == ending or name.endswith(f".{ending}") for name in known):
            raise not_lora(path, f"adapts '{ending}', which holds all experts in one tensor")


def _finite(tensor: Tensor, name: str, path: Path) -> Tensor:
    if not np.isfinite(tensor).all():
        raise FormatError(
            f"The tensor '{name}' of {path} holds NaN or infinity.",
            hint="The adapter is broken; train or extract it again.",
            code="not-finite",
        )
    return tensor


def _layer(
    module: str, tensors: Mapping[str, Tensor], scaling: Scaling, transposed: bool, path: Path
) -> AdaptedLayer:
    """An adapted layer from its tensors, with the scale multiplied into B and into the bias."""
    names = EMBEDDING_PAIR if set(tensors) & set(EMBEDDING_PAIR) else PAIR
    wanted = {*names, *([BIAS_TENSOR] if scaling.bias else [])}
    if set(tensors) != wanted:
        # the symmetric difference names a missing tensor as well as one too many
        wrong = sorted(wanted ^ set(tensors))[0]
        alone = wrong == BIAS_TENSOR and not scaling.bias
        raise FormatError(
            f"{path} {'lacks' if wrong in wanted else 'has, against its settings,'} "
            f"'{module}.{wrong}'.",
            hint="PEFT ignores it without lora_bias: set that, or take these tensors out."
            if alone
            else "Check that both files are of the same adapter.",
            code="tensors-missing",
        )
    pair: dict[str, Array] = {
        name: _finite(tensors[name], f"{module}.{name}", path).astype(FLOAT32) for name in names
    }
    kind = Kind.EMBEDDING if names == EMBEDDING_PAIR else _kind(module, pair, transposed, path)
    bias = tensors.get(BIAS_TENSOR)
    factor = scaling.factor(module, rank=pair[names[1]].shape[0], path=path)
    # only B: the scale is in the factors once
    pair[names[0]] = pair[names[0]] * np.float32(factor)
    try:
        factors, shape = factors_of(kind, pair)
        return AdaptedLayer(
            module=module,
            kind=kind,
            factors=factors,
            shape=shape,
            bias=None if bias is None else _finite(bias, module, path).astype(FLOAT32) * factor,
        )
    except EckartError as error:
        raise FormatError(
            f"{path} is damaged: '{module}': {error.message}",
            hint="Check that it was copied or downloaded whole.",
            code="damaged-file",
        ) from error


def _kind(module: str, pair: Mapping[str, Array], transposed: bool, path: Path) -> Kind:
    """The kind of a layer, from the number of axes of its factors."""
    B, A = (pair[name] for name in PAIR)
    kind = _AXES.get(A.ndim)
    # in groups, each output of B sees only a part of the outputs of A
    if kind is Kind.CONVOLUTION and B.ndim > 1 and B.shape[1] < A.shape[0]:
        hint = "Load it with PEFT, which cannot merge it either."
        raise not_lora(path, f"adapts '{module}', a convolution in groups", hint)
    # B of a convolution is one of 1 × 1, since the kernel is in A
    if kind is None or B.ndim != A.ndim or any(length != 1 for length in B.shape[2:]):
        raise damaged(path, f"the factors of '{module}' have the shapes {B.shape} and {A.shape}")
    return Kind.TRANSPOSED if transposed and kind is Kind.LINEAR else kind
