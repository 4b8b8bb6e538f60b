"""The demonstration: the worked example and a photograph."""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from eckart.errors import ArgumentError, MissingExtra
from eckart.factors import Factors
from eckart.jobs.factor import Factoring, RankChoice, factor_parts
from eckart.matrices import Dense
from eckart.solvers import GradientDescent, Step
from eckart.storage import read_parts, whole_file, write_factors, write_matrices
from eckart.storage.outputs import located
from eckart.storage.whole import refused

ARTICLE: Final = ((4, 3, 2, 1), (2, 2, 2, 2), (1, 3, 4, 2), (0, 1, 2, 3))
PHOTOGRAPH: Final = "skimage/data/astronaut.png"  # NASA, public domain


def run_demo(
    folder: Path, *, force: bool = False, on_step: Callable[[str, Step], None] | None = None
) -> dict[str, Factoring]:
    """Factor the 4 × 4 example by gradient descent and a photograph exactly, into a folder.

    Args:
        folder: Where inputs and factors are written; made if it is not there.
        force: Overwrite what is there.
        on_step: Called with a part's name and every step.

    Raises:
        ArgumentError: If the folder holds something and `force` is false.
        MissingExtra: If scikit-image, which brings the photograph, is not installed.
    """
    photograph = _photograph()
    target = located(folder)
    if target.exists() and not target.is_dir():
        raise ArgumentError(
            f"{folder} is no folder.", hint="Give another --output.", code="output-of-another-kind"
        )
    if target.exists() and not force and any(target.iterdir()):
        raise ArgumentError(
            f"The folder {folder} is not empty.",
            hint="Use --force to overwrite it, or another --output.",
            code="output-exists",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(error, folder, "write") from error
    article, start = folder / "article.csv", folder / "article_start.npz"
    write_matrices(article, {"": Dense(ARTICLE)}, force=force)
    B = np.random.RandomState(666).randn(4, 2)
    first = Factors(B, np.zeros((2, 4)))
    write_factors(start, {"": first}, force=force)
    picture = folder / "photograph.png"
    with whole_file(picture, force=force) as temporary:
        shutil.copyfile(photograph, temporary)
    return {
        "article": factor_parts(
            read_parts(article).parts,
            article,
            folder / "article.factors.npz",
            RankChoice(rank=2),
            solver=GradientDescent(learning_rate=0.01, epochs=1000, stop_early=False),
            start=first,
            force=force,
            command=f"eckart factor {article} --rank 2 --solver gd --start {start} "
            "--learning-rate 0.01 --epochs 1000 --no-early-stop",
            on_step=on_step,
        ),
        "photograph": factor_parts(
            read_parts(picture).parts,
            picture,
            folder / "photograph.factors.npz",
            RankChoice(tolerance=0.1),
            force=force,
            command=f"eckart factor {picture} --tolerance 0.1",
        ),
    }


def _photograph() -> Path:
    """The picture inside scikit-image, found without importing it."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingExtra(
            "The demonstration needs scikit-image, which brings the photograph.",
            hint="Install it with: pip install 'eckart[demo]'.",
            code="missing-extra",
        )
    return Path(found.origin).parent.parent / PHOTOGRAPH
