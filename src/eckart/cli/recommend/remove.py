"""`eckart recommend remove`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.options import answer_options
from eckart.cli.recommend.shared import MODEL, wrote_model


@click.command(epilog="Example: eckart recommend remove model --user 42")
@MODEL
@click.option("--user", required=True, help="His id.")
@answer_options
def remove(model: Path, user: str, as_json: bool, **options: Any) -> int:
    """Forget a user: his id, his factors and his history.

    Without --output the model itself is replaced, whole or not at all. The factors of the items
    still are what they became with him: `eckart recommend fit --from MODEL` fits them without.
    """
    from eckart.jobs.recommend.folding import remove_user
    from eckart.jobs.recommend.storing import updated_model, write_model

    target = options["output"] or model
    with updated_model(model, target, force=options["force"]) as (before, place):
        after = remove_user(before, user)
        write_model(after, place)
    gone = len(before.data) - len(after.data)
    if as_json:
        document = {"user": user, "interactions": gone, "users": len(after.data.users)}
        console.answer_json("recommend remove", {**document, "folder": str(target)})
    else:
        console.answer_text(f"Removed user {user} and {gone:,} interactions.")
    wrote_model(target, quiet=options["quiet"])
    return 0
