"""The bytes of a text file as UTF-8, whatever its encoding."""

import codecs
import io
import re
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from eckart.errors import FormatError
from eckart.files.reading import damaged

MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and their encodings; UTF-32 comes first, since its mark begins like UTF-16's."""
WINDOWS: Final = {
    byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}  # fmt: skip
"""Characters of Windows-1252 for the control codes of latin-1, which no text uses: €, ’, –."""
PIECE_BYTES: Final = 2**20
"""Bytes that are read from the file at once."""
SEPARATOR: Final = b"\x1f"
"""The unit separator, which replaces `::`: Arrow and csv split at a single character only."""


@final
class Utf8(io.RawIOBase):
    """A text file as UTF-8 without a byte order mark, decompressed if it is compressed.

    UTF-16 and UTF-32 are recognised by their mark. A text that is not UTF-8 either is read as
    latin-1 or Windows-1252. The first byte that is no UTF-8 decides; it is an error if characters
    beyond ASCII were UTF-8 before it.

    Args:
        path: The file.
        start: Bytes of UTF-8 that are skipped at the beginning, such as a header.
        delimiter: Delimiter of the cells; `::` and runs of blanks become a single character.

    Fields:
        encoding: The encoding of the file, as far as it was read.
    """

    def __init__(self, path: Path, start: int = 0, delimiter: str = ",") -> None:
        self._path = path
        # Arrow also unpacks .gz and other compressions, by the suffix of the name
        self._file: Any = pa.input_stream(str(path), compression="detect")
        head: bytes = self._file.read(4)  # the length of the longest mark
        mark, self.encoding = next(
            ((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", _unmarked(head))
        )
        # the mark of UTF-8 is removed here; the decoders of UTF-16 and UTF-32 need theirs
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
        """Whether the stream can be read; it can."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with the next bytes and return their number; 0 at the end."""
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
        raw: bytes = self._file.read(PIECE_BYTES)
        self._ended = not raw
        raw, self._raw = self._raw + raw, b""
        # most pieces are ASCII, which is UTF-8 as it stands
        text = raw if raw.isascii() and self._decoder is None else self._decoded(raw)
        if b"\0" in text:  # no encoding of text that was recognised leaves a zero byte
            raise damaged(self._path, "it holds bytes that are no text")
        self._lines += text.count(b"\n")
        return text

    def _decoded(self, raw: bytes) -> bytes:
        """A piece of the file as UTF-8; the first byte that is no UTF-8 changes the encoding."""
        if self._decoder is None:
            try:
                # incremental: a character may continue in the next piece
                text, used = codecs.utf_8_decode(raw, "strict", self._ended)
            except UnicodeDecodeError as error:
                self._check_plain(raw[: error.start], raw[error.start])
                self.encoding = "latin-1"
                self._decoder = codecs.getincrementaldecoder("latin-1")()
            else:
                self._wide = self._wide or not text.isascii()
                self._raw = raw[used:]  # a character that continues in the next piece
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
        """The text with one character between cells; an incomplete last line is kept back."""
        text = self._open + text
        end = len(text) if self._ended else text.rfind(b"\n") + 1
        self._open = text[end:]
        return joined(text[:end], self._delimiter)

    def _check_plain(self, before: bytes, wrong: int) -> None:
        """Refuse a byte that is no UTF-8 after characters beyond ASCII that were UTF-8."""
        if self._wide or not before.isascii():
            line = self._lines + before.count(b"\n") + 1
            raise FormatError(
                f"{self._path}, line {line}: the byte 0x{wrong:02X} is no UTF-8, "
                "and the text before it is.",
                hint="Save the file as UTF-8.",
                code="damaged-file",
            )


def joined(lines: bytes, delimiter: str) -> bytes:
    """Lines whose delimiter `::`, or runs of blanks, are replaced by a single character.

    Example:
        >>> joined(b" 1   2 ", " ")
        b'1 2'
    """
    if delimiter == "::":
        return lines.replace(b"::", SEPARATOR)
    return re.sub(rb"(?m)^ +| +(?=\r?$)|( ) +", rb"\1", lines)


def _unmarked(head: bytes) -> str:
    """The encoding of a text without a mark: UTF-16 if every other byte is zero, else UTF-8."""
    # utf-16-le has a zero as every second byte of ASCII
    if len(head) == 4 and head[1::2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if len(head) == 4 and head[::2] == b"\0\0" else "utf-8"


def opened_text(path: Path) -> tuple[Utf8, io.TextIOWrapper]:
    """The bytes of a file as UTF-8, and the text over them with its line ends unchanged."""
    raw = Utf8(path)
    # newline="" keeps the line ends, so that numbers of bytes stay right
    return raw, io.TextIOWrapper(io.BufferedReader(raw, PIECE_BYTES), encoding="utf-8", newline="")
