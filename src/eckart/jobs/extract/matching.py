"""Which tensor of one checkpoint is which of the other, whatever stands before their names."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

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
