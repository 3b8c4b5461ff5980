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
