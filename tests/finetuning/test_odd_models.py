"""Models, tokenizers, tables and files of odd kinds: each is right as a user has it, or refused."""

import json
import warnings

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from eckart.finetuning import finetune
from eckart.finetuning.dataset import Rows, Task
from eckart.finetuning.encoded import encoded
from finetuning.models import CONFIGS, SIZES, WORDS, save_base, save_table, texts
from finetuning.test_finetune import eckart_rows
from finetuning.test_language import save_texts

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
QUICK = {"rank": 2, "epochs": 1.0, "batch": 8, "learning_rate": 3e-2}
LANGUAGE = {**QUICK, "task": "language"}


@pytest.fixture
def table(tmp_path):
    return save_table(tmp_path / "table.csv")


def changed(folder, name, **more):
    """Change a document of a base."""
    path = folder / f"{name}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**document, **more}))
    return folder


def saved(folder, config, auto=transformers.AutoModel, kind="bert"):
    """A base of another configuration, with the tokenizer of a kind."""
    save_base(folder, kind)
    for path in (*folder.glob("model*"), folder / "config.json"):
        path.unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        auto.from_config(config).save_pretrained(folder)
    return folder


def loss_of_a_user(base, adapter, table, result):
    """The loss over the rows held back, one by one, loaded as the README of the adapter says."""
    snippet = (adapter / "README.md").read_text().split("```python")[1].split("```")[0]
    torch.manual_seed(77)
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(snippet.replace(repr(adapter.name), repr(str(adapter))), names)
    model, tokenizer = names["model"].eval(), transformers.AutoTokenizer.from_pretrained(base)
    known = names["base"].config.id2label
    lost = []
    for text, label in eckart_rows(table, result):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=ids).logits.double()[0]
        place = next(place for place, name in known.items() if name == label)
        lost.append(float(torch.logsumexp(logits, 0) - logits[place]))
    return float(np.mean(lost))


def is_right(base, table, folder, **more):
    """Whether a user finds the loss that was told."""
    result = finetune(base, table, folder, **{**QUICK, **more})
    found = loss_of_a_user(base, folder, table, result)
    return result.metrics["loss"][0] == pytest.approx(found, rel=1e-5)


def llama_with_filler():
    return transformers.LlamaConfig(**SIZES, eos_token_id=2, bos_token_id=2, pad_token_id=0)


BASES = {
    "llama whose tokenizer names no filler": lambda f: saved(f, llama_with_filler(), kind="llama"),
    "gpt2 that fills up on the left": lambda f: changed(
        changed(save_base(f, "gpt2"), "config", pad_token_id=0),
        "tokenizer_config",
        pad_token="<pad>",
        padding_side="left",
    ),
    "gpt2 on the left without a filler": lambda f: changed(
        save_base(f, "gpt2"), "tokenizer_config", padding_side="left"
    ),
    "gpt2 with another filler than its tokenizer": lambda f: changed(
        changed(save_base(f, "gpt2"), "config", pad_token_id=1),
        "tokenizer_config",
        pad_token="<pad>",
    ),
    "bert that fills up on the left": lambda f: changed(
        save_base(f, "bert"), "tokenizer_config", padding_side="left"
    ),
    "bert whose tokenizer gives no mask": lambda f: changed(
        save_base(f, "bert"), "tokenizer_config", model_input_names=["input_ids"]
    ),
    "albert, whose blocks are one": lambda f: saved(
        f, transformers.AlbertConfig(**{**SIZES, "embedding_size": 8})
    ),
    "electra": lambda f: saved(f, transformers.ElectraConfig(**SIZES, embedding_size=8)),
    "mpnet": lambda f: saved(f, transformers.MPNetConfig(**SIZES, pad_token_id=0)),
    "gpt-neox": lambda f: saved(
        f, transformers.GPTNeoXConfig(**SIZES, eos_token_id=2, bos_token_id=2), kind="gpt2"
    ),
    "qwen2": lambda f: saved(
        f, transformers.Qwen2Config(**SIZES, num_key_value_heads=2, eos_token_id=2), kind="gpt2"
    ),
}


@pytest.mark.parametrize("name", BASES)
def test_a_user_finds_the_loss_that_was_told(name, table, tmp_path):
    base = BASES[name](tmp_path / "base")
    assert is_right(base, table, tmp_path / "a")


def test_a_model_that_mixes_a_text_with_what_fills_it_up_is_refused(table, tmp_path):
    base = saved(tmp_path / "base", transformers.FNetConfig(**{
        name: one for name, one in SIZES.items() if name != "num_attention_heads"}))  # fmt: skip
    with pytest.raises(FormatError) as error:
        finetune(base, table, tmp_path / "a", **QUICK)
    assert error.value.code == "filler-counts"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_half_the_digits_is_loaded_as_it_was_learnt_with(dtype, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    transformers.AutoModel.from_pretrained(base).to(dtype).save_pretrained(base)
    assert is_right(base, table, tmp_path / "a")


@pytest.mark.parametrize("names", [{0: "late", 1: "early"}, {0: "x", 1: "y", 2: "z"}])
def test_a_base_that_is_a_classifier_of_other_classes_names_those_that_were_learnt(
    names, table, tmp_path
):
    base = save_base(tmp_path / "base", "bert")
    own = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, id2label=names, label2id={name: place for place, name in names.items()}
    )
    own.save_pretrained(base)
    assert is_right(base, table, tmp_path / "a")


def test_an_adapter_in_the_folder_of_the_base_is_refused(table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    finetune(base, table, tmp_path / "a", targets=["query"], **QUICK)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (base / name).write_bytes((tmp_path / "a" / name).read_bytes())
    with pytest.raises(ArgumentError) as error:
        finetune(base, table, tmp_path / "b", **QUICK)
    assert error.value.code == "no-such-model"


COPIERS = {
    "bart": lambda: transformers.BartConfig(
        vocab_size=len(WORDS), d_model=16, decoder_layers=2, decoder_attention_heads=2,
        decoder_ffn_dim=24, max_position_embeddings=40, is_decoder=True, is_encoder_decoder=False,
        pad_token_id=0, eos_token_id=2, bos_token_id=2, forced_eos_token_id=None,
    ),
    "olmoe": lambda: transformers.OlmoeConfig(
        **SIZES, num_experts=4, num_experts_per_tok=2, output_router_logits=True, eos_token_id=2,
        pad_token_id=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", COPIERS)
def test_what_is_learnt_is_the_next_token_whatever_the_model_takes_for_its_loss(kind, tmp_path):
    base = saved(tmp_path / "base", COPIERS[kind](), transformers.AutoModelForCausalLM, "gpt2")
    source = save_texts(tmp_path / "t.jsonl", 160)
    result = finetune(
        base, source, tmp_path / "a", **{**LANGUAGE, "epochs": 4.0, "validation": source}
    )
    # the loss of a step is of the kind of the loss that is evaluated: they meet over the same rows
    last = np.mean([one["loss"] for one in result.run["history"][-20:]])
    assert last == pytest.approx(result.metrics["loss"][0], rel=0.05)
    assert result.metrics["loss"][0] < result.reference_loss


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "rite", "scaled"])
def test_an_adapter_that_changes_nothing_is_a_start_that_learns(optimizer, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS")
    get_peft_model(model, config).save_pretrained(tmp_path / "zero")
    result = finetune(
        base, table, tmp_path / "a", start=tmp_path / "zero", optimizer=optimizer, **QUICK
    )
    assert all(one.norm > 0 for one in result.layers if "pooler" not in one.name)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "rite"])
def test_a_weight_of_zeros_is_no_end_of_pissa(optimizer, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    model = transformers.AutoModel.from_pretrained(base)
    with torch.no_grad():
        model.encoder.layer[0].attention.self.query.weight.zero_()
        model.encoder.layer[1].attention.self.key.weight[1:] = 0
    model.save_pretrained(base)
    result = finetune(base, table, tmp_path / "a", start="pissa", optimizer=optimizer, **QUICK)
    moved = {one.name: one.norm for one in result.layers}
    assert moved["bert.encoder.layer.0.attention.self.value"] > 0
    assert np.isfinite(list(moved.values())).all()


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"prompt": [{"role": "user", "content": "a"}], "completion": "b"}, "no-text"),
        ({"text": {"a": 1}}, "no-text"),
        ({"text": ["a", "b"]}, "no-text"),
    ],
)
def test_a_cell_that_is_no_text_is_refused(row, code, tmp_path):
    base = save_base(tmp_path / "base", "gpt2", auto=transformers.AutoModelForCausalLM)
    source = tmp_path / "t.jsonl"
    source.write_text((json.dumps(row) + "\n") * 20)
    with pytest.raises(EckartError) as error:
        finetune(base, source, tmp_path / "a", **LANGUAGE)
    assert error.value.code == code


def test_an_end_that_a_prompt_holds_itself_stays(tmp_path):
    base = save_base(tmp_path / "base", "gpt2")
    rows = Rows(texts=("c",), labels=np.zeros(1), prompts=("a b <eos>",))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    made = encoded(rows, Task(name="language"), tokenizer, {}, 20)
    assert made.columns["input_ids"] == [[3, 4, 2, 5, 2]]


@pytest.mark.parametrize("lost", ["layer.1.attention.self.query", "word_embeddings"])
def test_a_base_that_lacks_a_part_of_itself_is_refused(lost, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    tensors = load_file(base / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if lost not in name}
    save_file(kept, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError) as error:
        finetune(base, table, tmp_path / "a", **QUICK)
    assert error.value.code == "incomplete-model"


def test_a_table_of_another_size_is_refused_and_a_drawn_pooler_is_told(table, tmp_path):
    base = changed(save_base(tmp_path / "base", "bert"), "config", vocab_size=20)
    with pytest.raises(FormatError) as error:
        finetune(base, table, tmp_path / "a", **QUICK)
    assert error.value.code == "incomplete-model"
    base = save_base(tmp_path / "other", "bert")
    tensors = load_file(base / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if "pooler" not in name}
    save_file(kept, base / "model.safetensors", metadata={"format": "pt"})
    result = finetune(base, table, tmp_path / "b", **QUICK)
    assert any("pooler" in note for note in result.notes)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "rite", "scaled"])
@pytest.mark.parametrize(
    "more", [{"learning_rate": 1e30}, {"learning_rate": None, "head_rate": 1e38, "epochs": 40.0}]
)
def test_numbers_that_are_not_finite_are_told_in_a_sentence(more, optimizer, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    with pytest.raises(MatrixError) as error:
        finetune(base, table, tmp_path / "a", optimizer=optimizer, **{**QUICK, **more})
    assert error.value.code == "not-finite"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [("bart", "a b <eos> c", "end-in-text"), ("gpt2", "a b <unk>", "end-in-text")],
)
def test_a_text_that_hides_its_end_from_the_head_is_refused(kind, text, code, tmp_path):
    base = save_base(tmp_path / "base", kind)
    if kind == "gpt2":  # its tokenizer adds no end here, so that the last letter is the last token
        own = json.loads((base / "tokenizer.json").read_text())
        own.pop("post_processor")
        (base / "tokenizer.json").write_text(json.dumps(own))
    table = save_table(tmp_path / "t.csv")
    pad = transformers.AutoTokenizer.from_pretrained(base)
    ending = text if kind == "bart" else f"a b {pad.eos_token}"
    with table.open("a") as file:
        file.write(f"{ending},early,0.1\n")
    with pytest.raises(FormatError) as error:
        finetune(base, table, tmp_path / "a", **QUICK)
    assert error.value.code == code


def test_a_validation_of_one_token_is_refused(tmp_path):
    base = save_base(tmp_path / "base", "gpt2", auto=transformers.AutoModelForCausalLM)
    (tmp_path / "t.txt").write_text("a b c d e f g\n" * 20)
    (tmp_path / "v.txt").write_text("a")
    with pytest.raises(FormatError) as error:
        finetune(
            base, tmp_path / "t.txt", tmp_path / "a", validation=tmp_path / "v.txt", **LANGUAGE
        )
    assert error.value.code == "too-short"


def test_a_language_is_learnt_by_a_tokenizer_that_gives_no_mask(tmp_path):
    base = changed(
        save_base(tmp_path / "base", "gpt2", auto=transformers.AutoModelForCausalLM),
        "tokenizer_config", model_input_names=["input_ids"],
    )  # fmt: skip
    result = finetune(base, save_texts(tmp_path / "t.jsonl"), tmp_path / "a", **LANGUAGE)
    assert result.reload_difference < 1e-5


def test_a_language_model_of_few_positions_or_no_numbers_is_told(tmp_path):
    source = save_texts(tmp_path / "t.jsonl")
    few = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=4, eos_token_id=2
    )
    base = saved(tmp_path / "few", few, transformers.AutoModelForCausalLM, "gpt2")
    finetune(base, source, tmp_path / "a", **LANGUAGE)
    config = CONFIGS["gpt2"]()
    base = saved(tmp_path / "nan", config, transformers.AutoModelForCausalLM, "gpt2")
    tensors = load_file(base / "model.safetensors")
    tensors["transformer.ln_f.weight"] *= float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError) as error:
        finetune(base, source, tmp_path / "b", **LANGUAGE)
    assert error.value.code == "not-causal"
    tensors["transformer.ln_f.weight"] = torch.full((16,), 1e5)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    result = finetune(base, source, tmp_path / "c", **{**LANGUAGE, "learning_rate": 1e-9})
    assert ("perplexity" in result.metrics) == (result.metrics["loss"][0] < 700)


@pytest.mark.parametrize("more", [{"epochs": 1e308}, {"seed": 2**64}, {"seed": 2**63}])
def test_numbers_beyond_all_use_are_refused(more, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    with pytest.raises(ArgumentError) as error:
        finetune(base, table, tmp_path / "a", **{**QUICK, **more})
    assert error.value.code == "bad-number"


def test_a_batch_beyond_the_rows_takes_no_more_memory_than_they_do(table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    found = [
        finetune(base, table, tmp_path / str(batch), **{**QUICK, "batch": batch}).memory["expected"]
        for batch in (100, 10**12)
    ]
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_a_search_keeps_to_a_quarter_of_the_time(table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    result = finetune(
        base, table, tmp_path / "a", time_limit=1e-9,
        **{**QUICK, "learning_rate": None, "epochs": 100.0},
    )  # fmt: skip
    assert result.search["trials"] == () or len(result.search["trials"]) == 0
    assert result.run["step"] == 1


def test_a_layer_that_is_narrower_than_the_rank_has_its_own(tmp_path, table):
    base = saved(tmp_path / "base", transformers.ElectraConfig(**SIZES, embedding_size=8))
    result = finetune(base, table, tmp_path / "a", **{**QUICK, "rank": 12})
    ranks = {one.name: (one.rank, min(one.shape)) for one in result.layers}
    assert all(rank == min(12, most) for rank, most in ranks.values())
    assert {rank for rank, _ in ranks.values()} == {8, 12}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    PeftModel.from_pretrained(model, tmp_path / "a")


def test_labels_that_may_be_one_are_told(tmp_path):
    base = save_base(tmp_path / "base", "bert")
    rows = [(text, label if place % 3 else label.upper()) for place, (text, label, _)
            in enumerate(texts(96))]  # fmt: skip
    (tmp_path / "t.csv").write_text(
        "\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n"
    )
    result = finetune(base, tmp_path / "t.csv", tmp_path / "a", **QUICK)
    assert any("are two classes" in note for note in result.notes)


def test_no_token_is_taken_from_a_text_where_it_cannot_be_told_what_a_tokenizer_adds():
    class Tokenizer:
        """Gives other tokens, and one more, if it adds those of its own."""

        eos_token_id = 2

        def __call__(self, texts, *, add_special_tokens, verbose):
            made = [[1, 5, 6] if add_special_tokens else [7, 8] for _ in [texts]]
            return {"input_ids": made[0] if isinstance(texts, str) else made}

    rows = Rows(texts=("a",), labels=np.zeros(1))
    made = encoded(rows, Task(name="language"), Tokenizer(), {}, 20)
    assert made.columns["input_ids"] == [[1, 5, 6, 2]]
