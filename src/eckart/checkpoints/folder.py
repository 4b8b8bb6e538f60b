"""The files of a folder that hold the weights of its checkpoint, and those that accompany them."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeAlias, final

from eckart.errors import ArgumentError, FormatError
from eckart.files.reading import damaged, read_object

JsonObject: TypeAlias = Mapping[str, Any]
"""The contents of a file of JSON that holds an object, such as `config.json`."""
_NUMBERED: Final = re.compile(r"(?P<stem>.*)-[0-9]{5}-of-(?P<total>[0-9]{5})(?P<suffix>\.\w+)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The contents of `model.safetensors.index.json`.

    Fields:
        path: Path of the index.
        files: Names of the files beside the index, by name of the tensor.
    """

    path: Path
    files: Mapping[str, str]

    def check(self, tensors: Mapping[str, Path]) -> None:
        """Refuse shards that lack a tensor which the index promises.

        A tensor that the index does not name is no error: libraries that load a checkpoint take all
        tensors of its files, and so does eckart.
        """
        for tensor, name in self.files.items():
            if tensor not in tensors or tensors[tensor].name != name:
                raise FormatError(
                    f"The tensor {tensor!r} is not in {name}, as {self.path} says.",
                    hint="Download or copy the whole checkpoint: its files do not fit together.",
                    code="index-disagrees",
                )


def missing_shards(missing: Sequence[str], folder: Path, told_by: str) -> FormatError:
    """The error for files of a checkpoint that do not exist."""
    more = f", and {len(missing) - 1} more" if missing[1:] else ""
    return FormatError(
        f"{missing[0]} is missing in {folder}{more}, named by {told_by}.",
        hint="Download or copy the whole checkpoint.",
        code="missing-shard",
    )


def check_numbers(names: Sequence[str], folder: Path) -> None:
    """Refuse numbered files, such as 1 of 3, if others of their series are missing."""
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            continue
        stem, digits, suffix = match["stem"], match["total"], match["suffix"]
        expected = [
            f"{stem}-{number:05d}-of-{digits}{suffix}" for number in range(1, int(digits) + 1)
        ]
        missing = [one for one in expected if one not in names]
        if missing:
            raise missing_shards(missing, folder, name)


def read_index(path: Path, suffix: str) -> Index:
    """Read the index of a checkpoint, which may name only files of a suffix in its own folder.

    A file may itself be a link to another place, as in the cache of the Hub.
    """
    claim: Any = read_object(path).get("weight_map")
    if not isinstance(claim, dict) or not claim:
        raise damaged(path, "it has no weight_map")
    for name in claim.values():
        # backslashes separate folders on Windows only, so a name is taken apart both ways
        is_plain = (
            isinstance(name, str)
            and name.isprintable()
            and (name == PurePosixPath(name).name == PureWindowsPath(name).name)
        )
        if not is_plain or not name.endswith(suffix):
            raise FormatError(
                f"{path} names {str(name)[:100]!r}, which is no {suffix} file in its folder.",
                hint="Do not trust this checkpoint; download it again from its source.",
                code="unsafe-index",
            )
    return Index(path=path, files=claim)


SAFE: Final = ".safetensors"
PICKLED: Final = (".bin", ".pt", ".pth")
"""Suffixes of files that `torch.save` wrote."""
CONFIG: Final = "config.json"
ALONE: Final = ("model.safetensors", "pytorch_model.bin")
"""Names of files that hold the whole checkpoint of their folder."""


def find_weights(path: Path) -> tuple[tuple[Path, ...], Index | None, JsonObject]:
    """Find the files of the checkpoint that a path names.

    In a folder the first of these is taken, which is the order of transformers:
    `model.safetensors`; the files named by `model.safetensors.index.json`, or by the only index of
    another name; all `.safetensors` files; `pytorch_model.bin`; the files named by
    `pytorch_model.bin.index.json`. If `path` is a file, only this file is taken, with the config of
    its folder if its name is that of a whole checkpoint.

    Returns:
        The files, all of safetensors or all of PyTorch; the index that names the file of each
        tensor, or None; and the contents of `config.json`, {} if there is none.

    Raises:
        ArgumentError: If the path does not exist, or its suffix is unknown.
        FormatError: If the folder holds no weights, or not all files that its index names.
    """
    if path.is_dir():
        return (*_in_folder(path), _config(path))
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
    return (path,), None, _config(path.parent) if path.name in ALONE else {}


def _in_folder(folder: Path) -> tuple[tuple[Path, ...], Index | None]:
    """The files of weights in a folder, and the index that names them, if there is one."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    # macOS leaves hidden files such as ._model.safetensors on foreign disks
    visible = [name for name in names if not name.startswith(".")]
    safe = [name for name in visible if name.endswith(SAFE)]
    for suffix, alone in ((SAFE, ALONE[0]), (".bin", ALONE[1])):
        if alone in visible:
            return (folder / alone,), None
        indices = [name for name in visible if name.endswith(f"{suffix}.index.json")]
        standard = [name for name in indices if name == f"{alone}.index.json"]
        # several indices of other names are ambiguous, and none of them is taken
        if standard or len(indices) == 1:
            index = read_index(folder / (standard or indices)[0], suffix)
            shards = tuple(folder / name for name in sorted(set(index.files.values())))
            missing = [shard.name for shard in shards if not shard.is_file()]
            if missing:
                raise missing_shards(missing, folder, index.path.name)
            return shards, index
        # safetensors without an index are taken together; files of PyTorch need one
        if suffix == SAFE and safe:
            check_numbers(safe, folder)
            return tuple(folder / name for name in safe), None
    raise FormatError(
        f"The folder {folder} holds no weights{f', only {CONFIG}' if CONFIG in visible else ''}.",
        hint=f"Give a folder with {ALONE[0]}, its index and shards, or {ALONE[1]}.",
        code="no-weights",
    )


def _config(folder: Path) -> JsonObject:
    """The contents of `config.json`, whose architectures are names; {} if there is none."""
    path = folder / CONFIG
    config = read_object(path) if path.is_file() else {}
    names: Any = config.get("architectures") or []
    # a wrong config is an error here, and not where its names are used
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise damaged(path, "its architectures are no list of names")
    return config


WEIGHTS: Final = frozenset(
    {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".safetensors"}
)
"""Suffixes of weights, including the same weights for other programs."""
LARGEST: Final = 100_000_000
"""The most bytes of a file or a folder that is copied: settings and vocabularies are smaller."""
OTHERS: Final = frozenset({"README.md", "adapter_config.json", "report.json", "trainer_state.json"})
"""Files that concern the source itself or its training, and are not copied."""
PASSING: Final = ("checkpoint-", "runs", "onnx", "openvino", "global_step", "__pycache__")
"""Beginnings of the names of folders that are not needed to load a model."""
INDEX: Final = ".index.json"


def copy_companions(
    source: Path, target: Path, changes: JsonObject
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what a model's folder holds beside its weights: small files, and folders of them.

    A folder may hold weights of its own, such as the layers that sentence-transformers adds after
    the model; it is copied completely.

    Returns:
        Names of what was copied, and of what was left out because it is too large.
    """
    copied: list[str] = []
    left: list[str] = []
    for path in sorted(_companions(source)):
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        if sum(one.stat().st_size for one in files) > LARGEST:
            left.append(path.name)
        # a config that is copied with changes is written anew, and not copied
        elif path.name == CONFIG and changes:
            document = {**read_object(path), **changes}
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (target / CONFIG).write_text(text, encoding="utf-8")
            copied.append(path.name)
        else:
            for one in files:
                place = target / one.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(one, place)
            copied.append(path.name)
    return tuple(copied), tuple(left)


def _companions(source: Path) -> Iterator[Path]:
    """Yield the files and folders beside the weights that belong to the model."""
    for path in source.iterdir():
        if path.name.startswith(".") or path.name in OTHERS or path.name.endswith(INDEX):
            continue
        if path.is_dir():
            # a folder with an adapter is no part of the model, and a link may lead anywhere
            is_adapter = (path / "adapter_config.json").exists()
            if not path.is_symlink() and not path.name.startswith(PASSING) and not is_adapter:
                yield path
        elif path.is_file() and path.suffix not in WEIGHTS:
            yield path
