"""Which files of a folder are the weights of its checkpoint, and its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from eckart.errors import ArgumentError, FormatError
from eckart.storage.checkpoints.index import Index, check_numbers, read_index
from eckart.storage.checkpoints.strict_json import read_object
from eckart.storage.whole import damaged

SAFE: Final = ".safetensors"
PICKLED: Final = (".bin", ".pt", ".pth")
CONFIG: Final = "config.json"
ALONE: Final = ("model.safetensors", "pytorch_model.bin")
"""Files that are the whole checkpoint of their folder."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The files of a checkpoint.

    Fields:
        files: All of safetensors, or all of PyTorch.
        index: What says which tensor is where, if there is one.
        config: What `config.json` says; {} where there is none.
    """

    files: tuple[Path, ...]
    index: Index | None
    config: Mapping[str, Any]


def find_weights(path: Path) -> Weights:
    """The files of the checkpoint that a path names.

    In a folder, the first of these is taken, which is the order of transformers:
    `model.safetensors`; the files named by `model.safetensors.index.json`, or by the only index of
    another name; all `.safetensors` files; `pytorch_model.bin`; the files named by
    `pytorch_model.bin.index.json`. A file named by `path` is taken alone, and has the config
    of its folder if its name is that of a whole checkpoint.

    Raises:
        ArgumentError: If there is nothing, or its suffix is unknown.
        FormatError: If the folder holds no weights, or not all that its index names.
        StorageError: If the system refuses to read it.
    """
    if path.is_dir():
        files, index = _in_folder(path)
        return Weights(files=files, index=index, config=_config(path))
    if not path.exists():
        raise ArgumentError(
            f"There is no checkpoint {path}.",
            hint="Give a folder or a file; one of the Hub is downloaded first: hf download NAME.",
            code="no-such-file",
        )
    if not path.is_file() or path.suffix not in (SAFE, *PICKLED):
        raise ArgumentError(
            f"{path} is no checkpoint: its suffix {path.suffix or '(none)'} is unknown.",
            hint=f"Give a folder, or a file that ends in {', '.join((SAFE, *PICKLED))}.",
            code="unknown-suffix",
        )
    config = _config(path.parent) if path.name in ALONE else {}
    return Weights(files=(path,), index=None, config=config)


def _in_folder(folder: Path) -> tuple[tuple[Path, ...], Index | None]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    visible = [name for name in names if not name.startswith(".")]
    safe = [name for name in visible if name.endswith(SAFE)]
    for suffix, alone in ((SAFE, ALONE[0]), (".bin", ALONE[1])):
        if alone in visible:
            return (folder / alone,), None
        indices = [name for name in visible if name.endswith(f"{suffix}.index.json")]
        standard = [name for name in indices if name == f"{alone}.index.json"]
        if standard or len(indices) == 1:
            index = read_index(folder / (standard or indices)[0], suffix)
            return index.shards(), index
        if suffix == SAFE and safe:
            check_numbers(safe, folder)
            return tuple(folder / name for name in safe), None
    raise FormatError(
        f"The folder {folder} holds no weights{f', only {CONFIG}' if CONFIG in visible else ''}.",
        hint=f"Give a folder with {ALONE[0]}, its index and shards, or {ALONE[1]}.",
        code="no-weights",
    )


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    config = read_object(path) if path.is_file() else {}
    names: Any = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(path, "its architectures are no list of names")
    return config
