"""Adapters: one file per family of models, each answering the questions of `base.AudioModel`.

Importing the package prepares the import of stable-audio-tools and k-diffusion, which its modules and the samplers use.
"""

import os

from audioptq.machine.compat import allow_cuda_wheels_on_cpu

allow_cuda_wheels_on_cpu()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # stable-audio-tools asks a hub for tokenizers at import; mini needs none
