"""Operations and bytes against a count by hand and against torch's own counter."""

import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audioptq.bench.operations import BFLOAT16, FLOAT32, INT8, count_operations, total_bytes, total_operations
from audioptq.bench.plan import Case
from audioptq.bench.profile import KINDS, profile_step
from audioptq.bench.stepper import Stepper
from audioptq.models.stable_audio.adapter import StableAudioModel


@pytest.fixture(params=["tiny", "published"])
def stepper(request, tiny_model, make_settings):
    """A step of the tiny model, and one of Stable Audio Open in small, with fewer heads of the prompt than of the latents."""
    if request.param == "tiny":
        return Stepper(tiny_model, make_settings(), 0)
    folder = request.getfixturevalue("published")
    return Stepper(StableAudioModel.load(folder / "model"), make_settings(), 0)


@pytest.mark.parametrize("case", [Case(16, 1), Case(24, 3)])
def test_operations_are_those_that_torch_counts(stepper, case):
    counts = count_operations(stepper.model, lambda: stepper.step(case))
    # torch counts attention only where it is made of products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        stepper.step(case)
    # The noise level's features are a product with a vector of frequencies, which is no layer.
    frequencies = 2 * 2 * case.batch * stepper.model.network.model.model.timestep_features.weight.numel()
    assert total_operations(counts) == counter.get_total_flops() - frequencies


def test_the_counts_are_those_made_by_hand(tiny_model, make_settings):
    stepper = Stepper(tiny_model, make_settings(), 0)
    counts = count_operations(tiny_model, lambda: stepper.step(Case(16, 2)))
    config = tiny_model.config["model"]["diffusion"]["config"]
    width, depth, context_width = config["embed_dim"], config["depth"], config["cond_token_dim"]
    context = tiny_model.condition(["a dog barks"], [1.0])["cross_attn_cond"].shape[1]
    sequences, tokens = 2 * 2, 16 + 1  # both halves of the guidance, and the token of timestep and timing
    network = tiny_model.network.model.model.transformer.layers[0]
    to_kv = network.cross_attn.to_kv
    by_tokens = width * (3 * width + width) + 2 * width * width + width * 8 * width + 4 * width * width
    assert (to_kv.in_features, to_kv.out_features) in {(context_width, 2 * context_width), (width, 2 * width)}
    by_context = to_kv.in_features * to_kv.out_features
    assert counts["blocks"]["weights"] == depth * (by_tokens + by_context)
    assert counts["blocks"]["operations"] == 2 * depth * sequences * (tokens * by_tokens + context * by_context)
    attention = 4 * depth * sequences * width * (tokens * tokens + tokens * context)
    assert counts["attention"]["operations"] == attention
    values = depth * sequences * width * (2 * tokens + 2 * tokens + 2 * tokens + 2 * context)
    assert counts["attention"]["inputs"] + counts["attention"]["outputs"] == values


def test_bytes_follow_the_widths():
    part = {"operations": 1, "weights": 100, "inputs": 10, "outputs": 1}
    counts = {"blocks": part, "rest": part, "attention": part | {"weights": 0}}
    assert total_bytes(counts, FLOAT32) == 4 * (111 + 111 + 11)
    assert total_bytes(counts, BFLOAT16) == 2 * (111 + 111 + 11)
    assert total_bytes(counts, INT8) == 100 + 10 + 4 + 4 * (111 + 11)


def test_the_profile_adds_up_and_leaves_nothing_behind(tiny_model, make_settings):
    stepper = Stepper(tiny_model, make_settings(), 0)
    stepper.step(Case(16, 1))
    hooks = [len(module._forward_hooks) for module in tiny_model.network.modules()]
    seconds = []
    profile = profile_step(tiny_model, lambda: seconds.append(stepper.step(Case(16, 1))))
    assert set(profile) == set(KINDS)
    assert sum(profile.values()) >= seconds[0]
    assert all(profile[kind] > 0 for kind in ("linears", "attention", "norms", "rotary", "rest"))
    assert profile["quantizing"] == 0
    assert [len(module._forward_hooks) for module in tiny_model.network.modules()] == hooks
    again = profile_step(tiny_model, lambda: stepper.step(Case(16, 1)))
    assert again["rotary"] > 0  # the function that was watched is back, and can be watched again


def test_steps_walk_through_the_schedule(tiny_model, make_settings):
    settings = make_settings()
    stepper = Stepper(tiny_model, settings, 0)
    seen = []
    remove = tiny_model.add_step_listener(seen.append)
    for _ in range(settings.steps + 1):
        stepper.step(Case(16, 2))
    remove()
    expected = [*settings.levels(tiny_model.objective).values, settings.sigma_max]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected), rtol=1e-3, atol=0)


IMPORTED = """
import sys
import torch
from audioptq.bench import profile

class Model:
    device = "cpu"
    class network:
        model = torch.nn.Linear(4, 4)

before = []
def step():
    before.append(len(sys.modules))
    Model.network.model(torch.ones(2, 4))

profile.profile_step(Model, step)
assert len(sys.modules) == before[0], len(sys.modules) - before[0]
"""


def test_what_watching_imports_is_not_charged_to_the_step():
    subprocess.run([sys.executable, "-c", IMPORTED], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
