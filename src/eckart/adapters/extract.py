"""Extracting an adapter from a base model and its fine-tune."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from eckart.adapters.adapter_builder import build_checked_adapter, forward_note
from eckart.adapters.budget import first_columns, share_budget, stored_bytes
from eckart.adapters.calibrate import Calibration
from eckart.adapters.documents import write_documents
from eckart.adapters.layer_runner import LayerRunner
from eckart.adapters.model_pair import open_pair
from eckart.adapters.placement import Way
from eckart.adapters.result import Extraction, assess_records, size_curve
from eckart.adapters.resume_store import ResumeStore
from eckart.adapters.settings import FLOORS, LayerRanks, Patterns, Settings
from eckart.adapters.tensor_pairs import Coverage, cover
from eckart.adapters.tensor_worker import TensorWorker
from eckart.arguments import as_path, check_flag, check_list
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft import Adapter, AdapterDType, portable, write_adapter
from eckart.cluster import connected
from eckart.errors import ClusterError, EckartError, MatrixError, StorageError
from eckart.files import check_apart, check_output, whole_file
from eckart.files.outputs import check_kind
from eckart.progress import Watch, unwatched
from eckart.ranks import byte_count
from eckart.threads import limited_threads


def extract_adapter(
    base: str | PathLike[str],
    tuned: str | PathLike[str],
    out: str | PathLike[str],
    *,
    rank: int | str | None = None,
    tolerance: float | None = None,
    budget: int | str | None = None,
    ratio: float | None = None,
    tolerance_of: str = "delta",
    relative: bool = False,
    overrides: dict[str, int] | None = None,
    least: int = 0,
    most: int | None = None,
    multiple: int = 1,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dtype: AdapterDType = "float32",
    profile: str = "peft",
    base_name: str | None = None,
    calibration: str | PathLike[str] | None = None,
    seed: int = 0,
    check: bool = True,
    check_forward: bool = False,
    resume: bool = False,
    force: bool = False,
    on_tensor: Callable[[str, int], None] | None = None,
    command: str = "",
    cluster: object = None,
) -> Extraction:
    """Write the change from a base model to its fine-tune as an adapter that PEFT loads.

    For every weight ΔW = W_tuned − W_base ≈ B·A; the adapter takes in changed biases and norms too.
    Two pairs of tensors are worked on at a time, or one if it is large. Nothing is left out
    silently: a change that the adapter cannot take in is in the result with its share of the whole.

    Args:
        base: Folder or file of the base checkpoint, in safetensors or PyTorch's own format.
        tuned: Folder or file of the checkpoint of the fine-tune.
        out: Folder of the adapter.
        rank: Rank of every layer, or "noise": the number of singular values that the rounding of
            the stored dtype cannot explain. Exactly one of `rank`, `tolerance`, `budget` and
            `ratio` is given.
        tolerance: Largest ‖ΔW − B·A‖ of every layer, relative to `tolerance_of`.
        budget: Bytes that all factors may take together, a number or "100MB", spent where they
            lower the error most.
        ratio: Budget as a share of the bytes of the weights that become factors.
        tolerance_of: Reference of the tolerance: "delta" for ‖ΔW‖ or "W" for ‖W‖.
        relative: Whether the budget is spent by errors relative to ‖W‖ of each layer.
        overrides: Ranks by shell pattern of the module; rank 0 leaves a module out.
        least: Smallest rank of a layer.
        most: Largest rank of a layer; None sets no limit.
        multiple: Number to whose multiples ranks are raised.
        include: Shell patterns, of which a tensor has to match one; empty takes all tensors.
        exclude: Shell patterns of the tensors to leave out.
        dtype: Dtype of the stored factors.
        profile: "peft", or "portable" for an adapter that vLLM and llama.cpp accept.
        base_name: Name of the base that the adapter states.
        calibration: File of second moments of the inputs of layers, which `eckart calibrate`
            writes: these layers are factored for the smallest error of their outputs.
        seed: Seed of the whole job, from which each layer derives its own.
        check: Whether to attach the adapter to the model on the meta device before it is written,
            if transformers and PEFT are installed; a layer that PEFT refuses is saved whole or
            left out.
        check_forward: Whether to measure how far one pass through base + adapter is from that of
            the fine-tune, which loads one model after the other.
        resume: Whether to go on with the unfinished work of an earlier run.
        force: Whether to overwrite `out` and drop unfinished work.
        on_tensor: Function called with the name and the number of entries of each finished tensor.
        command: Command line that the report names for repeating the job, or empty.
        cluster: Dask cluster whose workers do one tensor each, as in `factorize`; they see the
            checkpoints and the folder beside `out` by the same paths. None works here.

    Raises:
        ArgumentError: If an argument is out of its range, or `out` exists.
        FormatError: If a checkpoint is damaged or quantised, or the two do not belong together.
        MatrixError: If a tensor holds NaN or infinity, or nothing has changed.
        ClusterError: If the cluster cannot do the work; `resume` goes on with what was done.
        StorageError: If the system refuses to read or write.

    Cost:
        Reads both checkpoints once; a budget reads each layer again whose rank it changes. Memory
        of at most four times the stored bytes of the largest pair, and some hundred megabytes.
    """
    settings = Settings(
        ranks=LayerRanks(
            rank=rank,
            tolerance=tolerance,
            budget=None if budget is None else byte_count(budget),
            ratio=ratio,
            of=tolerance_of,
            relative=relative,
            overrides={} if overrides is None else overrides,
            least=least,
            most=most,
            multiple=multiple,
        ),
        patterns=Patterns(
            include=tuple(check_list("patterns to include", include)),
            exclude=tuple(check_list("patterns to exclude", exclude)),
        ),
        dtype=dtype,
        profile=profile,
        base_name=base_name,
        seed=seed,
        calibration=None if calibration is None else as_path(calibration),
        check=check,
        check_forward=check_forward,
    )
    return extract(
        base,
        tuned,
        as_path(out),
        settings,
        resume=resume,
        force=force,
        watch=unwatched if on_tensor is None else _calling(on_tensor),
        command=command,
        cluster=cluster,
    )


def _calling(on_tensor: Callable[[str, int], None]) -> Watch:
    """Return the `Watch` that calls `on_tensor`."""

    def report(advance: int, /, *, loss: float | None = None, said: str = "") -> None:  # noqa: ARG001 a tensor has no loss
        on_tensor(said, advance)

    return lambda _what, _total: nullcontext(report)


def extract(
    base: str | PathLike[str],
    tuned: str | PathLike[str],
    target: Path,
    settings: Settings,
    *,
    resume: bool,
    force: bool,
    watch: Watch,
    command: str,
    cluster: object = None,
) -> Extraction:
    """Do the work of `extract_adapter`, with its settings in one object and `watch` around it."""
    began = time.perf_counter()
    work = ResumeStore.beside(target)
    # a job that was killed after the adapter was in place left its work: --resume may finish that
    forced = check_flag("force", force)
    forced = (check_flag("resume", resume) and work.folder.exists()) or forced
    sources = [as_path(base), as_path(tuned), settings.calibration]
    # before the checkpoints are opened, so that a wrong path costs no time
    check_output(target, force=forced, inputs=sources, is_folder=True)
    # nor may the work lie over an input, or over files that eckart did not write
    check_apart(work.folder, sources)
    check_kind(work.folder, is_folder=True)
    before, after = open_pair(base, tuned)
    coverage = cover(before, after, settings.patterns)
    calibration = settings.calibration and Calibration.of(settings.calibration, coverage)
    # a resumed job has to have the same inputs, which paths alone do not tell
    prints: dict[str, Any] = {"base": before.fingerprint(), "tuned": after.fingerprint()}
    if calibration is not None:
        prints["moments"] = calibration.fingerprint()
    ranks, placement = settings.ranks, coverage.placement
    budget = ranks.budget_bytes(stored_bytes(after, coverage.tensors, Way.FACTORS))
    worker = TensorWorker(
        base=before,
        tuned=after,
        settings=settings,
        caps=first_columns(settings, coverage.tensors, budget),
        work=work,
        calibration=calibration,
    )
    with (
        nullcontext() if cluster is None else connected(cluster) as there,
        whole_file(target, force=forced) as place,
    ):
        runner = LayerRunner(coverage=coverage, worker=worker, cluster=there)
        work.begin({**settings.to_dict(), **prints}, resume=resume, force=force)
        with _kept_for_later(work):
            entries = sum(math.prod(pair.shape) for pair in coverage.tensors)
            with watch("Extracting", entries) as report:
                records = runner.records(report)
                if ranks.is_shared:
                    records = share_budget(runner, records, budget, report)
            adapter, records = build_checked_adapter(runner, records)
            adapter, left = portable(adapter) if settings.profile == "portable" else (adapter, ())
            _check_layers(adapter, before, after)
            tensors = tuple(assess_records(records, adapter, left, settings.dtype))
            result = Extraction(
                base=str(before.path),
                tuned=str(after.path),
                folder=target,
                tensors=tensors,
                settings=settings.to_dict(),
                notes=tuple(_notes(coverage, settings)),
                curve=size_curve([one for one in tensors if one.figures], settings.dtype),
                command=command,
                # before the writing, because the report that is written holds these figures
                seconds=time.perf_counter() - began,
            )
            # the factors are thin: in their products the threads of BLAS wait for each other
            with limited_threads(1), work.draft(place) as folder:
                write_adapter(folder, adapter, settings.dtype, base_modules=placement.modules)
                if settings.check_forward:
                    said = forward_note(placement, before.path, after.path, folder)
                    result = replace(result, notes=(*result.notes, said))
                write_documents(result.to_dict(), folder)
    work.remove()
    return result


@contextmanager
def _kept_for_later(work: ResumeStore) -> Generator[None, None, None]:
    """Remove unfinished work after an error in the data or the arguments, which would recur."""
    try:
        yield
    # a user can clear a full disk or start a cluster again, and resume
    except (StorageError, ClusterError):
        raise
    except EckartError:
        work.remove()
        raise


def _check_layers(adapter: Adapter, before: Checkpoint, after: Checkpoint) -> None:
    """Refuse an adapter that adapts no layer."""
    if not adapter.layers and not adapter.saved:
        raise MatrixError(
            f"No tensor that was asked for differs between {before.path} and {after.path}.",
            hint="Check that they are a base and its fine-tune, and what the patterns leave out.",
            code="nothing-changed",
        )
    if not adapter.layers:
        raise MatrixError(
            "Only values have changed, and the model has no layer that PEFT can adapt.",
            hint="PEFT loads no adapter without an adapted layer; use the fine-tune.",
            code="no-layers",
        )


def _notes(coverage: Coverage, settings: Settings) -> Iterator[str]:
    prefix = coverage.matching.prefix()
    if prefix:
        yield prefix
    if settings.calibration:
        yield (
            f"Layers with moments in {settings.calibration.name} were factored for the smallest "
            "error of their answers; the relative errors are those of the weights."
        )
    yield from coverage.placement.notes()
    floor = FLOORS[settings.dtype]
    if floor:
        yield f"Factors in {settings.dtype} leave a relative error of about {floor} at any rank."
