"""The options of `eckart recommend fit`."""

from typing import Any, Final

import click

from eckart.cli.options import seed_option, together
from eckart.cli.recommend.shared import attribute_options, length_option
from eckart.errors import ArgumentError

METHODS: Final = ("als", "cholesky", "blocks", "gd", "gibbs")

data_options = together(
    click.option("--implicit", is_flag=True, help="Only the fact of an interaction counts."),
    click.option("--min-rating", type=float, help="Keep ratings of at least this as interactions."),
    click.option("--disliked", type=float, help="Take ratings of at most this as dislikes."),
    click.option(
        "--scale", type=(float, float), help="The lowest and highest rating there can be."
    ),
)
side_options = together(
    attribute_options,
    click.option(
        "--user-columns",
        help="Columns of --user-attributes that count, separated by commas; NAME:category takes "
        "numbers as names, NAME:id is the column of ids.",
    ),
    click.option("--item-columns", help="The same of --item-attributes."),
    click.option(
        "--attribute-weight",
        type=float,
        help="How much each attribute counts beside an interaction.  [default: 1]",
    ),
)
model_options = together(
    click.option("--rank", type=click.IntRange(min=1), help="Columns of B.  [default: 32]"),
    click.option(
        "--regularization", type=float, help="λ; chosen on a part of the input if left out."
    ),
    click.option(
        "--count-exponent", type=float, help="ν: the penalty grows with counts^ν.  [default: 1]"
    ),
    click.option(
        "--unobserved-weight",
        type=float,
        help="α of what is not there, without ratings.  [default: 0.1]",
    ),
    click.option(
        "--implicit-features", type=float, help="Weight of which items were rated at all."
    ),
    click.option("--nonnegative", is_flag=True, help="Factors that are not negative."),
    click.option(
        "--solver",
        "method",
        type=click.Choice(METHODS),
        help="als (conjugate gradients), cholesky, blocks, gd (stochastic), gibbs.  [default: als]",
    ),
    click.option(
        "--bayesian", is_flag=True, help="The same as --solver gibbs: predictions with a deviation."
    ),
    click.option("--epochs", type=click.IntRange(min=1), help="Sweeps over all users and items."),
    click.option("--tune", "tuned", is_flag=True, help="Choose rank, λ, α and ν by Optuna."),
    click.option("--trials", type=click.IntRange(min=1), help="Of --tune.  [default: 40]"),
    click.option("--time-limit", type=float, help="Seconds for --tune."),
    seed_option,
)
test_options = together(
    click.option(
        "--test",
        type=click.Choice(["random", "last", "users"]),
        help="Hold a part back and measure on it: random ones, the last ones of each user, users.",
    ),
    click.option("--share", type=float, default=0.1, show_default=True, help="Of --test."),
    length_option("Length of the lists that are measured."),
)


def checked(options: dict[str, Any], *, has_data: bool) -> None:
    """Refuse options that do not go together, whatever the data holds.

    Raises:
        ArgumentError: If so.
    """
    if not has_data and options["older"] is None:
        raise ArgumentError(
            "There is nothing to fit.",
            hint="Give a table of interactions, or --from with an older model.",
            code="missing-argument",
        )
    for first, second in (
        ("bayesian", "method"),
        ("tuned", "regularization"),
        ("tuned", "bayesian"),
    ):
        if options[first] and options[second]:
            raise ArgumentError(
                f"--{_spelled(first)} and --{_spelled(second)} do not go together.",
                hint="Leave one of them out.",
                code="option-does-not-apply",
            )
    for name, needed in (
        ("trials", "tuned"),
        ("time_limit", "tuned"),
        ("user_columns", "user_attributes"),
        ("item_columns", "item_attributes"),
    ):
        if options[name] is not None and not options[needed]:
            raise ArgumentError(
                f"--{_spelled(name)} means nothing without --{_spelled(needed)}.",
                hint=f"Leave it out, or add --{_spelled(needed)}.",
                code="option-does-not-apply",
            )
    _check_numbers(options)


def _check_numbers(options: dict[str, Any]) -> None:
    scale = options["scale"]
    if scale and not scale[0] < scale[1]:
        raise ArgumentError(
            f"The scale is from {scale[0]:g} to {scale[1]:g}.",
            hint="Give the lowest and then the highest rating, such as --scale 1 5.",
            code="bad-scale",
        )
    if not 0 < options["share"] < 1:
        raise ArgumentError(
            f"The share of the test part is {options['share']:g}.",
            hint="Give a number between 0 and 1, such as 0.1.",
            code="bad-share",
        )


def _spelled(name: str) -> str:
    return {"tuned": "tune", "method": "solver"}.get(name, name.replace("_", "-"))
