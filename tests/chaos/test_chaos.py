"""Whatever fails, a resumed run ends in the table of an undisturbed one."""

import os
from collections.abc import Callable

import pytest

from tests.chaos.plan import LOCAL_KINDS, Plan, parse_seeds
from tests.chaos.run_plan import Outcome

# Each kind is in one of them.
A_FEW = "2,3,5,6,13"
SEEDS = parse_seeds(os.environ.get("CHAOS_SEEDS", A_FEW))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", SEEDS)
def test_a_disturbed_run_ends_in_the_table_of_an_undisturbed_one(
    seed: int, outcome_of: Callable[[int], Outcome]
) -> None:
    outcome = outcome_of(seed)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.failure == "", f"repeat it with `CHAOS_SEEDS={seed} make chaos`\n{outcome.failure}"


def test_the_plans_of_make_test_cover_all_kinds() -> None:
    kinds = {kind for seed in parse_seeds(A_FEW) for kind in Plan.of(seed, ["fp32"]).kinds}
    assert kinds == set(LOCAL_KINDS)
