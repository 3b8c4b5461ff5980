"""Where and with what a run was made, so that a difference between two runs can be explained."""

import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    "covidcxr",
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "pillow",
    "opencv-python-headless",
    "pydicom",
)


def versions():
    """Return the installed versions of the packages that a result depends on, by name."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe():
    """Return interpreter, operating system, processor count, Keras backend, devices and package versions."""
    import keras

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "backend": keras.backend.backend(),
        "devices": _devices(),
        "packages": versions(),
    }


def command_line():
    """Return the command as typed, without the interpreter's folder."""
    program = os.path.basename(sys.argv[0])
    return " ".join(["covidcxr" if program == "__main__.py" else program, *sys.argv[1:]])


def _devices():
    if "tensorflow" not in sys.modules:
        return []
    return [device.device_type for device in sys.modules["tensorflow"].config.list_logical_devices()]
