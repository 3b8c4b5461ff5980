import json

import pytest

from covidcxr.bench import runner, session
from covidcxr.bench.results import FILE, PartResult, Report, save
from covidcxr.cli import main


@pytest.fixture
def measured(monkeypatch):
    """Parts are not run; each is measured as nothing."""

    def run_part(name, bench, package):
        bench.say(f"measuring {name}")
        return PartResult(name, f"Part {name}", "measured")

    monkeypatch.setattr(runner, "run_part", run_part)
    monkeypatch.setattr(session.hardware, "load", lambda: 0.9)


def test_the_parts_are_listed(capsys, monkeypatch):
    monkeypatch.setattr(runner, "title_of", "title of {}".format)
    assert main(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(runner.PARTS)


def test_measuring_prints_saves_and_writes_the_page(measured, tmp_path, capsys):
    page = tmp_path / "new" / "benchmarks.md"
    assert main(["bench", "--quick", "--only", "start", "--out", str(tmp_path), "--markdown", str(page)]) == 0
    out, err = capsys.readouterr()
    assert "Part start" in out
    assert "measuring start" in err
    saved = json.loads((tmp_path / FILE).read_text())
    assert saved["command"] == "covidcxr bench --quick --only start"
    assert page.read_text().startswith("# Benchmarks")


def test_a_busy_machine_is_told(measured, tmp_path, capsys):
    assert main(["bench", "--only", "start", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "warning: the machine was busy before the start (load 0.9" in out
    assert "the machine was busy" in err


def test_a_saved_run_is_shown_and_rendered_without_measuring(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run_part", None)
    about = session._about({"quick": True, "data": None, "weights": "none", "seed": 0}, ("start",))
    save(Report(about, (PartResult("start", "Part start", "refused", (), "no peer"),)), tmp_path / "b.json")
    page = tmp_path / "page.md"
    assert main(["bench", "--from", str(tmp_path / "b.json"), "--markdown", str(page)]) == 0
    assert "Part start: not measured, refused: no peer" in capsys.readouterr().out
    assert "no peer" in page.read_text()


def test_a_part_measured_by_itself_takes_its_place_and_says_when(measured, tmp_path, capsys):
    assert main(["bench", "--only", "input,scaling,roofline", "--out", str(tmp_path)]) == 0
    page = tmp_path / "page.md"
    words = ["bench", "--only", "scaling", "--into", str(tmp_path / FILE), "--markdown", str(page)]
    assert main(words) == 0
    saved = json.loads((tmp_path / FILE).read_text())
    assert [part["name"] for part in saved["parts"]] == ["input", "scaling", "roofline"]
    assert [bool(part["again"]) for part in saved["parts"]] == [False, True, False]
    assert saved["command"] == "covidcxr bench --only input,scaling,roofline"


def test_a_part_of_other_work_is_not_put_into_a_report(measured, tmp_path, capsys):
    assert main(["bench", "--only", "input", "--out", str(tmp_path)]) == 0
    before = (tmp_path / FILE).read_bytes()
    assert main(["bench", "--only", "input", "--quick", "--into", str(tmp_path / FILE)]) == 2
    assert "another value of quick" in capsys.readouterr().err
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "speed"], "--only speed: there is no part 'speed'; choose from"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--weights", "nowhere"], "--weights nowhere: no such folder"),
        (["--from", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--from", "b.json", "--quick"], "--quick: --from measures nothing"),
        (["--into", "b.json"], "--into: name the parts to measure with --only"),
        (["--into", "b.json", "--only", "start"], "b.json: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_roofline_is_measured_through_the_command(tmp_path):
    assert main(["bench", "--quick", "--only", "roofline", "--out", str(tmp_path)]) == 0
    (part,) = json.loads((tmp_path / FILE).read_text())["parts"]
    assert part["state"] == "measured", part["problem"]
    assert all(value > 0 for item in part["items"] for value in item["values"])
