"""The family that docs/adding-a-model.md shows is saved as it stands there, and runs without another file edited."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
USE = """
import torch
from audioptq.generate.shard import GenerationSettings, generate_shard
from audioptq.models.registry import family_of, model_files, open_model, site_names
from audioptq.sampling.sampler import SamplerSettings, sample

model = open_model("models/toy")
sites = model.sites()
assert family_of("models/toy") == "toy"
assert [path.split("/")[-1] for path in model_files("models/toy")] == ["config.json", "weights.safetensors"]
assert site_names("models/toy") == [site.name for site in sites]
assert {site.kind for site in sites} == {"linear", "conv1d", "conv_transpose1d"}
# What a site says of its layer is so.
for site in sites:
    weight = model.network.get_submodule(site.name).weight
    channels = weight.shape[0] if site.kind.startswith("conv_transpose") else weight.shape[1]
    assert not site.parts or sum(site.part_sizes) == channels, site
assert [site.role for site in sites if site.parts] == ["given", "last"]
settings = SamplerSettings("ddim", 4, 2.0)
captions, ids = ["a dog barks", "rain falls", "a bell rings"], ["a", "b", "c"]

def run(rows, **changes):
    chosen = [captions[row] for row in rows]
    return sample(
        model, chosen, [1.0] * len(rows), clip_ids=[ids[row] for row in rows], seed=1, settings=settings.changed(changes)
    )

heard = []
with model.listening(heard.append):
    latents = run([0, 1, 2])
assert heard == [751.0, 501.0, 251.0, 1.0], heard
assert latents.isfinite().all() and 0.1 < latents.std() < 20, latents.std()
torch.testing.assert_close(run([2])[0], latents[2], rtol=1e-3, atol=1e-3)
captions[2] = "a siren wails"
assert (run([2])[0] - latents[2]).norm() > 1e-3 * latents[2].norm()
assert (run([2], cfg_scale=1.0)[0] - run([2])[0]).norm() > 1e-4 * latents[2].norm()
assert model.decode(latents, 16000).shape == (3, 1, 16000)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the page's family in its place, a model directory of it, and the page's experiment."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("src", "scripts", "rules", "workflow", "models", "profiles", "Snakefile", "config.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    family, write = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for line in family.splitlines() if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) < 100  # of code
    (folder / "src/audioptq/models/toy").mkdir()
    (folder / "src/audioptq/models/toy/__init__.py").write_text(family, encoding="utf-8")
    experiment = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    tiny = yaml.safe_load((ROOT / "tests/config.tiny.yaml").read_text(encoding="utf-8"))
    for key, value in experiment.items():  # the tiny run's counts, and the page's model, sampler and recipes
        tiny[key] = (
            tiny.get(key, {}) | value if isinstance(value, dict) and key not in ("sampler", "datasets") else value
        )
    tiny["datasets"]["soundscapes"] |= experiment["datasets"]["soundscapes"]
    (folder / "toy.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    done = run(folder, sys.executable, "-c", write)
    assert done.returncode == 0, done.stderr
    return folder


def run(project, *command):
    environment = {
        "PYTHONPATH": str(project / "src"),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(project),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_the_page_s_family_samples_and_says_what_its_layers_are(project):
    done = run(project, sys.executable, "-c", USE)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_sampler_of_another_objective_is_refused_by_name(project):
    code = (
        USE.partition("settings = ")[0]
        + 'sample(model, [""], [1.0], clip_ids=["a"], seed=1, settings=SamplerSettings("dpmpp-2m", 4, 1.0))'
    )
    done = run(project, sys.executable, "-c", code)
    assert "dpmpp-2m does not go with this model, whose objective is eps" in done.stderr
    assert "ddim, ddpm" in done.stderr


def test_the_workflow_plans_its_jobs(project):
    done = run(project, "snakemake", "-n", "--quiet", "rules", "--configfile", "config.yaml", "toy.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"generate +\d", done.stdout + done.stderr)


@pytest.mark.slow
def test_the_workflow_runs_to_a_table_with_its_recipes(project):
    done = run(project, "snakemake", "--cores", "1", "--configfile", "config.yaml", "toy.yaml")
    assert done.returncode == 0, done.stderr[-5000:]
    table = pd.read_csv(project / "results/report/table.csv").set_index("recipe")
    assert table.index.tolist() == ["fp32", "w8a8_rtn", "w4a8_rtn", "w4a8_parts"]
    assert table["weight_bits"].tolist() == [32, 8, 4, 4]
    for metric in ("clap_mini", "kl_mini", "fd_mini", "mcd_db", "lsd_db"):
        assert table[metric].notna().all(), metric
    quantized = table.drop(index="fp32")
    assert (quantized["mcd_db"] > 0).all()
    assert quantized.loc["w8a8_rtn", "mcd_db"] < quantized.loc["w4a8_rtn", "mcd_db"]
    assert quantized["size_ratio"].between(0.1, 0.4).all()  # 8 and 4 bits, and the words in 32
    layers = pd.read_parquet(project / "results/quantize/toy/w4a8_parts/layers.parquet").set_index("layer")
    assert layers["quantized"].all()
    assert layers.loc["unet.last", "granularity"] == "per_concat_group"
