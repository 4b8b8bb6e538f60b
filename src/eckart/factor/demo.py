"""The demonstration: the worked example and a photograph."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from eckart.errors import MissingExtra
from eckart.factor.factor import Factoring, factor_parts
from eckart.factor.report import factor_page
from eckart.factors import Factors
from eckart.files import (
    check_output,
    read_parts,
    whole_file,
    write_factors,
    write_matrices,
    write_text,
)
from eckart.files.outputs import located
from eckart.files.reading import refused
from eckart.matrices import Dense
from eckart.progress import Watch, unwatched
from eckart.solvers import GradientDescent

ARTICLE: Final = ((4, 3, 2, 1), (2, 2, 2, 2), (1, 3, 4, 2), (0, 1, 2, 3))
"""Matrix W of the worked example."""
TABLE: Final = "article.csv"
START: Final = "article_start.npz"
PICTURE: Final = "photograph.png"
PHOTOGRAPH: Final = "skimage/data/astronaut.png"  # NASA, public domain


def run_demo(
    folder: Path, *, force: bool = False, watch: Watch = unwatched
) -> dict[str, Factoring]:
    """Factor the 4 × 4 example by gradient descent and a photograph exactly, into a folder.

    The folder holds the inputs, the factors and a report of each, and is written whole or not at
    all.

    Raises:
        ArgumentError: If the folder holds anything and `force` is false, or it holds files that
            eckart did not write.
        MissingExtra: If scikit-image, which contains the photograph, is not installed.
    """
    photograph = _photograph()
    target = located(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(error, folder, "write") from error
    # an empty folder holds nothing that could be lost
    forced = force or (target.is_dir() and not any(target.iterdir()))
    check_output(folder, force=forced, is_folder=True)
    with whole_file(folder, force=forced) as place:
        place.mkdir()
        shutil.copyfile(photograph, place / PICTURE)
        first = Factors(np.random.RandomState(666).randn(4, 2), np.zeros((2, 4)))
        write_matrices(place / TABLE, {"": Dense(ARTICLE)})
        write_factors(place / START, {"": first})
        results = {
            "article": factor_parts(
                read_parts(place / TABLE).parts,
                folder / TABLE,
                place / "article.factors.npz",
                rank=2,
                solver=GradientDescent(learning_rate=0.01, epochs=1000, stop_early=False),
                start=first,
                command=f"eckart factor {folder / TABLE} --rank 2 --solver gd "
                f"--start {folder / START} --learning-rate 0.01 --epochs 1000 --no-early-stop",
                watch=watch,
                # the folder is written elsewhere and moved, so the result names the final path
                final=folder / "article.factors.npz",
            ),
            "photograph": factor_parts(
                read_parts(place / PICTURE).parts,
                folder / PICTURE,
                place / "photograph.factors.npz",
                tolerance=0.1,
                command=f"eckart factor {folder / PICTURE} --tolerance 0.1",
                final=folder / "photograph.factors.npz",
            ),
        }
        for name, result in results.items():
            write_text(place / f"{name}.html", factor_page(result.report_document()))
    return results


def _photograph() -> Path:
    """The path of the photograph in scikit-image, found without importing that."""
    # its import would take seconds, for the path of one file
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingExtra(
            "The demonstration needs scikit-image, which brings the photograph.",
            hint="Install it with: pip install 'eckart[demo]'.",
            code="missing-extra",
        )
    return Path(found.origin).parent.parent / PHOTOGRAPH
