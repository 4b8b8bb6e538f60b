"""What lies beside the weights of a model and is needed to load it: its config, its tokenizer."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from eckart.storage.checkpoints.folder import CONFIG
from eckart.storage.checkpoints.strict_json import read_object

WEIGHTS: Final = frozenset(
    {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".safetensors"}
)
"""Suffixes of weights, and of the same weights for other programs."""

LARGEST: Final = 100_000_000
"""Bytes of a file or a folder; what is larger is no setting and no vocabulary."""

OTHERS: Final = frozenset({"README.md", "adapter_config.json", "report.json", "trainer_state.json"})
PASSING: Final = ("checkpoint-", "runs", "onnx", "openvino", "global_step", "__pycache__")
"""What begins the names of folders that a model is loaded without."""
INDEX: Final = ".index.json"


def copy_companions(
    source: Path, target: Path, changes: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what is in a model's folder beside its weights: small files, and folders of them.

    A folder may hold weights of its own, such as the layers behind the model that
    sentence-transformers keeps; it goes along whole.

    Args:
        source: The folder of a checkpoint.
        target: An existing folder.
        changes: Settings of `config.json` that are others in the copy.

    Returns:
        What was copied, and what was left behind because it is too large.

    Raises:
        StorageError: Where this is used within `whole_file`, if the system refuses.
    """
    copied: list[str] = []
    left: list[str] = []
    for path in sorted(_companions(source)):
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        if sum(one.stat().st_size for one in files) > LARGEST:
            left.append(path.name)
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
    for path in source.iterdir():
        if path.name.startswith(".") or path.name in OTHERS or path.name.endswith(INDEX):
            continue
        if path.is_dir():
            is_adapter = (path / "adapter_config.json").exists()
            if not path.is_symlink() and not path.name.startswith(PASSING) and not is_adapter:
                yield path
        elif path.is_file() and path.suffix not in WEIGHTS:
            yield path
