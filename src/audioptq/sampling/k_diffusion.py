"""k-diffusion's sampling functions, imported without what it prints and takes along."""

from audioptq.machine.compat import allow_cuda_wheels_on_cpu, lean_imports, quiet_imports

allow_cuda_wheels_on_cpu()

with quiet_imports(), lean_imports():
    from k_diffusion import sampling

FUNCTIONS = {
    "dpmpp-3m-sde": sampling.sample_dpmpp_3m_sde,
    "dpmpp-2m-sde": sampling.sample_dpmpp_2m_sde,
    "dpmpp-2m": sampling.sample_dpmpp_2m,
}
STOCHASTIC = ("dpmpp-3m-sde", "dpmpp-2m-sde")
