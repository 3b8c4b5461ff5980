"""Everything that the package may fetch: over https alone, and held against a digest that is written down."""

import ast
import re
from pathlib import Path

import pytest

import covidcxr
from covidcxr.data import download
from covidcxr.errors import ModelError
from covidcxr.models import fetching, weight_catalog

PACKAGE = Path(covidcxr.__file__).parent
DIGEST = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{8}|sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96})")
ENTRIES = weight_catalog.entries()
# The only modules that may open a connection.
OPENERS = {"models/fetching.py", "data/download.py"}
NETWORK = {
    "urllib.request",
    "http.client",
    "requests",
    "pooch",
    "socket",
    "ftplib",
    "smtplib",
    "urllib3",
    "httpx",
}
# They serve this machine's own pages, or find free ports and names for workers on it.
LOCAL = {
    "papers/reporting/reproduction/serving.py",
    "training/workers.py",
    "papers/running/lock.py",
}


@pytest.mark.parametrize("key", download.DOWNLOADS)
def test_sets_of_images_are_pinned(key):
    wanted = download.DOWNLOADS[key]
    if isinstance(wanted, download.Repository):
        assert wanted.address.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{40}", wanted.commit)
    elif isinstance(wanted, download.Files):
        assert re.fullmatch(r"[0-9a-f]{64}", wanted.digest)
        for address in wanted.addresses.values():
            assert re.match(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/", address)
    else:
        assert wanted.page.startswith("https://")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_weights_are_pinned_or_not_fetched(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    if entry.address.startswith("https://") and entry.digest:
        assert DIGEST.fullmatch(entry.digest)
        return
    with pytest.raises(ModelError, match=r"only https addresses|no digest of it is published") as caught:
        weight_catalog.fetch(entry, tmp_path / "weights")
    assert "get it in your own way" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_fetched_is_known():
    """Of 42 files: GoogLeNet's Caffe model, which its server gives over http alone, and MobileNets of other widths."""
    refused = [entry.key for entry in ENTRIES if not (entry.fetchable and entry.digest)]
    assert len(ENTRIES) == 42
    assert sorted(refused) == [
        "googlenet_bvlc",
        "mobilenet@0.25",
        "mobilenet@0.5",
        "mobilenet@0.75",
        "mobilenet_v2@0.35",
        "mobilenet_v2@0.5",
        "mobilenet_v2@0.75",
        "mobilenet_v2@1.3",
        "mobilenet_v2@1.4",
    ]


def test_only_two_modules_open_connections():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if NETWORK.intersection(names):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found - LOCAL == OPENERS


def test_secure_addresses_are_the_only_scheme():
    assert fetching.SCHEMES == download.SCHEMES == ("https",)
