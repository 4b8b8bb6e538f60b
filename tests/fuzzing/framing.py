"""Files of a folder as one run of bytes, which a fuzzer can change anywhere, and back.

A line `--- NAME` begins each file. A name that ends in `!` is packed when it is laid out: what
belongs to `W.npz!` becomes the members of an archive, and `t.csv.gz!` is compressed. So a change
inside a packed file does not stop at its check sum.
"""

import gzip
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

MARK: Final = b"\n--- "
PACKED: Final = "!"
NAME: Final = re.compile(r"[\w.@ -]{1,60}!?(/[\w.@ -]{1,40}){0,6}!?", re.ASCII)


def framed(files: Mapping[str, bytes]) -> bytes:
    """The files as one run of bytes."""
    return b"".join(MARK + name.encode() + b"\n" + content for name, content in files.items())


def unframed(data: bytes) -> dict[str, bytes]:
    """The files again; what has no name that stays in its folder is passed over.

    Example:
        >>> unframed(framed({"a": b"1", "b/c": b"2"}))
        {'a': b'1', 'b/c': b'2'}
    """
    files: dict[str, bytes] = {}
    for piece in data.split(MARK)[1:]:
        title, _, content = piece.partition(b"\n")
        name = title.decode("ascii", "replace")
        if NAME.fullmatch(name) and not any(part.strip(". ") == "" for part in name.split("/")):
            files[name] = content
    return files


def laid_out(data: bytes, folder: Path) -> list[Path]:
    """Write the files to a folder; what lies at its top, in the order of the data."""
    members: dict[str, dict[str, bytes]] = {}
    tops: dict[Path, None] = {}
    for name, content in unframed(data).items():
        whole, packed, member = name.partition(f"{PACKED}/")
        top = folder / whole.split("/")[0].removesuffix(PACKED)
        if packed:
            members.setdefault(whole, {})[member] = content
        elif name.endswith(PACKED):
            _write(folder / name.removesuffix(PACKED), gzip.compress(content, mtime=0))
        else:
            _write(folder / name, content)
        if top.exists() or packed:
            tops[top] = None
    for whole, contents in members.items():
        _zip(folder / whole, contents)
    return [top for top in tops if top.exists()]


def taken(folder: Path, *, unpacked: bool = False) -> dict[str, bytes]:
    """The files of a folder, to be framed; with archives as their members where asked for."""
    return dict(_each(folder, unpacked))


def _each(folder: Path, unpacked: bool) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(folder))
        if unpacked and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    yield f"{name}{PACKED}/{member}", archive.read(member)
        else:
            yield name, path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    """Write a file, unless another is where it or a folder above it would be."""
    above = [path, *path.parents][:-1]
    if path.is_dir() or any(one.is_file() for one in above[1:]):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _zip(path: Path, contents: Mapping[str, bytes]) -> None:
    if path.exists() or any(one.is_file() for one in path.parents):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in contents.items():
            archive.writestr(zipfile.ZipInfo(member), content)
