"""What becomes of one model type: its adapter, and what all commands make of that.

A random tiny model is the base and a copy with noise on all parameters the fine-tune. The adapter
of full rank is held against the fine-tune in three ways, in units of the change, so that 0 is right
and 1 is no effect: answers as PEFT loads it, answers as PEFT merges it, and the weights that PEFT
merged, the worst of all tensors. What the adapter says that it does not cover is put into the base
first, so that what it does cover is held to the same bound.
"""

import copy
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_models import built, own_class

import eckart
from eckart.adapters.calibrate import calibrate
from eckart.adapters.cut_extraction import extract_again
from eckart.adapters.join_and_truncate import join_adapters, truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.adapters.settings import LayerRanks
from eckart.adapters.verify import verify_adapter
from eckart.checkpoints import open_checkpoint
from eckart.checkpoints.forward import answers
from eckart.checkpoints.running import Running, unattached
from eckart.checkpoints.running_builder import running_model
from eckart.checkpoints.safetensors_file import open_safetensors
from eckart.errors import EckartError

FAR = 1e-5
"""Distance to the fine-tune beyond which an adapter is wrong."""
CHECKS = ("verify", "merge", "join", "truncate", "again", "portable", "calibrate")
OF_TEXTS = ("portable", "calibrate")
"""Those that are for models that write texts."""
GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""What the names of their classes end in."""
SMALLER = 2
"""Rank of a cut adapter."""


@dataclass
class Row:
    """One model type.

    Fields:
        model_type: As configs name it.
        architecture: The class that was tried.
        verdict: Of VERDICTS.
        loaded, merged: Distances of the answers; None where the model was not run.
        weights: Distance of the worst tensor.
        missing: Tensors that are not covered.
        why: The reason, of the first.
        checks: What commands make of it: "yes", "refused: …" or "no: …".
    """

    model_type: str
    architecture: str
    verdict: str = ""
    loaded: float | None = None
    merged: float | None = None
    weights: float | None = None
    missing: int = 0
    why: str = ""
    checks: dict[str, str] = field(default_factory=dict)

    @property
    def is_wrong(self) -> bool:
        """Whether anything is."""
        return self.verdict == "wrong" or any(one.startswith("no") for one in self.checks.values())


@dataclass(frozen=True)
class Pair:
    """The models of a trial in their folders.

    Fields:
        folder: Of all.
        kind: Their class.
        is_run: Whether both give answers.
    """

    folder: Path
    kind: Any
    is_run: bool

    def load(self, name: str) -> Any:
        """One of them."""
        return self.kind.from_pretrained(self.folder / name).eval()


def row(
    model_type: str, architecture: str, folder: Path, checks: Collection[str], size: float = 0.02
) -> Row:
    """What becomes of one model type, and what some commands make of its adapter."""
    found = Row(model_type, own_class(model_type, architecture))
    try:
        pair = _written(model_type, found.architecture, folder, size)
    except Exception as error:
        found.verdict, found.why = "not made tiny", sentence(error)
        return found
    try:
        result = eckart.extract_adapter(
            folder / "base", folder / "tuned", folder / "adapter", rank=100_000
        )
    except EckartError as error:
        found.verdict, found.why = "refused", sentence(error)
        return found
    except Exception as error:
        found.verdict, found.why = "wrong", sentence(error)
        return found
    tensors = result.to_dict()["tensors"]
    left = [one for one in tensors if one["state"] in ("not covered", "left out")]
    found.missing, found.why = len(left), left[0]["why"] if left else ""
    running = running_model(json.loads((folder / "tuned" / "config.json").read_text()))
    missing = _names(running, folder / "tuned", {one["name"] for one in left})
    _measure(found, pair, missing)
    found.checks = dict(Commands(pair, running, missing).outcomes(checks))
    return found


def _written(model_type: str, architecture: str, folder: Path, size: float) -> Pair:
    network, ran = built(model_type, architecture, answers)
    pair = Pair(folder=folder, kind=type(network), is_run=False)
    base = _as_loaded(pair, "base", network)
    tuned = _as_loaded(pair, "tuned", _tuned_copy(base, size))
    if ran is None:
        return pair
    try:
        found = [answers(copy.deepcopy(model)) for model in (base, tuned)]
    except Exception:  # another draw of weights, or a copy, may not give answers
        return pair
    told = found[0].shape == found[1].shape and all(bool(one.isfinite().all()) for one in found)
    return Pair(folder=folder, kind=type(network), is_run=told)


def _as_loaded(pair: Pair, name: str, network: Any) -> Any:
    """A model in its folder as transformers loads it, which sets rows of padding to 0 in some."""
    network.save_pretrained(pair.folder / name)
    loaded = pair.load(name)
    loaded.save_pretrained(pair.folder / name)
    return loaded


def _tuned_copy(network: Any, size: float) -> Any:
    """A copy with noise on all its parameters."""
    import torch

    tuned = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.is_floating_point():
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return tuned


def _names(running: Running | None, folder: Path, left: Collection[str]) -> frozenset[str]:
    """Names in the running model of what is not covered, and of all that is made from it."""
    if running is None:
        return frozenset(left)
    uses = running.uses(open_checkpoint(folder).tensors)
    shared = {name for group in running.ties for name in group}
    placed = {name: use.name for name, use in uses.items() if not use.why}
    experts = (name for name, _ in running.rename(placed).values())  # one tensor from many
    made = running.shapes.keys() - {*placed.values(), *experts} - shared
    return frozenset({*left, *made, *(name for name, _ in running.rename(left).values())})


def _measure(found: Row, pair: Pair, missing: Collection[str]) -> None:
    """The verdict, from the distances of base + adapter to the fine-tune."""
    try:
        base, tuned = pair.load("base"), pair.load("tuned")
        before = copy.deepcopy(base)
        _put(base, tuned, missing)
        _distances(found, pair, copy.deepcopy(before), copy.deepcopy(base), tuned)
        if not _is_near(found):  # is it only the rounding of the answers?
            _distances(found, pair, before.double(), base.double(), tuned.double())
    except Exception as error:
        found.verdict, found.why = "wrong", sentence(error)
        return
    right = "not covered" if found.missing else "right"
    found.verdict = right if _is_near(found) else "wrong"


def _is_near(found: Row) -> bool:
    return max(found.loaded or 0.0, found.merged or 0.0, found.weights or 0.0) < FAR


def _distances(found: Row, pair: Pair, before: Any, base: Any, tuned: Any) -> None:
    """Of base + adapter to the fine-tune, as PEFT loads and as it merges it."""
    from peft import PeftModel

    own = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    wanted = answers(tuned) if pair.is_run else None
    change = float((answers(before) - wanted).norm()) if pair.is_run else 0.0
    model = PeftModel.from_pretrained(base, pair.folder / "adapter").eval()
    if change:
        found.loaded = float((answers(model.get_base_model(), before) - wanted).norm()) / change
    merged = model.merge_and_unload()
    if change:
        found.merged = float((answers(merged) - wanted).norm()) / change
    found.weights = farthest(merged.state_dict(), tuned.state_dict(), own)


def farthest(
    made: Mapping[str, Any], wanted: Mapping[str, Any], before: Mapping[str, Any]
) -> float:
    """The distance of the worst tensor in units of its change."""
    distances = [0.0]
    for name, tensor in wanted.items():
        if tensor.is_floating_point() and tensor.numel():
            change = float((tensor - before[name].to(tensor.dtype)).double().norm())
            far = float((made[name].to(tensor.dtype) - tensor).double().norm())
            distances.append(far / change if change else far)
    return max(distances)


def _put(base: Any, tuned: Any, names: Collection[str]) -> None:
    """Put values of the fine-tune into the base."""
    import torch

    own, values = base.state_dict(), tuned.state_dict()
    with torch.no_grad():
        for name in set(names) & own.keys():
            own[name].copy_(values[name])


@dataclass(frozen=True)
class Commands:
    """What every command makes of an adapter, named as in CHECKS.

    Fields:
        pair: The models beside the adapter.
        running: The model of the fine-tune.
        missing: Names of what the adapter does not cover.
    """

    pair: Pair
    running: Running | None
    missing: Collection[str]

    def outcomes(self, names: Collection[str]) -> Iterator[tuple[str, str]]:
        """Of each command of these names that applies."""
        kind = self.pair.kind
        writes = kind.__name__.endswith(GENERATORS)
        runs = self.pair.is_run and kind.main_input_name == "input_ids"
        for name in names:
            if name not in OF_TEXTS or (writes and (runs or name == "portable")):
                yield name, _outcome(getattr(self, name))

    def verify(self, name: str = "adapter") -> bool:
        """Whether `verify` accepts it."""
        return verify_adapter(*map(self._path, (name, "base", "tuned"))).fits

    def merge(self) -> bool:
        """Whether the merged model is the fine-tune."""
        merge_adapters(self._path("base"), [self._path("adapter")], self._path("merged"))
        names = ("merged", "tuned", "base")
        merged, tuned, base = (self.pair.load(name).double().state_dict() for name in names)
        for name in set(self.missing) & tuned.keys():
            merged[name] = base[name] = tuned[name]
        return farthest(merged, tuned, base) < FAR

    def join(self) -> bool:
        """Whether two halves of it are accepted like the whole."""
        join_adapters([self._path("adapter")] * 2, self._path("joined"), weights=[0.5, 0.5])
        return self.verify("joined")

    def truncate(self) -> bool:
        """Whether PEFT finds a place for the cut one."""
        truncate_adapter(self._path("adapter"), self._path("small"), rank=SMALLER)
        return self._attaches("small")

    def again(self) -> bool:
        """Whether it does for one of the report."""
        extract_again(self._path("adapter"), self._path("again"), LayerRanks(rank=SMALLER))
        return self._attaches("again")

    def portable(self) -> bool:
        """Whether it does for a portable one."""
        self._extract("portable", profile="portable")
        return self._attaches("portable")

    def calibrate(self) -> bool:
        """Whether it does for one that moments of the inputs were used for."""
        moments, texts = self._path("moments.safetensors"), self._path("texts.txt")
        _write_tokenizer(self._path("base"))
        texts.write_text("a b c d e f g h\n" * 2, encoding="utf-8")
        calibrate(self._path("base"), texts, moments)
        self._extract("weighed", calibration=moments)
        return self._attaches("weighed")

    def _path(self, name: str) -> Path:
        return self.pair.folder / name

    def _extract(self, name: str, **settings: Any) -> None:
        base, tuned = self._path("base"), self._path("tuned")
        eckart.extract_adapter(base, tuned, self._path(name), rank=SMALLER, **settings)

    def _attaches(self, name: str) -> bool:
        """Whether PEFT finds a place for all of an adapter."""
        folder = self._path(name)
        document = json.loads((folder / "adapter_config.json").read_text())
        tensors = open_safetensors(folder / "adapter_model.safetensors").tensors
        shapes = {name: info.shape for name, info in tensors.items()}
        return self.running is None or not unattached(self.running, document, shapes)


def _outcome(command: Callable[[], bool]) -> str:
    try:
        return "yes" if command() else "no: it does not fit"
    except EckartError as error:
        return f"refused: {sentence(error)}"
    except Exception as error:
        return f"no: {sentence(error)}"


def _write_tokenizer(folder: Path) -> None:
    """A tokenizer of single letters for the model in a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {letter: number for number, letter in enumerate("uabcdefgh")}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="u"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names)
    fast.save_pretrained(folder)


def sentence(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
