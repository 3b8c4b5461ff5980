"""Where and with what a run was made, so that a difference between two runs can be explained."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

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
# What changes the last digits of a result, or how many threads add them up.
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "KERAS_BACKEND",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)
_BUILD = ("cuda_version", "cudnn_version")


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
    """Return what a result may depend on besides the options of its run; never the machine's name.

    Returns
    -------
    dict
        `python`, `platform`, `machine`, `cpu` (model), `cores` (of the machine), `usable_cores` (of this process),
        `backend` (Keras'), `devices` (kinds), `packages` (versions), `variables` (those of :data:`VARIABLES` that are
        set) and, where TensorFlow is loaded, `tensorflow`: threads (0: one a core), TensorFloat-32, versions of CUDA
        and cuDNN, names of the graphics processors.
    """
    import keras

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpuinfo().get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": cores(),
        "backend": keras.backend.backend(),
        "devices": _devices(),
        "packages": versions(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "tensorflow": _tensorflow(),
    }


def differences(first, second):
    """Name what two environments differ in.

    Parameters
    ----------
    first, second : dict
        Of :func:`describe`, as config.json holds them; of another version of this package, with other keys.

    Returns
    -------
    list of (str, object, object)
        Dotted name and both values, None where one of the two does not tell; in the order of the names.
    """
    mine, others = dict(_leaves(first)), dict(_leaves(second))
    names = sorted({*mine, *others})
    return [(name, mine.get(name), others.get(name)) for name in names if mine.get(name) != others.get(name)]


def command_line():
    """Return the command as typed, without the interpreter's folder."""
    program = os.path.basename(sys.argv[0])
    return " ".join(["covidcxr" if program == "__main__.py" else program, *sys.argv[1:]])


def cores():
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def cpuinfo(path="/proc/cpuinfo"):
    """Return what Linux tells of the first processor, by name; nothing where there is no such file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _leaves(value, prefix=""):
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _devices():
    if "tensorflow" not in sys.modules:
        return []
    return [device.device_type for device in sys.modules["tensorflow"].config.list_logical_devices()]


def _tensorflow():
    if "tensorflow" not in sys.modules:
        return {}
    tf = sys.modules["tensorflow"]
    build = tf.sysconfig.get_build_info()
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
        **{name: build[name] for name in _BUILD if build.get(name)},
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", "") for gpu in gpus],
    }
