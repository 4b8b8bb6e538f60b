"""The index of a checkpoint in several files: which file holds which tensor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, final

from eckart.errors import FormatError
from eckart.storage.checkpoints.strict_json import read_object
from eckart.storage.whole import damaged

_NUMBERED: Final = re.compile(r"(?P<stem>.*)-[0-9]{5}-of-(?P<total>[0-9]{5})(?P<suffix>\.\w+)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What `model.safetensors.index.json` says.

    Fields:
        path: The index.
        files: The name of a file beside the index, by tensor.
    """

    path: Path
    files: Mapping[str, str]

    def shards(self) -> tuple[Path, ...]:
        """The files, each once, sorted by name.

        Raises:
            FormatError: If one is missing.
        """
        folder = self.path.parent
        shards = tuple(folder / name for name in sorted(set(self.files.values())))
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise missing_shards(missing, folder, self.path.name)
        return shards

    def check(self, tensors: Mapping[str, Path]) -> None:
        """Refuse shards that lack a tensor which the index promises.

        A tensor that the index does not name is no error: what loads a checkpoint takes all that
        its files hold, and so does eckart.

        Args:
            tensors: The file that does hold each tensor.

        Raises:
            FormatError: If they disagree.
        """
        for tensor, name in self.files.items():
            if tensor not in tensors or tensors[tensor].name != name:
                raise FormatError(
                    f"The tensor {tensor!r} is not in {name}, as {self.path} says.",
                    hint="Download or copy the whole checkpoint: its files do not fit together.",
                    code="index-disagrees",
                )


def missing_shards(missing: Sequence[str], folder: Path, told_by: str) -> FormatError:
    """The error for files of a checkpoint that are not there."""
    more = f", and {len(missing) - 1} more" if missing[1:] else ""
    return FormatError(
        f"{missing[0]} is missing in {folder}{more}, named by {told_by}.",
        hint="Download or copy the whole checkpoint.",
        code="missing-shard",
    )


def check_numbers(names: Sequence[str], folder: Path) -> None:
    """Refuse files that are numbered as some of many, such as 1 of 3, where others are not there.

    Raises:
        FormatError: If so.
    """
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
    """The index of a checkpoint, which names nothing but files of a suffix beside it.

    A file may itself be a link to somewhere else, as it is in the cache of the Hub.

    Raises:
        FormatError: If it is damaged, or names a file elsewhere.
        StorageError: If the system refuses to read it.
    """
    claim: Any = read_object(path).get("weight_map")
    if not isinstance(claim, dict) or not claim:
        raise damaged(path, "it has no weight_map")
    for name in claim.values():
        if not isinstance(name, str) or not _is_plain(name) or not name.endswith(suffix):
            raise FormatError(
                f"{path} names {str(name)[:100]!r}, which is no {suffix} file in its folder.",
                hint="Do not trust this checkpoint; download it again from its source.",
                code="unsafe-index",
            )
    return Index(path=path, files=claim)


def _is_plain(name: str) -> bool:
    """Whether it is the name of a file, on any system, and no path."""
    return name.isprintable() and name == PurePosixPath(name).name == PureWindowsPath(name).name
