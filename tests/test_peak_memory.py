"""The script that measures peak memory does so on a small model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from audioptq.quantize import QuantRecipe, quantize_model, save_quantized


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["simulated", "integer"])
def test_every_stage_has_a_peak(tiny_model, tmp_path, compute):
    model = type(tiny_model)(tiny_model.config)
    model.network.load_state_dict(tiny_model.network.state_dict())
    recipe = QuantRecipe.from_config("w4a8", {"weight": {"bits": 4}, "activation": {"bits": 8}})
    quantize_model(model.network, recipe, None, model.sites())
    path = tmp_path / "weights.safetensors"
    metadata = {"family": model.family, "model_config": model.config}
    save_quantized(path, model.network, recipe, components=model.components, metadata=metadata)
    script = Path(__file__).with_name("peak_memory.py")
    command = [sys.executable, "-W", "ignore", str(script), str(path), "--compute", compute, "--threads", "1"]
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    peaks = {stage: float(peak) for peak, stage in re.findall(r"^ +([\d.]+)  (.+)$", done, re.MULTILINE)}
    assert list(peaks)[:2] == ["imports", "loading"]
    assert ("integer compute" in peaks) == (compute == "integer")
    assert {"conditioning", "before the blocks", "self_attn.to_qkv", "ff.ff.0.proj", "ff.ff.2"} <= set(peaks)
    highest = re.search(r"w4a8 (\w+), \d+ latents: peak ([\d.]+) GB", done)
    assert highest is not None
    assert highest[1] == compute
    assert float(highest[2]) == max(peaks.values())
    assert 0.1 < peaks["imports"] <= peaks["loading"] < 1
