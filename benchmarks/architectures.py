"""Every architecture of transformers that can be made tiny: is the adapter of it the fine-tune?

For each: a random model and a copy with noise on all parameters, an extraction of full rank, and
the answers of base + adapter as PEFT loads and as it merges it, in units of the change: 0 is right,
1 is no effect. What an adapter does not cover is put into the base first, so that what it does
cover is held to the same bound. Writes `docs/models.md` with `--write`.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eckart.jobs.running.forward import answers

FAR = 1e-5
"""Distance to the fine-tune beyond which an adapter is wrong."""

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

DROPPED = ("layer_types", "pad_token_id", "sep_token_id", "mlp_only_layers", "attention_types")
TOKENS = 96


@dataclass
class Row:
    """One architecture."""

    model_type: str
    architecture: str
    verdict: str
    loaded: float | None = None
    merged: float | None = None
    missing: int = 0
    why: str = ""


def tiny(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config with all sizes made small, in all its parts."""
    made: dict[str, Any] = {}
    for key, setting in settings.items():
        if isinstance(setting, dict) and key.endswith("config"):
            made[key] = tiny(setting)
        elif key in SMALL and isinstance(setting, int) and not isinstance(setting, bool):
            made[key] = SMALL[key]
        elif key.endswith("token_id") and isinstance(setting, int) and setting >= TOKENS:
            made[key] = 1
        elif key.endswith(("token_index", "token_id")) and isinstance(setting, int):
            made[key] = min(setting, TOKENS - 1)
        elif key not in DROPPED:
            made[key] = setting
    return made


def classes() -> Iterator[tuple[str, str]]:
    """Each model type of transformers with the first of its classes."""
    from transformers.models.auto import modeling_auto

    known: dict[str, str] = {}
    for head in HEADS:
        name = f"MODEL_FOR_{head}_MAPPING_NAMES" if head else "MODEL_MAPPING_NAMES"
        for model_type, architecture in getattr(modeling_auto, name, {}).items():
            first = architecture[0] if isinstance(architecture, tuple) else architecture
            known.setdefault(model_type, first)
    yield from sorted(known.items())


def built(model_type: str, architecture: str) -> Any:
    """A tiny random model."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind = transformers.CONFIG_MAPPING[model_type]
    config = kind.from_dict(tiny(kind().to_dict()))
    network = getattr(transformers, architecture)(config).eval()
    if sum(parameter.numel() for parameter in network.parameters()) > 8_000_000:
        raise ValueError("it is too large")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


def tuned_copy(network: Any, size: float) -> Any:
    """A copy with noise on all its parameters."""
    import torch

    tuned = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return tuned


def row(model_type: str, architecture: str, folder: Path, size: float = 0.02) -> Row:
    """What becomes of one architecture."""
    import eckart

    try:
        network = built(model_type, architecture)
        network.save_pretrained(folder / "base")
        base = type(network).from_pretrained(folder / "base").eval()
        before = answers(base)
        tuned_copy(base, size).save_pretrained(folder / "tuned")
        wanted = answers(type(network).from_pretrained(folder / "tuned").eval())
        if before.shape != wanted.shape:
            raise ValueError("the length of its answers varies")
    except Exception as error:
        return Row(model_type, architecture, "not made tiny", why=_sentence(error))
    try:
        result = eckart.extract_adapter(
            folder / "base", folder / "tuned", folder / "adapter", tolerance=1e-7
        )
    except Exception as error:
        return Row(model_type, architecture, "refused", why=_sentence(error))
    tensors = result.to_dict()["tensors"]
    left = [one for one in tensors if one["state"] in ("not covered", "left out")]
    why = left[0]["why"] if left else ""
    known = Row(model_type, architecture, "", missing=len(left), why=why)
    return _measured(known, base, folder, before, wanted)


def _measured(known: Row, base: Any, folder: Path, before: Any, wanted: Any) -> Row:
    """The row with the distances of base + adapter to the fine-tune."""
    try:
        if known.missing:
            base = _with_missing(base, folder)
        tuned = type(base).from_pretrained(folder / "tuned").eval()
        change = float((before - wanted).norm())
        known.loaded, known.merged = _distances(copy.deepcopy(base), tuned, folder, change)
        if max(known.loaded, known.merged) >= FAR:  # is it only the rounding of the answers?
            doubled = base.double(), tuned.double()
            known.loaded, known.merged = _distances(*doubled, folder, change)
    except Exception as error:
        known.verdict, known.why = "wrong", _sentence(error)
        return known
    right = max(known.loaded, known.merged) < FAR
    known.verdict = ("not covered" if known.missing else "right") if right else "wrong"
    return known


def _distances(base: Any, tuned: Any, folder: Path, change: float) -> tuple[float, float]:
    """Of base + adapter to the fine-tune, as PEFT loads and as it merges it."""
    from peft import PeftModel

    wanted = answers(tuned)
    model = PeftModel.from_pretrained(base, folder / "adapter").eval()
    loaded = float((answers(model.get_base_model()) - wanted).norm())
    merged = float((answers(model.merge_and_unload()) - wanted).norm())
    return loaded / change, merged / change


def _with_missing(base: Any, folder: Path) -> Any:
    """The base with the fine-tune's values of what the adapter says that it does not cover."""
    import torch

    report = json.loads((folder / "adapter" / "report.json").read_text())
    left = {one["name"] for one in report["tensors"] if one["state"] in ("not covered", "left out")}
    tuned = type(base).from_pretrained(folder / "tuned").state_dict()
    from eckart.jobs.running import running_model

    running = running_model(json.loads((folder / "tuned" / "config.json").read_text()))
    made = set() if running is None else {name for name, _ in running.rename(left).values()}
    own = base.state_dict()
    with torch.no_grad():
        for name in (left | made) & own.keys():
            own[name].copy_(tuned[name])
    return base


def _sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what transformers and PEFT say."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def page(rows: list[Row]) -> str:
    """`docs/models.md`."""
    import peft
    import transformers

    counts = {verdict: sum(one.verdict == verdict for one in rows) for verdict in VERDICTS}
    lines = [
        "# Models",
        "",
        "Made by `benchmarks/architectures.py`: for every model type of transformers that can be",
        "made tiny without a download, a fine-tune of all parameters, an adapter of full rank, and",
        "the distance of base + adapter to the fine-tune in units of the change, as PEFT loads and",
        f"as it merges it. transformers {transformers.__version__}, PEFT {peft.__version__}.",
        "",
        *(f"- {VERDICTS[verdict]}: {count}" for verdict, count in counts.items()),
        "",
        "| model type | class | verdict | loaded | merged | why |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in rows:
        if one.verdict != "not made tiny":
            far = [f"{x:.0e}" if x is not None else "" for x in (one.loaded, one.merged)]
            cells = (one.model_type, one.architecture, one.verdict, *far)
            lines.append("| " + " | ".join((*cells, one.why.replace("|", "·"))) + " |")
    untried = ", ".join(one.model_type for one in rows if one.verdict == "not made tiny")
    return "\n".join([*lines, "", f"Not made tiny: {untried}."]) + "\n"


VERDICTS = {
    "right": "the adapter is the fine-tune",
    "not covered": "the adapter is the fine-tune but for what its report says it does not cover",
    "refused": "refused with a sentence",
    "wrong": "wrong",
    "not made tiny": "not made tiny, so not tried",
}


def main() -> None:
    """Try those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--write", action="store_true", help="Write docs/models.md.")
    options = parser.parse_args()
    rows: list[Row] = []
    for model_type, architecture in classes():
        if options.types and model_type not in options.types:
            continue
        with tempfile.TemporaryDirectory() as folder, quiet():
            found = row(model_type, architecture, Path(folder))
        rows.append(found)
        far = f"{found.loaded} {found.merged}" if found.loaded is not None else ""
        print(model_type, architecture, found.verdict, far, found.missing, found.why, flush=True)
    if options.write:
        target = Path(__file__).parent.parent / "docs" / "models.md"
        target.write_text(page(rows), encoding="utf-8")
    sys.exit(any(one.verdict == "wrong" for one in rows))


if __name__ == "__main__":
    main()
