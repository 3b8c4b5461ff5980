import json
import os

import pytest

from covidcxr import atomic
from covidcxr.errors import OutputError


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "metrics.json"
    atomic.write_json(target, {"accuracy": 0.5})

    def killed_while_writing():
        with atomic.whole_file(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed_while_writing()
    assert json.loads(target.read_text()) == {"accuracy": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OutputError, match="a file, not a folder"):
        atomic.make_folder(blocker / "run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path):

    def write_much():
        with atomic.output_errors(tmp_path), open("/dev/full", "w") as full:
            full.write("x" * 10_000)
            full.flush()

    with pytest.raises(OutputError, match="the disk is full"):
        write_much()


def test_files_get_the_usual_permissions(tmp_path):
    atomic.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
