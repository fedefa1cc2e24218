"""The files that docs/adding-a-method.md shows are saved as they stand there, and quantize a model without another file edited."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
QUANTIZE = """
import copy, json, sys
from pathlib import Path

from audioptq.machine.compat import allow_cuda_wheels_on_cpu

allow_cuda_wheels_on_cpu()
import pandas as pd
import torch
from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.merge import merge_stats
from audioptq.calibrate.run import calibrate
from audioptq.errors import UserError
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantRecipe
from audioptq.quantize.to_file import quantize_to_file
from audioptq.runs.library_files import recipe_modules
from audioptq.sampling.sampler import SamplerSettings

folder, config, entry = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
torch.manual_seed(0)
model = StableAudioModel(config)
for parameter in model.network.model.parameters():  # stable-audio-tools starts output layers at zero
    torch.nn.init.normal_(parameter, std=0.1)
settings = SamplerSettings("dpmpp-2m", steps=2, sigma_min=0.3, sigma_max=80.0, rho=1.0, cfg_scale=3.0)
prompts = pd.DataFrame({"clip_id": ["a", "b"], "caption": ["rain falls", "a bell rings"], "seconds_total": 1.0})
recipe = QuantRecipe.from_config("toy", entry)
name = model.sites()[0].name
seen = []
hook = model.network.get_submodule(name).register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
shards = [
    calibrate(model, prompts[first:first + 1], settings=settings, seed=0, batch_size=1, statistics=sorted(recipe.needs()))[0]
    for first in (0, 1)
]
hook.remove()
merge_stats(shards).save(folder / "stats.safetensors")
stats = ActStats.load(folder / "stats.safetensors")
naive = torch.stack([torch.cat([x.flatten(0, -2) for x in seen[row::2]]).double().square().sum(0) for row in (0, 1)])


def quantized(rounding):
    changed = QuantRecipe.from_config(rounding, entry | {"weight": entry["weight"] | {"rounding": rounding}})
    copied = copy.deepcopy(model)
    quantize_to_file(copied, changed, stats if changed.needs() else None, folder / rounding, name="tiny")
    return {site.name: copied.network.get_submodule(site.name).effective_weight(0) for site in model.sites()}


def weighted_error(weights):
    errors = {}
    for layer, weight in weights.items():
        error = (weight - model.network.get_submodule(layer).weight).double().square()
        errors[layer] = (error * stats.layers[layer].square_sum.sum(0)).sum().item()
    return errors


errors = {rounding: weighted_error(quantized(rounding)) for rounding in ("nearest", "mse", "weighted")}
try:
    without = ActStats(stats.levels, {layer: {} for layer in stats.layers}, statistics=())
    quantize_to_file(copy.deepcopy(model), recipe, without, folder / "x", name="tiny")
    refusal = None
except UserError as error:
    refusal = str(error)
print(json.dumps({
    "statistics": stats.statistics,
    "needs": sorted(recipe.needs()),
    "apart": ((stats.layers[name].square_sum - naive).abs().max() / naive.max()).item(),
    "errors": errors,
    "refusal": refusal,
    "watched": [path.name for path in recipe_modules([recipe])],
}))
"""


@pytest.fixture(scope="module")
def made(tiny_config, tmp_path_factory):
    """What became of a model that was quantized with the page's files in a copy of the project."""
    project = tmp_path_factory.mktemp("project")
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, project / name)
    statistic, rounding = (code for language, code in BLOCKS if language == "python")
    (project / "src/audioptq/calibrate/statistics/square_sum.py").write_text(statistic, encoding="utf-8")
    (project / "src/audioptq/quantize/rounding/weighted.py").write_text(rounding, encoding="utf-8")
    (experiment,) = (yaml.safe_load(code) for language, code in BLOCKS if language == "yaml")
    done = subprocess.run(
        [sys.executable, "-c", QUANTIZE, project, json.dumps(tiny_config), json.dumps(experiment["recipes"]["w4a8_weighted"])],
        cwd=project, env={"PYTHONPATH": str(project / "src"), "HOME": str(project), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_recipe_needs_what_its_rounding_needs(made):
    assert made["needs"] == made["statistics"] == ["square_sum"]


def test_the_statistic_is_that_of_every_activation_of_every_shard(made):
    assert made["apart"] < 1e-12  # sums of float64 in another order


def test_the_rounding_used_the_statistic(made):
    """Its clips are from a coarser grid than those of `mse`, and are nevertheless better by its own measure."""
    nearest, mse, weighted = (made["errors"][name].values() for name in ("nearest", "mse", "weighted"))
    assert all(ours <= theirs for ours, theirs in zip(weighted, nearest, strict=True))
    assert sum(weighted) < 0.99 * sum(mse) < sum(nearest)


def test_a_calibration_without_it_is_refused_by_name(made):
    assert "Recipe toy needs the statistics square_sum" in made["refusal"]


def test_the_workflow_watches_both_files(made):
    assert set(made["watched"]) == {"square_sum.py", "weighted.py"}  # and none that the recipe does not use
