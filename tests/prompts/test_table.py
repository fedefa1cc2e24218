"""The calibration subset: the same whatever the order of the rows and the machine."""

import pandas as pd
import pytest

from audioptq.errors import UserError
from audioptq.prompts.table import COLUMNS, random_subset, validate


@pytest.fixture
def prompts():
    ids = [f"clip {index}" for index in range(40)] + ["ü", 'a,"1"']
    frame = pd.DataFrame({"clip_id": ids, "caption": "rain", "reference_id": ids, "seconds_total": 4.0})
    return frame.assign(extra=1, labels=None, kind=None, reference_path=None)


def test_the_table_has_the_contracts_columns_in_order(prompts):
    assert tuple(validate(prompts.iloc[::-1], "test").columns) == COLUMNS
    assert validate(prompts.iloc[::-1], "test").index.tolist() == list(range(42))


def test_an_empty_reference_id_is_refused_since_it_would_pool_strangers(prompts):
    prompts.loc[3, "reference_id"] = ""
    with pytest.raises(UserError, match="reference_id is empty in row 4"):
        validate(prompts, "test")


def test_the_subset_is_the_same_on_every_machine(prompts):
    # From the shell: for each id, printf '5:%s' "$id" | sha256sum; sort; the first five.
    expected = ["clip 31", "clip 38", "clip 5", "clip 35", "clip 15"]
    assert random_subset(prompts, 5, 5)["clip_id"].tolist() == expected


def test_the_subset_does_not_depend_on_the_order_of_rows(prompts):
    shuffled = prompts.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(random_subset(prompts, 10, 0), random_subset(shuffled, 10, 0))
    again = pd.concat([shuffled.iloc[:20], shuffled.iloc[20:].reset_index(drop=True)])  # an index with repeats
    pd.testing.assert_frame_equal(random_subset(prompts, 10, 0), random_subset(again, 10, 0))


def test_a_smaller_subset_is_part_of_a_larger_one_and_the_seed_matters(prompts):
    small, large = (random_subset(prompts, n, 1)["clip_id"].tolist() for n in (6, 12))
    assert large[:6] == small
    assert set(random_subset(prompts, 12, 2)["clip_id"]) != set(large)
    assert sorted(random_subset(prompts, 42, 1)["clip_id"]) == sorted(prompts["clip_id"])


@pytest.mark.parametrize("n", [0, -1, 43])
def test_a_number_that_is_not_there_is_refused(prompts, n):
    with pytest.raises(UserError, match="between 1 and 42"):
        random_subset(prompts, n, 0)
