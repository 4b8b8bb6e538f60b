"""Second moments of the inputs of layers: measured over some texts, and read as objectives."""

import fnmatch
import hashlib
import inspect
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.adapters.model_pair import open_weights
from eckart.adapters.placement import TensorPair
from eckart.adapters.settings import Patterns
from eckart.adapters.tensor_pairs import Coverage
from eckart.arrays import FLOAT32, FLOAT64
from eckart.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    SafetensorsDtype,
    TensorLayout,
    open_checkpoint,
)
from eckart.checkpoints.forward import load_network
from eckart.checkpoints.peft import Kind
from eckart.checkpoints.running import Running, sentence_of
from eckart.checkpoints.running_builder import alone, running_model
from eckart.errors import FormatError, MissingExtra
from eckart.files import check_output, whole_file
from eckart.files.reading import reading
from eckart.objectives import Weighted
from eckart.progress import Watch, unwatched

WEIGHED: Final = (Kind.LINEAR, Kind.TRANSPOSED)
"""Kinds of layers whose outputs are products of the weight with inputs."""


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """Second moments G = XᵀX / count of the inputs X of layers, in a file by module."""

    file: Checkpoint

    @staticmethod
    def open(path: Path) -> "Calibration":
        """Open a file of moments, which `eckart calibrate` writes."""
        file = open_checkpoint(path)
        for name, tensor in file.tensors.items():
            if len(tensor.shape) != 2 or tensor.shape[0] != tensor.shape[1] or not tensor.nbytes:
                raise FormatError(
                    f"The tensor '{name}' of {path} is no matrix of second moments.",
                    hint="Give a file that eckart calibrate wrote.",
                    code="not-moments",
                )
        return Calibration(file)

    @staticmethod
    def of(path: Path, coverage: Coverage) -> "Calibration":
        """Open a file of moments for the layers of two checkpoints."""
        found = Calibration.open(path)
        if not any(p.kind in WEIGHED and p.module in found.file.tensors for p in coverage.tensors):
            raise FormatError(
                f"{path} holds moments of no layer that becomes factors, "
                f"but of layers such as '{next(iter(found.file.tensors))}'.",
                hint="Calibrate the fine-tune, or a base of the same class.",
                code="not-moments",
            )
        return found

    def fingerprint(self) -> str:
        """A digest that identifies these moments."""
        prints = sorted(self.file.fingerprint().items())
        return hashlib.sha256(repr(prints).encode()).hexdigest()

    def objective(self, pair: TensorPair) -> Weighted | None:
        """The objective ‖(ΔW − B·A)·X‖ of a layer; None if it has no moments."""
        if pair.kind not in WEIGHED or pair.module not in self.file.tensors:
            return None
        moments = self.file.read(pair.module).astype(FLOAT64)
        inputs = pair.shape[0] if pair.kind is Kind.TRANSPOSED else pair.shape[1]
        if len(moments) != inputs:
            raise FormatError(
                f"The moments of '{pair.module}' are of {len(moments)} inputs, it has {inputs}.",
                hint="Calibrate the model that is extracted.",
                code="not-moments",
            )
        return Weighted(moments=moments)

    def typical(self) -> float:
        """The mean square of an input over all layers, assumed for layers without moments."""
        means = [
            float(np.trace(self.file.read(name).astype(FLOAT64))) / tensor.shape[0]
            for name, tensor in self.file.tensors.items()
        ]
        return math.fsum(means) / len(means)


CHARACTERS: Final = 100
"""Characters of a text that are tokenised for each wanted token: a longer text is cut before,
because a tokenizer would encode all of it first."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The result of `calibrate`: counts of measured layers and of tokens through the model."""

    layers: int
    tokens: int
    file: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers and text."""
        return asdict(self)

    def sentence(self) -> str:
        """The result as one sentence."""
        return f"{self.layers} layers over {self.tokens} tokens."


def calibrate(
    model: Path,
    texts: Path,
    out: Path,
    *,
    length: int = 512,
    include: Sequence[str] = (),
    force: bool = False,
    watch: Watch = unwatched,
) -> Calibrated:
    """Run a model over texts and write G = XᵀX / tokens of the inputs X of each linear layer.

    Args:
        model: Folder of the model and its tokenizer.
        texts: Text file with one text in each line.
        out: The `.safetensors` file to write.
        length: Most tokens of a text; the model may have positions for fewer.
        include: Shell patterns, of which a module has to match one; empty takes all modules.
        force: Whether to overwrite `out`.
        watch: Shows the progress, in texts.

    Raises:
        MissingExtra: If PyTorch or transformers is not installed.
        FormatError: If the model cannot be loaded or is incomplete, inputs of its layers are not
            finite, there are no texts, or no module matches.

    Cost:
        Memory of the model and inputs² numbers for each layer; one forward pass for each text.
    """
    began = time.perf_counter()
    check_output(out, force=force, inputs=[model, texts])
    # counted before the model is loaded, so that an empty file is refused at once
    total = sum(1 for _ in _lines(texts))
    if not total:
        raise _refused(f"{texts} holds no texts.", "Give one text in each line.")
    running = _described(model)
    names = _chosen(running, include, model)
    network, tokenizer = _loaded(running, model)
    most = _most_tokens(running, tokenizer, length)
    moments: dict[str, Any] = {}
    tokens = 0
    with watch("Calibrating", total) as report, _watched(network, names, moments):
        for line in _lines(texts):
            tokens += _run(network, tokenizer, line, most, model)
            report(1)
    if not tokens:
        raise _refused(f"{texts} has no tokens of this model.", "Give other texts.")
    if not moments:
        raise _refused(f"{model} used none of its layers that were asked for.", "Change `include`.")
    _write(moments, out, force=force)
    seconds = time.perf_counter() - began
    return Calibrated(layers=len(moments), tokens=tokens, file=str(out), seconds=seconds)


def _lines(texts: Path) -> Iterator[str]:
    """The texts of a file, one after the other."""
    # utf-8-sig: editors on Windows begin a file with a byte order mark
    with reading(texts), texts.open(encoding="utf-8-sig") as file:
        try:
            yield from (line.strip() for line in file if line.strip())
        except UnicodeDecodeError as error:
            raise _refused(f"{texts} is not UTF-8.", "Save it as UTF-8.") from error


def _chosen(running: Running, include: Sequence[str], model: Path) -> list[str]:
    """Names of the linear layers whose inputs are measured."""
    linear = [name for name, module in running.modules.items() if module.kind in WEIGHED]
    for pattern in include:
        # a pattern without a match is most likely a mistake
        if not fnmatch.filter(linear, pattern):
            raise _refused(
                f"{model} has no linear layer that matches '{pattern}'.", "Change `include`."
            )
    wanted = Patterns(include=tuple(include))
    return [name for name in linear if wanted.allow(name)]


def _most_tokens(running: Running, tokenizer: Any, length: int) -> int:
    """The most tokens of a text: the given length, at most the positions of the model."""
    config = running.network.config.get_text_config()
    # some models have no limit, and a tokenizer without one states 10³⁰
    places = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    most = min(length, *(one for one in places if isinstance(one, int) and one > 0))
    special = tokenizer.num_special_tokens_to_add()
    if most <= special:
        raise _refused(
            f"A text of {most} tokens holds no more than the {special} that this model adds.",
            "Give a larger `length`.",
        )
    return most


def _run(network: Any, tokenizer: Any, line: str, most: int, model: Path) -> int:
    """Run the model over one text and return the number of its tokens."""
    try:
        text = line[: CHARACTERS * most]
        encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=most)
        count = int(encoded["input_ids"].numel())
        # a tokenizer may give more than the model takes, such as token_type_ids
        known = inspect.signature(type(network).forward).parameters
        # keys and values of past tokens serve generation only, and take memory
        settings = {"use_cache": False} if "use_cache" in known else {}
        if count:
            network(**{name: encoded[name] for name in encoded if name in known}, **settings)
    except Exception as error:  # a model may refuse texts with any error of its own
        raise _refused(
            f"The model in {model} cannot run over a text alone: {sentence_of(error)}.",
            "Give a model of text in which tokens are the only input, or a smaller `length`.",
        ) from error
    return count


@contextmanager
def _watched(
    network: Any, names: Sequence[str], moments: dict[str, Any]
) -> Generator[None, None, None]:
    """Add up XᵀX in float64 and the number of inputs of each layer while the block runs."""
    import torch

    def watch(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def seen(_module: Any, inputs: tuple[Any, ...]) -> None:
            # (batch, tokens, inputs) → one row for each token
            X = inputs[0].reshape(-1, inputs[0].shape[-1]).to(torch.float64)
            total, count = moments.get(name, (0.0, 0))
            moments[name] = total + X.T @ X, count + len(X)

        return seen

    handles = [network.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _write(moments: Mapping[str, Any], out: Path, *, force: bool) -> None:
    layouts = {
        name: TensorLayout(dtype=SafetensorsDtype.F32, shape=tuple(total.shape))
        for name, (total, _) in moments.items()
    }
    with (
        whole_file(out, force=force) as temporary,
        CheckpointWriter(temporary, layouts) as writer,
    ):
        for name in writer.order:
            total, count = moments[name]
            # an overflow of float32 is reported below with the name of the layer
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray((total / count).numpy().astype(FLOAT32))
            if not np.isfinite(values).all():
                raise _refused(
                    f"The inputs of '{name}' are not finite, or too large for their squares.",
                    "Check the weights of the model, or leave the layer out by `include`.",
                )
            writer.write(name, values)


def _described(model: Path) -> Running:
    """The model of a folder without its weights; refused if the folder lacks most of them."""
    # looked for without importing them, which takes seconds
    if not all(map(find_spec, ("torch", "transformers"))):
        raise MissingExtra(
            "Running a model needs PyTorch and transformers.",
            hint="pip install 'eckart[adapters]'",
            code="missing-extra",
        )
    checkpoint = open_weights(model)
    running = running_model(checkpoint.config)
    if running is None:
        raise _refused(
            f"The config of {model} is of no model that transformers has.",
            "Give a folder of transformers with its tokenizer.",
        )
    wanted = sum(parameter.numel() for parameter in running.network.parameters())
    stored = sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())
    if 2 * stored < wanted:  # refused before memory is taken for weights that are missing
        raise _refused(
            f"{model} holds {stored} numbers, the model of its config {wanted}.",
            "Give a model that was saved whole, with its own config.",
        )
    return running


def _loaded(running: Running, model: Path) -> tuple[Any, Any]:
    """The network in float32 and its tokenizer; no hub is asked, and no foreign code is run."""
    from transformers import AutoTokenizer

    try:
        with alone():
            tokenizer = AutoTokenizer.from_pretrained(
                model, local_files_only=True, trust_remote_code=False
            )
        network, missing = load_network(running, model)
    except Exception as error:  # transformers raises errors of many kinds for a wrong folder
        raise _refused(
            f"The model in {model} cannot be loaded: {sentence_of(error)}.",
            "Give a folder of transformers with its tokenizer.",
        ) from error
    if missing:
        raise _refused(
            f"{model} lacks weights of its model, such as '{missing[0]}'.",
            "Give a model that was saved whole: transformers would make up what it lacks.",
        )
    return network, tokenizer


def _refused(what: str, hint: str) -> FormatError:
    return FormatError(what, hint=hint, code="cannot-calibrate")
