"""What makes training faster on the device at hand: what `docs/training-speed.md` measured, and nothing else."""

from pathlib import Path

from covidcxr.models.fused_batchnorm import has_gpu

# By what the CPU multiplies bfloat16 with: keys of covidcxr.models.backbones whose whole training was measured to
# gain from it there. MobileNetV2 was measured with both and does not.
GAIN_FROM_BFLOAT16 = {"avx512_bf16": ("concatenated",), "amx_bf16": ("resnet50_v2",)}
_CPU_FLAGS = Path("/proc/cpuinfo")


def precision_for(backbone):
    """Return the precision that was measured to be the fastest for a network on this machine.

    Parameters
    ----------
    backbone : str
        Key of :mod:`covidcxr.models.backbones`.

    Returns
    -------
    str
        ``"mixed_bfloat16"`` on a CPU and for a network in :data:`GAIN_FROM_BFLOAT16`; ``"float32"`` everywhere
        else, which is also where nothing was measured.
    """
    gains = any(backbone in GAIN_FROM_BFLOAT16.get(flag, ()) for flag in _cpu_flags())
    return "mixed_bfloat16" if gains and not has_gpu() else "float32"


def _cpu_flags():
    """Return the instructions that the CPU names; none where the system does not list them."""
    try:
        lines = _CPU_FLAGS.read_text().splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])
