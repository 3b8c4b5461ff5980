"""The machine that was measured, as far as it explains a speed; never its name."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess

from covidcxr.environment import cores
from covidcxr.environment import cpuinfo as _cpuinfo

# More than this in the minute before, and what is measured shares its cores.
BUSY = 0.5

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
_PEERS = ("openvino", "onnxruntime", "albumentations", "albucore")
_PATIENCE_SECONDS = 20


def describe():
    """Return what the machine is.

    Returns
    -------
    dict
        `cpu`, `cores` (that this process may use), `flags` (instruction sets that matter here), `memory` (bytes that
        this process may use, or None), `gpus` (list of text), `system`.
    """
    from covidcxr.models.memory import available

    info = _cpuinfo()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "flags": [flag for flag in _FLAGS if flag in info.get("flags", info.get("Features", "")).split()],
        "memory": available(),
        "gpus": _gpus(),
        "system": platform.platform(),
    }


def versions():
    """Return the versions of Python, of the packages that results depend on and of the peers, by name."""
    from covidcxr import environment

    found = {"python": platform.python_version(), **environment.versions()}
    for name in _PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def load():
    """Return how many processes wanted a core over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _gpus():
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
