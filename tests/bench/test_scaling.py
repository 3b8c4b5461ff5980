import subprocess
import sys

import pytest

from covidcxr.bench import images, scaling_jobs
from covidcxr.bench.measuring import Bench
from covidcxr.bench.parts import scaling
from covidcxr.errors import CovidcxrError


@pytest.fixture
def jobs(monkeypatch):
    """Jobs are not run: they take a second for every 16 images, pixels or folds, and memory as told."""

    def run(name, *, repeats, **options):
        done.append((name, options))
        amount = len(options["paths"]) if "paths" in options else options.get("count", options.get("side"))
        return (amount / 16,) * repeats, 2**30 + 2**20 * amount

    done = []
    monkeypatch.setattr(scaling_jobs, "run", run)
    return done


def test_quick_fits_the_exponent_and_the_growth_of_memory(jobs, tmp_path):
    facts = {fact.key: fact for fact in scaling.measure(Bench(tmp_path, quick=True))}
    assert facts["predict@32"].values == (2.0, 2.0)
    assert facts["predict@128"].value == 8.0
    assert facts["predict-exponent"].value == pytest.approx(1.0)
    assert facts["training_input-memory"].value == pytest.approx(96)
    assert facts["training_input-memory"].met is True
    assert {name for name, _ in jobs} == {"training_input", "predict"}


def test_larger_amounts_hold_the_smaller_ones_images(jobs, tmp_path):
    list(scaling.measure(Bench(tmp_path, quick=True)))
    few, many, *_ = (options["paths"] for _, options in jobs)
    assert many[: len(few)] == few


def test_noise_has_two_classes_and_no_two_alike(tmp_path):
    root = scaling.noise(Bench(tmp_path), 6)
    files = sorted(root.glob("*/*.png"))
    assert [path.parent.name for path in files] == ["covid19"] * 3 + ["normal"] * 3
    assert len({path.read_bytes() for path in files}) == 6


def test_a_job_that_fails_is_named_with_its_last_words():
    with pytest.raises(CovidcxrError, match=r"audit: its process failed: .*nowhere"):
        scaling_jobs.run("audit", repeats=1, folder="nowhere", count=1)


def test_peak_memory_is_what_the_process_once_held():
    code = """
from covidcxr.bench.scaling_jobs import peak_memory
before = peak_memory()
block = b"x" * 2**28
del block
print(peak_memory() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**27 < int(done.stdout) < 2**29


@pytest.mark.slow
def test_every_job_runs(tmp_path):
    bench = Bench(tmp_path, quick=True)
    paths = [str(path) for path in images.radiographs(bench, 4, 64)]
    options = {
        "training_input": {"paths": paths, "batch": 2},
        "predict": {"paths": paths, "batch": 2, "side": 96},
        "audit": {"folder": str(scaling.noise(bench, 4)), "count": 2},
        "training_step": {"batch": 2, "side": 96},
        "folds": {"folder": str(scaling.noise(bench, 40, "few")), "count": 3, "out": str(tmp_path / "folds")},
    }
    assert set(options) == set(scaling_jobs.JOBS)
    for name, each in options.items():
        seconds, peak = scaling_jobs.run(name, repeats=1, **each)
        assert len(seconds) == 1
        assert peak > 2**20
