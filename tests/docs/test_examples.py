"""The pages that say how to add a source and a backbone, taken at their word."""

import importlib
import importlib.util
import sys

import pytest

_spec = importlib.util.spec_from_file_location("markdown_pages", f"{__file__.rpartition('/')[0]}/markdown.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


def added(page, package, module, folder, monkeypatch):
    """Save a page's module beside those of a package; return it and the row that the page adds."""
    code, row = pages.fences(pages.DOCS / page, "python")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    name = f"{package.__name__}.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    found = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, name, found)
    return found, row


@pytest.fixture
def source(tmp_path, monkeypatch):
    from covidcxr.data import sources

    (tmp_path / "modules").mkdir()
    module, row = added("add-a-source.md", sources, "example", tmp_path / "modules", monkeypatch)
    made = eval(row, {"Source": sources.Source, "example": module})  # noqa: S307 (a page of ours)
    own = {key: each for key, each in sources.SOURCES.items() if key in ("table", "folders")}
    public = {key: each for key, each in sources.SOURCES.items() if key not in own}
    monkeypatch.setattr(sources, "SOURCES", {**public, made.key: made, **own})
    return made


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "data" / "example"
    (folder / "xrays").mkdir(parents=True)
    lines = ["file,diagnosis,subject,projection,sex,age"]
    lines += [f"c{n}.png,COVID-19,{n},PA,F,{40 + n}" for n in range(3)]
    lines += [f"n{n}.png,No Finding,{n + 5},AP,M," for n in range(3)]
    lines += ["l0.png,Normal,9,LATERAL,M,50", "gone.png,Normal,9,PA,M,50"]
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    for line in lines[1:-1]:
        (folder / "xrays" / line.partition(",")[0]).write_bytes(b"")
    return folder.parent


def test_the_source_is_found_and_read_as_the_page_says(source, images):
    from covidcxr.data import sources

    assert sources.find(images) == [(source, images / "example")]
    records = sources.read(images)
    assert records.counts().set_index("label")["images"].to_dict() == {"covid19": 3, "normal": 3}
    first = records.table.set_index("path").loc["xrays/c0.png"]
    assert (first["patient_id"], first["view"], first["age"], first["sex"]) == ("example-0", "PA", 40, "F")
    assert {item.path: item.reason for item in records.exclusions} == {
        "xrays/l0.png": "other view",
        "xrays/gone.png": "file missing",
    }
    assert "example: adults only" in records.notes
    assert len(sources.read(images, projections=("PA", "AP", "LATERAL"))) == 7


@pytest.mark.usefixtures("source")
def test_the_source_is_listed_and_inspected(images, capsys):
    from covidcxr.cli import main

    assert main(["data", "list"]) == 0
    assert "example: Example X-ray set" in capsys.readouterr().out
    assert main(["data", "inspect", str(images), "--no-images"]) == 0
    assert "other view" in capsys.readouterr().out


@pytest.mark.usefixtures("source")
def test_no_other_set_is_taken_for_it(tmp_path):
    from covidcxr.data import sources

    for name in ("covid19", "normal"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "a.png").write_bytes(b"")
    assert [found.key for found, _ in sources.find(tmp_path / "mine")] == ["folders"]


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    from covidcxr import models
    from covidcxr.models import backbones

    module, row = added("add-a-backbone.md", models, "plain", tmp_path, monkeypatch)
    facts = eval(row, {"Backbone": backbones.Backbone})  # noqa: S307 (a page of ours)
    monkeypatch.setitem(backbones._BY_KEY, facts.key, facts)
    return facts, module


def test_the_facts_of_the_backbone_are_those_of_the_network(backbone):
    from covidcxr.errors import CovidcxrError
    from covidcxr.models import backbones

    facts, module = backbone
    whole = module.build()
    assert whole.count_params() == facts.parameters_with_top
    assert whole.input_shape[1:] == (facts.input_size, facts.input_size, 3)
    assert sum(1 for layer in whole.layers if layer.weights) == facts.depth
    smallest = (facts.minimum_size, facts.minimum_size, 3)
    trunk = backbones.build("Plain", smallest)
    assert trunk.count_params() == facts.parameters
    assert trunk.output_shape == (None, 1, 1, facts.features)
    with pytest.raises(CovidcxrError, match="8 x 8 or more"):
        backbones.build("plain", (facts.minimum_size - 1, facts.minimum_size, 3))


@pytest.mark.usefixtures("backbone")
def test_the_backbone_carries_a_head_learns_and_is_stored(tmp_path):
    import keras
    import numpy as np

    from covidcxr.models.freezing import freeze_all
    from covidcxr.models.heads import HeadSpec, classifier
    from covidcxr.models.start import start

    keras.utils.set_random_seed(0)
    first = start("plain", (16, 16, 3), "none")
    first.save_weights(tmp_path / "plain.weights.h5")
    trunk = start("plain", (16, 16, 3), tmp_path / "plain.weights.h5")
    freeze_all(trunk)
    model = classifier(trunk, HeadSpec(2, dropout=0.3))
    assert len(model.trainable_variables) == 2
    model.compile("sgd", "categorical_crossentropy", run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    before = first.get_weights()
    model.train_on_batch(images, np.eye(2, dtype="float32")[[0, 1, 0, 1]])
    after = trunk.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    path = tmp_path / "model.h5"
    model.save(path)
    again = keras.saving.load_model(path, compile=False)
    np.testing.assert_array_equal(again(images), model(images))


@pytest.mark.usefixtures("backbone")
def test_the_backbone_is_listed_with_the_others(capsys):
    from covidcxr.cli import main

    assert main(["papers", "models"]) == 0
    assert "plain" in capsys.readouterr().out
