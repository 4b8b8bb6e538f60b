"""Language as a task: what is learnt of a text, which models can, and what PEFT loads."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
import transformers

from eckart.cli import main
from eckart.errors import EckartError, FormatError
from eckart.finetuning import finetune
from eckart.finetuning.dataset import Rows, Task
from eckart.finetuning.encoded import UNLEARNT, encoded
from eckart.finetuning.language import split_texts
from eckart.finetuning.metrics import measured
from finetuning.models import save_base

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
LANGUAGE = Task(name="language")
QUICK = {"rank": 2, "epochs": 1.0, "batch": 8, "learning_rate": 1e-2, "task": "language"}
KINDS = ("gpt2", "llama")
END = 2


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    auto = transformers.AutoModelForCausalLM
    return {kind: save_base(folder / kind, kind, auto=auto) for kind in KINDS}


def sentences(count, seed=0):
    """Texts in which each letter is most likely followed by the next one."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        place = int(generator.integers(10))
        letters = []
        for _ in range(int(generator.integers(4, 12))):
            letters.append("abcdefghij"[place])
            place = (place + (1 if generator.random() < 0.9 else 4)) % 10
        made.append(" ".join(letters))
    return made


def save_texts(path, count=80):
    rows = [{"text": text} for text in sentences(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_pairs(path, count=80):
    rows = [{"prompt": text[:3], "completion": text[4:]} for text in sentences(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_running(path, count=80):
    path.write_text("\n".join(sentences(count)))
    return path


SOURCES = {
    "texts.jsonl": save_texts,
    "pairs.jsonl": save_pairs,
    "running.txt": save_running,
}


def loss_by_hand(base, adapter, rows):
    """The mean loss of the tokens that are learnt, by PEFT and PyTorch alone, a row at a time."""
    from peft import PeftModel

    torch.manual_seed(4321)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = PeftModel.from_pretrained(model, adapter).eval()
    lost, count = 0.0, 0
    for tokens, first in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0].double()
        for place in range(max(1, first), len(tokens)):
            lost -= float(torch.log_softmax(logits[place - 1], 0)[tokens[place]])
            count += 1
    return lost / count


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_tokens_that_are_learnt(kind, name, bases, tmp_path):
    source = SOURCES[name](tmp_path / name)
    result = finetune(bases[kind], source, tmp_path / "a", length=16, **QUICK)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bases[kind])
    assert result.reload_difference < 1e-5

    def tokens(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    if name == "running.txt":
        lines = source.read_text().splitlines(keepends=True)
        _, held = split_texts(
            Rows(texts=tuple(lines), labels=np.zeros(len(lines)), is_running=True), 0.1, 0
        )
        every = tokens("".join(held.texts))
        rows = [(every[start : start + 16], 0) for start in range(0, len(every), 16)]
        rows = [(own, first) for own, first in rows if len(own) > 1]
    else:
        known = [json.loads(line) for line in source.read_text().splitlines()]
        places = np.sort(np.random.default_rng([0, 1]).permutation(len(known))[-8:])
        rows = []
        for row in (known[place] for place in places):
            before = tokens(row.get("prompt", ""))
            rows.append(([*before, *tokens(row.get("completion", row.get("text"))), END],
                         len(before)))  # fmt: skip
    found = loss_by_hand(bases[kind], tmp_path / "a", rows)
    assert result.metrics["loss"][0] == pytest.approx(found, rel=1e-5)
    assert result.metrics["perplexity"][0] == pytest.approx(math.exp(found), rel=1e-4)
    assert result.rows[1] == len(rows)


def test_more_is_learnt_than_the_base_knows(bases, tmp_path):
    source = save_texts(tmp_path / "t.jsonl", 300)
    result = finetune(
        bases["llama"], source, tmp_path / "a", **{**QUICK, "rank": 4, "epochs": 6.0,
                                                    "learning_rate": 3e-2},
    )  # fmt: skip
    assert result.grade == "success"
    assert result.metrics["loss"][0] < result.reference_loss - 0.1
    assert result.reference == "The base"


def test_nothing_learnt_is_no_success(bases, tmp_path):
    source = save_texts(tmp_path / "t.jsonl")
    result = finetune(
        bases["gpt2"], source, tmp_path / "a", **{**QUICK, "learning_rate": 1e-12}
    )  # fmt: skip
    # at such a rate the loss is that of the base but for rounding, on either side of it
    assert result.metrics["loss"][0] == pytest.approx(result.reference_loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "bart"])
def test_a_model_that_reads_what_follows_is_refused(kind, tmp_path):
    auto = {
        "bart": transformers.AutoModelForSeq2SeqLM,
        "bert": transformers.AutoModelForCausalLM,
        "roberta": transformers.AutoModelForCausalLM,
    }.get(kind, transformers.AutoModelForMaskedLM)
    base = save_base(tmp_path / kind, kind, auto=auto)
    with pytest.raises(FormatError) as error:
        finetune(base, save_texts(tmp_path / "t.jsonl"), tmp_path / "a", **QUICK)
    assert error.value.code in ("not-causal", "cannot-load")
    assert not (tmp_path / "a").exists()


def test_weights_that_the_outputs_lack_are_refused(tmp_path):
    config = transformers.LlamaConfig(
        vocab_size=13, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, tie_word_embeddings=False,
    )  # fmt: skip
    base = save_base(tmp_path / "base", "llama")
    transformers.AutoModel.from_config(config).save_pretrained(base)
    with pytest.raises(FormatError) as error:
        finetune(base, save_texts(tmp_path / "t.jsonl"), tmp_path / "a", **QUICK)
    assert error.value.code == "incomplete-model"


def make(texts, prompts=(), *, length=12, kind="gpt2", bases=None):
    tokenizer = transformers.AutoTokenizer.from_pretrained(bases[kind])
    tokenizer.pad_token = tokenizer.eos_token
    rows = Rows(texts=tuple(texts), labels=np.zeros(len(texts)), prompts=tuple(prompts))
    return encoded(rows, LANGUAGE, tokenizer, {"input_ids": 0, "attention_mask": 0}, length)


def test_the_end_of_a_text_is_learnt_though_it_also_fills_texts_up(bases):
    batch = make(["a b c", "a"], bases=bases).batch([0, 1])
    assert batch["input_ids"].tolist() == [[3, 4, 5, END], [3, END, END, END]]
    assert batch["labels"].tolist() == [[3, 4, 5, END], [3, END, UNLEARNT, UNLEARNT]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize("length", [3, 4, 6, 20])
def test_what_is_learnt_of_a_long_prompt_is_kept(length, bases):
    made = make(["h i"], ["a b c d e f"], length=length, bases=bases)
    batch = made.batch([0])
    tokens, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    assert len(tokens) == min(length, 9)
    whole = [3, 4, 5, 6, 7, 8, 10, 11, END]
    if length > 3:
        assert tokens == whole[-length:]
    # at least one token of the prompt stays before the first that is learnt
    assert labels[0] == UNLEARNT
    assert [one for one in labels if one != UNLEARNT] == [10, 11, END][: length - 1]
    assert made.cut == (length < 9)


def test_a_text_with_nothing_to_learn_is_refused(bases):
    tokenizer = transformers.AutoTokenizer.from_pretrained(bases["gpt2"])
    tokenizer.eos_token = None
    rows = Rows(texts=("a b", " "), labels=np.zeros(2), prompts=("a", "a"))
    with pytest.raises(FormatError, match="Row 2") as error:
        encoded(rows, LANGUAGE, tokenizer, {}, 8)
    assert error.value.code == "too-short"


def test_the_error_of_a_mean_over_tokens_is_that_of_its_rows():
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 40, 400).astype(float)
    means = generator.normal(2.0, 0.3, 400)
    figures = np.stack([means * counts, counts], 1)
    found = measured(figures, np.zeros(400), LANGUAGE, 0)
    # the spread of the mean over resamples of the rows; its own error is 1/sqrt(2 * 4000)
    draws = generator.integers(0, 400, (4000, 400))
    spread = np.std(figures[draws, 0].sum(1) / counts[draws].sum(1))
    assert found["loss"][1] == pytest.approx(spread, rel=0.08)
    assert found["perplexity"][0] == pytest.approx(math.exp(found["loss"][0]))


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        ('{"text": "a", "prompt": "b", "completion": "c"}\n' * 20, "t.jsonl", "no-such-column"),
        ('{"other": "a"}\n' * 20, "t.jsonl", "no-such-column"),
        ('{"prompt": "a", "completion": ""}\n' * 20, "t.jsonl", "missing-value"),
        ('{"text": "a b"}\n', "t.jsonl", "too-few-rows"),
        ("", "t.txt", "missing-value"),
        (" \n \n", "t.txt", "missing-value"),
        ("a b c\n", "t.txt", "too-few-rows"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(text, name, code, bases, tmp_path):
    source = tmp_path / name
    source.write_text(text)
    with pytest.raises(EckartError) as error:
        finetune(bases["gpt2"], source, tmp_path / "a", **QUICK)
    assert error.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_command_learns_a_language(bases, tmp_path, capsys):
    source = save_pairs(tmp_path / "pairs.jsonl")
    words = ["finetune", str(bases["gpt2"]), str(source), "--lm", "-o", str(tmp_path / "a"),
             "--rank", "1", "--batch", "8", "--epochs", "1", "--learning-rate", "0.01",
             "--json"]  # fmt: skip
    assert main(words) in (0, 3)
    document = json.loads(capsys.readouterr().out)["result"]
    assert document["task"] == "language"
    assert document["metrics"]["perplexity"]["value"] > 1
    assert "AutoModelForCausalLM" in (tmp_path / "a" / "README.md").read_text()
    assert main([*words, "--task", "regression", "--force"]) == 2
