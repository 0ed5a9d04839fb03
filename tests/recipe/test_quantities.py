"""Times and sizes as people write them."""

import pytest

from lmlab import LabError
from lmlab.recipe import Recipe, check, override
from lmlab.recipe.quantities import bytes_in, seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1 d 2 h", 93_600), ("0.5min", 30)]
)
def test_times(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20e9), ("500 MB", 5e8), ("1.5gb", 15e8), ("12kB", 12_000), ("7B", 7)]
)
def test_sizes(text, size):
    assert bytes_in(text) == size


@pytest.mark.parametrize("text", ["", "h", "2", "2x", "-2h", "2h and more", "0s", "1e9999h", "9" * 500 + "h", "2 GB"])
def test_what_is_no_time_is_refused_in_one_line(text):
    with pytest.raises(LabError, match="expected a time such as 2h") as refused:
        seconds_in(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


def test_a_recipe_with_one_is_refused_before_anything_is_read():
    with pytest.raises(LabError, match="train.until: 'tomorrow' can't be read"):
        check(override(Recipe(), {"train.until": "tomorrow"}))
    with pytest.raises(LabError, match="train.disk: '20' can't be read"):
        check(override(Recipe(), {"train.disk": "20"}))
    assert check(override(Recipe(), {"train.until": "2h", "train.disk": "20GB"})).train.disk == "20GB"
