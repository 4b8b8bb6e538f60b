"""Adapters of full rank, loaded by PEFT, give the tuned model: unmerged and merged."""

import pytest

from adapters.loading import difference, load, merged
from adapters.models import PAIRS
from eckart.storage.adapters import pad_experts, write_adapter
from tolerances import LOGITS

pytestmark = pytest.mark.torch
pytest.importorskip("peft")


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_with_its_adapter_is_the_tuned_model(name, tmp_path):
    pair = PAIRS[name]()
    adapter = pad_experts(pair.adapter(tmp_path))
    write_adapter(tmp_path / "adapter", adapter, base_modules=pair.modules())
    loaded = load(pair.base, tmp_path / "adapter")
    assert loaded.warnings == []
    assert loaded.missing == []
    assert loaded.unexpected == []
    expected = pair.logits(pair.tuned)
    assert difference(pair.logits(pair.base), expected) > 100 * LOGITS
    unmerged = difference(pair.logits(loaded.model), expected)
    after = difference(pair.logits(merged(loaded)), expected)
    print(f"{name:35s} loaded {unmerged:.1e} merged {after:.1e}")
    assert unmerged < LOGITS
    assert after < LOGITS
