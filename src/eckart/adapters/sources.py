"""The two checkpoints: opened, refused where no adapter can come of them, their tensors matched."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.arguments import as_path
from eckart.arrays import FLOAT32, HALVES
from eckart.checkpoints import Checkpoint, open_checkpoint, quantisation
from eckart.checkpoints.peft import unwrapped
from eckart.errors import ArgumentError, FormatError
from eckart.files.documents import read_object
from eckart.files.outputs import located

OnTensor: TypeAlias = Callable[[str, int], None]
Watch: TypeAlias = Callable[[int], AbstractContextManager[OnTensor | None]]
"""Given the number of all entries, what is entered around the work: it gives what is called with
the name and the number of entries of each tensor that is done."""


def unwatched(_total: int) -> AbstractContextManager[None]:
    """Tells nobody."""
    return nullcontext()


_ADAPTER: Final = "adapter_config.json"
_BASE_MODEL: Final = re.compile(r"^base_model:\s*(?:-\s*)?[\"']?([^\s\"']+)", re.MULTILINE)
_UNMERGED: Final = re.compile(r"\.(?:base_layer|lora_A|lora_B|modules_to_save)\.")
HEAD: Final = "lm_head.weight"
CLAIMED: Final = "; if its weights are plain, take quantization_config out of its config.json."
"""What to do where the config is of the model before it was merged."""


def open_pair(
    base: str | PathLike[str], tuned: str | PathLike[str]
) -> tuple[Checkpoint, Checkpoint]:
    """Open a base and its fine-tune.

    Raises:
        ArgumentError: If there is no such path, or both are the same.
        FormatError: If either is damaged or quantised, or the two are the wrong way round.
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
    """Open a checkpoint whose tensors are plain numbers.

    Raises:
        ArgumentError: If there is no such path.
        FormatError: If it is damaged or quantised.
    """
    checkpoint = open_checkpoint(path)
    factors = next((name for name in checkpoint.tensors if _UNMERGED.search(name)), None)
    if factors is not None:
        raise FormatError(
            f"{checkpoint.path} holds a LoRA that is not merged, such as '{factors}'.",
            hint="Merge it with PEFT (merge_and_unload) and save the model again.",
            code="unmerged",
        )
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
    """Whether the model uses its embedding table as its head too."""
    names = {unwrapped(name) for name in tuned.tensors}
    architectures = tuned.config.get("architectures") or base.config.get("architectures") or [""]
    is_language_model = str(architectures[0]).endswith(("ForCausalLM", "LMHeadModel"))
    asked = tuned.config.get("tie_word_embeddings", base.config.get("tie_word_embeddings"))
    return is_language_model and HEAD not in names and asked is not False


def _comes_from(child: Checkpoint, parent: Checkpoint) -> bool:
    """Whether a trace in a checkpoint names the other one as what it was made from."""
    return any(Path(trace).name == parent.path.resolve().name for trace in _traces(child))


def _traces(checkpoint: Checkpoint) -> Iterator[str]:
    yield str(checkpoint.config.get("_name_or_path", ""))
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if (folder / _ADAPTER).is_file():
        yield str(read_object(folder / _ADAPTER).get("base_model_name_or_path", ""))
    card = folder / "README.md"
    if card.is_file():
        with card.open(encoding="utf-8", errors="replace") as file:
            found = _BASE_MODEL.search(file.read(10_000))
        if found:
            yield found[1]


BLOCK: Final = 2**16
"""Entries that are compared at once: they fit the cache, and one that differs ends it early."""


def is_unchanged(base: npt.NDArray[Any], tuned: npt.NDArray[Any]) -> bool:
    """Whether two tensors hold the same numbers: −0 is 0, NaN equals nothing.

    Floating-point numbers of different dtypes are compared after exact widening; integers as NumPy
    compares them.

    Args:
        base: Of any shape and dtype, in C order.
        tuned: Likewise.

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
        _are_equal(left[start : start + BLOCK], right[start : start + BLOCK])
        for start in range(0, left.size, BLOCK)
    )


def _are_equal(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> bool:
    if x.dtype == y.dtype and x.dtype in HALVES:
        # as integers: ten times as fast as NumPy's comparison of halves
        bits = x.view(np.uint16)
        if np.array_equal(bits, y.view(np.uint16)):
            infinity = np.array(np.inf, x.dtype).view(np.uint16)
            return bool((bits & 0x7FFF).max() <= infinity)
    return bool((_widened(x) == _widened(y)).all())


def _widened(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.astype(FLOAT32) if x.dtype in HALVES else x


Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which tensors of a base model and of its fine-tune belong together.

    Fields:
        pairs: Names in the base and in the fine-tune, of equal shape, in the order of the base.
        reshaped: The same for tensors of different shapes, such as a grown vocabulary.
        only_base: Names without a partner, in the order of the base.
        only_tuned: Names without a partner, in the order of the fine-tune.
        base_prefix: What begins names of the base and not those of their partners, or "".
        tuned_prefix: The same of the fine-tune.
    """

    pairs: tuple[tuple[str, str], ...]
    reshaped: tuple[tuple[str, str], ...]
    only_base: tuple[str, ...]
    only_tuned: tuple[str, ...]
    base_prefix: str
    tuned_prefix: str

    def prefix(self, base: str = "base checkpoint", tuned: str = "tuned checkpoint") -> str | None:
        """One sentence on what had to be left out of the names; None if they are the same.

        Args:
            base: What the first side is called.
            tuned: What the second is called.
        """
        sides = ((base, self.base_prefix), (tuned, self.tuned_prefix))
        said = [f"'{prefix}' in the {side}" for side, prefix in sides if prefix]
        return f"Names were matched without {' and '.join(said)}." if said else None


def match_names(base: Shapes, tuned: Shapes) -> Matching:
    """Pair the tensors of two checkpoints by name, leaving out a prefix where that pairs more.

    Tried are the names as they are, and without each prefix (up to a dot) that at least half of
    the names of a side share, on either side and on both: `bert.`, `model.`, `base_model.model.`,
    `_orig_mod.`, `module.`. Names that lack the prefix stay as they are. The choice is the one
    with the most pairs of equal shape, then with the most pairs, then with the least left out.

    Args:
        base: Shapes by name.
        tuned: Shapes by name.

    Cost:
        As many look-ups as the smaller side has names, for each pair of prefixes.

    Example:
        >>> match_names({"bert.a": (2,), "cls.b": (3,)}, {"a": (2,), "cls.b": (3,)}).pairs
        (('bert.a', 'a'), ('cls.b', 'cls.b'))
    """
    tried = [
        _Trial.of(base, tuned, left, right)
        for left in ("", *_shared_prefixes(base))
        for right in ("", *_shared_prefixes(tuned))
    ]
    return max(tried, key=lambda trial: trial.merit).matching(base, tuned)


@final
@dataclass(frozen=True, slots=True)
class _Trial:
    """The names without a prefix on either side."""

    left: str
    right: str
    partners: Mapping[str, str]
    merit: tuple[int, int, int]

    @staticmethod
    def of(base: Shapes, tuned: Shapes, left: str, right: str) -> "_Trial":
        bare, other = _bare(base, left), _bare(tuned, right)
        partners = {ours: other[name] for name, ours in bare.items() if name in other}
        equal = sum(base[ours] == tuned[theirs] for ours, theirs in partners.items())
        return _Trial(left, right, partners, (equal, len(partners), -len(left) - len(right)))

    def matching(self, base: Shapes, tuned: Shapes) -> Matching:
        both = [(name, self.partners[name]) for name in base if name in self.partners]
        taken = set(self.partners.values())
        return Matching(
            pairs=tuple((x, y) for x, y in both if base[x] == tuned[y]),
            reshaped=tuple((x, y) for x, y in both if base[x] != tuned[y]),
            only_base=tuple(name for name in base if name not in self.partners),
            only_tuned=tuple(name for name in tuned if name not in taken),
            base_prefix=self.left,
            tuned_prefix=self.right,
        )


def _bare(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Names by what is left without the prefix; a name that already was so comes first."""
    bare = {name.removeprefix(prefix): name for name in names}
    return bare | {name: name for name in names if name in bare}


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    """Prefixes of at least half of the names, the shorter ones first."""
    counts: Counter[str] = Counter()
    total = 0
    for name in names:
        total += 1
        words = name.split(".")[:-1]
        counts.update(".".join(words[:end]) + "." for end in range(1, len(words) + 1))
    return sorted(prefix for prefix, count in counts.items() if 2 * count >= total)
