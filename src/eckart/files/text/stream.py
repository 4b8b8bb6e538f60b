"""The bytes of a text file as UTF-8, whatever it is written in."""

import codecs
import io
import re
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from eckart.errors import FormatError
from eckart.files.whole import damaged

MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What stands before the text of some encodings; that of UTF-32 begins like that of UTF-16."""
WINDOWS: Final = {
    byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}  # fmt: skip
"""What Windows writes for bytes that stand for nothing visible in latin-1: €, ’, –."""
PIECE: Final = 2**20
SEPARATOR: Final = b"\x1f"
"""Stands for `::` while a table is cut, which is done at one character only."""


@final
class Utf8(io.RawIOBase):
    """A text file, unpacked where it is compressed, as UTF-8 without a mark before it.

    UTF-16 and UTF-32 are known by their mark. What is neither, nor UTF-8, is latin-1, with what
    Windows adds to it; the first byte that is no UTF-8 decides, unless letters beyond ASCII were
    UTF-8 before it.

    Args:
        path: The file.
        start: Bytes of UTF-8 that are left out at the beginning, such as a header.
        delimiter: Of the cells; several characters, or blanks, become one.

    Fields:
        encoding: In which it is written, as far as it was read.
    """

    def __init__(self, path: Path, start: int = 0, delimiter: str = ",") -> None:
        self._path = path
        self._file: Any = pa.input_stream(str(path), compression="detect")
        head: bytes = self._file.read(4)
        mark, self.encoding = next(
            ((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", _unmarked(head))
        )
        self._raw = head[len(mark) :] if self.encoding == "utf-8" else head
        self._decoder: codecs.IncrementalDecoder | None = None
        if self.encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._wide = False
        self._ready = memoryview(b"")
        self._ended = False
        self._left_out = start
        self._delimiter, self._open = delimiter, b""
        self._lines = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes; 0 at the end.

        Raises:
            FormatError: If the file is no text.
        """
        view = memoryview(buffer)
        while not self._ready and not self._ended:
            text = self._next()
            dropped = min(self._left_out, len(text))
            text, self._left_out = text[dropped:], self._left_out - dropped
            self._ready = memoryview(self._single(text) if self._delimiter in ("::", " ") else text)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _next(self) -> bytes:
        """The next piece of the file as UTF-8."""
        raw: bytes = self._file.read(PIECE)
        self._ended = not raw
        raw, self._raw = self._raw + raw, b""
        text = raw if raw.isascii() and self._decoder is None else self._decoded(raw)
        if b"\0" in text:
            raise damaged(self._path, "it holds bytes that are no text")
        self._lines += text.count(b"\n")
        return text

    def _decoded(self, raw: bytes) -> bytes:
        if self._decoder is None:
            try:
                text, used = codecs.utf_8_decode(raw, "strict", self._ended)
            except UnicodeDecodeError as error:
                self._check_plain(raw[: error.start], raw[error.start])
                self.encoding = "latin-1"
                self._decoder = codecs.getincrementaldecoder("latin-1")()
            else:
                self._wide = self._wide or not text.isascii()
                self._raw = raw[used:]
                return raw[:used]
        try:
            text = self._decoder.decode(raw, self._ended)
        except UnicodeError as error:
            raise damaged(self._path, error) from error
        if self.encoding in ("latin-1", "windows-1252"):
            windows = text.translate(WINDOWS)
            self.encoding = self.encoding if windows == text else "windows-1252"
            text = windows
        return text.encode()

    def _single(self, text: bytes) -> bytes:
        """The text with one character between cells; a line that is not whole waits for its end."""
        text = self._open + text
        end = len(text) if self._ended else text.rfind(b"\n") + 1
        self._open = text[end:]
        return joined(text[:end], self._delimiter)

    def _check_plain(self, before: bytes, wrong: int) -> None:
        if self._wide or not before.isascii():
            line = self._lines + before.count(b"\n") + 1
            raise FormatError(
                f"{self._path}, line {line}: the byte 0x{wrong:02X} is no UTF-8, "
                "and the text before it is.",
                hint="Save the file as UTF-8.",
                code="damaged-file",
            )


def joined(lines: bytes, delimiter: str) -> bytes:
    """Lines with one character between their cells, where it is `::` or some blanks.

    Example:
        >>> joined(b" 1   2 ", " ")
        b'1 2'
    """
    if delimiter == "::":
        return lines.replace(b"::", SEPARATOR)
    return re.sub(rb"(?m)^ +| +(?=\r?$)|( ) +", rb"\1", lines)


def _unmarked(head: bytes) -> str:
    """The encoding of a text without a mark: UTF-16 where every other byte is zero."""
    if len(head) == 4 and head[1::2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if len(head) == 4 and head[::2] == b"\0\0" else "utf-8"


def opened_text(path: Path) -> tuple[Utf8, io.TextIOWrapper]:
    """The file as text, its ends of lines as they are, and the bytes below it."""
    raw = Utf8(path)
    return raw, io.TextIOWrapper(io.BufferedReader(raw, PIECE), encoding="utf-8", newline="")
