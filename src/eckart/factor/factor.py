"""Factoring the matrices of a file, or suggesting the rank from their singular values."""

import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array
from eckart.certificates import spectrum, together
from eckart.engine import Factorization, Interrupted
from eckart.engine.result import Grade
from eckart.errors import ConvergenceWarning, MatrixError
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.files import (
    Part,
    beside,
    check_factor_output,
    check_output,
    choose_part,
    is_picture,
    named_path,
    pictures,
    whole_files,
    write_factors,
)
from eckart.files.registry import suffix_of
from eckart.matrices import Dense, Difference, Matrix
from eckart.matrices.derived import check_entries, thumbnail
from eckart.progress import Watch, each_step, unwatched
from eckart.ranks import NoiseThreshold, RankRule, WithinTolerance, byte_count, tail_errors
from eckart.reporting import Document
from eckart.solvers.base import epochs_of

GRADES: Final[dict[Grade, int]] = {"success": 0, "short": 1, "failed": 2, "interrupted": 3}
"""Order of the grades, from the best to the worst."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FactoredPart:
    """One matrix of the source and its factorisation."""

    name: str
    matrix: Matrix
    factorization: Factorization

    def to_dict(self) -> Document:
        """The document of the factorisation with the name and the bytes of the part."""
        return {
            "name": self.name,
            "original_bytes": self.matrix.nbytes,
            **self.factorization.to_dict(),
        }

    def pictures(self) -> Document:
        """W, B·A, W − B·A, B and A as thumbnails, for a report."""
        factors = self.factorization.factors
        # in float64: where W and B·A nearly agree, float32 would leave rounding only
        residual = Difference(self.matrix, factors.astype(FLOAT64))
        matrices: dict[str, Matrix] = {
            "W": self.matrix,
            "BA": factors,
            "residual": residual,
            "B": Dense(factors.B),
            "A": Dense(factors.A),
        }
        return {name: thumbnail(matrix).tolist() for name, matrix in matrices.items()}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Factoring:
    """The result of `factor_parts`.

    Fields:
        source, command: Arguments of `factor_parts`.
        parts: Factored parts: one for a plain matrix, one per channel for a picture.
        files: Paths of the written files: `factors`, and `picture` for a picture.
        seconds: Duration of the whole job, without reading.
    """

    source: str
    parts: tuple[FactoredPart, ...]
    files: dict[str, str]
    command: str
    seconds: float

    @property
    def grade(self) -> Grade:
        """The worst grade of its parts."""
        return worst(part.factorization.outcome.grade for part in self.parts)

    @property
    def is_deep(self) -> bool:
        """Whether the source is a picture with 16 bits for each channel of a pixel."""
        return any(pictures.is_deep(part.matrix) for part in self.parts)

    def to_dict(self) -> Document:
        """The figures of the whole and of each part, as plain numbers and text."""
        whole = together(
            [part.factorization.certificate for part in self.parts],
            [math.sqrt(part.matrix.squared_norm()) for part in self.parts],
        )
        return {
            "source": self.source,
            "command": self.command,
            "grade": self.grade,
            "original_bytes": sum(part.matrix.nbytes for part in self.parts),
            "factor_bytes": sum(part.factorization.factors.nbytes for part in self.parts),
            "error": whole.error,
            "relative_error": whole.relative_error,
            "best_possible_error": whole.best_possible_error,
            "share_of_optimum": whole.share_of_optimum,
            "seconds": self.seconds,
            "files": dict(self.files),
            "parts": [part.to_dict() for part in self.parts],
        }

    def summary(self) -> Document:
        """The document stored with the factors: `to_dict` without histories and spectra."""
        document = self.to_dict()
        for part in document["parts"]:
            # one record for each step may outweigh the factors
            part["history"] = part["history"][-1:]
            part["singular_values"] = None
        return document

    def report_document(self) -> Document:
        """The document of a report: `to_dict` with pictures, at one more pass over W and B·A."""
        document = self.to_dict()
        for part, figures in zip(self.parts, document["parts"], strict=True):
            figures["pictures"] = part.pictures()
        if "picture" in self.files:
            kept = {part.name: part.matrix for part in self.parts}
            made = {part.name: part.factorization.factors for part in self.parts}
            document["images"] = {
                "original": pictures.data_uri(kept, deep=self.is_deep),
                "approximation": pictures.data_uri(made, deep=self.is_deep),
            }
        return document


def factor_parts(
    parts: tuple[Part, ...],
    source: Path,
    output: Path,
    *,
    budget: str | None = None,
    ratio: float | None = None,
    start: object = None,
    force: bool = False,
    command: str = "",
    watch: Watch = unwatched,
    final: Path | None = None,
    **settings: Any,
) -> Factoring:
    """Factor every part of a source and write the factors, and B·A as a picture for a picture.

    Args:
        parts: Matrices of the source, from `read_parts`.
        source: Path of the source, whose suffix tells whether it is a picture.
        output: Path of the factors: `.npz`, `.safetensors` or a folder.
        budget: Bytes of the factors of all parts, such as "10MB".
        ratio: Budget as a share of the bytes of each part.
        start: Start as in `factorize`; a mapping from part to `Factors` gives each part its own.
        force: Whether to overwrite `output`.
        command: Command line for the report, or empty.
        watch: Shows the progress of each part.
        final: Path that the caller moves `output` to, which the result names; None if it stays.
        settings: Other arguments of `factorize` for every part, such as `rank` and `solver`.

    Returns:
        The result. After Ctrl-C it holds the parts up to then, written too, with grade
        "interrupted".

    Raises:
        EckartError: For the reasons of `factorize`, `write_factors` and `write_matrices`.
    """
    began = time.perf_counter()
    # both outputs are checked before the work, so that hours of it are not lost to a path
    picture = picture_path(output) if is_picture(source) else None
    check_factor_output(output, force=force, inputs=[source])
    if picture is not None:
        check_output(picture, force=force, inputs=[source, output])
    done: list[FactoredPart] = []
    for part in parts:
        own = settings | _budget(budget, ratio, len(parts), part.matrix.nbytes)
        own["start"] = start_of(part, start)
        factorization = run_factorize(part, f"Factoring {part.name}".rstrip(), watch, **own)
        done.append(FactoredPart(name=part.name, matrix=part.matrix, factorization=factorization))
        if factorization.outcome.grade == "interrupted":
            break
    files = {"factors": str(final or output)}
    # an interrupted run may lack a channel, without which there is no picture
    if picture is not None and len(done) == len(parts):
        files["picture"] = str(picture_path(final or output))
    result = Factoring(
        source=str(source), parts=tuple(done), files=files, command=command, seconds=0.0
    )
    _write(result, output, picture, force=force)
    return replace(result, seconds=time.perf_counter() - began)


def picture_path(output: Path) -> Path:
    """The path of the approximated picture, beside the factors.

    Example:
        >>> picture_path(Path("photo.factors.npz")).name
        'photo.approximation.png'
    """
    # `Path.stem` would not take off both suffixes of photo.factors.npz
    stem = named_path(output).name.removesuffix(suffix_of(output)).removesuffix(".factors")
    return beside(output, f"{stem}.approximation.png")


def _budget(budget: str | None, ratio: float | None, parts: int, nbytes: int) -> Document:
    """The budget of `factorize` for one part; all parts share a budget equally."""
    # another ratio is passed on, so that `factorize` refuses it with its own message
    if ratio is not None and 0 < ratio < 1:
        return {"budget": max(1, int(ratio * nbytes))}
    # rounded down, so that all parts together stay within the budget
    return {"budget": None if budget is None else byte_count(budget) // parts, "ratio": ratio}


def run_factorize(part: Part, what: str, watch: Watch, **arguments: Any) -> Factorization:
    """`factorize` without its warning, since the grade tells it, and with a result after Ctrl-C."""
    with watch(what, epochs_of(arguments.get("solver"))) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return factorize(part.matrix, **arguments, on_step=each_step(report))
        except Interrupted as interrupted:
            return interrupted.partial


def start_of(part: Part, start: Any) -> object:
    """The start of one part, which a mapping of starts has to hold under the name of the part."""
    if not isinstance(start, dict):
        return start
    return choose_part(start, part.name, "The start")


def worst(grades: Iterable[Grade]) -> Grade:
    """The worst grade of several runs."""
    return max(grades, key=GRADES.__getitem__)


def _write(result: Factoring, output: Path, picture: Path | None, *, force: bool) -> None:
    factors: dict[str, Factors] = {part.name: part.factorization.factors for part in result.parts}
    if picture is None or "picture" not in result.files:
        write_factors(output, factors, result.summary(), force=force)
        return
    # both files appear together or not at all
    with whole_files((output, picture), force=force) as (place, beside_it):
        write_factors(place, factors, result.summary())
        pictures.write(beside_it, factors, deep=result.is_deep)


TOLERANCES: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Relative errors for which a rank is shown."""
SUGGESTED_TOLERANCE: Final = 0.1
"""Relative error of the suggested rank, one of `TOLERANCES`."""


def suggest_rank(parts: tuple[Part, ...], source: Path) -> Document:
    """Compute all singular values of a source, and the error that each rank would give.

    Returns:
        A document of the `singular_values` and `shapes` of each part, of the `choices`, ranks in
        ascending order with the rule that leads to each, and of the `suggested` one.

    Raises:
        MatrixError: If a matrix is too large for that, or cannot be factored.
    """
    values: dict[str, Array] = {}
    for part in parts:
        check_entries(part.matrix)
        known = spectrum(part.matrix)
        if known is None:
            rows, columns = part.matrix.shape
            raise MatrixError(
                f"This {rows} × {columns} matrix is too large to compute all its singular values.",
                hint="Choose a rank with `rank`, or bytes with `budget`.",
                code="too-large",
            )
        values[part.name] = known
    noise = _rank_option(parts, values, "rank auto", NoiseThreshold())
    options = {
        bound: _rank_option(parts, values, f"tolerance {bound:g}", WithinTolerance(bound))
        for bound in TOLERANCES
    }
    # a later option replaces an earlier one of the same rank, and tolerances descend
    by_rank = {option["rank"]: option for option in [noise, *options.values()]}
    return {
        "source": str(source),
        "shapes": {part.name: list(part.matrix.shape) for part in parts},
        "singular_values": {name: found.tolist() for name, found in values.items()},
        "choices": [by_rank[rank] for rank in sorted(by_rank)],
        "suggested": dict(options[SUGGESTED_TOLERANCE]),
    }


def _rank_option(
    parts: tuple[Part, ...], values: dict[str, Array], why: str, rule: RankRule
) -> Document:
    """The largest rank that a rule gives a part, with the error and the size of all factors."""
    rank = max(
        rule.choose(part.matrix.shape, part.matrix.dtype, values[part.name]) for part in parts
    )
    tails = [tail_errors(values[part.name]) for part in parts]
    # a small part may have fewer singular values than the largest rank
    lost = sum(float(tail[min(rank, len(tail) - 1)]) ** 2 for tail in tails)
    whole = sum(float(tail[0]) ** 2 for tail in tails)
    share = float(np.sqrt(lost / whole)) if whole > 0 else 0.0
    return {
        "why": why,
        "rank": rank,
        # a share within the rounding of float64 is 0
        "relative_error": share if share > float(np.finfo(np.float64).eps) else 0.0,
        # B and A together have rank·(rows + columns) entries
        "factor_bytes": sum(rank * sum(p.matrix.shape) * p.matrix.dtype.itemsize for p in parts),
    }
