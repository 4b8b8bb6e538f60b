"""Unfinished work: a file that is not as it was written, or of another tokenizer, is refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eckart.errors import ArgumentError, EckartError
from eckart.finetuning import finetune
from eckart.finetuning.unfinished import Unfinished
from finetuning.models import save_base, save_table
from finetuning.test_finetune import stopped

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
QUICK = {"rank": 2, "epochs": 1.0, "batch": 8, "learning_rate": 3e-2}


@pytest.fixture
def table(tmp_path):
    return save_table(tmp_path / "table.csv")


DAMAGES = {
    "no best": lambda tensors, _: [tensors.pop(n) for n in list(tensors) if n.startswith("best/")],
    "one best less": lambda tensors, _: tensors.pop(next(n for n in tensors if "best/" in n)),
    "no evaluations": lambda _, document: document["run"].update(evaluations=[]),
    "a step below 0": lambda _, document: document["run"].update(step=-5),
    "a rate of NaN": lambda _, document: document["search"].update(rate="nan"),
    "a job that is a list": lambda _, document: document.update(job=[1]),
    "no seconds": lambda _, document: document["run"].update(seconds={}),
    "another number": lambda tensors, _: next(iter(tensors.values())).add_(1),
    "a foreign key": lambda tensors, _: tensors.update({"state/x/mean": torch.zeros(2)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unfinished_work_that_was_altered_is_refused(damage, table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(base, table, tmp_path / "a", watch=watch, **QUICK)
    place = Unfinished.place(tmp_path / "a")
    tensors = load_file(place)
    with safe_open(place, "pt") as file:
        known = file.metadata()
    document = json.loads(known["eckart-finetune"])
    DAMAGES[damage](tensors, document)
    save_file(tensors, place, metadata={**known, "eckart-finetune": json.dumps(document)})
    with pytest.raises(EckartError) as error:
        finetune(base, table, tmp_path / "a", resume=True, **QUICK)
    assert error.value.code in ("damaged-file", "another-job")
    assert not (tmp_path / "a").exists()


def test_another_tokenizer_is_another_job(table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(base, table, tmp_path / "a", watch=watch, **QUICK)
    own = json.loads((base / "tokenizer.json").read_text())
    vocabulary = own["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (base / "tokenizer.json").write_text(json.dumps(own))
    with pytest.raises(ArgumentError, match="data"):
        finetune(base, table, tmp_path / "a", resume=True, **QUICK)


def test_a_rate_that_nobody_looked_for_is_told_and_is_so_after_a_stop(table, tmp_path):
    base = save_base(tmp_path / "base", "bert")
    settings = {**QUICK, "learning_rate": None}
    with stopped(6) as watch, pytest.raises(KeyboardInterrupt):
        finetune(base, table, tmp_path / "a", watch=watch, **settings)
    result = finetune(base, table, tmp_path / "a", resume=True, **settings)
    assert not result.search["trials"]
    assert sum("too few to look for a learning rate" in note for note in result.notes) == 1
