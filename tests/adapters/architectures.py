"""Tiny models of transformers, one for each kind of trouble, and what is changed in them."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
SEEN = {key: SIZES[key] for key in list(SIZES)[1:5]} | {"image_size": 32, "patch_size": 8}
GPT = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4}
SPOKEN = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
BART = {key: SPOKEN[key] for key in list(SPOKEN)[:8]} | {"max_position_embeddings": 64}
LLAVA = {
    "text_config": {**SIZES, "model_type": "llama"},
    "vision_config": {**SEEN, "model_type": "clip_vision_model", "projection_dim": 16},
    "image_token_index": 95,
}
T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}


@dataclass
class Case:
    """One model.

    Fields:
        architecture: Its class.
        config: The settings of its config.
        changed: What fine-tuning changes, as a pattern of names of parameters.
        inputs: Kinds of inputs.
        stored: What is done to the folders of both models afterwards, as other tools write them.
        size: Of the change.
    """

    architecture: str
    config: dict[str, Any]
    changed: str
    inputs: tuple[str, ...] = ("input_ids",)
    stored: tuple[Callable[[Path], None], ...] = ()
    size: float = 0.1
    extra: dict[str, Any] = field(default_factory=dict)

    def models(self, folder: Path) -> tuple[Any, Any]:
        """The base and the fine-tune, written to `base` and `tuned`."""
        import torch
        import transformers

        torch.manual_seed(0)
        kind = getattr(transformers, self.architecture)
        base = kind(kind.config_class(**self.config)).eval()
        with torch.no_grad():
            for parameter in base.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
        base.save_pretrained(folder / "base")
        tuned = copy.deepcopy(kind.from_pretrained(folder / "base")).eval()
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if re.search(self.changed, name):
                    parameter += self.size * torch.randn_like(parameter)
        tuned.save_pretrained(folder / "tuned")
        for change in self.stored:
            change(folder)
        return kind.from_pretrained(folder / "base").eval(), tuned

    def answers(self, model: Any) -> Any:
        """What a model makes of some inputs."""
        import torch

        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(3, 90, (2, 10), generator=generator)
        made = {
            "input_ids": tokens,
            "decoder_input_ids": tokens,
            "pixel_values": torch.randn(2, 3, 32, 32, generator=generator),
            "input_features": torch.randn(2, 8, 32, generator=generator),
            "input_values": torch.randn(2, 2000, generator=generator),
        }
        with torch.no_grad():
            out = model.eval()(**{name: made[name] for name in self.inputs})
        found = getattr(out, "logits", None)
        return (out[0] if found is None else found).double()

    def distance(self, model: Any, base: Any, tuned: Any) -> float:
        """How far a model is from the fine-tune, in units of the change."""
        wanted, before = self.answers(tuned), self.answers(base)
        return float((self.answers(model) - wanted).norm() / (before - wanted).norm())


def renamed(pattern: str, replacement: str, *names: str) -> Callable[[Path], None]:
    """The tensors of some models under other names."""

    def change(folder: Path) -> None:
        for name in names or ("base", "tuned"):
            _rewrite(
                folder / name,
                lambda tensors: {re.sub(pattern, replacement, k): v for k, v in tensors.items()},
            )

    return change


def doubled(name: str, other: str, *names: str) -> Callable[[Path], None]:
    """A tensor that is stored under a second name as well."""

    def change(folder: Path) -> None:
        for model in names or ("base", "tuned"):
            _rewrite(folder / model, lambda tensors: {**tensors, other: tensors[name].clone()})

    return change


def configured(**settings: Any) -> Callable[[Path], None]:
    """Another setting in both configs."""

    def change(folder: Path) -> None:
        for name in ("base", "tuned"):
            path = folder / name / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))

    return change


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


LIVE_LLAVA = (
    renamed(r"^language_model\.lm_head", "lm_head", "tuned"),
    renamed(r"^language_model\.model\.", "model.language_model.", "tuned"),
    renamed(r"^(vision_tower|multi_modal_projector)\.", r"model.\1.", "tuned"),
)
GAMMA = (
    renamed(r"LayerNorm\.weight", "LayerNorm.gamma", "base"),
    renamed(r"LayerNorm\.bias", "LayerNorm.beta", "base"),
)
SECOND_HEAD = doubled("model.embed_tokens.weight", "lm_head.weight")
TIED = {**SIZES, "tie_word_embeddings": True}
OPT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
DEBERTA = {
    **SIZES,
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
}
MAMBA = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
HEARD = ("input_features", "decoder_input_ids")
BOTH = ("input_ids", "decoder_input_ids")

CASES: dict[str, Case] = {
    # names on disk
    "MobileNetV2, strides that are read": Case(
        "MobileNetV2ForImageClassification",
        {"depth_multiplier": 0.1, "min_depth": 4, "image_size": 32, "num_labels": 3},
        r"\.weight",
        ("pixel_values",),
        size=0.02,
    ),
    "LUKE, a bias of two names": Case(
        "LukeForMaskedLM",
        {**SIZES, "entity_vocab_size": 9, "entity_emb_size": 16},
        r"lm_head|query\.weight",
    ),
    "LLaVA": Case("LlavaForConditionalGeneration", LLAVA, "language_model.*q_proj"),
    "LLaVA, two layouts": Case(
        "LlavaForConditionalGeneration", LLAVA, "language_model.*q_proj|lm_head", stored=LIVE_LLAVA
    ),
    "GPT-NeoX, head": Case("GPTNeoXForCausalLM", SIZES, r"query_key_value\.weight|embed_out"),
    "GPT-2, no prefix": Case(
        "GPT2LMHeadModel", GPT, "c_attn|c_fc", stored=(renamed(r"^transformer\.", ""),)
    ),
    "BLOOM, no prefix": Case(
        "BloomForCausalLM",
        {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        r"query_key_value\.weight",
        stored=(renamed(r"^transformer\.", ""),),
    ),
    "BERT, no prefix": Case(
        "BertForSequenceClassification",
        SIZES,
        r"query\.weight|classifier",
        stored=(renamed(r"^bert\.", ""),),
    ),
    "BERT, gamma and beta": Case(
        "BertForSequenceClassification", SIZES, r"LayerNorm|query\.weight", stored=GAMMA
    ),
    "a compiled model": Case(
        "LlamaForCausalLM", SIZES, "q_proj", stored=(renamed("^", "_orig_mod.", "tuned"),)
    ),
    # tied tables
    "T5, shared": Case("T5ForConditionalGeneration", T5, "shared", BOTH),
    "BART, shared": Case("BartForConditionalGeneration", BART, r"shared|fc1\.weight", BOTH),
    "BERT, masked": Case("BertForMaskedLM", SIZES, r"word_embeddings|cls\.predictions\.bias"),
    "CamemBERT, table": Case(
        "CamembertForCausalLM", {**SIZES, "is_decoder": True}, r"lm_head\.decoder|query"
    ),
    "Phi-3": Case(
        "Phi3ForCausalLM",
        {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0},
        r"gate_up_proj|qkv_proj",
    ),
    "RoBERTa, masked": Case("RobertaForMaskedLM", SIZES, "word_embeddings|lm_head"),
    "BLOOM, table": Case(
        "BloomForCausalLM",
        {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        "word_embeddings|query_key_value",
    ),
    "OPT, only the table": Case("OPTForCausalLM", OPT, "embed_tokens"),
    "Mamba, table": Case("MambaForCausalLM", MAMBA, "embeddings|in_proj"),
    "OpenAI GPT": Case("OpenAIGPTLMHeadModel", GPT, "tokens_embed"),
    "Whisper, table": Case("WhisperForConditionalGeneration", SPOKEN, "embed_tokens|fc1", HEARD),
    "Llama, tied and stored twice": Case(
        "LlamaForCausalLM", TIED, "embed|q_proj", stored=(SECOND_HEAD,)
    ),
    "GPT-2, tied": Case("GPT2LMHeadModel", GPT, "wte|c_attn"),
    # kinds
    "ALBERT": Case(
        "AlbertForSequenceClassification",
        {**SIZES, "embedding_size": 16},
        "embedding_hidden_mapping_in",
    ),
    # modules that PEFT cannot adapt, or that are read
    "Whisper, convolutions": Case("WhisperForConditionalGeneration", SPOKEN, "conv1|fc1", HEARD),
    "Whisper, positions": Case(
        "WhisperForConditionalGeneration", SPOKEN, "embed_positions|fc1", HEARD
    ),
    "OPT, positions": Case("OPTForCausalLM", OPT, "embed_positions|fc1"),
    "BART, positions": Case("BartForConditionalGeneration", BART, "embed_positions|fc1", BOTH),
    "DeBERTa": Case("DebertaV2ForSequenceClassification", DEBERTA, "rel_embeddings", size=0.5),
    "Mamba": Case("MambaForCausalLM", MAMBA, r"_proj\.weight|conv1d|A_log|mixer\.D"),
    "gpt-oss, router": Case(
        "GptOssForCausalLM",
        {**SIZES, "num_key_value_heads": 2, "num_local_experts": 4, "head_dim": 8},
        r"router|q_proj\.weight|sinks",
    ),
    "ViT, token and positions": Case(
        "ViTForImageClassification",
        SEEN,
        r"cls_token|position_embeddings|dense|query|projection",
        ("pixel_values",),
    ),
    "DeiT": Case(
        "DeiTForImageClassification",
        SEEN,
        "cls_token|dense|query|classifier",
        ("pixel_values",),
    ),
    "CLIP, positions": Case(
        "CLIPVisionModel", SEEN, "position_embedding|class_embedding|q_proj", ("pixel_values",)
    ),
    # values only
    "only a bias": Case(
        "Qwen2ForCausalLM",
        {**SIZES, "num_key_value_heads": 2},
        r"layers\.0\.self_attn\.q_proj\.bias",
    ),
    "only norms": Case("LlamaForCausalLM", SIZES, "norm"),
    "only a tied table": Case("LlamaForCausalLM", TIED, "embed_tokens"),
}
