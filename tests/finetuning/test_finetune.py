"""Fine-tuning from a table to an adapter: what PEFT loads, what stays, and what is gone on with."""

import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import eckart
from eckart.cli import main
from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from eckart.finetuning import finetune
from eckart.finetuning.rates import find_rate, rounds_of
from eckart.finetuning.settings import OPTIMIZERS, START_NAMES
from eckart.finetuning.unfinished import Unfinished
from finetuning.models import CONFIGS, save_base, save_table, texts

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
QUICK = {"rank": 2, "epochs": 1.0, "batch": 12, "learning_rate": 3e-3}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def stopped(steps):
    """A watch that interrupts behind so many steps of the learning itself."""
    left = [steps]

    @contextmanager
    def watch(what, _total):
        def report(advance, /, *, loss=None, said=""):
            if what.startswith("Learning") and what != "Learning the head":
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt

        yield report

    yield watch


def loaded(base, adapter, labels):
    """The adapter as a user loads it, in a process that has drawn other numbers before."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(12345)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
        model = PeftModel.from_pretrained(model, adapter).eval()
    return model, AutoTokenizer.from_pretrained(base)


@pytest.mark.parametrize("start", START_NAMES)
@pytest.mark.parametrize("kind", CONFIGS)
def test_peft_loads_what_was_learnt(kind, start, bases, table, tmp_path):
    before = files(bases[kind])
    result = finetune(bases[kind], table, tmp_path / "a", start=start, **QUICK)
    assert files(bases[kind]) == before
    assert result.reload_difference < 1e-5
    # the loss over the same rows, found anew by the means of PEFT alone
    model, tokenizer = loaded(bases[kind], tmp_path / "a", len(result.labels))
    assert model.active_peft_config.r == 2
    moved = [one for one in result.layers if one.norm > 0]
    assert len(moved) > len(result.layers) / 2
    held = eckart_rows(table, result)
    losses = []
    for text, label in held:
        encoded = tokenizer(text, return_tensors="pt")
        encoded.pop("token_type_ids", None)
        with torch.no_grad():
            logits = model(**encoded).logits.double()[0]
        losses.append(float(torch.logsumexp(logits, 0) - logits[result.labels.index(label)]))
    assert np.mean(losses) == pytest.approx(result.metrics["loss"][0], rel=1e-4)


def eckart_rows(table, result):
    """The rows held back, found again from the seed."""
    from eckart.finetuning.dataset import labelled, read_columns_of_text, split, task_of

    found, labels = read_columns_of_text(table, "text", "label")
    task = task_of(labels, None)
    _, held = split(labelled(found, labels, task, table), task, 0.1, result.settings["seed"])
    return [
        (text, task.labels[int(place)]) for text, place in zip(held.texts, held.labels, strict=True)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("start", START_NAMES)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(start, optimizer, bases, table, tmp_path):
    settings = {**QUICK, "start": start, "optimizer": optimizer}
    finetune(bases["bert"], table, tmp_path / "whole", **settings)
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt, match="resume"):
        finetune(bases["bert"], table, tmp_path / "halved", watch=watch, **settings)
    assert not (tmp_path / "halved").exists()
    torch.manual_seed(99)
    np.random.seed(99)
    finetune(bases["bert"], table, tmp_path / "halved", resume=True, **settings)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "halved" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["halved", "whole"]


@pytest.mark.parametrize(
    ("changed", "code"), [({"seed": 1}, "another-job"), ({"rank": 3}, "another-job"), ({}, None)]
)
def test_unfinished_work_belongs_to_one_job(changed, code, bases, table, tmp_path):
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(bases["bert"], table, tmp_path / "a", watch=watch, **QUICK)
    with pytest.raises(ArgumentError) as error:
        finetune(bases["bert"], table, tmp_path / "a", **{**QUICK, **changed})
    assert error.value.code == "unfinished-work"
    if code is None:
        finetune(bases["bert"], table, tmp_path / "a", force=True, **QUICK)
        return
    with pytest.raises(ArgumentError) as error:
        finetune(bases["bert"], table, tmp_path / "a", resume=True, **{**QUICK, **changed})
    assert error.value.code == code


def test_other_data_is_another_job(bases, table, tmp_path):
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(bases["bert"], table, tmp_path / "a", watch=watch, **QUICK)
    other = save_table(tmp_path / "other.csv", seed=1)
    with pytest.raises(ArgumentError, match="data"):
        finetune(bases["bert"], other, tmp_path / "a", resume=True, **QUICK)
    base = save_base(tmp_path / "base", "bert", seed=1)
    with pytest.raises(ArgumentError, match="model"):
        finetune(base, table, tmp_path / "a", resume=True, **QUICK)


def test_nothing_to_go_on_from_is_told_and_nothing_is_replaced(bases, table, tmp_path):
    finetune(bases["bert"], table, tmp_path / "a", **QUICK)
    before = files(tmp_path / "a")
    for name in ("a", "b"):
        with pytest.raises(ArgumentError) as error:
            finetune(bases["bert"], table, tmp_path / name, resume=True, **QUICK)
        assert error.value.code in ("nothing-to-resume", "output-exists")
    assert files(tmp_path / "a") == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_run_stopped_in_its_first_steps_keeps_its_rate(bases, table, tmp_path, monkeypatch):
    monkeypatch.setattr("eckart.finetuning.rates.FEWEST_STEPS", 3)
    settings = {**QUICK, "learning_rate": None, "epochs": 12.0}
    whole = finetune(bases["bert"], table, tmp_path / "whole", **settings)
    assert whole.search["trials"]
    with stopped(1) as watch, pytest.raises(KeyboardInterrupt):
        finetune(bases["bert"], table, tmp_path / "a", watch=watch, **settings)
    result = finetune(bases["bert"], table, tmp_path / "a", resume=True, **settings)
    assert result.search["rate"] == whole.search["rate"]
    name = "adapter_model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_digest_of_the_base_does_not_depend_on_the_seed(bases, table, tmp_path):
    found = {
        finetune(bases["bert"], table, tmp_path / str(seed), seed=seed, **QUICK).base_digest
        for seed in (0, 1)
    }
    assert len(found) == 1


def test_a_file_of_somebody_else_in_the_place_of_unfinished_work_stays(bases, table, tmp_path):
    place = Unfinished.place(tmp_path / "a")
    place.write_bytes(b"mine")
    with pytest.raises(EckartError):
        finetune(bases["bert"], table, tmp_path / "a", force=True, **QUICK)
    assert place.read_bytes() == b"mine"


def test_one_seed_is_one_adapter_and_another_is_another(bases, table, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 1000)
        finetune(bases["bert"], table, tmp_path / name, seed=seed, **QUICK)
    one, same, other = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc"
    )
    assert one == same != other


def test_more_is_learnt_than_an_answer_without_the_text(bases, tmp_path):
    table = save_table(tmp_path / "t.csv", 400)
    result = finetune(
        bases["bert"], table, tmp_path / "a", rank=4, epochs=6, batch=16, learning_rate=1e-2,
        head_rate=1e-2, share=0.25, optimizer="adamw",
    )  # fmt: skip
    assert result.grade == "success"
    assert result.metrics["accuracy"][0] > 0.7
    assert result.metrics["loss"][0] < result.reference_loss


def test_numbers_are_a_regression(bases, tmp_path):
    table = save_table(tmp_path / "t.csv", 400)
    result = finetune(
        bases["bert"], table, tmp_path / "a", label="score", rank=4, epochs=6, batch=16,
        learning_rate=1e-2, head_rate=1e-2, share=0.25, optimizer="adamw",
    )  # fmt: skip
    assert result.task == "regression"
    assert result.metrics["spearman"][0] > 0.5
    assert result.grade == "success"


def test_nothing_learnt_is_short_of_the_target(bases, table, tmp_path):
    result = finetune(
        bases["bert"], table, tmp_path / "a", rank=1, batch=12, learning_rate=1e-12, head_rate=1e-12
    )
    assert result.grade == "short"
    assert "nothing was learnt" in result.message


def test_a_rate_that_is_too_high_is_told_with_one_to_try(bases, table, tmp_path):
    with pytest.raises(MatrixError, match="not finite") as error:
        finetune(
            bases["bert"], table, tmp_path / "a", rank=2, batch=12, learning_rate=1e30,
            head_rate=1e30,
        )  # fmt: skip
    assert "learning_rate" in error.value.hint
    assert not (tmp_path / "a").exists()


def replaced(path, old, new):
    path.write_text(path.read_text().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"label": "nothing"}, "no-such-column"),
        ({"text": "nothing"}, "no-such-column"),
        ({"label": "text"}, "no-such-column"),
        ({"targets": ["nothing.*"]}, "pattern-matches-nothing"),
        ({"rank": 17}, "rank-too-large"),
        ({"rank": 0}, "bad-number"),
        ({"learning_rate": -1.0}, "bad-number"),
        ({"learning_rate": float("nan")}, None),
        ({"epochs": 0.0}, "bad-number"),
        ({"epochs": float("inf")}, "bad-number"),
        ({"weight_decay": float("inf")}, "bad-number"),
        ({"share": 1.0}, "bad-number"),
        ({"start": "pissa2"}, "no-such-start"),
        ({"optimizer": "sgd"}, "no-such-optimizer"),
        ({"task": "regression"}, "not-numbers"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(change, code, bases, table, tmp_path):
    with pytest.raises(EckartError) as error:
        finetune(bases["bert"], table, tmp_path / "a", **{**QUICK, **change})
    assert code is None or error.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("text,label\na,x\nb,x\n", "one-class"),
        ("text,label\na,x\n,y\n", "missing-value"),
        ("text,label\na,x\nb,\n", "missing-value"),
        ("text,label\na,x\nb,y\n", "too-few-rows"),
    ],
)
def test_tables_that_cannot_be_learnt_from_are_refused(text, code, bases, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises((FormatError, MatrixError)) as error:
        finetune(bases["bert"], table, tmp_path / "a", **QUICK)
    assert error.value.code == code


def test_a_label_that_only_the_validation_has_is_refused(bases, table, tmp_path):
    other = replaced(save_table(tmp_path / "v.csv", 20, seed=3), "late", "never")
    with pytest.raises(FormatError) as error:
        finetune(bases["bert"], table, tmp_path / "a", validation=other, **QUICK)
    assert error.value.code == "new-label"


def test_a_folder_without_a_model_is_refused(table, tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(ArgumentError) as error:
        finetune(tmp_path / "base", table, tmp_path / "a")
    assert error.value.code == "no-such-model"


def test_the_search_finds_the_rate_of_the_lowest_loss():
    def trial(rate, steps):
        return None if rate > 0.1 else abs(np.log10(rate) + 2.3) + 1 / steps

    found = find_rate(1e-3, 4000, 3.0, trial)
    assert found.rate == pytest.approx(10**-2.5)
    assert found.lowest is not None
    assert found.lowest <= found.rate <= found.highest
    assert sum(one.steps for one in found.trials) <= 0.25 * 4000
    with pytest.raises(MatrixError):
        find_rate(1e-3, 4000, 3.0, lambda _rate, _steps: None)


def test_trials_that_have_hardly_learnt_choose_no_rate():
    """In a short trial the loss falls with the rate; in the run most of these learn nothing."""

    def trial(rate, steps):
        return 0.693 - min(0.02, 0.002 * rate * steps) if rate < 1 else 0.7

    found = find_rate(0.03, 700, 0.693, trial)
    assert found.rate == 0.03
    assert len(found.trials) == 7


def test_of_rates_that_are_as_good_the_one_nearest_to_the_default_is_taken():
    found = find_rate(0.03, 4000, 3.0, lambda rate, _: 1.0 - 1e-3 * rate if rate < 0.5 else 4.0)
    assert found.rate == pytest.approx(0.03)
    assert found.highest == pytest.approx(0.3)


@pytest.mark.parametrize("steps", [1, 50, 200, 1000, 30000])
def test_a_search_takes_a_quarter_of_the_steps_at_most(steps):
    count, total = 7, 0
    for length in rounds_of(steps):
        total, count = total + count * length, max(1, count // 2)
    assert total <= steps / 4


def test_the_command_writes_an_adapter_and_its_report(bases, table, tmp_path, capsys):
    words = [
        "finetune", str(bases["bert"]), str(table), "-o", str(tmp_path / "a"), "--rank", "2",
        "--batch", "12", "--epochs", "1", "--learning-rate", "0.003", "--json", "--share", "0.2",
    ]  # fmt: skip
    status = main(words)
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "finetune"
    assert status == {"success": 0, "short": 3}[document["result"]["grade"]]
    assert sorted(files(tmp_path / "a")) == [
        ".eckart.json", "README.md", "adapter_config.json", "adapter_model.safetensors",
        "report.html", "report.json",
    ]  # fmt: skip
    page = (tmp_path / "a" / "report.html").read_text()
    assert document["result"]["base_digest"] in page
    assert document["result"]["metrics"]["accuracy"]["standard_error"] > 0
    assert eckart.finetune is finetune


def test_json_lines_and_parquet_give_the_same_adapter(bases, table, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": text, "label": label} for text, label, _ in texts(96)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = set()
    for source in (table, tmp_path / "t.jsonl", tmp_path / "t.parquet"):
        finetune(bases["bert"], source, tmp_path / "a", force=True, **QUICK)
        found.add((tmp_path / "a" / "adapter_model.safetensors").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_what_was_learnt_is_merged_and_verified(kind, bases, table, tmp_path):
    finetune(bases[kind], table, tmp_path / "a", **{**QUICK, "learning_rate": 3e-2})
    eckart.merge_adapters(bases[kind], [tmp_path / "a"], tmp_path / "merged")
    result = eckart.verify_adapter(tmp_path / "a", bases[kind], tmp_path / "merged")
    assert result.grade == "success"
    assert not result.uncovered
    # the merged weights are rounded to float32, relative to weights that are larger than ΔW
    assert result.relative_error < 1e-4
    compared = eckart.compare_adapters(
        [tmp_path / "a"], base=bases[kind], tuned=tmp_path / "merged"
    )
    # what was learnt is the whole change, so no adapter of this rank is closer
    assert compared.to_dict()["learnt"][0]["relative_error_of_layers"] < 1e-4


def test_a_search_is_in_the_report_of_a_run_that_was_gone_on_with(
    bases, table, tmp_path, monkeypatch
):
    monkeypatch.setattr("eckart.finetuning.rates.FEWEST_STEPS", 3)
    settings = {**QUICK, "learning_rate": None, "epochs": 12.0}
    with stopped(40) as watch, pytest.raises(KeyboardInterrupt):
        finetune(bases["bert"], table, tmp_path / "a", watch=watch, **settings)
    result = finetune(bases["bert"], table, tmp_path / "a", resume=True, **settings)
    assert len(result.search["trials"]) >= 7
    assert result.spent["rate"] > 0
    assert "good from" in (tmp_path / "a" / "report.html").read_text()


def test_a_class_that_is_held_back_nowhere_is_told(bases, tmp_path):
    table = save_table(tmp_path / "t.csv")
    with table.open("a") as file:
        file.write("a b c,rare,0.1\n")
    result = finetune(bases["bert"], table, tmp_path / "a", **QUICK)
    assert any("held back is of the class 'rare'" in note for note in result.notes)
