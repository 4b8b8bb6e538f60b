"""What the layers of a model get to see: second moments of their inputs over some texts."""

import fnmatch
import inspect
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT32
from eckart.errors import FormatError, MissingExtra
from eckart.storage import check_output, whole_file
from eckart.storage.checkpoints import CheckpointWriter, StoredDtype, TensorLayout
from eckart.storage.whole import reading

LAYERS: Final = ("Linear", "Conv1D")
"""Classes whose inputs are measured, of PyTorch and of transformers."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The result of `calibrate`.

    Fields:
        layers: Whose inputs were measured.
        tokens: That went through the model.
        file: That was written.
        seconds: The whole job.
    """

    layers: int
    tokens: int
    file: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return asdict(self)

    def sentence(self) -> str:
        """The result for a person."""
        return f"{self.layers} layers over {self.tokens} tokens."


def calibrate(
    model: Path,
    texts: Path,
    out: Path,
    *,
    length: int = 512,
    include: Sequence[str] = (),
    force: bool = False,
    on_text: Callable[[str, int], None] | None = None,
) -> Calibrated:
    """Run a model over texts and write G = XᵀX / tokens of the inputs X of each linear layer.

    Args:
        model: Its folder, with its tokenizer.
        texts: A text file with one text in each line.
        out: The `.safetensors` file to write.
        length: Most tokens of a text.
        include: Shell patterns of modules, of which one has to match; none takes all.
        force: Overwrite `out`.
        on_text: Called with the text and 1 when it is done.

    Raises:
        MissingExtra: If PyTorch or transformers is not installed.
        FormatError: If the model cannot be loaded, or there are no texts or no such modules.
        StorageError: If the system refuses to write.

    Cost:
        The model in memory and inputs² numbers for each layer; one forward pass for each text.
    """
    began = time.perf_counter()
    check_output(out, force=force, inputs=[model, texts])
    with reading(texts):
        try:
            lines = [line.strip() for line in texts.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError as error:
            raise _refused(f"{texts} is not UTF-8.", "Save it as UTF-8.") from error
    lines = [line for line in lines if line]
    if not lines:
        raise _refused(f"{texts} holds no texts.", "Give one text in each line.")
    torch, network, tokenizer = _loaded(model)
    moments: dict[str, Any] = {}
    tokens = 0
    with torch.no_grad(), _watched(torch, network, moments, include) as watched:
        for line in lines:
            tokens += _run(network, tokenizer, line, length, model)
            if on_text is not None:
                on_text(line, 1)
    if not tokens:
        raise _refused(f"{texts} has no tokens of this model.", "Give other texts.")
    if not watched:
        raise _refused(f"{model} has no linear layer that was asked for.", "Change --include.")
    _write(moments, out, force=force)
    seconds = time.perf_counter() - began
    return Calibrated(layers=len(moments), tokens=tokens, file=str(out), seconds=seconds)


def _run(network: Any, tokenizer: Any, line: str, length: int, model: Path) -> int:
    """Run the model over one text; the number of its tokens."""
    try:
        encoded = tokenizer(line, return_tensors="pt", truncation=True, max_length=length)
        count = int(encoded["input_ids"].numel())
        if count:
            network(**encoded, **_without_cache(network))
    except Exception as error:  # a model may refuse texts with any error of its own
        reason = _reason(error)
        raise _refused(
            f"The model in {model} cannot run over a text alone: {reason}.",
            "Give a model of text in which tokens are the only input.",
        ) from error
    return count


def _without_cache(network: Any) -> dict[str, bool]:
    """The setting of a pass that keeps nothing for a next one, where the model has it."""
    known = "use_cache" in inspect.signature(type(network).forward).parameters
    return {"use_cache": False} if known else {}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


@contextmanager
def _watched(
    torch: Any, network: Any, moments: dict[str, Any], include: Sequence[str]
) -> Generator[list[Any], None, None]:
    """Add up XᵀX and the number of inputs of each layer while the block runs."""

    def watch(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def seen(_module: Any, inputs: tuple[Any, ...]) -> None:
            X = inputs[0].reshape(-1, inputs[0].shape[-1]).to(torch.float64)
            total, count = moments.get(name, (0.0, 0))
            moments[name] = total + X.T @ X, count + len(X)

        return seen

    handles = [
        module.register_forward_pre_hook(watch(name))
        for name, module in network.named_modules()
        if type(module).__name__ in LAYERS
        and (not include or any(fnmatch.fnmatchcase(name, pattern) for pattern in include))
    ]
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def _write(moments: dict[str, Any], out: Path, *, force: bool) -> None:
    layouts = {
        name: TensorLayout(dtype=StoredDtype.F32, shape=tuple(total.shape))
        for name, (total, _) in moments.items()
    }
    with (
        whole_file(out, force=force) as temporary,
        CheckpointWriter(temporary, layouts) as writer,
    ):
        for name in writer.order:
            total, count = moments[name]
            writer.write(name, np.ascontiguousarray((total / count).numpy().astype(FLOAT32)))


def _loaded(model: Path) -> tuple[Any, Any, Any]:
    """PyTorch, the model in float32 and its tokenizer; nothing is asked of a hub."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "Running a model needs PyTorch and transformers.",
            hint="pip install 'eckart[adapters]'",
            code="missing-extra",
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(model, local_files_only=True)
        architecture = getattr(transformers, (config.architectures or [""])[0])
        network = architecture.from_pretrained(
            model, local_files_only=True, dtype=torch.float32
        ).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
    except Exception as error:  # a folder of a model may be wrong in any way
        raise _refused(
            f"The model in {model} cannot be loaded: {_reason(error)}.",
            "Give a folder of transformers with its tokenizer.",
        ) from error
    return torch, network, tokenizer


def _refused(what: str, hint: str) -> FormatError:
    return FormatError(what, hint=hint, code="cannot-calibrate")
