"""`eckart calibrate`."""

from pathlib import Path

import click

from eckart.cli import console
from eckart.cli.answers import wrote
from eckart.cli.options import FILE, force_option, json_option, output_option, quiet_option
from eckart.errors import ArgumentError


@click.command(epilog="Example: eckart calibrate model texts.txt -o activations.safetensors")
@click.argument("model", metavar="MODEL", type=FILE)
@click.argument("texts", metavar="TEXTS", type=FILE)
@output_option
@click.option(
    "--length", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of a text."
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Only modules that match.")
@force_option
@json_option
@quiet_option
def calibrate(
    model: Path,
    texts: Path,
    output: Path | None,
    length: int,
    include: tuple[str, ...],
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run MODEL over TEXTS, one in each line, and write the second moments of its layers' inputs.

    `eckart extract --calibration` takes them. Needs PyTorch and transformers.
    """
    target = output or Path("activations.safetensors")
    if target.suffix != ".safetensors":
        raise ArgumentError(
            f"Moments are a .safetensors file, not {target}.",
            hint=f"Write them to {target.stem.strip('.') or 'activations'}.safetensors.",
            code="unknown-suffix",
        )
    if not texts.is_file():
        raise ArgumentError(
            f"There is no file {texts}.", hint="Check the path.", code="no-such-file"
        )
    from eckart.jobs.calibrate import calibrate

    with texts.open("rb") as file:
        total = sum(bool(line.strip()) for line in file)
    with console.tensor_progress(total, quiet=quiet, verb="Calibrating") as shown:
        result = calibrate(
            model, texts, target, length=length, include=include, force=force, on_text=shown
        )
    return wrote("calibrate", result, target, as_json=as_json, quiet=quiet)
