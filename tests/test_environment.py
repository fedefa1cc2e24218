"""Smoke test of the pinned environment: every package is there, in its version, and can be imported beside the others."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from audioptq.machine.compat import allow_cuda_wheels_on_cpu

ROOT = Path(__file__).parents[1]
# Where the import has another name than the package.
IMPORTS = {"PyYAML": "yaml", "pytest-xdist": "xdist", "setuptools": "pkg_resources"}
PINS = [
    re.fullmatch(r"([\w.-]+)==([\w.+-]+)", line.split("#")[0].strip())
    for path in sorted(ROOT.glob("requirements*.txt"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.split("#")[0].strip()
]


def test_every_requirement_is_pinned():
    assert len(PINS) > 20
    assert None not in PINS


@pytest.mark.parametrize(("package", "version"), [pin.groups() for pin in PINS if pin], ids=lambda text: str(text))
def test_the_pinned_version_is_installed_and_can_be_imported(package, version):
    assert importlib.metadata.version(package).split("+")[0] == version
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    allow_cuda_wheels_on_cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(IMPORTS.get(package, package.replace("-", "_")))


def test_the_shim_leaves_a_missing_operator_loud():
    import torch

    allow_cuda_wheels_on_cpu()  # a second call must not define the operators twice
    import torchvision

    if torch.version.cuda is not None:
        pytest.skip("torchvision's own operators are there")
    with pytest.raises(RuntimeError):
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


LEAN = """
import sys
import torch

compiler = torch.compile
import audioptq.models.stable_audio.upstream

heavy = {"torchvision", "torch._dynamo", "torch._inductor", "k_diffusion.evaluation"} & set(sys.modules)
assert not heavy, heavy
assert torch.compile is compiler
import torch._dynamo
import torchvision

assert torchvision.transforms.functional.to_tensor and torch._dynamo.config
"""


def test_the_engine_leaves_out_what_nothing_uses_and_hides_it_from_nobody():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_a_t5_says_nothing_and_logging_goes_on():
    """torchao, which transformers takes along, would log each GPU kernel that this machine does not load."""
    code = (
        "import logging\n"
        "from audioptq.machine.compat import allow_cuda_wheels_on_cpu, quiet_imports\n"
        "allow_cuda_wheels_on_cpu()\n"
        "with quiet_imports():\n"
        "    from transformers import T5EncoderModel\n"
        "logging.warning('heard')\n"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "WARNING:root:heard\n"
