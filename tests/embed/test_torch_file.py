"""A stranger's file fills a network completely or not at all, and the error says what is wrong with which file."""

import pytest
import torch

from audioptq.embed.torch_file import fill_network, read_torch_file
from audioptq.errors import DamagedArtifactError


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
def test_a_whole_file_fills_and_freezes_the_network(tmp_path, zipped):
    source = torch.nn.BatchNorm1d(3)
    source.running_mean += 2
    torch.save(source.state_dict(), tmp_path / "it.pth", _use_new_zipfile_serialization=zipped)
    filled = fill_network(torch.nn.BatchNorm1d(3), read_torch_file(tmp_path / "it.pth"), "it.pth", "a normalisation")
    assert torch.equal(filled.running_mean, source.running_mean)
    assert not filled.training
    assert not any(parameter.requires_grad for parameter in filled.parameters())


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"weight": torch.ones(2, 3)}, r"1 tensors are missing \(bias\)"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "scale": torch.ones(1)}, r"not the network's \(scale\)"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"of another shape \(weight\)"),
        ({"weight": "a text", "bias": torch.ones(2)}, "no table of tensors"),
        ([torch.ones(2, 3)], "no table of tensors"),
    ],
)
def test_tensors_of_another_network_are_refused(tensors, why):
    with pytest.raises(DamagedArtifactError, match=rf"folder/its\.pth is not a layer: .*{why}"):
        fill_network(torch.nn.Linear(3, 2), tensors, "folder/its.pth", "a layer")
