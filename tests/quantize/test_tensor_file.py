"""Files are named for what they are before anything is read, and the documented format is enough for a stranger's reader."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors
from audioptq.quantize import QuantRecipe, quantize_model, save_quantized
from audioptq.quantize.arithmetic.packing import pack
from audioptq.quantize.arithmetic.primitives import dequantize
from audioptq.quantize.file.tensor_file import TensorFile
from audioptq.site import linear_sites

FORMAT = Path(__file__).parents[2] / "docs/format.md"


@pytest.fixture
def saved(model, candidates, stats, components, tmp_path):
    def save(name, entry):
        recipe = QuantRecipe.from_config(name, entry)
        quantize_model(model, recipe, stats, linear_sites(candidates))
        path = tmp_path / f"{name}.safetensors"
        save_quantized(path, model, recipe, components=components, metadata={"model": "Straße"})
        return path

    return save


@pytest.fixture(scope="module")
def stranger():
    """The reader that docs/format.md shows, which uses nothing of this library."""
    source = re.search(r"^```python\n(.*?)^```$", FORMAT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert source is not None
    assert "audioptq." not in source[1]
    names: dict = {}
    exec(source[1], names)
    return names


@pytest.mark.parametrize(
    "weight",
    [
        {"bits": 8},
        {"bits": 4},
        {"bits": 3, "granularity": "per_group", "group_size": 7},
        {"bits": 2, "granularity": "per_tensor"},
    ],
    ids=str,
)
def test_a_stranger_reads_the_very_weights(weight, saved, model, stranger):
    path = saved("w", {"weight": weight, "rest_dtype": "bfloat16"})
    tensors, record = stranger["read"](path)
    assert sorted(record["layers"]) == sorted(n for n, m in model.named_modules() if type(m).__name__ == "QuantOp")
    for name in record["layers"]:
        ours = dequantize(*model.get_submodule(name).stored.integers(0))
        np.testing.assert_array_equal(stranger["stored_weight"](tensors, record, name).astype(np.float32), ours.numpy())
    state = model.state_dict()
    rest = [name for name in state if name.rpartition(".")[0] not in record["layers"]]
    assert "conditioner.weight" in rest
    for name in rest:
        np.testing.assert_array_equal(tensors[name], state[name].numpy())


def test_the_worked_examples_of_packing_are_right():
    text = FORMAT.read_text(encoding="utf-8")
    for bits, values, packed in ((4, [1, -1, 7], [241, 7]), (2, [1, -1, 0], [13]), (3, [3, -3, 1], [23, 2])):
        assert pack(torch.tensor([values], dtype=torch.int8), bits)[0].tolist() == packed
        assert f"`{values}` is" in text
        assert f"that is {', '.join(map(str, packed))}" in text


def test_the_header_is_read_without_the_tensors_and_every_byte_is_checked_on_request(saved):
    path = saved("w8", {"weight": {"bits": 8}})
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with TensorFile(path) as file:
        assert file.record["recipe_name"] == "w8"
        assert max(entry.start + entry.nbytes for entry in file.entries.values()) == len(content)
        with pytest.raises(DamagedArtifactError, match=rf"{re.escape(str(path))}.*do not match the digest"):
            file.verify()
    content[-3] ^= 4
    path.write_bytes(content)
    with TensorFile(path) as file:
        file.verify()


def test_a_released_tensor_can_be_read_again(saved):
    with TensorFile(saved("w8", {"weight": {"bits": 8}})) as file:
        for name in file.entries:
            before = file.bytes_of(name).copy()
            file.release(name)
            assert (file.bytes_of(name) == before).all()


def test_weights_that_quantizing_did_not_make_are_not_to_be_deleted():
    full = Path(__file__).parents[2] / "models/mini/model.safetensors"
    with pytest.raises(DamagedArtifactError, match="Name a file that") as caught:
        TensorFile(full)
    assert "Delete" not in str(caught.value)


def test_a_model_whose_version_was_altered_is_damaged_and_no_other_file(saved):
    path = saved("w8", {"weight": {"bits": 8}})
    path.write_bytes(path.read_bytes().replace(b"format_version", b"format_versiom"))
    with pytest.raises(DamagedArtifactError, match=r"do not match the digest that it carries\. Delete it"):
        TensorFile(path)


def test_what_is_no_file_of_weights_is_named(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("dear diary, today I quantized a model\n" * 40)
    with pytest.raises(
        DamagedArtifactError, match=r"notes\.txt cannot be used: it is no whole safetensors file of a quantized model"
    ):
        TensorFile(text)
    with pytest.raises(UserError, match=rf"{re.escape(str(tmp_path))} is a folder: name the file"):
        TensorFile(tmp_path)
    with pytest.raises(DamagedArtifactError, match=r"none\.safetensors"):
        TensorFile(tmp_path / "none.safetensors")
    full = Path(__file__).parents[2] / "models/mini/model.safetensors"
    with pytest.raises(
        DamagedArtifactError, match=r"model\.safetensors cannot be used: it is no quantized model"
    ) as caught:
        TensorFile(full)
    assert "Delete" not in str(caught.value)  # they are the user's weights


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": ""},
        {"recipe": {"weight": {"bits": 5}}},
        {"layers": 1.5},
        {"layers": {"a": {"kind": "linear"}}},
        {"layers": {"a": {"kind": "linear", "shape": [4, None]}}},
        {"layers": {"a": -1}},
        {"cast_layers": [[1]]},
        {"components": 10**12},
        {"components": {"model.": [[1]]}},
        {"levels": [5.0, "x"]},
        {"levels": [5.0], "objective": None},
        {"family": [[1]]},
        {"sampler": {"kind": "linear"}},
        {"sampler": {"name": "euler", "steps": 4, "cfg_scale": ""}},
        {"sqnr_db": 1},
        {"sqnr_db": [1.0]},
    ],
    ids=str,
)
def test_a_record_that_no_model_has_is_damage(change, saved):
    """The seal is whole: what wrote such a record was another program."""
    path = saved("w", {"weight": {"bits": 4}})
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | change)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} cannot be used")):
        TensorFile(path)
