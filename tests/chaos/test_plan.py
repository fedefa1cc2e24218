"""Plans are drawn from their seeds alone, and messages are read as a user reads them."""

import pytest

from tests.chaos.plan import FIRST_ON_SLURM, LOCAL_KINDS, SLURM_KINDS, Plan, parse_seeds
from tests.chaos.resume import DAMAGED, DAMAGED_CLIP, OTHER

RECIPES = ["fp32", "w8a8_sqs"]


def test_fifty_plans_hold_every_kind_and_repeat():
    plans = [Plan.of(seed, RECIPES) for seed in parse_seeds("1-50")]
    assert plans == [Plan.of(seed, RECIPES) for seed in range(1, 51)]
    assert {kind for plan in plans if not plan.on_slurm for kind in plan.kinds} == set(LOCAL_KINDS)
    assert {kind for plan in plans if plan.on_slurm for kind in plan.kinds} == set(SLURM_KINDS)
    assert sum(plan.on_slurm for plan in plans) == 51 - FIRST_ON_SLURM
    assert {len(plan.kinds) for plan in plans} == {1, 2, 3}
    assert plans[0].random(0).random() == plans[0].random(0).random() != plans[0].random(1).random()


@pytest.mark.parametrize(("text", "seeds"), [("17", [17]), ("1-3", [1, 2, 3]), ("2,5-6", [2, 5, 6])])
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


def test_the_cures_that_the_library_names_are_found(tmp_path):
    from audioptq.audio.clips import ListedClip
    from audioptq.errors import DamagedArtifactError
    from audioptq.files.artifacts import read_json
    from audioptq.score.usable import damaged

    with pytest.raises(DamagedArtifactError) as absent:
        read_json(tmp_path / "size.json")
    assert DAMAGED.search(f"Error: {absent.value}")[1] == str(tmp_path / "size.json")
    with pytest.raises(DamagedArtifactError) as clip:
        ListedClip("clips/a.flac", "0", "shard-0000.parquet").read()
    assert DAMAGED_CLIP.search(f"Error: {clip.value}").groups() == ("clips/a.flac", "shard-0000.parquet")
    assert OTHER.search(f"Error: {damaged('a.safetensors', 'it is odd')}")[1] == "a.safetensors"
