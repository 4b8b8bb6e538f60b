"""Tiny random models of every model type of transformers, without a download.

A config with its defaults is shrunk in several ways, from the smallest to the mildest, until one
gives a model that can be built and run. All parts of a config shrink alike, so that sizes that
belong together stay so.
"""

import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

HEADS = (
    "CAUSAL_LM",
    "SEQ_TO_SEQ_CAUSAL_LM",
    "IMAGE_TEXT_TO_TEXT",
    "MASKED_LM",
    "SPEECH_SEQ_2_SEQ",
    "CTC",
    "SEQUENCE_CLASSIFICATION",
    "IMAGE_CLASSIFICATION",
    "AUDIO_CLASSIFICATION",
    "VIDEO_CLASSIFICATION",
    "ZERO_SHOT_IMAGE_CLASSIFICATION",
    "OBJECT_DETECTION",
    "SEMANTIC_SEGMENTATION",
    "DEPTH_ESTIMATION",
    "",
)
"""The heads of which a model type gets the first that it has; "" is the model without one."""

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size"), 32),
    **dict.fromkeys(("word_embed_proj_dim", "decoder_hidden_size", "encoder_hidden_size"), 32),
    **dict.fromkeys(("projection_dim", "projection_size", "hidden_dim", "embedding_dim"), 32),
    **dict.fromkeys(("output_hidden_size", "out_hidden_size", "cross_attention_hidden_size"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "n_inner", "ffn_hidden_size", "mlp_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_encoder_layers", "depth", "attention_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "n_head_kv"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_dim"), 8),
    **dict.fromkeys(("vocab_size", "text_vocab_size"), 96),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **{"v_head_dim": 8, "image_size": 32, "patch_size": 8, "state_size": 4, "num_mel_bins": 8},
    **{"max_source_positions": 16, "max_target_positions": 64, "type_vocab_size": 2},
    **{"word_embed_size": 32, "time_step_rank": 4, "conv_kernel": 4, "expand": 2, "num_labels": 3},
}
"""Sizes of a tiny model, by the names that configs have for them."""

TOKENS = 96
CODES = 128
LAYERS = 2
MORE_LAYERS = 6
"""Of models in which only some layers are of a kind that they need."""
EXPERTS = 4
CHOSEN = 1
ATTENDING = 4
TRIALS = 4
"""Models of a type that are tried before one is taken that does not run."""
SIZES = (2_000_000, 8_000_000)
"""Parameters of a model that is tiny, and of one that still is where no way gives a smaller one."""

DROPPED = ("layer_types", "mlp_only_layers", "attention_types")
"""Settings that follow from others."""
STAGES = ("out_features", "out_indices", "_out_features", "_out_indices", "stage_names")

_WIDTH = re.compile(
    r"size|dim|width|channel|d_model|d_ff|d_inner|d_kv|d_in|hidden|embe?d|rank|features|n_inner|"
    r"units|planes|filters|section|ngf|depth_multiplier|num_latents|d_latents|nums_channel"
)
_KEPT = re.compile(
    r"image|patch|window|kernel|stride|crop|pool|chunk|block_size|pad|batch|bucket|type|"
    r"tile|grid|resolution|temporal|spatial|range|dropout|fft|sampl|mel|bins|"
    r"max_|min_|frame|length|merge|conv_size|step|num_parallel"
)
_LAYERS = re.compile(
    r"layers?$|depths?$|(?:num|n)_.*blocks?$|n_layer|.*_layers_per.*|num_blocks|repeats"
)
_INDICES = re.compile(r"_(?:id|ind|idx|to|indices|index)s?$|_layer$|^skip|^first_|^last_|share")
_EXPERTS = re.compile(r"(?:num|n)_.*experts?$|num_experts")
_CHOSEN = re.compile(r"per_tok|top_?k|n_group|experts_.*(?:chosen|topk)")
_VOCABULARY = re.compile(r"vocab.*size|.*vocab_size.*|num_embeddings|codebook_size")
_HEADS = re.compile(r"heads?$|^n_head|_heads_|num_head")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to shrink a config.

    Fields:
        factor: Every width is divided by it, which keeps what divides what.
        least: The smallest width.
        heads: Whether there are few heads as well.
        layers: How many there are at most.
        whole: Whether all settings are given, not only those that change: then lists that have an
            entry for each layer are cut, and what names layers is left out.
    """

    factor: int
    least: int = 4
    heads: bool = False
    layers: int = LAYERS
    whole: bool = False

    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Of a config, from its defaults."""
        counts = {
            setting
            for key, setting in settings.items()
            if _is_number(setting) and _LAYERS.search(key) and not _INDICES.search(key)
        }
        few = max([1, *(one for key, one in settings.items() if self._is_of_heads(key, one))])
        made: dict[str, Any] = {}
        for key, setting in settings.items():
            found = self._setting(key, setting, counts, max(1, few // ATTENDING))
            if found is not None and (self.whole or found != setting or key == "model_type"):
                made[key] = found
        return made

    def _is_of_heads(self, key: str, setting: Any) -> bool:
        return self.heads and _is_number(setting) and _HEADS.search(key) is not None

    def _setting(self, key: str, setting: Any, counts: Collection[int], ratio: int) -> Any:
        """One setting; None where it follows from others."""
        if key in DROPPED or key in STAGES:
            return None
        if isinstance(setting, dict):
            return self._part(key, setting)
        if key.endswith(("token_index", "token_id")):
            return _token(setting)
        if isinstance(setting, list | tuple):
            return type(setting)(self._list(key, list(setting), counts))
        if self._is_of_heads(key, setting):
            return max(1, setting // ratio)
        return self._number(key, setting) if _is_number(setting) else setting

    def _part(self, key: str, setting: dict[Any, Any]) -> dict[Any, Any] | None:
        if "per_layer" in key and all(str(own).isdigit() for own in setting):
            return {own: one for own, one in setting.items() if int(own) < self.layers}
        if not all(isinstance(own, str) for own in setting):
            return setting
        return self.settings(setting) or None

    def _list(self, key: str, setting: list[Any], counts: Collection[int]) -> list[Any]:
        if len(setting) in counts and len(setting) > self.layers:
            return setting[: self.layers]
        if setting and all(map(_is_number, setting)):
            return [self._number(key, one, inner=True) for one in setting]
        return setting

    def _number(self, key: str, setting: int, *, inner: bool = False) -> int:
        if _VOCABULARY.fullmatch(key) and setting > TOKENS:
            return CODES
        if _LAYERS.search(key) and not _INDICES.search(key):
            return min(setting, 1 if inner else self.layers)
        if _CHOSEN.search(key):
            return min(setting, CHOSEN)
        if _EXPERTS.search(key):
            return min(setting, EXPERTS)
        sized = "section" in key or setting >= max(2 * self.factor, self.least)
        if _WIDTH.search(key) and not _KEPT.search(key) and sized and not setting % self.factor:
            return max(setting // self.factor, self.least) if sized else setting
        return setting


@dataclass(frozen=True)
class ByName:
    """Sizes by the names that most configs have for them."""

    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Of a config, from its defaults."""
        made: dict[str, Any] = {}
        for key, setting in settings.items():
            if isinstance(setting, dict) and key.endswith("config"):
                made[key] = self.settings(setting)
            elif key in SMALL and _is_number(setting):
                made[key] = SMALL[key]
            elif key.endswith(("token_index", "token_id")):
                made[key] = _token(setting)
            elif key not in DROPPED:
                made[key] = setting
        return made


def _token(setting: Any) -> Any:
    """A token, or several, of a small vocabulary."""
    if isinstance(setting, list):
        return [_token(one) for one in setting]
    return 1 if _is_number(setting) and setting >= TOKENS else setting


def _is_number(setting: Any) -> bool:
    return isinstance(setting, int) and not isinstance(setting, bool)


WAYS: tuple[ByName | Way, ...] = (
    ByName(),
    *(
        Way(factor=factor, least=least, heads=heads, whole=whole)
        for whole in (False, True)
        for factor, least in ((32, 4), (16, 4), (8, 4), (8, 32))
        for heads in (False, True)
    ),
    *(Way(factor=factor, layers=MORE_LAYERS) for factor in (32, 16)),
    *(Way(factor=factor, whole=whole) for factor in (4, 1) for whole in (False, True)),
)


def classes() -> Iterator[tuple[str, str]]:
    """Each model type that an automatic class of transformers knows, with one of its classes."""
    from transformers.models.auto import modeling_auto

    known: dict[str, str] = {}
    for head in HEADS:
        name = f"MODEL_FOR_{head}_MAPPING_NAMES" if head else "MODEL_MAPPING_NAMES"
        for model_type, architecture in getattr(modeling_auto, name, {}).items():
            first = architecture[0] if isinstance(architecture, tuple) else architecture
            known.setdefault(model_type, first)
    yield from sorted(known.items())


def own_class(model_type: str, architecture: str) -> str:
    """The class of a type, where the automatic classes name that of another type or none."""
    import transformers

    kind, known = transformers.CONFIG_MAPPING[model_type], getattr(transformers, architecture, None)
    if known is not None and inspect.getattr_static(known, "config_class", kind) is kind:
        return architecture
    try:
        module = importlib.import_module(kind.__module__.replace("configuration_", "modeling_"))
    except ImportError:
        return architecture
    found = [
        name
        for name, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, transformers.PreTrainedModel)
        and one.config_class is kind
        and one.__module__ == module.__name__
        and hasattr(transformers, name)
        and not name.endswith("PreTrainedModel")
    ]
    return min(found, key=lambda name: ("For" not in name, len(name)), default=architecture)


def built(model_type: str, architecture: str, runs: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A tiny random model and what `runs` makes of it; None where it can be built and not run.

    Raises:
        Exception: The first, where no way gives one.
    """
    import transformers

    kind = transformers.CONFIG_MAPPING[model_type]
    own = getattr(transformers, architecture)
    first: Exception | None = None
    unrun: list[Any] = []
    for most, way in itertools.product(SIZES, WAYS):
        try:
            network = _network(own, kind.from_dict(way.settings(kind().to_dict())), most)
        except Exception as error:
            first = first or error
            continue
        try:
            return network, runs(network)
        except Exception:
            unrun.append(network)
        if len(unrun) == TRIALS:
            break
    if unrun:
        return unrun[0], None
    try:
        _sized(own, kind())
    except Exception as error:
        raise ValueError(f"its default config does not build: {error}") from error
    raise first or ValueError("there is no way")


def _network(own: Any, config: Any, most: int) -> Any:
    import torch

    size = _sized(own, config)
    if size > most:
        raise ValueError(f"it is too large: {size} parameters")
    torch.manual_seed(0)
    network = own(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


def _sized(own: Any, config: Any) -> int:
    """Parameters of a model, which is not made."""
    import torch

    with torch.device("meta"):
        return sum(one.numel() for one in own(config).parameters())
