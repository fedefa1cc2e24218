"""What depends on the prompt alone is computed once per prompt, and nothing that is heard changes by it."""

import copy

import pytest
import torch
from torch import nn

from audioptq.calibrate.run import calibrate
from audioptq.models.stable_audio.once import OncePerPrompt, prompt_readers, readers_summary
from audioptq.quantize import QuantLinear, QuantRecipe, quantize_model
from audioptq.quantize.integer import use_integer

SIGMAS = tuple(torch.logspace(torch.tensor(80.0).log10(), torch.tensor(0.3).log10(), 4).tolist())  # of `make_settings`
A8 = {"bits": 8}
ENTRIES = {
    "fp32": {},
    "bf16": {"dtype": "bfloat16"},
    "static": {"weight": {"bits": 8}, "activation": A8 | {"range": "static"}, "smoothing": {"kind": "static"}},
    "timestep": {"weight": {"bits": 4}, "activation": A8, "smoothing": {"kind": "timestep"}, "low_rank": {"rank": 4}},
}


def follow(model):
    """Lets the layers' clock hear the noise levels: a copied model has a clock of its own."""
    clock = next((m.clock for m in model.network.modules() if isinstance(m, QuantLinear) and m.clock), None)
    if clock is not None:
        model.add_step_listener(clock.set_sigma)


@pytest.fixture
def quantized(tiny_model, tiny_prompts, make_settings):
    """A copy of the tiny model to which a recipe was applied, and which follows the sampler."""

    def make(name):
        model, recipe = copy.deepcopy(tiny_model), QuantRecipe.from_config(name, ENTRIES[name])
        stats, _ = calibrate(tiny_model, tiny_prompts[:2], settings=make_settings(), seed=0, batch_size=2)
        quantize_model(model.network, recipe, stats, model.quantizable_layers())
        follow(model)
        return model

    return make


@pytest.fixture
def computed(monkeypatch):
    """Names of the modules that really computed, in order; `watch(model)` starts it."""
    names = []

    def watch(model):
        for name in prompt_readers(model.network):
            module = model.network.get_submodule(name)
            kind = type(f"Watched{name}", (type(module),), {})

            def forward(self, x, kind=kind, name=name):
                names.append(name)
                return super(kind, self).forward(x)

            kind.forward = forward
            module.__class__ = kind
        return names

    return watch


def kept(model):
    other = copy.deepcopy(model)
    follow(other)
    other.once.is_on = True
    return other


def denoised(model, conditioning, sigma, cfg_scale=1.0):
    batch = len(conditioning["cross_attn_cond"])
    latents = torch.randn(batch, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return model.denoise(latents * sigma, torch.full((batch,), sigma), conditioning, cfg_scale)


def prompts(model):
    """Two prompts of one length, and one batch of two."""
    captions = (["a dog barks"], ["rain falls"], ["a siren wails", "a bell rings"])
    return [model.condition(each, [4.096] * len(each)) for each in captions]


@pytest.mark.parametrize("is_integer", [False, True], ids=["simulated", "integer"])
@pytest.mark.parametrize("name", ENTRIES)
def test_every_output_is_that_of_a_model_that_keeps_nothing(quantized, name, is_integer):
    plain = quantized(name)
    if is_integer:
        use_integer(plain.network, "reference")
    keeping = kept(plain)
    dog, rain, pair = prompts(plain)
    # Within a prompt, one after the other, alternating, and in another batch size, guided and not.
    for conditioning in (dog, dog, rain, rain, dog, rain, pair, pair, dog):
        for sigma in SIGMAS[::3]:
            for cfg_scale in (1.0, 3.0):
                ours = denoised(keeping, conditioning, sigma, cfg_scale)
                assert torch.equal(ours, denoised(plain, conditioning, sigma, cfg_scale))
    assert not torch.equal(denoised(keeping, dog, SIGMAS[2]), denoised(keeping, rain, SIGMAS[2]))


def test_a_prompt_is_computed_once_per_shape(quantized, computed):
    model = kept(quantized("fp32"))
    names = computed(model)
    readers = list(prompt_readers(model.network))
    assert readers == [
        "model.model.to_cond_embed",
        *(f"model.model.transformer.layers.{i}.cross_attn.to_kv" for i in range(2)),
    ]
    dog, rain, _ = prompts(model)
    for sigma in SIGMAS:
        denoised(model, dog, sigma)
    assert names == readers
    for sigma in SIGMAS:
        denoised(model, dog, sigma, 3.0)
    assert names == 2 * readers
    denoised(model, rain, SIGMAS[1])
    assert names == 3 * readers
    denoised(model, dog, SIGMAS[1])  # one prompt is kept, the last
    assert names == 4 * readers


def make_readers():
    """Two blocks' keys and values of a prompt, in the names of stable-audio-tools."""
    blocks = [nn.ModuleDict({"cross_attn": nn.ModuleDict({"to_kv": nn.Linear(3, 4)})}) for _ in range(2)]
    network = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
    once = OncePerPrompt(network)
    once.is_on = True
    return once, [block["cross_attn"]["to_kv"] for block in blocks]


def test_the_first_of_several_computes_for_all(monkeypatch):
    once, readers = make_readers()
    prompt = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), once.about({"prompt": prompt}):
        expected = [nn.functional.linear(prompt, reader.weight, reader.bias) for reader in readers]
        first = readers[0](prompt)
        monkeypatch.setattr(nn.Linear, "forward", None)  # nothing is computed any more
        for output, right in zip(
            (first, readers[1](prompt), readers[0](prompt)), (*expected, expected[0]), strict=True
        ):
            assert torch.equal(output, right)


def test_one_that_is_given_another_tensor_than_the_first_computes_its_own():
    once, readers = make_readers()
    one, other = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), once.about({"prompt": one}):
        readers[0](one)
        assert torch.equal(readers[1](other), nn.functional.linear(other, readers[1].weight, readers[1].bias))


def test_a_model_that_is_not_told_to_keeps_nothing(quantized, computed):
    model = quantized("fp32")
    names = computed(model)
    dog, *_ = prompts(model)
    for sigma in SIGMAS:
        denoised(model, dog, sigma)
    assert len(names) == len(SIGMAS) * len(prompt_readers(model.network))


def test_an_equal_prompt_in_other_tensors_is_another_and_a_changed_one_too(quantized, computed):
    model = kept(quantized("fp32"))
    names = computed(model)
    readers = list(prompt_readers(model.network))
    denoised(model, prompts(model)[0], SIGMAS[1])
    dog = prompts(model)[0]
    before = denoised(model, dog, SIGMAS[1])
    assert names == 2 * readers
    dog["cross_attn_cond"].mul_(2)
    assert not torch.equal(denoised(model, dog, SIGMAS[1]), before)
    assert names == 3 * readers


def test_a_call_that_states_no_prompt_gets_none_of_the_last(quantized):
    model = kept(quantized("fp32"))
    dog, rain, _ = prompts(model)
    denoised(model, dog, SIGMAS[1])
    latents, time = torch.ones(1, *model.latent_shape), torch.tensor([0.5])
    plain = copy.deepcopy(model)
    plain.once.is_on = False
    with torch.inference_mode():
        ours, theirs = (each.network.model(latents, time, cfg_scale=1.0, **rain) for each in (model, plain))
    assert torch.equal(ours, theirs)


def test_a_layer_whose_rows_differ_is_never_kept_and_the_log_says_why(quantized):
    model = quantized("timestep")
    readers = prompt_readers(model.network)
    assert set(readers.values()) == {None}  # the prompt has one range at all timesteps, which takes one row
    name = "model.model.transformer.layers.1.cross_attn.to_kv"
    layer = model.network.get_submodule(name)
    layer.smooth_scale = layer.smooth_scale * torch.tensor([[1.0], [2.0], [3.0], [4.0]]).half()
    assert layer.rows == len(SIGMAS)
    assert {reader for reader, why in prompt_readers(model.network).items() if why} == {name}
    expected = "2 of 3 modules that read the prompt alone run once per prompt; 1 at each step, since their smoothing"
    assert readers_summary(model.network).startswith(expected)
    keeping = kept(model)
    dog, *_ = prompts(model)
    outputs = [denoised(keeping, dog, sigma, 3.0) for sigma in SIGMAS]
    for ours, sigma in zip(outputs, SIGMAS, strict=True):
        assert torch.equal(ours, denoised(model, dog, sigma, 3.0))


def test_names_tensors_and_hooks_stay(quantized):
    model = quantized("fp32")
    before = {name: type(module) for name, module in model.network.named_modules()}
    tensors = list(model.network.state_dict())
    heard = []
    reader = model.network.get_submodule("model.model.transformer.layers.0.cross_attn.to_kv")
    reader.register_forward_hook(lambda _module, x, y: heard.append((x[0].shape, y.shape)))
    model.once.is_on = True
    dog, *_ = prompts(model)
    for sigma in SIGMAS:
        denoised(model, dog, sigma)
    assert len(heard) == len(SIGMAS)
    assert {name: type(module) for name, module in model.network.named_modules()} == before
    assert list(model.network.state_dict()) == tensors


def test_layers_that_took_the_place_of_others_are_used_at_once_and_kept_from_the_next_prompt_on(quantized, computed):
    model = kept(quantized("static"))
    dog, rain, _ = prompts(model)
    denoised(model, dog, SIGMAS[1])
    use_integer(model.network, "reference")
    names = computed(model)
    layers = list(prompt_readers(model.network))[1:]
    for sigma in SIGMAS:
        denoised(model, dog, sigma)
    assert names == len(SIGMAS) * layers
    names.clear()
    for sigma in SIGMAS:
        denoised(model, rain, sigma)
    assert names == ["model.model.to_cond_embed", *layers]


def test_a_copy_keeps_its_own(quantized):
    model = kept(quantized("fp32"))
    dog, *_ = prompts(model)
    before = denoised(model, dog, SIGMAS[1])
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in other.network.model.named_modules():
            if name.endswith("to_kv"):
                module.weight.mul_(-1)
    other.once.forget()
    assert not torch.allclose(denoised(other, dog, SIGMAS[1]), before)
    assert torch.equal(denoised(model, dog, SIGMAS[1]), before)


def test_memory_is_given_back_before_decoding(quantized):
    model = kept(quantized("fp32"))
    denoised(model, prompts(model)[0], SIGMAS[1])
    assert len(model.once._outputs) == 3
    with torch.inference_mode():
        model.decode(torch.zeros(1, *model.latent_shape))
    assert model.once._outputs == {}
