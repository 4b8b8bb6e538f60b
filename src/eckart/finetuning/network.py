"""The network that is fine-tuned: the base with a head for the task, adapted by PEFT."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from eckart.checkpoints.peft import Kind
from eckart.checkpoints.running import sentence_of
from eckart.checkpoints.running_builder import alone, running_model
from eckart.errors import ArgumentError, FormatError
from eckart.finetuning.dataset import Task
from eckart.finetuning.encoded import Encoded
from eckart.finetuning.language import check_causal, is_encoder

ATTENTION: Final = "attention"
MLP: Final = "mlp"
"""Kinds of layers: those in a module of attention, and the others of a block."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A base with a head for a task.

    Fields:
        model: The model of transformers, in float32.
        tokenizer: Its tokenizer.
        head: Names of the modules that are learnt whole: those outside of the base, and those whose
            weights the folder lacks; none of a language model, whose outputs are its own.
        is_new: Whether some weights of the head are drawn, because the folder lacks them.
        drawn: Names of the modules of the base itself whose weights are drawn, such as a pooler.
        had_no_filler: Whether the model names no token that fills texts up, so that one was chosen.
    """

    model: Any
    tokenizer: Any
    head: tuple[str, ...]
    is_new: bool
    drawn: tuple[str, ...]
    had_no_filler: bool

    def shape(self, name: str) -> tuple[int, int]:
        """The two sides of the weight of a layer, as it is stored."""
        rows, columns = self.model.get_submodule(name).weight.shape
        return int(rows), int(columns)

    def check_tokens(self, *parts: Encoded) -> None:
        """Refuse tokens beyond the table of the model.

        Raises:
            FormatError: If the tokenizer is not that of the model.
        """
        entries = _entries(self.model)
        texts = (one for part in parts for one in part.columns["input_ids"])
        largest = max((max(one, default=0) for one in texts), default=0)
        if largest >= entries:
            raise FormatError(
                f"The tokenizer gives the token {largest}, and the model has {entries}.",
                hint="Give the tokenizer that the model was trained with.",
                code="other-tokenizer",
            )


def _entries(model: Any) -> int:
    """Entries of the table of tokens; a model of characters has none."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):
        return 2**31


def open_network(folder: Path, task: Task, seed: int) -> Network:
    """Load a base with a head for a task; no hub is asked, and no foreign code is run.

    Args:
        folder: Folder of the base and its tokenizer.
        task: The task.
        seed: Seed of the weights that the folder lacks.

    Raises:
        ArgumentError: If there is no such folder.
        FormatError: If it holds no model of texts, or lacks weights of the base.
    """
    if not (folder / "config.json").is_file():
        raise ArgumentError(
            f"{folder} is no folder of a model: it holds no config.json.",
            hint="Give a folder of transformers with its tokenizer.",
            code="no-such-model",
        )
    if (folder / "adapter_config.json").exists():
        raise ArgumentError(
            f"{folder} holds an adapter beside the model, which would be loaded with it.",
            hint="Give a folder of the base alone; `start` takes an adapter.",
            code="no-such-model",
        )
    model, tokenizer, missing = _loaded(folder, task, seed)
    is_language = task.name == "language"
    head = () if is_language else _head(model, missing)
    if not (head or is_language):
        raise FormatError(
            f"The model in {folder} has no head that could learn a {task.name}.",
            hint="Give a model that transformers loads for sequence classification.",
            code="no-head",
        )
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    lost = [name for name in missing if name in sizes and not within(name, head)]
    if lost or 2 * sum(sizes[name] for name in missing if name in sizes) > sum(sizes.values()):
        raise FormatError(
            f"{folder} lacks weights of its model, such as '{(lost or missing)[0]}'.",
            hint="Give a model that was saved whole, with its own config.",
            code="incomplete-model",
        )
    had_no_filler = _fill_up(model, tokenizer, folder)
    if is_language:
        check_causal(model, folder)
        # labels are filled up on this side
        tokenizer.padding_side = "right"
    return Network(
        model=model,
        tokenizer=tokenizer,
        head=head,
        is_new=any(name in sizes for name in missing),
        drawn=tuple(name for name in head if within(name, [model.base_model_prefix])),
        # nothing depends on what fills a text up behind its end, unless a head looks for that
        had_no_filler=had_no_filler and not is_language,
    )


def _loaded(folder: Path, task: Task, seed: int) -> tuple[Any, Any, list[str]]:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    is_language = task.name == "language"
    kind: Any = AutoModelForCausalLM if is_language else AutoModelForSequenceClassification
    try:
        # the weights that the folder lacks are drawn from the seed, whatever was drawn before
        with alone(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(folder, **_outputs(task), **here)
            if is_language and is_encoder(config):
                raise ValueError("it has an encoder, which a model of language alone has not")
            tokenizer = AutoTokenizer.from_pretrained(folder, **here)
            model, found = kind.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **here,
            )
    except Exception as error:  # transformers raises errors of many kinds for a wrong folder
        raise FormatError(
            f"The model in {folder} cannot be loaded for a {task.name}: {sentence_of(error)}.",
            hint="Give a folder of a model of texts, with its tokenizer.",
            code="cannot-load",
        ) from error
    mismatched = [str(name) for name, *_ in found["mismatched_keys"]]
    return model, tokenizer, sorted([*map(str, found["missing_keys"]), *mismatched])


def _outputs(task: Task) -> dict[str, Any]:
    """What the configuration of a model says of its outputs."""
    if task.name == "language":
        return {}
    numbers = {label: number for number, label in enumerate(task.labels or ("value",))}
    is_class = task.name == "classification"
    return {
        "num_labels": task.outputs,
        "label2id": numbers,
        "id2label": {number: label for label, number in numbers.items()},
        "problem_type": "single_label_classification" if is_class else "regression",
    }


def _head(model: Any, missing: Iterable[str]) -> tuple[str, ...]:
    """The modules to be learnt whole: what stands beside the base, and what has no weights."""
    base = model.base_model_prefix
    beside = [
        name
        for name, child in model.named_children()
        if name != base and any(True for _ in child.parameters())
    ]
    # of the base itself only single layers are learnt whole, such as a pooler that was not saved
    inside = {name.rpartition(".")[0] for name in missing if not within(name, beside)}
    small = {name for name in inside if not any(True for _ in model.get_submodule(name).children())}
    return tuple(sorted([*beside, *(name for name in small if not _is_needed(model, name))]))


def _is_needed(model: Any, name: str) -> bool:
    """Whether a layer is one of the blocks, or a table, without which a base is none."""
    words = name.split(".")
    above = [model.get_submodule(".".join(words[:end])) for end in range(1, len(words))]
    in_block = any(type(one).__name__ == "ModuleList" for one in above)
    return in_block or hasattr(model.get_submodule(name), "num_embeddings")


def within(name: str, modules: Iterable[str]) -> bool:
    """Whether a module or parameter is one of some modules, or in one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _fill_up(model: Any, tokenizer: Any, folder: Path) -> bool:
    """Name the token that fills texts up, and return whether the model had none.

    A head that reads the last token of a text looks for the last one that is not this token, so
    tokenizer and model have to mean the same one, and texts must not end with it.
    """
    config = model.config.get_text_config()
    known = getattr(config, "pad_token_id", None)
    if known is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(known)
    if known is None or tokenizer.pad_token is None:
        last = tokenizer("a")["input_ids"][-1:]
        names = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token)
        numbers = {name: tokenizer.convert_tokens_to_ids(name) for name in names if name}
        # a tokenizer may name tokens for which the model has no entry
        free = [n for n, one in numbers.items() if [one] != last and one < _entries(model)]
        if not free or known is not None:
            raise FormatError(
                f"The tokenizer of {folder} has no token that fills texts up"
                f"{'' if known is None else f', and the model expects the token {known}'}.",
                hint="Set its pad_token.",
                code="no-pad-token",
            )
        tokenizer.pad_token = free[0]
        config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    # keys and values of past tokens serve generation only, and take memory
    config.use_cache = model.config.use_cache = False
    # padding a few encoded texts is what is wanted here
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    return known is None


def layers_of(network: Network, patterns: Sequence[str]) -> list[str]:
    """Names of the linear layers to adapt, outside of the head and of the outputs of a language.

    Args:
        network: The base and its head.
        patterns: Kinds of layers (attention, mlp), last names such as `query`, or shell patterns,
            of which a name has to match one; empty takes all.

    Raises:
        ArgumentError: If a pattern matches no layer.
        FormatError: If there is no layer that PEFT can adapt.
    """
    model = network.model
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    running = running_model(config)
    kinds = {} if running is None else {name: one.kind for name, one in running.modules.items()}
    last = model.get_output_embeddings()
    known = [
        name
        for name, kind in kinds.items()
        if kind in (Kind.LINEAR, Kind.TRANSPOSED)
        and not within(name, network.head)
        and (last is None or model.get_submodule(name) is not last)
    ]
    if not known:
        raise FormatError(
            f"{type(model).__name__} has no linear layer that PEFT can adapt.",
            hint="Give another model.",
            code="no-layers",
        )
    chosen = {
        pattern: {name for name in known if _is(name, pattern, model)} for pattern in patterns
    }
    for pattern, names in chosen.items():
        if not names:
            raise ArgumentError(
                f"The pattern '{pattern}' matches no linear layer.",
                hint=f"Give {ATTENTION}, {MLP}, or a name like '{known[0]}'; * is any characters.",
                code="pattern-matches-nothing",
            )
    return [name for name in known if not patterns or any(name in own for own in chosen.values())]


def _is(name: str, pattern: str, model: Any) -> bool:
    """Whether a layer is of a kind, has a last name, or matches a pattern."""
    if pattern in (ATTENTION, MLP):
        words = name.split(".")
        # the name of the class of a module tells, since that of the module differs between models
        above = [model.get_submodule(".".join(words[:end])) for end in range(1, len(words))]
        is_in_block = any(type(one).__name__ == "ModuleList" for one in above)
        is_attention = any("attention" in type(one).__name__.lower() for one in above)
        return is_attention if pattern == ATTENTION else is_in_block and not is_attention
    return name.rpartition(".")[2] == pattern or fnmatch.fnmatchcase(name, pattern)


def adapted(
    network: Network, ranks: Mapping[str, int], scale: float, base: Path, task: Task
) -> Any:
    """The model with factors at some layers, and with its head as parts learnt whole.

    Args:
        network: The base and its head.
        ranks: The rank of each layer.
        scale: s of all of them.
        base: Folder of the base.
        task: The task.

    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    usual = max(ranks.values())
    patterns: dict[str, Any] = patterns_of(ranks, usual, scale)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if task.name == "language" else TaskType.SEQ_CLS,
        r=usual,
        lora_alpha=scale * usual,  # pyright: ignore[reportArgumentType] PEFT takes any number
        lora_dropout=0.0,
        target_modules=list(ranks),
        modules_to_save=list(network.head) or None,
        base_model_name_or_path=str(base),
        **patterns,
    )
    # PEFT warns of transposed weights, which it finds by itself
    with alone(), torch.random.fork_rng(devices=[]):
        return get_peft_model(network.model, config)


def ranks_of(shapes: Mapping[str, tuple[int, int]], rank: int) -> dict[str, int]:
    """The rank of each layer: the same, or its smaller side where that is less.

    Raises:
        ArgumentError: If the rank is larger than the smaller side of every layer.
    """
    most = max(map(min, shapes.values()))
    if rank > most:
        name = next(name for name, shape in shapes.items() if min(shape) == most)
        raise ArgumentError(
            f"The rank is {rank}, and '{name}' is {' × '.join(map(str, shapes[name]))}.",
            hint=f"Give at most {most}.",
            code="rank-too-large",
        )
    return {name: min(rank, *shape) for name, shape in shapes.items()}


def patterns_of(ranks: Mapping[str, int], usual: int, scale: float) -> dict[str, dict[str, Any]]:
    """The ranks and α = s·rank of layers whose rank is not the usual, as PEFT has them.

    Names are whole and escaped, since PEFT takes them for regular expressions and compares them
    from the start of a name only if they say so.
    """
    unusual = {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != usual}
    return {
        "rank_pattern": dict(sorted(unusual.items())),
        "alpha_pattern": {name: scale * rank for name, rank in sorted(unusual.items())},
    }


OFFSET: Final = frozenset({"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "mpnet"})
"""`model_type` of models whose positions begin behind the number of their padding token."""


def most_tokens(network: Network, length: int) -> int:
    """The most tokens of a text: those that are asked for, or that the model has positions for."""
    config = network.model.config.get_text_config()
    places = (getattr(config, "max_position_embeddings", None), network.tokenizer.model_max_length)
    most = min((one for one in places if isinstance(one, int) and one > 0), default=2**31)
    special = network.tokenizer.num_special_tokens_to_add()
    # RoBERTa counts positions from behind its padding token
    filler = getattr(config, "pad_token_id", None) or 0
    most -= filler + 1 if config.model_type in OFFSET else 0
    if most <= special:
        raise ArgumentError(
            f"The model takes {most} tokens.", hint="Give another model.", code="too-short"
        )
    if length <= special:
        raise ArgumentError(
            f"A text of {length} tokens holds no more than the {special} that the model adds.",
            hint="Give a larger `length`.",
            code="bad-number",
        )
    return min(most, length)
