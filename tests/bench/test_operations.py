"""Operations and bytes against a count by hand; a profile that adds up."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from audioptq.bench.operations import BFLOAT16, FLOAT32, INT8, count_operations, total_bytes
from audioptq.bench.plan import Case
from audioptq.bench.step_profile import KINDS, profile_step
from audioptq.bench.steps import Stepper, conditionings
from audioptq.models.registry import open_model


@pytest.fixture
def stepper(tiny_model, make_settings):
    return Stepper(tiny_model, make_settings(), conditionings(tiny_model, [1, 2, 3]), 0)


@pytest.mark.parametrize("case", [Case(16, 1), Case(24, 3)])
def test_attention_counts_as_if_it_were_made_of_products(stepper, case):
    counts = count_operations(stepper.model, lambda: stepper.step(case))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        stepper.step(case)
    assert counts["operations"] == counter.get_total_flops()


def test_the_counts_are_those_made_by_hand(tiny_model, stepper):
    counts = count_operations(tiny_model, lambda: stepper.step(Case(16, 2)))
    config = tiny_model.config["model"]["diffusion"]["config"]
    width, depth = config["embed_dim"], config["depth"]
    context = tiny_model.condition(["a dog barks"], [1.0])["cross_attn_cond"].shape[1]
    sequences, tokens = 2 * 2, 16 + 1  # both halves of the guidance, and the token of timestep and timing
    inputs = {site.role: tiny_model.network.get_submodule(site.name).weight.shape for site in tiny_model.sites()}
    by_tokens = width * (3 * width + width) + 2 * width * width + width * 8 * width + 4 * width * width
    by_context = inputs["cross_kv"].numel()
    assert counts["sites"]["weights"] == depth * (by_tokens + by_context)
    read = {role: sequences * (context if role == "cross_kv" else tokens) for role in inputs}
    assert counts["sites"]["inputs"] == depth * sum(read[role] * shape[1] for role, shape in inputs.items())
    assert counts["sites"]["outputs"] == depth * sum(read[role] * shape[0] for role, shape in inputs.items())
    products = 2 * depth * sequences * (tokens * by_tokens + context * by_context)
    attention = 4 * depth * sequences * width * (tokens * tokens + tokens * context)
    values = depth * sequences * width * (2 * tokens + 2 * tokens + 2 * tokens + 2 * context)
    assert products + attention < counts["operations"] < 1.2 * (products + attention)  # and what lies around the blocks
    assert values < counts["rest"]


def test_bytes_follow_the_widths():
    counts = {"operations": 1, "sites": {"weights": 100, "inputs": 10, "outputs": 1}, "rest": 122}
    assert total_bytes(counts, FLOAT32) == 4 * (111 + 122)
    assert total_bytes(counts, BFLOAT16) == 2 * (111 + 122)
    assert total_bytes(counts, INT8) == 100 + 10 + 4 + 4 * 122


def test_the_profile_adds_up_and_leaves_nothing_behind(tiny_model, stepper):
    stepper.step(Case(16, 1))
    before = [set(vars(module)) for module in tiny_model.network.modules()]
    seconds = []
    profile = profile_step(tiny_model, lambda: seconds.append(stepper.step(Case(16, 1))))
    assert list(profile) == list(KINDS)
    assert sum(profile.values()) >= seconds[0]
    assert all(profile[kind] > 0 for kind in ("linears", "attention", "norms", "rest"))
    assert profile["quantizing"] == 0
    assert [set(vars(module)) for module in tiny_model.network.modules()] == before


def test_a_step_of_stable_audio_open_in_small_is_counted_and_profiled(published, make_settings):
    """With fewer heads of the prompt than of the latents, and a T5 for the captions."""
    model = open_model(published / "model", published / "t5")
    stepper = Stepper(model, make_settings(), conditionings(model, [1]), 0)
    counts = count_operations(model, lambda: stepper.step(Case(16, 1)))
    assert counts["sites"]["weights"] == sum(
        model.network.get_submodule(site.name).weight.numel() for site in model.sites()
    )
    assert profile_step(model, lambda: stepper.step(Case(16, 1)))["attention"] > 0


def test_steps_walk_through_the_schedule(tiny_model, stepper):
    seen = []
    with tiny_model.listening(seen.append):
        for _ in range(stepper.settings.steps + 1):
            stepper.step(Case(16, 2))
    levels = stepper.settings.levels(stepper.model.objective).values
    torch.testing.assert_close(torch.tensor(seen), torch.tensor([*levels, levels[0]]), rtol=1e-3, atol=0)
