"""The results' CSV files from small made-up runs, the tables computed by hand, and what the check sees."""

import json
import re
import shutil

import pandas as pd
import pytest

from covidcxr.cli import main
from covidcxr.errors import DataError, OptionError
from covidcxr.papers.reporting.reproduction import collect, identity, making, pages, sections, store


def row(folder, name):
    text = (folder / "tables" / "ragab2022.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_row_is_what_the_hand_computes(results):
    assert row(results, "accuracy") == [
        "accuracy",
        "99.02 % (Table 5)",
        # 16 of 20 by Wilson, then 17 of 20 with the run's own interval.
        "80.00 % [58.40, 91.93]; as they are: 85.00 % [70.00, 95.00]",
        "75.00 % [60.00, 90.00]",
        "0.900 [0.800, 0.950] (covid19; sound)",
        "elsewhere: 60.00 % [50.00, 70.00]",
        # hypot(15, 10) below and hypot(15, 15) above -10 points.
        (
            "Published: 2 known patients in training and in the scored images; sound: 1 pair of the same picture "
            "across parts of the split; published: scored on augmented images, as the paper does, the accuracy "
            "moves by -5.00 points. The paper's figure is above the published protocol's interval. Under sound no "
            "difference can be told: -10.00 points [-28.03, +11.21]. Rests on 20 images, interval 33.54 points "
            "wide: little can be concluded. Note: 101 of 102 validation images"
        ),
    ]


def test_reasons_stand_once_and_few_images_are_said(results):
    text = (results / "tables" / "ragab2022.md").read_text()
    assert text.count("2 known patients") == 1
    assert "20 of 102 covid19, 20 of 414 normal" in text
    assert "## covid19: covid-chestxray-dataset; normal: rsna\n" in text


def test_the_readme_gets_the_row_between_its_markers_and_no_other_change(results):
    text = (results.parents[1] / "README.md").read_text()
    assert text.startswith(f"# All\n\n{pages.BEGIN}\n")
    assert text.endswith(f"{pages.END}\n\nafter\n")
    assert "before" not in text
    assert "| 75.00 % \\[60.00, 90.00\\] |" in text


def test_a_readme_without_markers_is_left_alone(results):
    readme = results.parents[1] / "README.md"
    readme.write_text("# All\n")
    assert making.differences(results) == []
    making.write(results)
    assert readme.read_text() == "# All\n"


def test_what_a_run_was_is_recorded(results):
    table = pd.read_csv(results / "runs.csv", keep_default_na=False).set_index("protocol")
    found = table.loc["published"]
    assert found["command"] == "covidcxr train ragab2022 --data DATA --weights=WEIGHTS --out OUT"
    assert found["versions"] == "keras 3.15.1, python 3.11.7"
    assert (found["seconds"], found["epochs"], found["devices"]) == (1.8, 2, "1 CPU, 2 cores")
    assert (found["images_scored"], found["patients_scored"], found["images_trained"]) == (20, 18, 20)
    assert (found["shared_patients"], found["weights_of"]) == (2, "mobilenet.h5")
    assert (found["epoch_kept"], table.loc["sound", "shared_patients"]) == (collect.LAST, 0)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (
            "covidcxr-train yin2020 --data phantom --weights none",
            "covidcxr-train yin2020 --data phantom --weights none",
        ),
        (
            "covidcxr train yin2020 --split /a/b.csv --out=/c --resume",
            "covidcxr train yin2020 --split SPLIT --out=OUT",
        ),
        (
            "covidcxr train yin2020 --source normal=/d/e/rsna --epochs 3",
            "covidcxr train yin2020 --source normal=rsna --epochs 3",
        ),
        ("ipykernel_launcher.py -f /home/kernel.json", identity.FROM_PYTHON),
        ("", identity.FROM_PYTHON),
    ],
)
def test_a_command_keeps_its_choices_and_loses_its_places(typed, kept):
    assert identity.command_of(typed) == kept


def test_curves_and_matrices_are_the_runs_own(results):
    history = pd.read_csv(results / "history.csv")
    assert list(history["val_loss"]) == [0.6, 0.4, 0.6, 0.4]
    confusion = pd.read_csv(results / "confusion.csv")
    for scoring, split, cells in (
        ("as_paper", "val", [7, 3, 1, 9]),
        ("plain", "val", [8, 2, 1, 9]),
        ("plain", "test", [7, 3, 2, 8]),
        ("external", "elsewhere", [6, 4, 4, 6]),
    ):
        one = confusion[(confusion["scoring"] == scoring) & (confusion["split"] == split)]
        assert list(one["images"]) == cells


def test_no_patient_and_no_place_gets_out(results, patient):
    for path in results.rglob("*"):
        if path.is_file():
            text = path.read_text()
            for word in (
                patient,
                "covid19-0",
                "/home",
                "/nas",
                "/opt/",
                str(results.parents[2]),
                "Linux-of-ann",
            ):
                assert word not in text, f"{path.name}: {word}"


def texts(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_collecting_again_changes_nothing_whatever_the_order(results, runs, elsewhere):
    before = texts(results)
    for again in ([runs[1], runs[0]], [runs[0]]):
        added = collect.collect(again, [elsewhere] if len(again) > 1 else ())
        store.write(store.read(results).replaced(added), results)
        assert making.write(results) == []
        assert texts(results) == before


def test_a_run_trained_anew_takes_its_own_place(results, runs):
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    metrics["splits"]["test"]["accuracy"] = 0.7
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    shutil.copytree(runs[1], runs[1].with_name("again"))
    added = collect.collect([runs[1].with_name("again")])
    store.write(store.read(results).replaced(added), results)
    making.write(results)
    assert len(pd.read_csv(results / "runs.csv")) == 2
    assert row(results, "accuracy")[3].startswith("70.00 %")
    # What was scored elsewhere stays with it.
    assert row(results, "accuracy")[5].startswith("elsewhere: 60.00 %")


def test_seeds_are_joined_and_settings_kept_apart(results, runs, tmp_path, write_run):
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    metrics["splits"]["test"]["accuracy"] = 0.65
    second = write_run(tmp_path / "second", "sound", metrics, seed=1)
    other = write_run(tmp_path / "other", "sound", metrics, epochs=3, dropout=0.2)
    store.write(store.read(results).replaced(collect.collect([second, other])), results)
    making.write(results)
    # The mean of 0.75 and 0.65; the models' own intervals are both [60, 90], Student's is wider: 5 * 12.706 points
    # to each side, and no share is above 100 %.
    assert row(results, "accuracy")[3] == "70.00 % [6.47, 100.00], 2 models"
    assert "--epochs 3 --dropout 0.2" in (results / "tables" / "ragab2022.md").read_text().replace(
        "; --d", " --d"
    )


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (
            lambda folder: edit(folder / "tables" / "ragab2022.md", "75.00 %", "76.00 %"),
            r"ragab2022\.md:\d+: .*76\.00",
        ),
        (lambda folder: edit(folder / "index.html", "75.00", "95.00"), r"index\.html:\d+: "),
        (lambda folder: edit(folder.parents[1] / "README.md", "75.00 %", "95.00 %"), r"README\.md:\d+: "),
        (lambda folder: (folder / "index.html").unlink(), r"index\.html: missing"),
        (lambda folder: (folder / "tables" / "yin2020.md").write_text("x"), r"yin2020\.md: stray"),
        (lambda folder: (folder / "figures" / "other.svg").write_text("x"), r"other\.svg: stray"),
        (lambda folder: sheet(folder).write_text("x"), r"ragab2022-b10-hub-\w+\.svg:1: "),
        (
            lambda folder: edit(folder / "measures.csv", ",0.75,0.6,0.9,", ",0.74,0.6,0.9,"),
            r"ragab2022\.md:\d+: ",
        ),
        (lambda folder: swap(folder / "confusion.csv"), r"confusion\.csv: rows not in"),
        (
            lambda folder: edit(folder / "tables" / "ragab2022.md", "\n| loss", "\r\n| loss"),
            r"ragab2022\.md:\d+: ",
        ),
    ],
    ids=["digit", "page", "readme", "missing", "stray", "picture", "drawing", "csv", "order", "line-end"],
)
def test_the_check_sees_every_change_and_writes_nothing(change, culprit, results, capsys):
    words = ["report", "reproduce", "--results", str(results), "--check"]
    assert main(words) == 0
    change(results)
    before = texts(results.parents[1])
    capsys.readouterr()
    assert main(words) == 3
    assert re.search(culprit, capsys.readouterr().out)
    assert texts(results.parents[1]) == before


def sheet(folder):
    return next((folder / "figures").glob("*.svg"))


def edit(path, old, new):
    with path.open(newline="") as file:
        text = file.read()
    assert old in text
    path.write_text(text.replace(old, new, 1), newline="")


def swap(path):
    head, first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, second, first, *others]))


def test_writing_mends_what_the_check_found_and_keeps_what_is_not_ours(results):
    (results / "tables" / "notes.md").write_text("mine")
    (results / "tables" / "yin2020.md").write_text(f"# gone\n{pages.MADE}\n")
    (results / "index.html").unlink()
    assert {path.name for path in making.write(results)} == {"index.html", "yin2020.md"}
    assert [line for line in making.differences(results) if "notes.md" not in line] == []


@pytest.mark.parametrize(
    ("name", "change", "culprit"),
    [
        ("runs", lambda path: path.unlink(), "runs.csv: not a readable table"),
        ("audits", lambda path: path.unlink(), "audits.csv: not a readable table"),
        ("measures", lambda path: edit(path, "value", "worth"), "other columns"),
        (
            "measures",
            lambda path: edit(path, ",0.75,", ",high,"),
            "measures.csv:.* value 'high' is no number",
        ),
        ("history", lambda path: edit(path, "ragab2022-B10", "nobody"), "history.csv:2: run 'nobody"),
        ("runs", lambda path: edit(path, ",ragab2022,B10", ",nobody2020,B10"), "unknown paper 'nobody2020'"),
        ("runs", lambda path: edit(path, ",B10,hub", ",B99,hub"), "has no case 'B99'"),
    ],
)
def test_damaged_csvs_are_one_line(name, change, culprit, results, capsys):
    change(results / f"{name}.csv")
    with pytest.raises(DataError, match=culprit):
        making.make(results)
    assert main(["report", "reproduce", "--results", str(results)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_same_run_twice_and_a_score_of_no_run_are_refused(runs, elsewhere, tmp_path):
    copy = shutil.copytree(runs[1], tmp_path / "copy")
    with pytest.raises(OptionError, match="is the same run as"):
        collect.collect([runs[1], copy])
    with pytest.raises(OptionError, match="belongs to none"):
        collect.collect([runs[0]], [elsewhere])
    with pytest.raises(DataError, match="no such folder"):
        collect.collect([tmp_path / "nowhere"])


def test_phantoms_get_no_verdict(runs, tmp_path):
    for run in runs:
        table = pd.read_csv(run / "split.csv", keep_default_na=False).assign(source="phantom")
        table.to_csv(run / "split.csv", index=False)
    ((group,),) = (section.groups for section in sections.sections(collect.collect(runs)))
    assert "no radiographs" in group.cautions[0]
    assert "The paper's figure" not in " ".join(row.verdict for row in group.rows)


def test_names_from_outside_are_escaped(results, runs, elsewhere):
    strange = elsewhere.rename(elsewhere.with_name("<img src=x onerror=alert(1)>|*a*"))
    store.write(store.read(results).replaced(collect.collect(runs, [strange])), results)
    making.write(results)
    text = (results / "index.html").read_text()
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;|*a*" in text
    table = (results / "tables" / "ragab2022.md").read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;\\|\\*a\\*: 60.00 %" in table
    assert not any("<img" in picture.read_text() for picture in (results / "figures").glob("*.svg"))


def test_the_server_is_for_this_machine_and_lists_nothing(results):
    import threading
    import urllib.error
    import urllib.request

    from covidcxr.papers.reporting.reproduction import serving

    with serving.server(results, 0) as opened:
        assert opened.server_address[0] == "127.0.0.1"
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{opened.server_port}/"
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == (results / "index.html").read_bytes()
        for path in ("tables/", "../../README.md", "%2e%2e/%2e%2e/README.md"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(address + path)  # noqa: S310 (our own server)
        opened.shutdown()
    with pytest.raises(OptionError, match="--port 70000"):
        serving.server(results, 70000)
