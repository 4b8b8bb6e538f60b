"""A base and its fine-tune: opened, checked, and compared tensor by tensor in float32."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, final

import ml_dtypes
import numpy as np

from eckart.arguments import as_path
from eckart.arrays import FLOAT32, FLOAT64, HALVES, Array
from eckart.checkpoints import Checkpoint, open_checkpoint, quantisation
from eckart.checkpoints.peft import matrix_shape, unwrap
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files.outputs import located
from eckart.files.reading import read_object
from eckart.matrices import Dense
from eckart.threads import in_threads

_ADAPTER: Final = "adapter_config.json"
# the entry of a model card, in YAML: one name, or a list of which the first is taken
_BASE_MODEL: Final = re.compile(r"^base_model:\s*(?:-\s*)?[\"']?([^\s\"']+)", re.MULTILINE)
# the names that PEFT gives to the parts of a model while an adapter is attached
_UNMERGED: Final = re.compile(r"\.(?:base_layer|lora_A|lora_B|modules_to_save)\.")
HEAD: Final = "lm_head.weight"
"""Name of the weight of the head of a language model."""
CLAIMED: Final = "; if its weights are plain, take quantization_config out of its config.json."
"""Hint for a merged, plain checkpoint whose config is still that of the quantised model."""


def open_pair(
    base: str | PathLike[str], tuned: str | PathLike[str]
) -> tuple[Checkpoint, Checkpoint]:
    """Open a base and its fine-tune.

    Raises:
        ArgumentError: If a path is missing, or both are the same.
        FormatError: If either is damaged or quantised, or the two are swapped.
    """
    if located(as_path(base)) == located(as_path(tuned)):
        raise ArgumentError(
            f"{base} is given both as the base and as its fine-tune.",
            hint="Give two checkpoints.",
            code="same-checkpoint",
        )
    before, after = open_weights(base), open_weights(tuned)
    if _comes_from(before, after) and not _comes_from(after, before):
        raise FormatError(
            f"{before.path} says that it was made from {after.path.name}: "
            "they are the wrong way round.",
            hint="Give the base first and its fine-tune second.",
            code="wrong-way-round",
        )
    return before, after


def open_weights(path: str | PathLike[str]) -> Checkpoint:
    """Open a checkpoint whose tensors are plain weights.

    Raises:
        ArgumentError: If the path is missing.
        FormatError: If the checkpoint is damaged or quantised, or holds an unmerged LoRA.
    """
    checkpoint = open_checkpoint(path)
    factors = next((name for name in checkpoint.tensors if _UNMERGED.search(name)), None)
    if factors is not None:
        raise FormatError(
            f"{checkpoint.path} holds a LoRA that is not merged, such as '{factors}'.",
            hint="Merge it with PEFT (merge_and_unload) and save the model again.",
            code="unmerged",
        )
    # differences of quantised codes are no changes of weights
    method = quantisation(checkpoint)
    if method is not None:
        raise FormatError(
            f"{checkpoint.path} is quantised ({method}), so its tensors are no weights.",
            hint="Give the checkpoint it was made from, in float16, bfloat16 or float32"
            + (CLAIMED if "quantization_config" in checkpoint.config else "."),
            code="quantised",
        )
    return checkpoint


def is_tied(tuned: Checkpoint, base: Checkpoint) -> bool:
    """Whether the model uses its input table as its head too."""
    names = {unwrap(name) for name in tuned.tensors}
    architectures = tuned.config.get("architectures") or base.config.get("architectures") or [""]
    is_language_model = str(architectures[0]).endswith(("ForCausalLM", "LMHeadModel"))
    asked = tuned.config.get("tie_word_embeddings", base.config.get("tie_word_embeddings"))
    return is_language_model and HEAD not in names and asked is not False


def _comes_from(child: Checkpoint, parent: Checkpoint) -> bool:
    """Whether the metadata of a checkpoint name the other one as its origin."""
    # without the folders above: the path may be that of another machine
    return any(Path(trace).name == parent.path.resolve().name for trace in _traces(child))


def _traces(checkpoint: Checkpoint) -> Iterator[str]:
    # transformers writes the path that a model was loaded from
    yield str(checkpoint.config.get("_name_or_path", ""))
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if (folder / _ADAPTER).is_file():
        yield str(read_object(folder / _ADAPTER).get("base_model_name_or_path", ""))
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            # the header of a model card comes first; the text after it may be long
            found = _BASE_MODEL.search(file.read(10_000))
        if found:
            yield found[1]


COMPARED_ENTRIES: Final = 2**16
"""Entries that are compared at once: they fit the cache, and a block that differs ends the scan."""


def is_unchanged(base: Tensor, tuned: Tensor) -> bool:
    """Whether two tensors hold equal numbers: −0 equals 0, and NaN equals nothing.

    Floating-point numbers of different dtypes are compared after exact widening; integers as NumPy
    compares them.

    Cost:
        Reads both once, at the speed of memory, until the first block of 65 536 entries that
        differs; no temporary is larger than such a block.

    Example:
        >>> is_unchanged(np.float16([0.5, -0.0]), np.float32([0.5, 0.0]))
        True
    """
    if base.shape != tuned.shape:
        return False
    left, right = base.reshape(-1), tuned.reshape(-1)
    return all(
        _are_equal(left[start : start + COMPARED_ENTRIES], right[start : start + COMPARED_ENTRIES])
        for start in range(0, left.size, COMPARED_ENTRIES)
    )


def _are_equal(x: Tensor, y: Tensor) -> bool:
    if x.dtype == y.dtype and x.dtype in HALVES:
        # as integers, which is ten times as fast as NumPy's comparison of halves
        bits = x.view(np.uint16)
        if np.array_equal(bits, y.view(np.uint16)):
            # without the sign bit, the bits of NaN are larger than those of infinity
            infinity = np.array(np.inf, x.dtype).view(np.uint16)
            return bool((bits & 0x7FFF).max() <= infinity)
    left, right = (one.astype(FLOAT32) if one.dtype in HALVES else one for one in (x, y))
    return bool((left == right).all())


BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)  # NumPy itself has no such dtype
WIDENED_ENTRIES: Final = 2**19
"""Entries that are widened to float32 at once: a few megabytes."""
SUBTRACTED_ENTRIES: Final = 2**16
"""Entries that are subtracted at once: they stay in the cache, and their memory with the process.
Larger pieces take four times as long, most of it for pages that the system clears each time."""
ENTRIES_PER_THREAD: Final = 2**22
"""Entries that one thread subtracts before it takes the next."""
EXPONENT_OF_ONE: Final = 127
"""Biased exponent of 1.0 in the bits of a float32."""
TRACY_WIDOM_WIDTHS: Final = 3.27
"""Widths by which noise exceeds its edge once in a thousand times, by the Tracy–Widom law."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The change of a tensor.

    Fields:
        matrix: ΔW in float32, of shape (rows, product of the other axes).
        weight_norm: Frobenius norm ‖W_tuned‖_F.
    """

    matrix: Dense
    weight_norm: float

    @property
    def norm(self) -> float:
        """Frobenius norm ‖ΔW‖_F."""
        return math.sqrt(self.matrix.squared_norm())


def subtract(names: tuple[str | None, str | None], base: Tensor, tuned: Tensor) -> Delta | None:
    """The change of a tensor, or None if there is none.

    Raises:
        MatrixError: If either tensor holds NaN or infinity, or the change overflows.

    Cost:
        One pass over both; the change takes four bytes for each entry, all else a few megabytes.
    """
    # most tensors of a partial fine-tune are unchanged, and need no memory for a change
    if is_unchanged(base, tuned):
        return None
    change = np.empty(tuned.size, FLOAT32)
    before, after = base.reshape(-1), tuned.reshape(-1)

    def part(first: int) -> tuple[float, float]:
        """Subtract one part; the sums of squares of the change and of the fine-tune in it."""
        changes = weights = 0.0
        for start in range(first, min(first + ENTRIES_PER_THREAD, change.size), SUBTRACTED_ENTRIES):
            place = slice(start, min(start + SUBTRACTED_ENTRIES, first + ENTRIES_PER_THREAD))
            wide = widen(after[place])
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # numbers that are not finite are reported below
                own = np.subtract(wide, widen(before[place]), out=change[place])
                changes += float(np.dot(own, own))
                weights += float(np.dot(wide, wide))
        return changes, weights

    sums = in_threads(part, range(0, change.size, ENTRIES_PER_THREAD))
    changes, squares = (math.fsum(side) for side in zip(*sums, strict=True))
    if not math.isfinite(changes):
        _check_finite(names, change, base, tuned)
        raise MatrixError(
            f"The tensor '{names[1]}' changes by up to {np.abs(change).max():.2g}, "
            "too much for float32 to square.",
            hint="Repair the checkpoint, or extract without it: `exclude`.",
            code="too-large",
        )
    # weights near the largest float32 are legal; only their squares need float64
    if not math.isfinite(squares):
        squares = math.fsum(
            float(np.square(after[start : start + SUBTRACTED_ENTRIES].astype(FLOAT64)).sum())
            for start in range(0, after.size, SUBTRACTED_ENTRIES)
        )
    # a vector becomes a matrix of one row, since `Dense` has two axes
    shape = matrix_shape(tuned.shape) if tuned.ndim > 1 else (1, max(1, tuned.size))
    return Delta(matrix=Dense(change.reshape(shape)), weight_norm=math.sqrt(squares))


def digits(dtype: np.dtype[Any]) -> int:
    """Stored bits of the significand: w is rounded to a multiple of 2^(⌊log₂|w|⌋ − digits).

    Example:
        >>> digits(BFLOAT16), digits(FLOAT32)
        (7, 23)
    """
    return int(ml_dtypes.finfo(dtype).nmant)


def noise_edge(stored: Tensor) -> float:
    """An upper edge of the singular values of the rounding errors of a stored matrix.

    Rounding a number w makes an error of variance ulp(w)²/12. Errors of variances s_ij² have a
    spectral norm of about max_i √(Σ_j s_ij²) + max_j √(Σ_i s_ij²), which is s(√rows + √columns)
    where all are equal. The norm exceeds that by more than 3.27 widths of the Tracy–Widom law once
    in a thousand times.

    Cost:
        One pass.

    Reference:
        Marchenko, Pastur (1967); Johnstone (2001), Annals of Statistics 29(2); for unequal
        variances Bandeira, van Handel (2016), Annals of Probability 44(4).
    """
    rows, columns = stored.shape
    ulps = np.exp2(np.arange(256.0) - EXPONENT_OF_ONE - digits(stored.dtype))
    ulps[0] = 0.0  # exponent 0: zero and subnormal numbers, whose rounding is negligible
    # the variance of a uniform distribution of width ulp, by exponent
    table = np.square(ulps) / 12
    down, across = np.zeros(columns), 0.0
    height = max(1, WIDENED_ENTRIES // columns)
    for start in range(0, rows, height):
        # widening is exact, so the exponents are those of the stored numbers
        bits = widen(stored[start : start + height]).astype(FLOAT32, copy=False).view(np.uint32)
        # bits 23 to 30 of a float32 are its exponent, on which alone the ulp depends
        variances = table[(bits >> np.uint32(23)) & np.uint32(255)]
        down += variances.sum(axis=0)
        across = max(across, float(variances.sum(axis=1).max()))
    edge = math.sqrt(across) + math.sqrt(float(down.max()))
    # Johnstone (2001): the width of the largest squared singular value, relative to its centre
    width = (rows**-0.5 + columns**-0.5) ** (1 / 3) / (rows**0.5 + columns**0.5)
    return edge * math.sqrt(1 + TRACY_WIDOM_WIDTHS * width)


def widen(stored: Tensor) -> Array:
    """The stored array in float32, exactly for float16 and bfloat16; float64 stays float64."""
    if stored.dtype == BFLOAT16:  # the upper half of a float32: shifting is ten times as fast
        wide = np.ascontiguousarray(stored).view(np.uint16).astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32)
    return stored if stored.dtype == FLOAT64 else stored.astype(FLOAT32)


def _check_finite(
    names: tuple[str | None, str | None], change: Array, base: Tensor, tuned: Tensor
) -> None:
    if np.isfinite(change).all():
        return
    place = int(np.flatnonzero(~np.isfinite(change))[0])
    before, after = (float(one.reshape(-1)[place]) for one in (base, tuned))
    if math.isfinite(before) and math.isfinite(after):
        return  # both are numbers, and only their difference is beyond float32
    side, name, value = ("fine-tune", names[1], after)
    if not math.isfinite(before):
        side, name, value = ("base", names[0], before)
    what = "NaN" if math.isnan(value) else "infinite"
    raise MatrixError(
        f"The tensor '{name}' of the {side} holds a number that is {what} "
        f"(entry {place}, counted from 0).",
        hint="Repair the checkpoint, or extract without it: `exclude`.",
        code="not-finite",
    )
