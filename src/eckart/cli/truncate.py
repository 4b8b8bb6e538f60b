"""`eckart truncate`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli.answers import wrote
from eckart.cli.options import (
    FILE,
    output_option,
    writing_options,
)
from eckart.errors import ArgumentError


@click.command(epilog="Example: eckart truncate W.factors.npz --rank 1 -o W.rank1.npz")
@click.argument("factors", metavar="FACTORS|ADAPTER", type=FILE)
@click.option("--rank", type=click.IntRange(min=1), help="Columns of B to keep.")
@click.option("--budget", help="Bytes of an adapter, such as 50MB, spent where they count most.")
@output_option
@writing_options
def truncate(
    factors: Path,
    rank: int | None,
    budget: str | None,
    output: Path | None,
    dtype: str,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Reduce factors to a smaller rank, by the singular value decomposition of B·A.

    A folder with adapter_config.json is an adapter: each of its layers is cut to --rank, or all to
    --budget at once. Writes FACTORS.rankR beside the input, or to --output; W is not needed.
    """
    from eckart.storage import beside, named_path

    if (factors / "adapter_config.json").is_file():
        target = output or beside(factors, f"{named_path(factors).name}.{budget or f'rank{rank}'}")
        result = _adapter(factors, target, rank, budget, dtype, force=force)
    else:
        if rank is None or budget is not None or dtype != "same":
            raise ArgumentError(
                f"{factors} is no adapter, so it is cut by --rank alone.",
                hint="Give --rank, without --budget and --dtype.",
                code="rank-not-chosen" if rank is None else "option-does-not-apply",
            )
        from eckart.jobs.reshape import truncate

        name, suffix = named_path(factors).name, "" if factors.is_dir() else factors.suffix
        target = output or beside(factors, f"{name.removesuffix(suffix)}.rank{rank}{suffix}")
        result = truncate(factors, target, rank, force=force)
    return wrote("truncate", result, target, as_json=as_json, quiet=quiet)


def _adapter(
    folder: Path, target: Path, rank: int | None, budget: str | None, dtype: Any, *, force: bool
) -> Any:
    from eckart.jobs.resize import truncate_adapter
    from eckart.ranks import byte_count

    return truncate_adapter(
        folder,
        target,
        rank=rank,
        budget=None if budget is None else byte_count(budget),
        dtype=None if dtype == "same" else dtype,
        force=force,
    )
