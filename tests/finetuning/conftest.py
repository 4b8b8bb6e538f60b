"""Bases and a table that several laws of fine-tuning share."""

import pytest


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A tiny base of each kind, by its name."""
    from finetuning.models import CONFIGS, save_base  # imports PyTorch, which may not be there

    folder = tmp_path_factory.mktemp("bases")
    return {kind: save_base(folder / kind, kind) for kind in CONFIGS}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of texts, classes and numbers."""
    from finetuning.models import save_table

    return save_table(tmp_path_factory.mktemp("table") / "table.csv")
