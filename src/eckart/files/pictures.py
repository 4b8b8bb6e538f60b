"""Pictures: each colour channel is a matrix of brightness, 0 to 255 (16-bit grey: 0 to 65 535)."""

import base64
import io
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from eckart.arrays import FLOAT32
from eckart.errors import MatrixError
from eckart.files.reading import DEFLATE_RATIO, UNEXPECTED, damaged, unpacking
from eckart.files.records import Contents, Part, Selection
from eckart.matrices import Dense, Matrix
from eckart.matrices.derived import dense

SELECTABLE: frozenset[str] = frozenset()
PNG = b"\x89PNG\r\n\x1a\n"
FREE_PIXELS = 2**20
"""Pixels that any picture may claim: some formats pack a single colour into almost no bytes."""
WRONG: Final = (*UNEXPECTED, SyntaxError, AttributeError, struct.error)
"""Errors that Pillow's readers raise for damaged files, besides an OSError without a number."""
CHANNELS = {"L": ("",), "I;16": ("",), "RGB": ("R", "G", "B"), "RGBA": ("R", "G", "B", "alpha")}


def read(path: Path, selection: Selection) -> Contents:
    """Read one part per channel in float32, which holds 16 bits exactly, turned as EXIF says."""
    del selection
    # factoring asks this module whether a file is a picture, and most files are none
    from PIL import Image, ImageOps

    try:
        # the warnings are about metadata, which eckart does not use
        with unpacking(path, *WRONG), warnings.catch_warnings(action="ignore"):
            # Pillow only warns of a picture up to twice its limit, and here that is an error
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _check_claim(opened, path)
                # the further frames of an MPO are previews or other views that a camera adds
                frames = getattr(opened, "n_frames", 1) if opened.format != "MPO" else 1
                picture = _in_channels(ImageOps.exif_transpose(opened), path)
                # the values have to be read while the file is open
                values = np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MatrixError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels.",
            hint="Scale it down first.",
            code="too-large",
        ) from error
    channels = values[..., None] if values.ndim == 2 else values
    parts = (
        Part(
            name=name,
            matrix=Dense(
                np.ascontiguousarray(channels[..., position]).astype(FLOAT32),
                stored_bytes=channels[..., position].nbytes,
            ),
        )
        for position, name in enumerate(CHANNELS["L" if values.ndim == 2 else picture.mode])
    )
    notes = [f"The picture has {frames} frames, of which the first is read."] * (frames > 1)
    if _is_cut(path):
        notes.append(
            "The picture has 16 bits in each channel, of which the 8 that count most are read."
        )
    return Contents(parts=tuple(parts), notes=tuple(notes))


def is_deep(channel: Matrix) -> bool:
    """Whether a channel that was read has 16 bits per pixel."""
    return channel.nbytes > channel.shape[0] * channel.shape[1]


def write(path: Path, parts: Mapping[str, Matrix], *, deep: bool | None = None) -> None:
    """Write channels as a picture, rounded and clipped to the range of their bits.

    `deep` says whether grey has 16 bits; None decides by the brightest pixel.
    """
    picture = _picture(parts, deep)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        plain = "L" if picture.mode in ("L", "I;16") else "RGB"  # JPEG has no alpha and 8 bits
        picture.convert(plain).save(path, quality=95)
    else:
        picture.save(path)


def data_uri(parts: Mapping[str, Matrix], most: int = 640, *, deep: bool | None = None) -> str:
    """A picture of at most `most` × `most` pixels as a data URI, which needs no file of its own."""
    from PIL import Image

    picture = _picture(parts, deep)
    if picture.mode == "I;16":
        # 257 = 65535 / 255 maps the whole range of 16 bits to that of 8
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    picture.thumbnail((most, most))
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _picture(parts: Mapping[str, Matrix], deep: bool | None) -> Any:
    """The channels as a picture of Pillow, rounded and clipped."""
    from PIL import Image

    names = tuple(parts)
    order = next((known for known in CHANNELS.values() if set(known) == set(names)), None)
    if order is None and len(names) > 1:
        raise MatrixError(
            f"The parts {', '.join(names)} are not the channels of a picture.",
            hint="Choose one with `part`, or write .npz or .safetensors.",
            code="not-a-picture",
        )
    layers = [dense(parts[name]) for name in order or names]
    bright = float(layers[0].max()) > 2 * 255 if deep is None else deep
    most, dtype = (65535, np.uint16) if bright and len(layers) == 1 else (255, np.uint8)
    values = np.clip(np.rint(np.stack(layers, axis=-1)), 0, most).astype(dtype)
    return Image.fromarray(values[..., 0] if len(layers) == 1 else values)


def _is_cut(path: Path) -> bool:
    """Whether a file is a PNG of 16 bits in several channels, of which Pillow reads 8 bits."""
    with path.open("rb") as file:
        start = file.read(26)
    # byte 24 is the bit depth, 16; byte 25 the colour type, 0 for grey, which Pillow reads whole
    return start[:8] == PNG and start[24:25] == b"\x10" and start[25:26] != b"\x00"


def _check_claim(opened: Any, path: Path) -> None:
    """Refuse a picture that claims more pixels than its bytes can hold."""
    size = path.stat().st_size
    pixels = opened.width * opened.height * len(opened.getbands())
    # a byte of DEFLATE stands for at most 1032 bytes, each of which is 8 pixels of black and white
    if pixels > FREE_PIXELS + 8 * DEFLATE_RATIO * size:
        raise damaged(path, f"{size} bytes for {opened.width} × {opened.height} pixels")


def _in_channels(picture: Any, path: Path) -> Any:
    """A picture in channels of 8 bits, or in grey of 16; a transparent colour becomes alpha."""
    mode = picture.mode
    if mode in ("I", "F"):
        raise MatrixError(
            f"{path} has 32 bits in each pixel.",
            hint="Save its numbers with numpy.save, or the picture with 8 or 16 bits.",
            code="too-deep",
        )
    if mode.startswith("I;16"):
        return picture
    # a palette with transparency has no channel for it until it is converted
    if "transparency" in picture.info or mode in ("LA", "PA"):
        return picture.convert("RGBA")
    if mode in CHANNELS:
        return picture
    return picture.convert("L" if mode == "1" else "RGB")
