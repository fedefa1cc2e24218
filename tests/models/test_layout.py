"""The layers that a header names are those that the network has."""

import pytest

from audioptq.errors import DamagedArtifactError
from audioptq.models.stable_audio.sites import block_linears


def test_the_header_names_the_layers_of_the_network(tiny_model, tmp_path):
    from audioptq.files.artifacts import write_tensors

    write_tensors(tmp_path / "model.safetensors", tiny_model.network.state_dict(), {})
    assert sorted(block_linears(tmp_path / "model.safetensors")) == sorted([site.name for site in tiny_model.sites()])


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DamagedArtifactError, match=r"model\.safetensors"):
        block_linears(tmp_path / "model.safetensors")
