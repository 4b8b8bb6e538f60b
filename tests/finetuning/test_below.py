"""What lies below the first adapted layer, computed once; kinds of layers; and memory."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.finetuning import finetune, memory
from eckart.finetuning.below import Below, outputs
from eckart.finetuning.dataset import Task
from eckart.finetuning.memory import WORK, Memory, peak_of
from eckart.finetuning.network import layers_of, open_network
from finetuning.models import CONFIGS, SIZES, save_base, save_table
from finetuning.test_finetune import stopped

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
QUICK = {"rank": 2, "epochs": 2.0, "batch": 12, "learning_rate": 1e-2}
TOP = ["*.1.*"]  # the second of two blocks
WITH_BLOCKS = ("bert", "roberta", "distilbert", "gpt2", "llama")


@pytest.mark.parametrize("kind", WITH_BLOCKS)
def test_what_is_kept_changes_nothing_but_the_time(kind, bases, table, tmp_path, monkeypatch):
    settings = {**QUICK, "dropout": False, "targets": TOP}
    kept = finetune(bases[kind], table, tmp_path / "kept", **settings)
    assert kept.kept_blocks == 1
    monkeypatch.setattr(Below, "find", staticmethod(lambda *_: None))
    whole = finetune(bases[kind], table, tmp_path / "whole", **settings)
    assert whole.kept_blocks == 0
    losses = [[one["loss"] for one in own.run["history"]] for own in (kept, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("bert", {"targets": TOP, "dropout": True}), ("bert", {}), ("bart", {})],
)
def test_nothing_is_kept_where_something_below_changes(kind, more, bases, table, tmp_path):
    result = finetune(bases[kind], table, tmp_path / "a", **{**QUICK, **more})
    assert result.kept_blocks == 0


def test_a_model_whose_blocks_depend_on_what_fills_texts_up_is_refused(
    bases, table, tmp_path, monkeypatch
):
    """A block that counts all tokens of a batch gives another answer in another batch."""
    own = transformers.models.bert.modeling_bert.BertLayer.forward

    def forward(self, hidden, *inputs, **named):
        return own(self, hidden, *inputs, **named) + 0.1 * hidden.shape[1]

    monkeypatch.setattr(transformers.models.bert.modeling_bert.BertLayer, "forward", forward)
    with pytest.raises(FormatError) as error:
        finetune(bases["bert"], table, tmp_path / "a", targets=TOP, **QUICK)
    assert error.value.code == "filler-counts"


def test_what_is_kept_is_used_only_if_it_gives_the_same_outputs(
    bases, table, tmp_path, monkeypatch
):
    keep = Below.keep

    def keep_others(self, model, data, count):
        made = keep(self, model, data, count)
        return replace(made, below=[one + 1e-3 for one in made.below])

    monkeypatch.setattr(Below, "keep", keep_others)
    result = finetune(bases["bert"], table, tmp_path / "a", targets=TOP, **QUICK)
    assert result.kept_blocks == 0


def test_a_run_with_kept_outputs_that_was_stopped_ends_as_one_that_was_not(bases, table, tmp_path):
    settings = {**QUICK, "dropout": False, "targets": TOP}
    finetune(bases["bert"], table, tmp_path / "whole", **settings)
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(bases["bert"], table, tmp_path / "a", watch=watch, **settings)
    finetune(bases["bert"], table, tmp_path / "a", resume=True, **settings)
    name = "adapter_model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_without_dropout_a_step_is_the_gradient_of_what_is_evaluated(bases, table, tmp_path):
    """With all rows in one batch the loss of the first step is that of the base."""
    losses = {}
    for dropout in (True, False):
        result = finetune(
            bases["bert"], table, tmp_path / str(dropout), validation=table, dropout=dropout,
            **{**QUICK, "batch": 96, "epochs": 1.0, "learning_rate": 1e-12, "head_rate": 1e-12},
        )  # fmt: skip
        losses[dropout] = result.run["history"][0]["loss"] - result.metrics["loss"][0]
    assert abs(losses[False]) < 1e-6 < abs(losses[True])


@pytest.mark.parametrize("kind", CONFIGS)
def test_kinds_of_layers_share_out_those_of_the_blocks(kind, bases):
    network = open_network(bases[kind], Task(name="classification", labels=("a", "b")), 0)
    every = layers_of(network, ())
    attention, mlp = (layers_of(network, (kind,)) for kind in ("attention", "mlp"))
    assert attention
    assert mlp
    assert not set(attention) & set(mlp)
    blocks = [name for name in every if any(part.isdigit() for part in name.split("."))]
    assert sorted([*attention, *mlp]) == sorted(blocks)
    # the same by the names that these models are known to give
    words = ("attention", "attn")
    assert all(any(word in name for word in words) for name in attention)
    assert not any("attn" in name or "attention.self" in name for name in mlp)


def test_a_last_name_is_a_kind_of_layer(bases):
    network = open_network(bases["bert"], Task(name="classification", labels=("a", "b")), 0)
    found = layers_of(network, ("query", "value"))
    assert found == [
        f"bert.encoder.layer.{block}.attention.self.{name}"
        for block in (0, 1)
        for name in ("query", "value")
    ]
    with pytest.raises(ArgumentError) as error:
        layers_of(network, ("uery",))
    assert error.value.code == "pattern-matches-nothing"


@given(rows=st.integers(1, 9), size=st.integers(1, 2000), keeps=st.integers(1, 4))
def test_the_peak_of_a_pass_is_counted(rows, size, keeps):
    held = torch.ones(size)

    def passed(count):
        kept = [held.expand(count, size) * 2.0 for _ in range(keeps)]
        # the sum of each row is made and given up at once
        for one in kept:
            one.sum(1)
        held.view(-1)

    # all that is kept, and one sum; a share is added for what operations hold inside
    least = 4 * (keeps * rows * size + rows)
    assert least <= peak_of(passed, [held], rows) <= (1 + WORK) * least


RUN = """
import sys, json
from eckart.finetuning import finetune
base, table, out, settings = sys.argv[1:]
result = finetune(base, table, out, **json.loads(settings))
print(json.dumps(result.memory))
"""


@pytest.mark.parametrize("more", [{"start": "whitened", "head_steps": 2}, {"task": "language"}])
def test_the_memory_that_was_told_is_kept(more, tmp_path):
    """A base whose activations for a batch are some hundred megabytes."""
    sizes = {**SIZES, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 8,
             "max_position_embeddings": 512}  # fmt: skip
    is_language = more.get("task") == "language"
    kind = "gpt2" if is_language else "bert"
    config = (
        transformers.GPT2Config(vocab_size=13, n_embd=256, n_layer=2, n_head=8, n_positions=512,
                                eos_token_id=2, bos_token_id=2)
        if is_language
        else transformers.BertConfig(**sizes)
    )  # fmt: skip
    auto = transformers.AutoModelForCausalLM if is_language else transformers.AutoModel
    base = save_base(tmp_path / "base", kind)
    auto.from_config(config).save_pretrained(base)
    path = base / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"model_max_length": 40', '"model_max_length": 512'))
    rows = save_table(tmp_path / "t.csv", 64).read_text().splitlines()
    # texts of many lengths leave gaps of many sizes in the memory of a process
    letters = ["abcdefghij"[place % 10] for place in range(200)]
    texts = [" ".join(letters[: 20 + 37 * place % 100]) for place in range(len(rows))]
    (tmp_path / "t.csv").write_text(
        "\n".join([rows[0], *map("{} {}".format, texts[1:], rows[1:])]) + "\n"
    )
    settings = {"rank": 2, "epochs": 1.0, "batch": 16, "length": 200, "learning_rate": 1e-3, **more}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(base), str(tmp_path / "t.csv"),
         str(tmp_path / "a"), json.dumps(settings)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["held"] <= found["expected"]
    # and it is no idle promise: what was told beyond the libraries is of the size of what was held
    assert found["expected"] <= 3 * found["held"]


def test_a_run_that_does_not_fit_is_refused_before_it_starts(bases, table, tmp_path, monkeypatch):
    monkeypatch.setattr("eckart.finetuning.passes.free_memory", lambda: 10_000_000)
    with pytest.raises(MatrixError, match="are free") as error:
        finetune(bases["bert"], table, tmp_path / "a", **QUICK)
    assert error.value.code == "too-little-memory"
    assert list(tmp_path.iterdir()) == []


def test_the_batch_that_would_fit_is_told():
    asked = Memory(held=10, learnt=100, passes=1600, kept=0, free=memory.LIBRARIES + 900)
    with pytest.raises(MatrixError) as error:
        asked.check(16)
    assert "`batch` to 8" in error.value.hint


def test_a_text_that_the_model_cannot_take_is_refused_in_a_sentence(bases, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    config = json.loads((base / "config.json").read_text())
    # positions that the configuration does not name as such
    (base / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4}))
    transformers.AutoModel.from_config(
        transformers.AutoConfig.from_pretrained(base)
    ).save_pretrained(base)
    path = base / "tokenizer_config.json"
    own = json.loads(path.read_text())
    path.write_text(json.dumps({**own, "model_max_length": 4}))
    finetune(base, table, tmp_path / "a", **QUICK)  # cut to four tokens
    other = json.loads((bases["bert"] / "tokenizer.json").read_text())
    other["model"]["vocab"] = {**other["model"]["vocab"], "a": 99}
    (base / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(FormatError) as error:
        finetune(base, table, tmp_path / "b", **QUICK)
    assert error.value.code == "other-tokenizer"


def test_rows_are_put_where_their_mask_is(bases, table):
    from eckart.finetuning.dataset import labelled, read_columns_of_text, task_of
    from eckart.finetuning.encoded import encoded

    texts, labels = read_columns_of_text(table, "text", "label")
    task = task_of(labels, None)
    network = open_network(bases["bert"], task, 0)
    data = encoded(
        labelled(texts, labels, task, ""), task, network.tokenizer,
        {"input_ids": 0, "attention_mask": 0}, 40,
    )  # fmt: skip
    model = network.model
    for name, one in model.named_parameters():
        one.requires_grad_("layer.1" in name)
    below = Below.find(model, data)
    assert below is not None
    kept = below.keep(model, data, 5)
    assert below.nbytes(data) == sum(one.numel() * 4 for one in kept.below)
    places = np.array([7, 3, 50])
    with torch.no_grad():
        whole = model(**data.batch(places)).logits
        short = outputs(model, kept.batch(places), below).logits
    assert torch.allclose(whole, short, rtol=1e-5, atol=1e-6)
