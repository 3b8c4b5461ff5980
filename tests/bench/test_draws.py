"""The comparison of numbers of draws: the difference of two accuracies and its interval over patients."""

import numpy as np
import pandas as pd
import pytest

from covidcxr.bench.draws import _difference


def _table(patients, right):
    numbers = np.arange(len(right))
    return pd.DataFrame(
        {
            "seed": 0,
            "name": "fold1",
            "path": [f"{number}.png" for number in numbers],
            "patient_id": patients,
            "label": "covid19",
            "predicted": np.where(right, "covid19", "normal"),
        }
    )


@pytest.mark.parametrize("known", [True, False])
def test_an_image_without_a_patient_is_a_patient_of_its_own(known):
    rng = np.random.default_rng(0)
    mine, stock = rng.random(400) < 0.85, rng.random(400) < 0.9
    patients = [f"p{number}" if known else None for number in range(400)]
    low, difference, high = _difference(_table(patients, mine), _table(patients, stock))
    gains = mine.astype(int) - stock
    error = gains.std() / np.sqrt(len(gains))
    assert difference == pytest.approx(gains.mean())
    assert (low, high) == pytest.approx(
        (difference - 1.96 * error, difference + 1.96 * error), abs=0.2 * error
    )


def test_images_of_one_patient_are_drawn_together():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(40) < 0.5, 10)
    patients = np.repeat([f"p{number}" for number in range(40)], 10)
    low, difference, high = _difference(_table(patients, right), _table(patients, np.ones(400, bool)))
    error = right[::10].std() / np.sqrt(40)
    assert difference == pytest.approx(right.mean() - 1)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
