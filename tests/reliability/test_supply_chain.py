"""Licences, known vulnerabilities and the bill of materials of what a plain installation brings."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "supply_chain.py"


@pytest.fixture(scope="module")
def chain():
    if not SCRIPT.is_file():
        pytest.skip("not in a clone: .ci is in no wheel")
    spec = importlib.util.spec_from_file_location("supply_chain", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "text",
    [
        "MIT",
        "Apache Software License",
        "BSD-3-Clause AND MIT AND Zlib",
        "GNU Lesser General Public License v2 (LGPLv2)",
        "GPL-2.0-only OR Apache-2.0",
        "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1",
        "MPL-2.0",
    ],
)
def test_licences_that_bind_nobody_pass(chain, text):
    assert chain.objection(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UNKNOWN",
        "GPL-3.0-or-later",
        "MIT AND GPL-2.0-only",
        "AGPL-3.0",
        "GNU General Public License v3 (GPLv3)",
        "GNU Affero General Public License v3",
        "Proprietary",
    ],
)
def test_copyleft_and_unknown_licences_do_not(chain, text):
    assert chain.objection(text)


def distribution(folder, name, text):
    place = folder / f"{name}-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{text}")
    return importlib.metadata.PathDistribution(place)


def test_a_licence_is_read_where_the_package_tells_it(chain, tmp_path):
    expression = distribution(tmp_path, "a", "License-Expression: MIT\nLicense: GPL\n")
    classifier = distribution(
        tmp_path,
        "b",
        "License: " + "long text " * 20 + "\nClassifier: License :: OSI Approved :: MIT License\n",
    )
    field = distribution(tmp_path, "c", "License: Apache 2.0\n")
    nothing = distribution(tmp_path, "d", "Classifier: License :: OSI Approved\n")
    file = distribution(tmp_path, "e", "License-File: LICENSE\n")
    (tmp_path / "e-1.0.dist-info" / "licenses").mkdir()
    (tmp_path / "e-1.0.dist-info" / "licenses" / "LICENSE").write_text("\n   Apache License\n  Version 2.0")
    found = [chain.licence(one) for one in (expression, classifier, field, nothing, file)]
    assert found == ["MIT", "MIT License", "Apache 2.0", "", "Apache License (LICENSE)"]


def test_a_default_package_under_the_gpl_is_an_error(chain, tmp_path, capsys):
    bad = {"bad": distribution(tmp_path, "bad", "License: GPL-3.0\n")}
    assert chain.licences(bad) == ["bad: GPL-3.0: binds whoever passes this package on"]
    assert "| bad | 1.0 | GPL-3.0 |" in capsys.readouterr().out


def test_no_default_package_has_a_licence_that_binds(chain, capsys):
    found = chain.defaults()
    assert {"tensorflow", "keras", "numpy", "pydicom", "h5py"} <= found.keys()
    # An extra, since it is under the GPL.
    assert "pylibjpeg-libjpeg" not in found
    assert chain.licences(found) == [], capsys.readouterr().out


def test_what_is_not_as_pinned_is_told(chain, tmp_path):
    pins = tmp_path / "requirements.txt"
    pins.write_text('numpy==0.1\nnobody-has-this==1\nnumpy==0.2 ; python_version < "3"\n# none\n')
    first, second = chain.off_pin(pins)
    assert first.startswith("numpy: ")
    assert second == "nobody-has-this: absent is installed, ==1 is pinned"


def answering(stdout, stderr=""):
    return lambda *_, **__: types.SimpleNamespace(stdout=stdout, stderr=stderr, returncode=1)


VULNERABLE = {
    "name": "x",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}],
}


def test_a_known_vulnerability_fails_unless_a_reason_is_given(chain, monkeypatch, capsys):
    run = answering(json.dumps({"dependencies": [VULNERABLE, {"name": "y", "skip_reason": "unknown"}]}))
    assert chain.audit({}, run) == ["x 1.0: PYSEC-1, mended in 1.1"]
    assert "does not know them: y\n1 of 2 packages audited" in capsys.readouterr().out
    monkeypatch.setitem(chain.ACCEPTED, "CVE-1", "the function is not called")
    assert chain.audit({}, run) == []
    assert "accepted: x PYSEC-1: the function is not called" in capsys.readouterr().out


def test_a_service_that_knows_nothing_has_audited_nothing(chain, capsys):
    run = answering(json.dumps({"dependencies": [{"name": "y", "skip_reason": "unknown"}]}))
    assert chain.audit({}, run) == []
    assert "not audited: the service answers" in capsys.readouterr().out


def test_an_unreachable_service_is_said_and_a_broken_tool_is_an_error(chain, capsys):
    assert chain.audit({}, answering("", "requests.exceptions.ConnectionError: HTTPSConnectionPool")) == []
    assert "cannot be reached" in capsys.readouterr().out
    assert chain.audit({}, answering("", "No module named pip_audit")) == [
        "pip-audit failed: No module named pip_audit"
    ]


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_is_installed(chain, tmp_path):
    pytest.importorskip("cyclonedx_py", reason="needs the extra audit")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "sbom", "--sbom", str(tmp_path / "sbom.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert {"tensorflow", "keras", "numpy"} <= {part["name"] for part in document["components"]}
