"""Tiny random models and tuned copies of them: what an extraction would be given.

PyTorch and transformers are imported inside, so that tests without them can import this file.
"""

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eckart import Factors
from eckart.checkpoints.peft import AdaptedLayer, Adapter, Kind, compare_biases, matrix_shape

SIZES = {
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 64, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32}
MOE = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}


def with_biases(adapter, base, tuned):
    """The adapter with every bias that differs between two models."""
    adapted = {layer.module: layer.kind for layer in adapter.layers}
    biases = compare_biases(adapted, base, tuned, experts=adapter.experts)
    layers = tuple(
        replace(layer, bias=biases.changes.get(layer.module, layer.bias))
        for layer in adapter.layers
    )
    return replace(adapter, layers=layers, saved={**adapter.saved, **biases.saved})


@dataclass
class Pair:
    """A base model, a tuned copy, and the kinds of weights in it.

    Fields:
        base: The base, as a PyTorch module.
        tuned: The copy, some of whose parameters changed.
        kinds: Kind by a pattern of the module's name; linear where none matches.
        saved: Patterns of parameters that are saved as a whole; biases apart.
        checkpoint: Whether names and tensors are those of the checkpoint, not of the live model.
        task: PEFT's name of the task.
    """

    base: Any
    tuned: Any
    kinds: dict[str, Kind] = field(default_factory=dict)
    saved: tuple[str, ...] = ("norm", "ln_", "LayerNorm")
    checkpoint: bool = False
    task: str | None = "CAUSAL_LM"
    tied: bool = False
    experts: bool = False

    def tensors(self, model: Any, folder: Path) -> dict[str, np.ndarray]:
        """All parameters by name."""
        if not self.checkpoint:
            return {n: p.detach().numpy().copy() for n, p in model.state_dict().items()}
        from safetensors.numpy import load_file

        model.save_pretrained(folder)
        return load_file(folder / "model.safetensors")

    def modules(self) -> list[str]:
        return [name for name, _ in self.base.named_modules() if name]

    def logits(self, model: Any) -> np.ndarray:
        """What a model answers to a fixed question."""
        import torch

        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            if self.task is None:
                return model(torch.randn((2, 3, 8, 8), generator=generator)).numpy()
            tokens = torch.randint(0, 64, (2, 12), generator=generator)
            return model(tokens).logits.numpy()

    def adapter(self, folder: Path, rank: Callable[[str], int] | None = None) -> Adapter:
        """The adapter of full rank, by NumPy, or of the rank that a function of the name says."""
        base, tuned = self.tensors(self.base, folder / "b"), self.tensors(self.tuned, folder / "t")
        layers, saved, biases = [], {}, ({}, {})
        for name in sorted(tuned):
            module, _, parameter = name.rpartition(".")
            if parameter == "bias":
                biases[0][name], biases[1][name] = base[name], tuned[name]
            elif np.array_equal(base.get(name), tuned[name]):
                continue
            elif any(re.search(pattern, name) for pattern in self.saved):
                saved[name] = tuned[name]
            else:
                kind = next((k for p, k in self.kinds.items() if re.search(p, module)), Kind.LINEAR)
                wanted = rank(module) if rank else None
                layers.append(full_rank(module, kind, tuned[name] - base[name], wanted))
        whole = {name.rpartition(".")[0] for name in saved}
        saved |= {n: b for n, b in biases[1].items() if n.rpartition(".")[0] in whole}
        rest = [{n: b for n, b in side.items() if n not in saved} for side in biases]
        adapter = Adapter(layers=layers, saved=saved, tied=self.tied, experts=self.experts,
                          task_type=self.task)  # fmt: skip
        return with_biases(adapter, *rest)


def full_rank(module: str, kind: Kind, change: np.ndarray, rank: int | None = None) -> AdaptedLayer:
    """The factors of a change by NumPy's SVD in float64, of full rank or of another."""
    W = change.astype(np.float64).reshape(matrix_shape(change.shape))
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    wanted = rank or len(S)
    factors = Factors((U * np.sqrt(S)).astype(np.float32)[:, :wanted],
                      (np.sqrt(S)[:, None] * Vt).astype(np.float32)[:wanted])  # fmt: skip
    return AdaptedLayer(module=module, kind=kind, factors=factors.pad(wanted), shape=change.shape)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What transformers says about its own deprecations is not what these tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def tune(base: Any, changed: str, unchanged: str = "$^", size: float = 0.05) -> Any:
    """A copy with noise on every parameter whose name matches `changed` and not `unchanged`."""
    import torch

    tuned = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if re.search(changed, name) and not re.search(unchanged, name):
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return tuned


def llama(*, tied: bool = False, **sizes: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**{**SIZES, "tie_word_embeddings": tied, **sizes})
    return LlamaForCausalLM(config).eval()


def _built(model: str, **settings: Any) -> Any:
    """A causal language model of transformers by the stem of its class."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{model}Config")(**settings)
    whole = getattr(transformers, f"{model}ForCausalLM", None) or getattr(
        transformers, f"{model}LMHeadModel"
    )
    return whole(config).eval()


def plain_llama() -> Pair:
    base = llama()
    return Pair(base, tune(base, "proj|lm_head|norm"))


def unchanged_layer() -> Pair:
    base = llama()
    return Pair(base, tune(base, "proj", unchanged=r"layers\.1\.|layers\.0\.mlp\.up_proj"))


def qwen2() -> Pair:
    base = _built("Qwen2", **SIZES)
    return Pair(base, tune(base, "proj|norm", unchanged=r"layers\.1\.self_attn\.k_proj"))


def qwen2_attention() -> Pair:
    base = _built("Qwen2", **SIZES)
    changed = r"[qkv]_proj"
    return Pair(base, tune(base, changed, unchanged=r"layers\.1\.self_attn\.k_proj\.bias"))


def gpt2() -> Pair:
    base = _built("GPT2", **GPT2)
    changed = tune(base, r"c_attn|c_proj|c_fc|ln_f|ln_1\.bias")
    return Pair(base, changed, kinds={"c_": Kind.TRANSPOSED})


def gpt2_positions() -> Pair:
    base = _built("GPT2", **GPT2)
    kinds = {"c_": Kind.TRANSPOSED, "wpe": Kind.EMBEDDING}
    return Pair(base, tune(base, "c_attn|wpe"), kinds=kinds)


def gpt2_with_head() -> Pair:
    base = _built("GPT2", **GPT2, tie_word_embeddings=False)
    return Pair(base, tune(base, r"c_attn\.weight|lm_head"), kinds={"c_": Kind.TRANSPOSED})


def embedding() -> Pair:
    base = llama()
    return Pair(base, tune(base, "q_proj|embed_tokens"), kinds={"embed": Kind.EMBEDDING})


def tied() -> Pair:
    base = llama(tied=True)
    saved = ("norm", "embed_tokens", "lm_head")
    return Pair(base, tune(base, "proj|embed_tokens"), saved=saved, tied=True)


def tied_gpt2() -> Pair:
    base = _built("GPT2", **GPT2)
    pair = Pair(base, tune(base, r"c_attn\.weight|wte"), kinds={"c_": Kind.TRANSPOSED}, tied=True)
    pair.saved = ("wte", "lm_head")
    return pair


def resized() -> Pair:
    """The user resizes the base; new rows are in the tuned model only."""
    base = llama()
    with quiet():
        base.resize_token_embeddings(70)
    saved = ("embed_tokens", "lm_head")
    return Pair(base, tune(base, "proj|embed_tokens|lm_head"), saved=saved)


def bert(head: str = r"classifier\.bias", saved: tuple[str, ...] = ()) -> Pair:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
    base = BertForSequenceClassification(BertConfig(**sizes)).eval()
    changed = rf"query|key|value|dense|LayerNorm\.bias|{head}"
    return Pair(base, tune(base, changed), saved=saved, task="SEQ_CLS")


def bert_with_head() -> Pair:
    return bert("classifier", saved=("classifier",))


def bert_with_head_in_factors() -> Pair:
    return bert("classifier")


def convolutions() -> Pair:
    import torch
    from torch import nn

    torch.manual_seed(0)
    base = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(),
        nn.Conv2d(6, 4, (2, 3), stride=2, bias=False), nn.Flatten(1), nn.Linear(48, 5),
    ).eval()  # fmt: skip
    return Pair(base, tune(base, "weight|bias"), kinds={"[024]$": Kind.CONVOLUTION}, task=None)


def mixtral() -> Pair:
    base = _built("Mixtral", **SIZES, num_local_experts=4)
    return Pair(base, tune(base, "proj|gate"), checkpoint=True, experts=True)


def qwen3_moe(changed: str = "proj|gate", **sizes: Any) -> Pair:
    base = _built("Qwen3Moe", **SIZES, **MOE, head_dim=6, num_experts=4, **sizes)
    return Pair(base, tune(base, changed), checkpoint=True, experts=True)


def qwen3_with_a_dense_layer() -> Pair:
    return qwen3_moe(mlp_only_layers=[0])


def qwen3_one_layer_of_experts() -> Pair:
    return qwen3_moe(r"layers\.1\.mlp\.(experts|gate)|layers\.0\.self_attn")


def qwen3_no_experts() -> Pair:
    return qwen3_moe("proj", mlp_only_layers=[0, 1])


def qwen3_only_down() -> Pair:
    return qwen3_moe("down_proj|q_proj")


def qwen3_only_experts() -> Pair:
    return qwen3_moe("experts")


def qwen2_moe() -> Pair:
    base = _built("Qwen2Moe", **SIZES, **MOE, num_experts=4, shared_expert_intermediate_size=12)
    pair = Pair(base, tune(base, r"proj.weight|_proj$|gate", "norm"), checkpoint=True)
    pair.experts = True
    return pair


def deepseek() -> Pair:
    sizes = {**SIZES, "num_key_value_heads": 4, **MOE}
    base = _built("DeepseekV3", **sizes, n_routed_experts=4, n_group=1, topk_group=1,
                  first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
                  v_head_dim=6, qk_nope_head_dim=6)  # fmt: skip
    return Pair(base, tune(base, "proj|gate"), checkpoint=True, experts=True)


PAIRS: dict[str, Callable[[], Pair]] = {
    "Llama": plain_llama,
    "Llama, unchanged layers": unchanged_layer,
    "Llama, embedding in factors": embedding,
    "Llama, tied embeddings": tied,
    "Llama, resized vocabulary": resized,
    "Qwen2, biases of some layers": qwen2,
    "Qwen2, biases of all layers": qwen2_attention,
    "GPT-2": gpt2,
    "GPT-2, positions in factors": gpt2_positions,
    "GPT-2, tied embeddings": tied_gpt2,
    "BERT, biases of norms": bert,
    "BERT, head": bert_with_head,
    "BERT, head in factors": bert_with_head_in_factors,
    "convolutions": convolutions,
    "Mixtral": mixtral,
    "Qwen3-MoE": qwen3_moe,
    "Qwen3-MoE, a dense layer": qwen3_with_a_dense_layer,
    "Qwen3-MoE, experts of one layer": qwen3_one_layer_of_experts,
    "Qwen3-MoE, no experts": qwen3_no_experts,
    "Qwen3-MoE, outputs of experts": qwen3_only_down,
    "Qwen3-MoE, experts only": qwen3_only_experts,
    "Qwen2-MoE, a shared expert": qwen2_moe,
    "DeepSeek-V3, shared experts": deepseek,
}
