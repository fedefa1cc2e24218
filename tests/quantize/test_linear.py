"""The quantized layer against independent arithmetic, and its algebra."""

import numpy as np
import pytest
import torch
from torch import nn

from audioptq.calibrate.act_stats import LayerStats
from audioptq.errors import UserError
from audioptq.noise_levels import NoiseLevels
from audioptq.quantize import QuantRecipe, TimestepClock, quantize_layer
from audioptq.quantize.layers.weight_cache import compute_weight_bytes
from audioptq.site import Site

LINEAR = Site("layer", "linear")

SIGMAS = (50.0, 5.0, 0.5)
CHANNELS, OUT = 40, 24
GENERATOR = torch.Generator().manual_seed(5)
ABSMAX = 2.0 ** torch.randn(3, CHANNELS, generator=GENERATOR)
ABSMAX[:, 7] *= 50
STATS = LayerStats(ABSMAX, -ABSMAX, ABSMAX)
X = (2 * torch.rand(2, 5, CHANNELS, generator=GENERATOR) - 1) * ABSMAX[1]
A8 = {"bits": 8}
TIMESTEP = {"kind": "timestep"}


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(CHANNELS, OUT).requires_grad_(False)


def build(linear: nn.Linear, **entry):
    clock = TimestepClock(NoiseLevels("v", SIGMAS))
    clock.set_level(SIGMAS[1])
    layer, sqnr = quantize_layer(linear, LINEAR, QuantRecipe.from_config("r", entry).for_layer("x"), STATS, clock)
    return layer, sqnr, clock


def output_error(linear: nn.Linear, **entry) -> float:
    layer, _, _ = build(linear, **entry)
    return (layer(X) - linear(X)).norm().item()


def integers(values: np.ndarray, scale: np.ndarray, largest: int = 127) -> np.ndarray:
    return np.clip(np.rint(values / scale), -largest, largest).astype(np.int32)


def test_w8a8_per_token_equals_an_integer_product(linear):
    layer, _, _ = build(linear, weight={"bits": 8}, activation=A8)
    x, w = X.numpy().astype(np.float64), linear.weight.numpy().astype(np.float64)
    x_scale = np.abs(x).max(-1, keepdims=True) / 127
    w_scale = np.abs(w).max(1) / 127
    accumulated = integers(x, x_scale) @ integers(w, w_scale[:, None]).T
    assert accumulated.dtype == np.int32
    expected = accumulated * x_scale * w_scale + linear.bias.numpy()
    # The same integers and the same sums; scales, their products and the bias' sum are rounded to float32.
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=0, atol=5 * 2.0**-24 * np.abs(expected).max())


@pytest.mark.parametrize("bits", [8, 4])
def test_stored_timestep_form_equals_an_integer_product(linear, bits):
    layer, _, clock = build(linear, weight={"bits": bits}, activation=A8, smoothing=TIMESTEP)
    x, w = X.numpy().astype(np.float64), linear.weight.numpy().astype(np.float64)
    largest = 2 ** (bits - 1) - 1
    w_scale = np.abs(w).max(1, keepdims=True) / largest
    stored = integers(w, w_scale, largest) * w_scale
    ratio = np.sqrt(ABSMAX.numpy().astype(np.float64) / np.abs(w).max(0))
    for timestep, sigma in enumerate(SIGMAS):
        clock.set_level(sigma)
        s = layer.smooth_scale[timestep].numpy().astype(np.float64)
        # The table is eq. 3 up to one power of two, rounded to fp16.
        factor = s / ratio[timestep]
        assert np.ptp(factor) <= 2.0**-10 * factor.mean()
        assert np.log2(factor.mean()) == pytest.approx(round(np.log2(factor.mean())), abs=1e-3)
        compute_scale = np.abs(stored * s).max(1, keepdims=True) / 127
        x_scale = np.abs(x / s).max(-1, keepdims=True) / 127
        accumulated = integers(x / s, x_scale) @ integers(stored * s, compute_scale).T
        expected = accumulated * x_scale * compute_scale[:, 0] + linear.bias.numpy()
        # Float32 and float64 may round a tie differently: one step of one operand in a few places.
        step = (x_scale * np.abs(stored * s).max()).max()
        assert np.abs(layer(X).numpy() - expected).max() <= 2 * step
        assert np.median(np.abs(layer(X).numpy() - expected)) <= 1e-5 * np.abs(expected).max()


def test_smoothing_without_weight_bits_only_moves_ranges(linear):
    """With activations of enough precision to be exact, the smoothed layer is the original layer at every timestep."""
    double = linear.double()
    layer, _, clock = build(double, activation=A8, smoothing=TIMESTEP)
    x = X.double()
    for row, sigma in enumerate(SIGMAS):
        clock.set_level(sigma)
        smoothed = (x / layer.smooth_scale[row].double()) @ layer.stored.floats(row).T + double.bias
        assert (smoothed - double(x)).abs().max() <= 1e-12 * double(x).abs().max()


def test_error_falls_with_bits(linear):
    errors = [output_error(linear, weight={"bits": bits}, activation=A8) for bits in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert output_error(linear, weight={"bits": 8}, activation={"bits": 4}) > errors[-1]


def test_smoothing_helps_where_a_channel_stands_out(linear):
    plain = output_error(linear, weight={"bits": 8}, activation={"bits": 8, "granularity": "per_tensor"})
    smoothed = output_error(
        linear, weight={"bits": 8}, activation={"bits": 8, "granularity": "per_tensor"}, smoothing=TIMESTEP
    )
    assert smoothed < 0.5 * plain


@pytest.mark.parametrize("smoothing", [None, {"kind": "static"}, TIMESTEP, TIMESTEP | {"form": "simulated"}])
@pytest.mark.parametrize("of", ["error", "weight"])
def test_a_low_rank_branch_lowers_the_error(linear, smoothing, of):
    # A weight with two strong directions, so that either kind of branch has something to hold.
    strong = torch.randn(OUT, 2, generator=GENERATOR) @ torch.randn(2, CHANNELS, generator=GENERATOR)
    linear.weight.copy_(linear.weight + (strong if of == "weight" else 0))
    entry = {"weight": {"bits": 4}, "smoothing": smoothing} if smoothing else {"weight": {"bits": 4}}
    bare, bare_sqnr, _ = build(linear, **entry)
    branched, sqnr, _ = build(linear, **entry, low_rank={"rank": 8, "of": of})
    assert sqnr > bare_sqnr + 1
    tokens = torch.randn(500, CHANNELS, generator=GENERATOR)
    assert (branched(tokens) - linear(tokens)).norm() < (bare(tokens) - linear(tokens)).norm()


def test_one_timestep_gives_the_branch_of_equations_6_to_9(linear):
    layer, _, _ = build(linear, weight={"bits": 4}, low_rank={"rank": 5})
    w = linear.weight.double()
    scale = w.abs().amax(1, keepdim=True) / 7
    e = w - (w / scale).round().clamp(-7, 7) * scale
    u, s, vt = torch.linalg.svd(e.T)  # the paper's matrices are [in, out]
    expected = u[:, :5] @ torch.diag(s[:5]) @ vt[:5]
    # Factors are fp16: 2^-11 each of entries below 1.
    torch.testing.assert_close(layer.low_rank.weight(torch.float64).T, expected, atol=1e-3 * e.abs().max(), rtol=1e-2)
    torch.testing.assert_close(layer.effective_weight(0).double(), w - e + expected.T, atol=1e-4, rtol=0)


def test_the_mean_error_is_what_one_branch_should_hold(linear):
    entry = {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP | {"form": "simulated"}}
    bare, _, _ = build(linear, **entry)
    layer, sqnr, _ = build(linear, **entry, low_rank={"rank": 4})
    errors = [linear.weight.double() - bare.effective_weight(row).double() for row in range(3)]

    def summed(branch: torch.Tensor) -> float:
        return sum((e - branch).square().sum().item() for e in errors)

    chosen = summed(layer.low_rank.weight(torch.float64))
    for e in errors:  # the best branch of any single timestep does worse over all of them
        u, s, vt = torch.linalg.svd(e)
        assert chosen < summed(u[:, :4] @ torch.diag(s[:4]) @ vt[:4])
    measured = 10 * np.log10(linear.weight.double().square().sum().item() / (chosen / 3))
    assert sqnr == pytest.approx(measured, abs=1e-3)


@pytest.mark.parametrize("kind", [TIMESTEP, {"kind": "grouped", "groups": 2}], ids=["timestep", "grouped"])
@pytest.mark.parametrize("bits", [8, 4])
def test_stored_and_simulated_forms_agree_within_three_half_steps(linear, kind, bits):
    entry = {"weight": {"bits": bits}, "activation": A8}
    stored, _, clock = build(linear, **entry, smoothing=kind | {"form": "stored"})
    simulated, _, other_clock = build(linear, **entry, smoothing=kind | {"form": "simulated"})
    assert torch.equal(stored.smooth_scale, simulated.smooth_scale)
    for sigma in SIGMAS:
        clock.set_level(sigma)
        other_clock.set_level(sigma)
        row = clock.index if stored.smooth_row is None else int(stored.smooth_row[clock.index])
        s = stored.smooth_scale[row].float()
        half_steps = stored.scale + (stored.stored.integers(row)[1] + simulated.stored.integers(row)[1]) / s
        bound = 0.5 * half_steps * (1 + 1e-5)
        assert ((stored.effective_weight(row) - simulated.effective_weight(row)).abs() <= bound).all()
        steps, scale = stored.input(X, row)
        inputs = (steps * scale * s).abs()
        assert ((stored(X) - simulated(X)).abs() <= inputs @ bound.T + 1e-5 * inputs.max()).all()


@pytest.mark.parametrize(
    ("smoothing", "shape"),
    [(None, (1,)), ({"kind": "static"}, (1,)), (TIMESTEP, (3,)), ({"kind": "grouped", "groups": 2}, (2,))],
    ids=["plain", "static", "timestep", "grouped"],
)
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_a_static_scale_covers_what_calibration_saw(linear, smoothing, shape, granularity):
    activation = {"bits": 8, "range": "static", "granularity": granularity}
    entry = {"weight": {"bits": 8}, "activation": activation}
    layer, _, clock = build(linear, **entry, **({"smoothing": smoothing} if smoothing else {}))
    assert layer.act_scale.shape == (shape if granularity == "per_tensor" else (*shape, CHANNELS))
    largest = 0.0
    for timestep, sigma in enumerate(SIGMAS):
        clock.set_level(sigma)
        row = 0 if layer.rows == 1 else timestep if layer.smooth_row is None else int(layer.smooth_row[timestep])
        s = torch.ones(CHANNELS) if layer.smooth_scale is None else layer.smooth_scale[row].float()
        used = ABSMAX[timestep] / s / layer.act_scale[row]
        assert used.max() <= 127 * (1 + 1e-6)
        largest = max(largest, used.max().item())
    assert largest == pytest.approx(127, rel=1e-6)  # and is no wider than that


def test_a_clip_does_not_depend_on_its_neighbours(linear):
    for granularity in ("per_token", "per_tensor", "per_channel"):
        layer, _, _ = build(linear, weight={"bits": 8}, activation={"bits": 8, "granularity": granularity})
        alone = layer(X[:1])
        beside_a_loud_one = layer(torch.stack([X[0], 1000 * X[1]]))[:1]
        assert torch.equal(alone, beside_a_loud_one)


def test_the_weight_follows_the_clock_and_is_made_once_per_row(linear, monkeypatch):
    layer, _, clock = build(linear, weight={"bits": 8}, activation=A8, smoothing={"kind": "grouped", "groups": 2})
    made = []
    integers = layer.stored.integers
    monkeypatch.setattr(layer.stored, "integers", lambda row, *rest: made.append(row) or integers(row, *rest))
    outputs = []
    for sigma in SIGMAS:
        clock.set_level(sigma)
        outputs.append(layer(X))
        assert torch.equal(layer(X), outputs[-1])
    assert made == [0, 1]
    assert not torch.equal(outputs[0], outputs[-1])
    clock.set_level(SIGMAS[0])
    assert torch.equal(layer(X), outputs[0])


def test_what_is_cached_is_forgotten_when_tensors_change(linear):
    layer, _, _ = build(linear, weight={"bits": 8})
    before = layer(X)
    changed = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    changed["scale"] *= 2
    layer.load_state_dict(changed)
    torch.testing.assert_close(layer(X) - linear.bias, 2 * (before - linear.bias))
    assert layer.double()(X.double()).dtype == torch.float64


@pytest.mark.parametrize("bits", [8, 4])
def test_bfloat16_arithmetic_is_what_runs_where_activations_stay_float(linear, bits):
    layer, _, _ = build(linear, weight={"bits": bits}, dtype="bfloat16")
    assert layer.input(X, 0)[0].dtype == torch.bfloat16
    y, exact = layer(X), X @ layer.effective_weight(0).T + linear.bias
    assert y.dtype == torch.float32
    # Both operands carry 8 significant bits.
    assert 0 < (y - exact).norm() < 2.0**-7 * exact.norm()


@pytest.mark.parametrize("fill", [0.0, 1e-44], ids=["zero", "subnormal"])
def test_dead_weights_and_silent_inputs_give_no_nan(linear, fill):
    linear.weight[3] = fill
    linear.weight[:, 5] = fill
    x = X.clone()
    x[0, 2] = fill
    for entry in (
        {"weight": {"bits": 4}, "activation": A8},
        {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP, "low_rank": {"rank": 2}},
        {"weight": {"bits": 8, "granularity": "per_group", "group_size": 1}, "smoothing": {"kind": "static"}},
    ):
        assert build(linear, **entry)[0](x).isfinite().all()


def test_what_does_not_fit_the_layer_is_named(linear):
    recipe = QuantRecipe.from_config("r", {"weight": {"bits": 8}, "smoothing": {"kind": "static"}}).for_layer("x")
    with pytest.raises(UserError, match="no activation statistics"):
        quantize_layer(linear, LINEAR, recipe, None, None)
    narrow = LayerStats(ABSMAX[:, :8], ABSMAX[:, :8], ABSMAX[:, :8])
    with pytest.raises(UserError, match=r"40 input channels.*have 8"):
        quantize_layer(linear, LINEAR, recipe, narrow, None)
    linear.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        build(linear, weight={"bits": 8})


@pytest.mark.parametrize(
    "weight",
    [{"bits": 4}, {"bits": 8, "granularity": "per_tensor"}, {"bits": 4, "granularity": "per_group", "group_size": 7}],
)
def test_requantizing_in_parts_changes_nothing(linear, weight, monkeypatch):
    layer, _, _ = build(linear, weight=weight, activation=A8, smoothing=TIMESTEP)
    whole, whole_scale = layer.stored.integers(1)
    monkeypatch.setattr("audioptq.quantize.layers.stored_weight.CHANNELS_AT_ONCE", 10)
    parts, parts_scale = layer.stored.integers(1)
    assert torch.equal(parts, whole)
    assert torch.equal(parts_scale, whole_scale)


LARGE = {
    "w8": {"weight": {"bits": 8}, "activation": A8},
    "w4_static": {"weight": {"bits": 4}, "activation": A8 | {"range": "static"}, "smoothing": {"kind": "static"}},
    "w4_timestep": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP},
    "w3_per_tensor": {"weight": {"bits": 3, "granularity": "per_tensor"}, "activation": A8},
    "w4_per_group": {"weight": {"bits": 4, "granularity": "per_group", "group_size": 7}, "smoothing": TIMESTEP},
    "w8_bfloat16": {"weight": {"bits": 8}, "dtype": "bfloat16"},
    "low_rank": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP, "low_rank": {"rank": 3}},
    "simulated": {"weight": {"bits": 4}, "activation": A8, "smoothing": TIMESTEP | {"form": "simulated"}},
    "activations_only": {"activation": A8, "smoothing": TIMESTEP},
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_weight_is_made_in_parts_and_not_kept(linear, name, monkeypatch):
    layer, _, clock = build(linear, **LARGE[name])
    expected = [layer(X) for sigma in SIGMAS if not clock.set_level(sigma)]
    monkeypatch.setattr("audioptq.quantize.layers.weight_cache.KEPT_WEIGHTS", 0)
    monkeypatch.setattr(
        "audioptq.quantize.layers.weight_cache.WEIGHTS_AT_ONCE", 7 * CHANNELS
    )  # 24 outputs: three ranges and a rest
    large, _, clock = build(linear, **LARGE[name])
    for sigma, whole in zip(SIGMAS, expected, strict=True):
        clock.set_level(sigma)
        # The same products; the order of a sum of 40 may differ with the shape.
        torch.testing.assert_close(large(X), whole, rtol=1e-6, atol=1e-6 * whole.abs().max().item())
    assert large.cache._kept is None


def test_parts_of_a_weight_are_the_whole_weight(linear):
    for entry in LARGE.values():
        layer, _, _ = build(linear, **entry)
        if layer.qdata is not None:
            whole = layer.stored.floats(0)
            for channels in (slice(0, 7), slice(7, 24), slice(20, 30)):
                assert torch.equal(layer.stored.floats(0, channels), whole[channels])


@pytest.mark.parametrize("name", LARGE)
def test_inputs_and_stored_tensors_stay_as_they_are(linear, name):
    layer, _, _ = build(linear, **LARGE[name])
    x, stored = X.clone(), {key: tensor.clone() for key, tensor in layer.state_dict().items()}
    first = layer(x)
    kept = first.clone()
    assert torch.equal(layer(x), kept)
    assert torch.equal(first, kept)
    assert torch.equal(x, X)
    assert all(torch.equal(tensor, stored[key]) for key, tensor in layer.state_dict().items())


def test_a_bias_of_more_digits_widens_the_output(linear):
    layer, _, _ = build(linear, weight={"bits": 8})
    assert layer(X.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("limit", [0, CHANNELS * OUT])
@pytest.mark.parametrize("smoothing", [None, TIMESTEP, {"kind": "static"}], ids=["plain", "timestep", "static"])
def test_the_memory_foretold_is_what_is_kept_and_made(linear, limit, smoothing, monkeypatch):
    monkeypatch.setattr("audioptq.quantize.layers.weight_cache.KEPT_WEIGHTS", limit)
    monkeypatch.setattr("audioptq.quantize.layers.weight_cache.WEIGHTS_AT_ONCE", 7 * CHANNELS)
    layer, _, _ = build(linear, weight={"bits": 8}, activation=A8, **({"smoothing": smoothing} if smoothing else {}))
    layer(X)
    kept = 0 if layer.cache._kept is None else layer.cache._kept[1][0].nbytes
    record = layer.recipe.to_config().get("smoothing") or {}
    assert compute_weight_bytes([(OUT, CHANNELS)], record) == kept + 4 * 7 * CHANNELS


def test_a_full_precision_weight_is_foretold_whole():
    record = {"kind": "timestep", "form": "simulated"}
    assert compute_weight_bytes([(12288, 1536), (1536, 1536)], record) == 4 * 12288 * 1536
    assert compute_weight_bytes([], {}) == 0
