"""What lies beside the weights of a model and is needed to load it: its config, its tokenizer."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eckart.storage.checkpoints.folder import CONFIG
from eckart.storage.checkpoints.strict_json import read_object

SUFFIXES: Final = frozenset({".json", ".txt", ".model", ".jinja", ".py"})
"""Of settings, vocabularies, templates, and the code of a model that brings its own."""

LARGEST: Final = 100_000_000
"""Bytes of the largest of them; what is larger is no setting."""

OTHERS: Final = frozenset({"adapter_config.json", "report.json", "trainer_state.json"})
INDEX: Final = ".index.json"


def copy_companions(source: Path, target: Path, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Copy the small files of a model's folder that are no weights, and say which.

    Args:
        source: The folder of a checkpoint.
        target: An existing folder.
        changes: Settings of `config.json` that are others in the copy.

    Raises:
        StorageError: Where this is used within `whole_file`, if the system refuses.
    """
    copied: list[str] = []
    for path in sorted(source.iterdir()):
        if path.suffix not in SUFFIXES or path.name in OTHERS or path.name.endswith(INDEX):
            continue
        if path.name.startswith(".") or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        if path.name == CONFIG and changes:
            document = {**read_object(path), **changes}
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (target / CONFIG).write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, target / path.name)
        copied.append(path.name)
    return tuple(copied)
