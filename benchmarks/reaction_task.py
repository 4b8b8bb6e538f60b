"""The classifier of reactions: its two checkpoints, the questions, and the answers of any model.

The pair and its vocabulary are in the wheel of rxnfp 0.1.0, which is unpacked and never installed;
the questions are 5 001 reactions of USPTO-50K with their superclasses, and the names of the 50
classes of the fine-tune, whose first number is the superclass.
"""

import argparse
import csv
import gzip
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Answers: TypeAlias = npt.NDArray[np.int64]

MODELS = Path("rxnfp/models/transformers")
BASE, TUNED = "bert_pretrained", "bert_ft_10k_25s"
QUESTIONS, CLASSES = "uspto50k_test.tsv.gz", "rxnclass2id.json"
HOW = {
    "models": "pip download --no-deps rxnfp==0.1.0 && unzip rxnfp-0.1.0-py3-none-any.whl -d FOLDER",
    "data": f"{QUESTIONS}: a table of superclass and reaction (RetroComposer's data/USPTO50K "
    f"without atom maps); {CLASSES}: of rxn4chemistry/rxnfp",
}
TOKEN = re.compile(
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$"
    r"|%[0-9]{2}|[0-9])"
)
BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the models are asked.

    Fields:
        tokens: Of each reaction, from the start token to the separator.
        truth: Its superclass.
        superclass: That of each of the 50 classes.
    """

    tokens: list[list[int]]
    truth: Answers
    superclass: Answers

    def right(self, answers: Answers) -> npt.NDArray[np.bool_]:
        """Whether each answer is of the right superclass."""
        return self.superclass[answers] == self.truth


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The options that say where the inputs are."""
    parser.add_argument("--models", type=Path, required=True, help="where rxnfp's wheel is")
    parser.add_argument("--data", type=Path, required=True, help=f"of {QUESTIONS} and {CLASSES}")
    parser.add_argument("--count", type=int, help="of the questions, for a quick look")


def check_folders(options: argparse.Namespace) -> None:
    """Leave with a sentence for each input that is not there, and how to get it."""
    names = ("pytorch_model.bin", "config.json", "vocab.txt")
    wanted = {
        "models": [MODELS / model / name for model in (BASE, TUNED) for name in names],
        "data": [Path(QUESTIONS), Path(CLASSES)],
    }
    lines: list[str] = []
    for place, paths in wanted.items():
        missing = [path for path in paths if not (getattr(options, place) / path).is_file()]
        lines += [f"{getattr(options, place) / path} is missing." for path in missing]
        lines += [f"How to get it: {HOW[place]}", ""] if missing else []
    if lines:
        sys.exit("\n".join(lines))


def read_task(models: Path, data: Path, count: int | None = None) -> Task:
    """The reactions, as the fine-tune reads them."""
    names = (models / MODELS / TUNED / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {name: number for number, name in enumerate(names) if name}
    with gzip.open(data / QUESTIONS, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))[:count]
    classes = json.loads((data / CLASSES).read_text(encoding="utf-8"))
    superclass = np.zeros(len(classes), np.int64)
    for name, number in classes.items():
        superclass[number] = int(name.partition(".")[0])
    return Task(
        tokens=[tokenised(row["reaction"], vocabulary) for row in rows],
        truth=np.array([int(row["superclass"]) for row in rows]),
        superclass=superclass,
    )


def tokenised(reaction: str, vocabulary: dict[str, int]) -> list[int]:
    """The numbers of its tokens; one that the vocabulary lacks ends the script."""
    tokens = TOKEN.findall(reaction)
    unknown = sorted({token for token in tokens if token not in vocabulary})
    if "".join(tokens) != reaction or unknown:
        sys.exit(f"'{reaction}' has tokens that are unknown: {unknown}")
    return [vocabulary[token] for token in ("[CLS]", *tokens, "[SEP]")]


def make_pair(models: Path, cache: Path) -> tuple[Path, Path]:
    """Both checkpoints as folders of safetensors with the configuration of the classifier."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig

    known = json.loads((models / MODELS / TUNED / "config.json").read_text(encoding="utf-8"))
    shapes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = BertConfig(
        num_labels=50,
        vocab_size=known["vocab_size"],
        architectures=["BertForSequenceClassification"],
        **{name: known[name] for name in shapes},
    )
    folders = cache / "reactions-base", cache / "reactions-tuned"
    for name, folder in zip((BASE, TUNED), folders, strict=True):
        if (folder / "model.safetensors").exists():
            continue
        path = models / MODELS / name / "pytorch_model.bin"
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        config.save_pretrained(folder)
        own = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
        save_file(own, folder / "model.safetensors", metadata={"format": "pt"})
    return folders


def classifier(folder: Path) -> Any:
    """The model of a checkpoint; a head that it lacks is random."""
    from transformers import BertForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return BertForSequenceClassification.from_pretrained(folder).eval()


def answers(model: Any, task: Task, places: Answers | None = None) -> Answers:
    """The class that a model gives to each reaction, or to some of them."""
    import torch

    tokens = task.tokens if places is None else [task.tokens[place] for place in places]
    order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    found = np.empty(len(tokens), np.int64)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        given = np.zeros((len(batch), len(tokens[batch[-1]])), np.int64)
        for row, place in enumerate(batch):
            given[row, : len(tokens[place])] = tokens[place]
        ids = torch.from_numpy(given)
        with torch.inference_mode():  # token 0 is the padding
            logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        found[batch] = logits.argmax(dim=1).numpy()
    return found
