"""`eckart demo`."""

from pathlib import Path
from typing import Any

import click

from eckart.cli import console
from eckart.cli.factor import show_factoring
from eckart.cli.options import EXIT_STATUS, FILE, force_option, json_option, quiet_option


@click.command()
@click.option(
    "-o", "--output", type=FILE, default=Path("demo"), show_default=True, help="Folder to write to."
)
@force_option
@json_option
@quiet_option
def demo(
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Factor the worked example by gradient descent and a photograph, each with a report.

    The photograph comes with scikit-image: pip install 'eckart[demo]'.
    """
    from eckart.jobs.demo import report_name, run_demo

    total = 1000
    with console.progress(total, quiet=quiet) as on_step:
        results = run_demo(output, force=force, on_step=on_step)
    reports = {name: str((output / report_name(name)).resolve()) for name in results}
    if as_json:
        documents = {name: result.to_dict() for name, result in results.items()}
        console.answer_json("demo", {"runs": documents, "reports": reports})
        return _status(results)
    for name, result in results.items():
        console.answer_text(f"\n{TITLES[name]}")
        show_factoring(result.to_dict())
    console.answer_text("\nThe reports, to open in a browser:")
    for path in reports.values():
        console.answer_text(f"  {path}")
    return _status(results)


def _status(results: dict[str, Any]) -> int:
    """The exit status of both runs together."""
    return max(EXIT_STATUS[result.grade] for result in results.values())


TITLES = {
    "article": "The worked example: a 4 × 4 matrix, rank 2, gradient descent",
    "photograph": "A photograph: 512 × 512 pixels in three colours, within 10 % of the original",
}
