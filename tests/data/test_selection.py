import numpy as np
import pytest

from covidcxr.data.records import Records
from covidcxr.data.selection import draw
from covidcxr.errors import DataError


def pool(tmp_path):
    rows = [{"path": f"rsna/{i}.png", "label": "normal", "source": "rsna"} for i in range(40)]
    rows += [{"path": f"kermany/{i}.png", "label": "normal", "source": "kermany"} for i in range(40)]
    rows += [{"path": f"covid/{i}.png", "label": "covid19", "source": "ieee"} for i in range(12)]
    return Records.from_rows(rows, tmp_path)


def everything(records):
    return records


def test_draws_the_counts_from_the_named_source(tmp_path):
    chosen = draw(
        pool(tmp_path), {"covid19": 10, "normal": 20}, {"normal": "rsna"}, seed=1, screen=everything
    )
    assert chosen.table["label"].value_counts().to_dict() == {"normal": 20, "covid19": 10}
    assert set(chosen.table.loc[chosen.table["label"] == "normal", "source"]) == {"rsna"}
    assert chosen.notes == ()


def test_the_same_seed_draws_the_same_images_in_whatever_order_they_are_listed(tmp_path):
    records = pool(tmp_path)
    shuffled = Records(records.table.sample(frac=1, random_state=0).reset_index(drop=True), records.root)
    options = {"counts": {"covid19": 5, "normal": 5}, "sources": {}, "screen": everything}
    one, two, other = (draw(r, seed=s, **options) for r, s in [(records, 3), (shuffled, 3), (records, 4)])
    assert list(one.table["path"]) == list(two.table["path"])
    assert list(one.table["path"]) != list(other.table["path"])


def test_broken_images_are_replaced_by_others(tmp_path):
    def screen(records):
        broken = records.table["path"].str.contains("covid/[01].png")
        return records.where(~broken, reason="unreadable")

    chosen = draw(pool(tmp_path), {"covid19": 8}, {}, seed=np.int64(2), screen=screen)
    assert len(chosen) == 8
    assert not set(chosen.table["path"]) & {"covid/0.png", "covid/1.png"}


def test_fewer_images_than_the_paper_is_said_not_hidden(tmp_path):
    chosen = draw(
        pool(tmp_path), {"covid19": 102}, {"covid19": "covid-chestxray-dataset"}, seed=0, screen=everything
    )
    assert len(chosen) == 12
    assert chosen.notes == (
        "covid19: taken from ieee, where the paper has covid-chestxray-dataset",
        "covid19: 12 images, where the paper has 102",
    )


def test_a_missing_class_names_the_classes_found(tmp_path):
    with pytest.raises(DataError, match=r"no image labelled sars \(classes found: covid19, normal\)"):
        draw(pool(tmp_path), {"sars": 1}, {}, seed=0, screen=everything)
