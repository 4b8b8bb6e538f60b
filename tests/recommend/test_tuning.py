"""Choosing all settings together."""

import builtins
from dataclasses import replace

import numpy as np
import pytest

from eckart.errors import EckartError
from eckart.recommend import Settings, fit_recommender
from eckart.recommend.tuning import tune
from recommend.samples import implicit, read
from tolerances import agree


@pytest.mark.parametrize("data", [read, implicit])
def test_the_best_trial_is_taken_and_the_same_seed_finds_it_again(data):
    found = [tune(data(), Settings(rank=4, epochs=5), trials=5) for _ in range(2)]
    assert found[0].settings == found[1].settings
    figures = [trial["figure"] for trial in found[0].trials]
    best = min if data is read else max
    assert found[0].figure == best(figures)
    assert len(figures) == 5


def test_the_first_trial_is_the_default_so_that_tuning_never_loses():
    found = tune(read(), Settings(rank=4), trials=1)
    assert (found.settings.rank, found.settings.count_exponent) == (4, 1.0)


@pytest.mark.parametrize("unit", [4.0**-4, 4.0**3])
def test_the_lambda_that_is_looked_for_grows_with_the_ratings(unit):
    data = read()
    other = replace(data, ratings=data.ratings * np.float32(unit))
    settings = Settings(rank=4, epochs=5)
    plain, scaled = (tune(one, settings, trials=3) for one in (data, other))
    lambdas = [[trial["regularization"] for trial in one.trials] for one in (plain, scaled)]
    # the first is the default, the others are drawn before figures tell them apart
    assert agree(np.array(lambdas[1]), np.array(lambdas[0]) * unit)


def test_a_time_limit_ends_it():
    assert len(tune(read(), Settings(rank=4, epochs=2), time_limit=0.2).trials) >= 1


def test_a_fit_that_is_tuned_takes_the_tuned_settings():
    result = fit_recommender(
        read(), settings=Settings(rank=4, epochs=3), tuned=True, trials=3, test="random"
    )
    assert result.tuning.settings.rank == result.model.offset.rank
    assert result.tuning.sentence() in result.notes


def test_without_optuna_the_command_that_brings_it_is_named(monkeypatch):
    whole = builtins.__import__

    def missing(name, *rest, **others):
        if name == "optuna":
            raise ImportError(name)
        return whole(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(EckartError) as caught:
        tune(read(), Settings(), trials=1)
    assert "eckart[tune]" in caught.value.hint
