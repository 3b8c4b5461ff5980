"""Downloads from a repository and a server of this machine; the real addresses are never opened here."""

import functools
import http.server
import json
import subprocess
import threading
from dataclasses import replace

import pytest

from covidcxr.data import download, sources
from covidcxr.data.sources import rahimzadeh
from covidcxr.errors import DataError, OptionError, OutputError

HEADER = "patientid,offset,sex,age,finding,view,modality,folder,filename\n"


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small covid-chestxray-dataset whose first commit is pinned and whose second is not."""
    folder = tmp_path / "upstream"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"picture")
    (folder / "metadata.csv").write_text(HEADER + "1,0,M,60,COVID-19,PA,X-ray,images,a.jpg\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "pinned")
    pinned = git(folder, "rev-parse", "HEAD")
    (folder / "metadata.csv").write_text(HEADER)
    git(folder, "commit", "--quiet", "-am", "later")
    wanted = download.DOWNLOADS["covid-chestxray-dataset"]
    there = replace(wanted, address=folder.as_uri(), commit=pinned)
    monkeypatch.setitem(download.DOWNLOADS, "covid-chestxray-dataset", there)
    monkeypatch.setattr(download, "SCHEMES", ("file",))
    return there


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        self.server.asked.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The fold lists on loopback, one line each."""
    folder = tmp_path / "web"
    names = list(download.DOWNLOADS["rahimzadeh2020-splits"].addresses)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"filename,class\r\nx.png,normal\r\n")
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.asked, served.moved = [], {}
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{served.server_port}"
        wanted = replace(
            download.DOWNLOADS["rahimzadeh2020-splits"],
            addresses={name: f"{base}/{name}" for name in names},
            digest=download.text_digest(folder, names),
        )
        monkeypatch.setitem(download.DOWNLOADS, "rahimzadeh2020-splits", wanted)
        monkeypatch.setattr(download, "SCHEMES", ("http",))
        served.folder = folder
        yield served
        served.shutdown()


def test_the_pinned_state_is_fetched_and_reads(repository, tmp_path):
    calls = []
    out = tmp_path / "data"
    folder = download.fetch("covid-chestxray-dataset", out, lambda *step: calls.append(step))
    assert folder == out / "covid-chestxray-dataset"
    assert sources.read(out).table["label"].tolist() == ["covid19"]
    assert calls[-1] == (100, 100)
    assert json.loads((folder / "covidcxr-source.json").read_text())["commit"] == repository.commit
    assert {path.name for path in out.iterdir()} == {"covid-chestxray-dataset"}


def test_what_is_there_is_not_fetched_again(repository, tmp_path, monkeypatch):
    first = download.fetch("covid-chestxray-dataset", tmp_path / "data")
    monkeypatch.setattr(download.shutil, "which", lambda name: None)
    assert download.fetch("covid-chestxray-dataset", tmp_path / "data") == first


def test_a_first_attempt_that_failed_is_taken_up(repository, tmp_path, monkeypatch):
    out = tmp_path / "data"
    lost = replace(repository, address=repository.address + "-lost")
    monkeypatch.setitem(download.DOWNLOADS, "covid-chestxray-dataset", lost)
    with pytest.raises(DataError, match="cannot be fetched") as error:
        download.fetch("covid-chestxray-dataset", out)
    message = str(error.value)
    assert message.startswith(lost.address)
    assert f"unpack it as {out / 'covid-chestxray-dataset'}" in message
    assert "\n" not in message
    assert not (out / "covid-chestxray-dataset").exists()
    monkeypatch.setitem(download.DOWNLOADS, "covid-chestxray-dataset", repository)
    assert download.fetch("covid-chestxray-dataset", out).is_dir()


def test_a_state_that_came_through_whole_is_not_received_again(repository, tmp_path, monkeypatch):
    part = tmp_path / "data" / ".covid-chestxray-dataset.part"
    part.mkdir(parents=True)
    git(part, "init", "--quiet")
    git(part, "fetch", "--quiet", "--depth", "1", repository.address, repository.commit)
    (part / ".git" / "index.lock").write_text("")
    lost = replace(repository, address=repository.address + "-lost")
    monkeypatch.setitem(download.DOWNLOADS, "covid-chestxray-dataset", lost)
    assert (download.fetch("covid-chestxray-dataset", tmp_path / "data") / "images" / "a.jpg").is_file()


def test_variables_of_an_enclosing_repository_do_not_matter(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert (download.fetch("covid-chestxray-dataset", tmp_path / "data") / "metadata.csv").is_file()


def test_without_git(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "which", lambda name: None)
    with pytest.raises(DataError, match=rf"git is needed.*archive/{repository.commit}\.zip"):
        download.fetch("covid-chestxray-dataset", tmp_path / "data")


def test_only_https(tmp_path, monkeypatch):
    wanted = download.DOWNLOADS["covid-chestxray-dataset"]
    monkeypatch.setitem(
        download.DOWNLOADS, "covid-chestxray-dataset", replace(wanted, address="http://example.org/x")
    )
    with pytest.raises(DataError, match="only https addresses"):
        download.fetch("covid-chestxray-dataset", tmp_path)


def test_every_address_is_https():
    lists = download.DOWNLOADS["rahimzadeh2020-splits"]
    pages = [getattr(wanted, "address", None) or wanted.page for wanted in download.DOWNLOADS.values()]
    assert all(address.startswith("https://") for address in [*pages, *lists.addresses.values()])
    assert len(lists.addresses) == 1 + 5 * 8


def test_the_lists_are_fetched(server, tmp_path):
    calls = []
    folder = download.fetch("rahimzadeh2020-splits", tmp_path / "data", lambda *step: calls.append(step))
    assert rahimzadeh.read_lists(folder).images["name"].tolist() == ["x.png"]
    assert calls[-1] == (41, 41)


def test_files_that_came_through_are_not_fetched_again(server, tmp_path):
    missing = server.folder / "fold5" / "train8.csv"
    content = missing.read_bytes()
    missing.unlink()
    with pytest.raises(DataError, match=r"fold5/train8\.csv: cannot be fetched \(404") as error:
        download.fetch("rahimzadeh2020-splits", tmp_path / "data")
    assert "\n" not in str(error.value)
    missing.write_bytes(content)
    server.asked.clear()
    download.fetch("rahimzadeh2020-splits", tmp_path / "data")
    assert server.asked == ["/fold5/train8.csv"]


def test_other_content_than_expected_is_refused_and_removed(server, tmp_path):
    (server.folder / "All.csv").write_text("filename,class\ny.png,normal\n")
    with pytest.raises(DataError, match="not those expected"):
        download.fetch("rahimzadeh2020-splits", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_call_that_received_nothing_leaves_nothing(repository, tmp_path, monkeypatch):
    lost = replace(repository, address=repository.address + "-lost")
    monkeypatch.setitem(download.DOWNLOADS, "covid-chestxray-dataset", lost)
    with pytest.raises(DataError, match="cannot be fetched"):
        download.fetch("covid-chestxray-dataset", tmp_path / "deep" / "data")
    assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="cannot be fetched"):
        download.fetch("covid-chestxray-dataset", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_lists_that_cannot_be_had_leave_nothing(server, tmp_path):
    (server.folder / "All.csv").unlink()
    with pytest.raises(DataError, match=r"All\.csv: cannot be fetched"):
        download.fetch("rahimzadeh2020-splits", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_redirection_away_from_https_is_refused(server, tmp_path, monkeypatch):
    """The server is asked over http here, which the test admits; it leads on to ftp, which nobody does."""
    server.moved = {"/All.csv": "ftp://127.0.0.1/All.csv"}
    with pytest.raises(DataError, match=r"ftp://127\.0\.0\.1/All\.csv: only http addresses are fetched"):
        download.fetch("rahimzadeh2020-splits", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_redirection_that_stays_is_followed(server, tmp_path):
    server.moved = {"/All.csv": "/fold1/train1.csv"}
    assert download.fetch("rahimzadeh2020-splits", tmp_path / "data").is_dir()


def test_the_digest_is_that_of_the_authors_lists(shared):
    wanted = download.DOWNLOADS["rahimzadeh2020-splits"]
    folder = shared / "data" / "rahimzadeh2020-splits"
    assert download.text_digest(folder, wanted.addresses) == wanted.digest


def test_line_ends_do_not_change_the_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"1\n2\n")
    unix = download.text_digest(tmp_path, ["a"])
    (tmp_path / "a").write_bytes(b"1\r\n2\r\n")
    assert download.text_digest(tmp_path, ["a"]) == unix
    (tmp_path / "a").write_bytes(b"1\r\n3\r\n")
    assert download.text_digest(tmp_path, ["a"]) != unix


@pytest.mark.parametrize("key", ["kermany", "rsna"])
def test_sets_that_need_an_account_say_how(key, tmp_path):
    with pytest.raises(DataError, match=r"https://www\.kaggle\.com/.*must be there") as error:
        download.fetch(key, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "{" not in str(error.value)


def test_something_else_in_the_way(tmp_path):
    (tmp_path / "covid-chestxray-dataset").mkdir()
    (tmp_path / "covid-chestxray-dataset" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="something else is there"):
        download.fetch("covid-chestxray-dataset", tmp_path)


def test_a_file_where_the_folder_should_be(repository, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError):
        download.fetch("covid-chestxray-dataset", tmp_path / "taken")


def test_an_unknown_set(tmp_path):
    with pytest.raises(OptionError, match="covid-chestxray-dataset, rahimzadeh2020-splits, kermany, rsna"):
        download.fetch("nih", tmp_path)
