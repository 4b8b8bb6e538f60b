"""The table of solvers: the name, the options and the class of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import click

from eckart.errors import ArgumentError
from eckart.terminal.options import together

Given: TypeAlias = Mapping[str, Any]

STARTS: Final = {"lora": "LoRAStart", "spectral": "SpectralStart"}
"""Words that `--start` takes instead of a file, and their classes in `eckart.solvers.starts`."""
START_OPTIONS: Final = ("start", "gaussian", "sigma")
"""Options of every solver that begins at given factors."""


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table of solvers.

    Fields:
        words: Description for `--help`.
        name: Name of the class in `eckart.solvers`, which is not imported for `--help`.
        settings: Options that are fields of the class.
        starts: Whether the solver begins at given factors, so that it has the options of a start.
    """

    words: str
    name: str
    settings: tuple[str, ...] = ()
    starts: bool = False

    def has(self, option: str) -> bool:
        """Whether the solver has an option."""
        return option in self.settings or (self.starts and option in START_OPTIONS)

    def make(self, given: Given) -> Any:
        """The solver, made with those of the given options that it has."""
        # imported here, so that `--help` does not wait for the solvers
        made = getattr(import_module("eckart.solvers"), self.name)
        return made(**{name: given[name] for name in self.settings if name in given})


# by the name that `--solver` takes, in the order of `--help`
SOLVERS: Final = {
    "svd": Kind("exact decomposition", "ExactSVD"),
    "krylov": Kind("block Krylov iteration", "BlockKrylov", ("memory",)),
    "gd": Kind(
        "gradient descent",
        "GradientDescent",
        ("learning_rate", "epochs", "momentum", "stop_early"),
        starts=True,
    ),
    "scaled-gd": Kind(
        "scaled gradient descent",
        "ScaledGradientDescent",
        ("learning_rate", "epochs", "stop_early"),
        starts=True,
    ),
    "single-pass": Kind("sketches of one pass", "SinglePass", ("width",)),
}


def listed() -> str:
    """All solvers with their descriptions, for `--help`."""
    return ", ".join(f"{name} ({kind.words})" for name, kind in SOLVERS.items())


def owners(option: str) -> str:
    """The names of the solvers that have an option, such as "gd or scaled-gd"."""
    return " or ".join(name for name, kind in SOLVERS.items() if kind.has(option))


solver_options = together(
    click.option(
        "--learning-rate",
        type=float,
        help=f"Step size of {owners('learning_rate')}; chosen from the data if left out.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        help=f"Most epochs of {owners('epochs')}.  [default: 1000]",
    ),
    click.option("--momentum", type=float, help=f"Momentum of {owners('momentum')}.  [default: 0]"),
    click.option(
        "--early-stop/--no-early-stop",
        "stop_early",
        default=None,
        help=f"Whether {owners('stop_early')} stops once the loss has converged.  "
        "[default: early-stop]",
    ),
    click.option(
        "--width",
        type=click.IntRange(min=1),
        help=f"Directions of the sketches of {owners('width')}.  [default: 5·rank + 8]",
    ),
    click.option(
        "--memory", help=f"Most bytes of the subspace of {owners('memory')}, such as 2GB."
    ),
    click.option(
        "--start",
        metavar="|".join(["FILE", *STARTS]),
        help=f"The first B and A of {owners('start')}: a file or a word.  [default: lora]",
    ),
    click.option(
        "--gaussian",
        type=click.Choice(["A", "B"]),
        help="The random factor of --start lora; the other is zero.  [default: A]",
    ),
    click.option(
        "--sigma",
        type=float,
        help="Standard deviation of that factor; chosen from the data if left out.",
    ),
)


def make_solvers(names: Sequence[str], options: Given) -> tuple[dict[str, Any], Any]:
    """The named solvers and the start that the options describe; the start is None if unused.

    Raises:
        ArgumentError: If no named solver has a given option, or an option is out of range.
    """
    kinds = {name: SOLVERS[name] for name in names}
    own = [*START_OPTIONS, *(name for kind in SOLVERS.values() for name in kind.settings)]
    # None is an option that was left out, for which the class has its own default
    given = {name: options[name] for name in own if options[name] is not None}
    for option in given:
        if not any(kind.has(option) for kind in kinds.values()):
            raise ArgumentError(
                f"--{option.replace('_', '-')} means nothing without the solver {owners(option)}.",
                hint=f"Leave it out, or choose {owners(option)}.",
                code="option-does-not-apply",
            )
    solvers = {name: kind.make(given) for name, kind in kinds.items()}
    return solvers, _start(given) if any(kind.starts for kind in kinds.values()) else None


def start_file(options: Given) -> Path | None:
    """The file of the start, or None if the start is a word or left out."""
    start = options["start"]
    return None if start is None or start in STARTS else Path(start)


def _start(given: Given) -> Any:
    """The start that a word names, or the factors in a file by part."""
    start = given.get("start", "lora")
    drawn = {name: given[name] for name in ("gaussian", "sigma") if name in given}
    # only this start draws a factor at random
    if drawn and start != "lora":
        raise ArgumentError(
            "--start gives both factors, so --gaussian and --sigma mean nothing beside it.",
            hint="Leave them out.",
            code="option-does-not-apply",
        )
    if start in STARTS:
        return getattr(import_module("eckart.solvers.starts"), STARTS[start])(**drawn)
    from eckart.files import read_factor_file

    # by part, since each part of a picture begins at its own factors
    return dict(read_factor_file(Path(start)).parts)
