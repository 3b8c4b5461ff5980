import platform

from covidcxr.bench import hardware


def test_the_first_processor_of_the_list_is_described(tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: A CPU @ 2: fast\nflags\t\t: fpu avx2 amx_tile\n"
        "\nprocessor\t: 1\nmodel name\t: B\n"
    )
    info = hardware._cpuinfo(tmp_path / "cpuinfo")
    assert info["model name"] == "A CPU @ 2: fast"
    assert info["flags"].split() == ["fpu", "avx2", "amx_tile"]


def test_a_system_without_that_list_is_described_too(monkeypatch):
    monkeypatch.setattr(hardware, "_cpuinfo", dict)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
    found = hardware.describe()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert (found["flags"], found["gpus"]) == ([], [])


def test_the_machine_is_described_but_not_named():
    assert platform.node() not in str(hardware.describe()).split()
    assert "keras" in hardware.versions()
