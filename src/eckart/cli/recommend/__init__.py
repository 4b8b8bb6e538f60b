"""`eckart recommend`: a table of commands, each loaded when it is called."""

from typing import Final

import click

from eckart.cli.lazy import LazyGroup

COMMANDS: Final = {
    "fit": ("eckart.cli.recommend.fit", "Fit a model to ratings or to interactions."),
    "top": ("eckart.cli.recommend.top", "The best items for one user, some or all."),
    "similar": ("eckart.cli.recommend.similar", "The items that are most like one."),
    "explain": ("eckart.cli.recommend.explain", "Which of a user's items speak for one."),
    "predict": ("eckart.cli.recommend.predict", "The ratings of pairs of users and items."),
    "add": (
        "eckart.cli.recommend.add",
        "Take new interactions, users and items in, without a new fit.",
    ),
    "remove": ("eckart.cli.recommend.remove", "Forget a user."),
    "export": ("eckart.cli.recommend.export", "Write the factors for a vector store."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    epilog="Example: eckart recommend fit ratings.csv -o model && eckart recommend top model "
    "--user 42",
)
def recommend() -> None:
    """Recommend items to users, from ratings or from what they bought, heard or clicked.

    The matrix is users × items and most of its entries are unknown: what is known is factored, and
    the product fills in the rest.
    """
