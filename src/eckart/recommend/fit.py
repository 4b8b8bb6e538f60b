"""The job of `eckart recommend fit`: from interactions to a fitted, evaluated and saved model."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, final

from eckart.cluster import client_of
from eckart.engine.result import Grade
from eckart.errors import ArgumentError
from eckart.files import check_output
from eckart.progress import Report, Watch, each_step, unwatched
from eckart.recommend.attribute_tables import AttributeTables, attach
from eckart.recommend.chunked import TableLike
from eckart.recommend.columns import ColumnNames
from eckart.recommend.evaluation import SHARE, Evaluation, Split, SplitMethod, evaluate, split
from eckart.recommend.fitting import Fit, OnStep, fit_model, fit_split
from eckart.recommend.interaction_tables import check_sides, read_history, read_interactions
from eckart.recommend.interactions import Interactions, align_new, merge
from eckart.recommend.model import Model
from eckart.recommend.report import item_map
from eckart.recommend.settings import Feedback, Settings
from eckart.recommend.storing import load_model, save_model
from eckart.recommend.tuning import (
    TRIALS,
    RegularizationChoice,
    Tuning,
    choose_regularization,
    tune,
)


def record_times(watch: Watch, seconds: dict[str, float]) -> Watch:
    """Wrap a watch so that it also records the seconds of each part, under its name in lower case.

    Example:
        >>> seconds = {}
        >>> with record_times(unwatched, seconds)("Reading", None):
        ...     pass
        >>> list(seconds)
        ['reading']
    """

    @contextmanager
    def part(what: str, total: int | None) -> Generator[Report, None, None]:
        began = time.perf_counter()
        with watch(what, total) as report:
            yield report
        seconds[what.lower()] = time.perf_counter() - began

    return part


NOT_KEPT: Final = ("epochs", "seed")
"""Settings that a new fit does not take from the older model."""
FOR_RATINGS: Final = ("regularization", "implicit_features")
"""Settings that mean something else or nothing without ratings."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """The result of `fit_recommender`.

    Fields:
        model: The model that was fitted to all interactions.
        fit: The run of the solver that made it.
        evaluation: Evaluation of a model that was fitted to a training part with the same
            settings; None without a test part.
        choice: How λ was chosen; None if it was given.
        tuning: How all settings were chosen; None if they were not tuned.
        source: Name of the input.
        folder: The folder with the model; None if it was not written.
        notes: What the user should know, in sentences.
        seconds: Duration of the whole job.
        seconds_of: Duration of each part: reading, fitting, writing and others.
    """

    model: Model
    fit: Fit
    evaluation: Evaluation | None
    choice: RegularizationChoice | None
    tuning: Tuning | None
    source: str
    folder: str | None
    notes: tuple[str, ...]
    seconds: float
    seconds_of: dict[str, float]

    @property
    def grade(self) -> Grade:
        """The grade of the run."""
        return self.fit.run.outcome.grade

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        data, run = self.model.data, self.fit.run.to_dict()
        users, items = data.shape
        return {
            "source": self.source,
            "folder": self.folder,
            "users": users,
            "items": items,
            "interactions": len(data),
            "disliked": int((~data.liked).sum()),
            "density": len(data) / (users * items),
            "explicit": self.model.explicit,
            "scale": None if self.model.scale is None else list(self.model.scale),
            "settings": self.model.document["settings"],
            "objective": run["recipe"]["objective"],
            "attributes": {
                "users": data.user_attributes and data.user_attributes.summary(data.user_counts()),
                "items": data.item_attributes and data.item_attributes.summary(data.item_counts()),
            },
            "choice": None if self.choice is None else self.choice.to_dict(),
            "tuning": None if self.tuning is None else self.tuning.to_dict(),
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
            "run": run,
            "notes": list(self.notes),
            "seconds": self.seconds,
            "seconds_of": self.seconds_of,
        }

    def report_document(
        self, names: dict[str, str] | None = None, command: str = ""
    ) -> dict[str, Any]:
        """The fields as plain values, with the map of the items and the command for the report."""
        return {**self.to_dict(), "map": item_map(self.model, names), "command": command}


def fit_recommender(
    data: TableLike,
    output: str | PathLike[str] | None = None,
    *,
    named: ColumnNames | None = None,
    feedback: Feedback | None = None,
    attributes: AttributeTables | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    test: SplitMethod | None = None,
    share: float = SHARE,
    k: int = 10,
    tuned: bool = False,
    trials: int | None = None,
    time_limit: float | None = None,
    older: str | PathLike[str] | Model | None = None,
    force: bool = False,
    on_step: OnStep | None = None,
    cluster: object = None,
    watch: Watch = unwatched,
) -> Fitting:
    """Fit a recommender, choose the settings that were left out, and measure how good it is.

    The test part is taken out first; λ and what is tuned are chosen on a part of the rest, and the
    evaluation is that of a model fitted to the rest. The model that is returned and written is
    fitted to all interactions, with the same settings.

    Args:
        data: Interactions as `read_interactions` takes them; None refits an older model.
        output: The folder to write the model to; None writes none.
        named: Names of columns with unusual names; by default those of the older model.
        feedback: What ratings stand for; fields that are None are those of the older model.
        attributes: Attributes of users and items, which replace those of an older model. Users and
            items with attributes are known, with or without interactions.
        settings: Settings of the fit; or a mapping of some of them, completed by those of the older
            model or the defaults.
        test: How a test part is taken: random, last or users; None takes none.
        share: Share of the interactions or users that is taken as the test part.
        k: Length of the lists that are evaluated.
        tuned: Whether rank, λ, α and ν are chosen by Optuna.
        trials: Number of trials of the tuning.
        time_limit: Seconds for the tuning.
        older: A model to start from; its interactions are kept unless later ones replace them.
        force: Whether an existing folder is overwritten.
        on_step: Called with every step of the final fit.
        cluster: Dask cluster whose workers solve the users and items of the evaluated and the final
            fit, as in `factorize`; λ is chosen here, on a sample.
        watch: Shows the progress of each part of the work.

    Raises:
        ArgumentError: If an argument is out of range, or does not apply to this input.
        FormatError: If a file is damaged.
        MatrixError: If the interactions cannot be used.
        ClusterError: If the cluster cannot do the work.
        MissingExtra: If tuning needs a package that is not installed.
        StorageError: If the system refuses to read or write.
    """
    began, seconds_of = time.perf_counter(), dict[str, float]()
    if output is not None:
        read_from = _paths(data, older, attributes)
        check_output(Path(output), force=force, inputs=read_from, is_folder=True)
    watch = record_times(watch, seconds_of)
    with client_of(cluster) as client:
        with watch("Reading", None):
            start = load_model(older) if isinstance(older, str | PathLike) else older
            named = (named or ColumnNames()).like(None if start is None else start.named)
            given = feedback or Feedback()
            # completed by that of the first fit
            asked_now = {name: one for name, one in asdict(given).items() if one is not None}
            feedback = given if start is None else replace(start.feedback, **asked_now)
            read = _read(data, start, named, given, feedback, attributes)
        notes = list(read.notes)
        if not isinstance(settings, Settings):
            settings = Settings(**{**_settings_of(start, read), **(settings or {})})
        # as asked, before the data changes them: `load` gives these back to a new fit
        asked = settings.to_dict()
        settings, changed = settings.adapt(read)
        held = None if test is None else split(read, test, share=share, seed=settings.seed)
        # nothing below sees the test part until the evaluation
        visible = read if held is None else held.train
        del read  # its memory: the parts are as large as the whole, which can be joined from them
        settings, choice = _choose(
            visible, settings, watch, tuned=tuned, trials=trials, time_limit=time_limit
        )
        notes += [*changed, *(() if choice is None else (choice.sentence(),))]
        evaluation = None
        if held is not None:
            evaluation = _evaluated(held, settings, k, watch, client)
            notes += _advice(evaluation)
            visible = held.join()
        del held
        with watch("Fitting", settings.epochs) as report:
            fit = fit_model(
                visible,
                settings,
                start=start,
                on_step=each_step(report) if on_step is None else on_step,
                keep_interrupted=True,
                cluster=client,
            )
    if fit.run.outcome.grade != "success":
        notes.append(fit.run.message)
    source = _source(data, start)
    document = {
        "source": source,
        "settings": fit.model.document["settings"],
        "outcome": fit.run.outcome.name,
        "recipe": fit.run.to_dict()["recipe"],
        "evaluation": None if evaluation is None else evaluation.to_dict(),
        "feedback": asdict(feedback),
        "asked": asked,
        "columns": named.known(),
    }
    model = replace(fit.model, document=document)
    if output is not None:
        with watch("Writing", None):
            save_model(model, output, force=force)
    return Fitting(
        model=model,
        fit=fit,
        evaluation=evaluation,
        choice=None if isinstance(choice, Tuning) else choice,
        tuning=choice if isinstance(choice, Tuning) else None,
        source=source,
        folder=None if output is None else str(output),
        notes=tuple(notes),
        seconds=time.perf_counter() - began,
        seconds_of=seconds_of,
    )


def _read(
    data: TableLike,
    start: Model | None,
    named: ColumnNames | None,
    asked: Feedback,
    feedback: Feedback,
    attributes: AttributeTables | None,
) -> Interactions:
    """The given interactions and those of the older model, with attributes.

    What was asked for now is kept apart from the whole feedback: a history without ratings refuses
    only that.
    """
    if start is not None:
        notes: list[str] = []
        # the history may become interactions too, if that was asked for now
        read = read_history(start.data, asked, feedback, notes)
        if data is not None:
            new = read_interactions(data, named, feedback, later=True)
            notes += [*new.notes, *check_sides(_source(data, start), new, read.users, read.items)]
            new = align_new(new, read.users, read.items)
            read = merge(read, new, notes, judged=feedback.judges)
        read = replace(read, notes=tuple(notes))
    elif data is None:
        raise ArgumentError(
            "There is nothing to fit.", hint="Give a file of interactions.", code="no-input"
        )
    else:
        read = read_interactions(data, named, feedback)
    if attributes is not None:
        read, _, said = attach(read, attributes, named)
        read = replace(read, notes=(*read.notes, *said))
    return replace(read, scale=feedback.scale)


def _choose(
    visible: Interactions,
    settings: Settings,
    watch: Watch,
    *,
    tuned: bool,
    trials: int | None,
    time_limit: float | None,
) -> tuple[Settings, Tuning | RegularizationChoice | None]:
    """The settings completed by those that were left out, and how these were chosen."""
    if tuned:
        with watch("Tuning", trials or (None if time_limit else TRIALS)) as report:
            tuning = tune(visible, settings, trials=trials, time_limit=time_limit, report=report)
        return tuning.settings, tuning
    if settings.regularization is not None:
        return settings, None
    with watch("Choosing λ", None) as report:
        choice = choose_regularization(visible, settings, report=report)
    if choice is not None:
        settings = replace(settings, regularization=choice.regularization)
    return settings, choice


def _evaluated(held: Split, settings: Settings, k: int, watch: Watch, client: Any) -> Evaluation:
    """The evaluation of a model that is fitted to the training part."""
    with watch("Evaluating", settings.epochs) as report:
        trained = fit_split(held, settings, on_step=each_step(report), cluster=client)
        return evaluate(trained.model, held, k=k, seed=settings.seed)


def _settings_of(start: Model | None, read: Interactions) -> dict[str, Any]:
    """The settings of the older model, less those for ratings if these became interactions."""
    if start is None:
        return {}
    kept = start.document.get("settings", {})
    left_out = {*NOT_KEPT}
    if start.explicit != (read.ratings is not None):
        # a λ chosen for ratings is none for interactions
        left_out |= {*FOR_RATINGS, *(("method",) if kept.get("method") == "gibbs" else ())}
    names = {one.name for one in fields(Settings)} - left_out
    return {name: value for name, value in kept.items() if name in names}


def _advice(evaluation: Evaluation | None) -> list[str]:
    """Advice to fit interactions, if the predicted ratings rank worse than popularity."""
    if evaluation is None or evaluation.relevant is None:
        return []
    own, popular = (
        evaluation.figures.get(method, {}).get("ndcg") for method in ("model", "most popular")
    )
    if own is None or popular is None or own.value >= popular.value:
        return []
    return [
        "Predicted ratings say how much people like what they choose, not what they choose: for "
        f"lists fit with `at_least={evaluation.relevant:g}`, which learns that."
    ]


def _paths(*given: Any) -> list[Path]:
    """The paths among the arguments that are read from disk."""
    tables = [
        table
        for one in given
        for table in ((one.users, one.items) if isinstance(one, AttributeTables) else (one,))
    ]
    return [Path(table) for table in tables if isinstance(table, str | PathLike)]


def _source(data: TableLike, start: Model | None) -> str:
    if data is None and start is not None:
        return str(start.document.get("source", ""))
    return Path(data).name if isinstance(data, str | PathLike) else type(data).__name__
