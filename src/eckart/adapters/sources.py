"""Opening and checking the two checkpoints, and matching the names of their tensors."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
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
from eckart.files.outputs import located
from eckart.files.reading import read_object

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
    names = {unwrapped(name) for name in tuned.tensors}
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


BLOCK: Final = 2**16
"""Entries that are compared at once: they fit the cache, and a block that differs ends the scan."""


def is_unchanged(base: npt.NDArray[Any], tuned: npt.NDArray[Any]) -> bool:
    """Whether two tensors hold equal numbers: −0 equals 0, and NaN equals nothing.

    Floating-point numbers of different dtypes are compared after exact widening; integers as NumPy
    compares them.

    Args:
        base: Array of any shape and dtype, in C order.
        tuned: Array of any shape and dtype, in C order.

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
        # as integers, which is ten times as fast as NumPy's comparison of halves
        bits = x.view(np.uint16)
        if np.array_equal(bits, y.view(np.uint16)):
            # without the sign bit, the bits of NaN are larger than those of infinity
            infinity = np.array(np.inf, x.dtype).view(np.uint16)
            return bool((bits & 0x7FFF).max() <= infinity)
    return bool((_widened(x) == _widened(y)).all())


def _widened(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.astype(FLOAT32) if x.dtype in HALVES else x


Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Pairs of tensors of a base model and of its fine-tune.

    Fields:
        pairs: Names in base and fine-tune of tensors of equal shape, in the order of the base.
        reshaped: Names of pairs of different shapes, such as the tables of a grown vocabulary.
        only_base: Names in the base without a partner, in the order of the base.
        only_tuned: Names in the fine-tune without a partner, in the order of the fine-tune.
        base_prefix: Prefix of names in the base that their partners lack, or "".
        tuned_prefix: Prefix of names in the fine-tune that their partners lack, or "".
    """

    pairs: tuple[tuple[str, str], ...]
    reshaped: tuple[tuple[str, str], ...]
    only_base: tuple[str, ...]
    only_tuned: tuple[str, ...]
    base_prefix: str
    tuned_prefix: str

    def prefix(self, base: str = "base checkpoint", tuned: str = "tuned checkpoint") -> str | None:
        """A sentence on the prefixes that were left out of the names; None if there are none.

        Args:
            base: Word for the first side.
            tuned: Word for the second side.
        """
        sides = ((base, self.base_prefix), (tuned, self.tuned_prefix))
        said = [f"'{prefix}' in the {side}" for side, prefix in sides if prefix]
        return f"Names were matched without {' and '.join(said)}." if said else None


def match_names(base: Shapes, tuned: Shapes) -> Matching:
    """Pair the tensors of two checkpoints by name, leaving out a prefix where that pairs more.

    The names are tried as they are, and without each prefix (up to a dot) that at least half of
    the names of a side share, on either side and on both: `bert.`, `model.`, `base_model.model.`,
    `_orig_mod.`, `module.`. Names without the prefix stay as they are. The trial with the most
    pairs of equal shape wins, then the one with the most pairs, then with the shortest prefixes.

    Args:
        base: Shapes of the tensors of the base by name.
        tuned: Shapes of the tensors of the fine-tune by name.

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
    """The pairs that result if a prefix is left out on either side, and their merit."""

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


def _bare(names: Collection[str], prefix: str) -> dict[str, str]:
    """Names by the rest without the prefix; a name and a rest that are equal both stay whole."""
    rests = {name.removeprefix(prefix) for name in names}
    whole = {name for name in names if name in rests or name.removeprefix(prefix) in names}
    return {name if name in whole else name.removeprefix(prefix): name for name in names}


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    """Prefixes of at least half of the names, the shorter ones first."""
    counts: Counter[str] = Counter()
    total = 0
    for name in names:
        total += 1
        # the last word is the parameter, which is no part of a prefix
        words = name.split(".")[:-1]
        counts.update(".".join(words[:end]) + "." for end in range(1, len(words) + 1))
    return sorted(prefix for prefix, count in counts.items() if 2 * count >= total)
