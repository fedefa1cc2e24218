"""Networks without weights: what building one takes, in a process of its own, and that they are whole afterwards."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm

from audioptq.models.stable_audio.meta_init import overwrite_gates, without_weights
from audioptq.models.stable_audio.upstream import GLU

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


def run(code: str) -> list[str]:
    """What a fresh process prints, word by word."""
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def make() -> nn.Module:
    layers = (nn.Linear(3, 4), weight_norm(nn.Conv1d(4, 6, 5)), weight_norm(nn.ConvTranspose1d(6, 2, 3), dim=1))
    return nn.Sequential(*layers, nn.BatchNorm1d(2), nn.Embedding(7, 2, padding_idx=0))


def test_names_shapes_and_types_are_those_of_an_ordinary_network():
    with without_weights():
        lean = make()
    ordinary = make()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in lean.state_dict().items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in ordinary.state_dict().items()
    }
    assert {parameter.device.type for parameter in lean.parameters()} == {"meta"}
    assert all(torch.equal(buffer, dict(ordinary.named_buffers())[name]) for name, buffer in lean.named_buffers())


def test_weight_normalisation_works_once_the_weights_are_there():
    with without_weights():
        lean = make()
    ordinary = make().eval()
    lean.load_state_dict(ordinary.state_dict(), assign=True)
    x = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lean.eval()[1:4](x), ordinary[1:4](x))


def test_nothing_is_left_behind():
    with without_weights():
        pass
    assert nn.Linear(2, 2).weight.device.type == "cpu"
    assert torch.empty(2, device=None).device.type == "cpu"


def test_a_gate_is_overwritten_and_the_result_stays_the_same():
    glu = GLU(6, 10, nn.SiLU())
    lean = copy.deepcopy(glu)
    overwrite_gates(lean)
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    projected = []
    lean.proj.register_forward_hook(lambda _module, _args, y: projected.append((y, y.clone())))
    with torch.inference_mode():
        assert torch.equal(lean(x), glu(x))
    (after, before) = projected[0]
    assert torch.equal(after[..., :10], before[..., :10])
    assert torch.equal(after[..., 10:], nn.functional.silu(before[..., 10:]))


def test_a_network_that_overwrites_its_gates_can_be_trained():
    glu = GLU(6, 10, nn.SiLU())
    lean = copy.deepcopy(glu)
    overwrite_gates(lean)
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    for module in (glu, lean):
        module(x).square().sum().backward()
    assert torch.equal(lean.proj.weight.grad, glu.proj.weight.grad)


def test_another_activation_is_left_alone():
    glu = GLU(6, 10, nn.GELU())
    overwrite_gates(glu)
    assert type(glu.act) is nn.GELU


@pytest.mark.slow
def test_building_takes_no_addresses_either():
    """Memory that was never touched counts once activations fall into it: 4 layers of 16 MB would leave 64 MB of it."""
    code = (
        "import re, torch\n"
        "from torch import nn\n"
        "from audioptq.models.stable_audio.meta_init import without_weights\n"
        "size = lambda: int(re.search(r'VmData:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024\n"
        "with without_weights():\n"
        "    nn.Linear(2, 2)\n"
        "    before = size()\n"
        "    layers = [nn.Linear(2048, 2048) for _ in range(4)]\n"
        "print(size() - before)\n"
    )
    assert float(run(code)[0]) < 8


@pytest.mark.slow
def test_neither_building_nor_a_step_imports_the_compiler(published):
    code = (
        "import sys, torch\n"
        "from audioptq.models.stable_audio.adapter import StableAudioModel\n"
        f"model = StableAudioModel.load({str(published / 'model')!r}, {str(published / 't5')!r})\n"
        "print(*{'torch._dynamo', 'sympy'} & set(sys.modules), '.')\n"
        "channels, width = model.latent_shape[0], 32\n"
        "given = {'cross_attn_cond': torch.zeros(1, 3, width), 'global_cond': torch.zeros(1, 2 * width)}\n"
        "with torch.inference_mode():\n"
        "    model.denoise(torch.zeros(1, channels, 8), torch.tensor([5.0]), given, 7.0)\n"
        "print(*{'torch._dynamo', 'sympy'} & set(sys.modules), '.')\n"
    )
    assert run(code) == [".", "."]
