import subprocess
import sys

import pytest

from covidcxr.cli import build_parser, main, train_main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ("train", "predict", "evaluate", "data", "papers")),
        (["train", "--help"], ("--preset", "--weights")),
    ],
)
def test_help_answers_without_the_heavy_packages(arguments, words):
    heavy = ("tensorflow", "keras", "numpy", "pandas", "cv2", "matplotlib", "sklearn", "scipy", "rich")
    code = (
        "import sys\nfrom covidcxr.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in words:
        assert word in done.stdout


@pytest.mark.slow
def test_tensorflow_comes_without_what_only_reports_need():
    code = (
        "import sys\nfrom covidcxr.cli.console import quiet_tensorflow\nquiet_tensorflow()\n"
        "assert {'tensorflow', 'keras'} <= set(sys.modules)\n"
        "assert not {'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "import matplotlib.figure, sklearn.metrics"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_framework():
    code = "import sys, covidcxr; sys.exit(int(bool({'tensorflow', 'keras', 'pandas'} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ragab2021"], "unknown paper 'ragab2021'; did you mean ragab2022?"),
        (["train", "ragab2022", "--model", "vgg"], "unknown model 'vgg'"),
        (["train", "ragab2022", "--data", "nowhere"], "nowhere"),
        (["train", "ragab2022", "--source", "normal"], "--source normal: expected NAME=VALUE"),
        (["predict", "nowhere.h5", "x.png"], "nowhere.h5"),
        (["evaluate", "nowhere.h5", "--data", "x"], "nowhere.h5"),
        (["papers", "unknown"], "unknown paper 'unknown'"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["train"], ["train", "ragab2022", "--nonsense"], ["fly"], []])
def test_what_the_parser_refuses_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_short_script_is_the_train_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["covidcxr-train", "nothing"])
    assert train_main() == 2
    assert "unknown paper 'nothing'" in capsys.readouterr().err


def test_every_option_has_a_word_of_help():
    for action in build_parser()._subparsers._group_actions[0].choices.values():
        for option in action._actions:
            if option.dest not in ("help", "batch_size", "format"):
                assert option.help or option.metavar, (action.prog, option.dest)
