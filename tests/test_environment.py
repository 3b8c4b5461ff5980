import importlib.metadata
import platform
import sys

from covidcxr import environment


def test_the_environment_names_what_a_result_depends_on():
    found = environment.describe()
    assert found["python"] == platform.python_version()
    assert found["packages"]["keras"] == importlib.metadata.version("keras")
    assert found["backend"] == "tensorflow"


def test_the_command_is_told_without_the_interpreters_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/covidcxr-train", "ragab2022", "--seed", "1"])
    assert environment.command_line() == "covidcxr-train ragab2022 --seed 1"


def test_what_may_change_a_last_digit_is_recorded(monkeypatch):
    import tensorflow as tf

    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = environment.describe()
    assert found["variables"]["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert "OMP_NUM_THREADS" not in found["variables"]
    assert found["cpu"]
    assert found["usable_cores"] >= 1
    assert found["tensorflow"]["intra_op_threads"] == tf.config.threading.get_intra_op_parallelism_threads()
    assert platform.node() not in str(found).split()


def test_two_environments_are_told_apart_by_name():
    first = {"python": "3.11", "packages": {"keras": "3.15.1"}, "devices": ["CPU"], "tensorflow": {}}
    second = {"python": "3.11", "packages": {"keras": "3.12.4", "numpy": "2.2"}, "devices": ["CPU"]}
    assert environment.differences(first, second) == [
        ("packages.keras", "3.15.1", "3.12.4"),
        ("packages.numpy", None, "2.2"),
    ]
    assert environment.differences(first, first) == []
