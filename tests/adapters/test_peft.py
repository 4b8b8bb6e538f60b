"""Adapters of full rank, loaded by PEFT, give the tuned model: unmerged and merged."""

import pytest

from adapters.loading import check_fine_tune
from adapters.models import PAIRS
from eckart.checkpoints.peft import pad_experts, write_adapter

pytestmark = pytest.mark.torch
pytest.importorskip("peft")


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_with_its_adapter_is_the_tuned_model(name, tmp_path):
    pair = PAIRS[name]()
    adapter = pad_experts(pair.adapter(tmp_path))
    write_adapter(tmp_path / "adapter", adapter, base_modules=pair.modules())
    check_fine_tune(pair, tmp_path / "adapter")
