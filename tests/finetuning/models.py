"""Tiny bases of many types, without a head, and a table of texts and labels to learn from."""

import csv
import json

import numpy as np
import torch
import transformers

WORDS = ["<pad>", "<unk>", "<eos>", *"abcdefghij"]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZES),
    "roberta": lambda: transformers.RobertaConfig(**SIZES, pad_token_id=0),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=24,
        max_position_embeddings=40,
    ),
    "bart": lambda: transformers.BartConfig(
        vocab_size=len(WORDS), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, max_position_embeddings=40, pad_token_id=0, eos_token_id=2,
        bos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=40,
        eos_token_id=2, bos_token_id=2,
    ),
    "llama": lambda: transformers.LlamaConfig(**SIZES, eos_token_id=2, bos_token_id=2),
}  # fmt: skip


def save_base(folder, kind, seed=0, auto=transformers.AutoModel):
    """A folder with a base of random weights and a tokenizer of single letters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        auto.from_config(CONFIGS[kind]()).save_pretrained(folder)
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": place, "content": word, "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False}
            for place, word in enumerate(WORDS[:3])
        ],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {
            "type": "WordLevel",
            "vocab": {word: place for place, word in enumerate(WORDS)},
            "unk_token": "<unk>",
        },
        # a last token of each text, which the head of BART looks for
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<eos>": {"id": "<eos>", "ids": [2], "tokens": ["<eos>"]}},
        },
    }  # fmt: skip
    pad = {} if kind in ("gpt2", "llama") else {"pad_token": "<pad>"}
    named = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "eos_token": "<eos>",
        "model_max_length": 40,
        **pad,
    }
    for name, document in (("tokenizer", tokenizer), ("tokenizer_config", named)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def texts(count, seed=0):
    """Texts of letters; the label says whether most of them are of the first half."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        letters = generator.choice(list("abcdefghij"), generator.integers(3, 9))
        share = float(np.mean([letter < "f" for letter in letters]))
        rows.append((" ".join(letters), "early" if share > 0.5 else "late", share - 0.503))
    return rows


def save_table(path, count=96, seed=0):
    """A table with a column of texts, one of classes and one of numbers."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "score"))
        writer.writerows(texts(count, seed))
    return path
