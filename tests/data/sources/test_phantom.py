"""The phantom: closed forms, repeatability, truth against pixels, folders that survive an interruption."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covidcxr.data import labels
from covidcxr.data.phantom import disease, patients, vessels
from covidcxr.data.phantom.confounders import BORDER_SHARE, MARKER_BOX
from covidcxr.data.phantom.detector import SOFT, attenuation, expose
from covidcxr.data.phantom.grid import Grid, capsule, ellipsoid
from covidcxr.data.records import COLUMNS
from covidcxr.data.sources import phantom
from covidcxr.errors import DataError, OptionError, OutputError

SIZE = 64
CACHES = (patients.draw_patient, patients.draw_pose, vessels.draw, disease._noise, disease._web)
TRUTH = {"pattern", "severity", "opacity", "lesion_side", "lesion_centres", "marker", "border", "contrast"}


def pixels(label, patient, image=1, **options):
    return phantom.render(label, patient, image, **{"size": SIZE, **options})[0]


def truth(label, patient, image=1, **options):
    return phantom.render(label, patient, image, **{"size": SIZE, **options})[1]


def inside(patient, image=1, size=SIZE):
    return phantom.lung_mask(patient, image, size=size) > 0


def ids(label, count, start=0):
    """Patient numbers as `write` gives them to a class."""
    return [labels.LABELS.index(label) + 1 + 6 * (start + k) for k in range(count)]


@pytest.fixture
def plain_grid():
    pose = dataclasses.replace(patients.draw_pose(1, 1, 0), field=40.0, lean=0.02, shift_x=0.0, shift_y=0.0)
    return Grid(400, pose)


def test_chords_add_up_to_the_solids_volume(plain_grid):
    _, chords = ellipsoid(plain_grid, (1.0, -2.0), (5.0, 3.0, 2.0), 0.7)
    assert chords.sum() * plain_grid.pixel**2 == pytest.approx(4 / 3 * np.pi * 5 * 3 * 2, rel=2e-3)
    _, chords = capsule(plain_grid, (-3.0, -4.0), (3.0, 4.0), 1.5)
    rod = np.pi * 1.5**2 * 10 + 4 / 3 * np.pi * 1.5**3
    assert chords.sum() * plain_grid.pixel**2 == pytest.approx(rod, rel=2e-3)


def test_lean_maps_there_and_back(plain_grid):
    points = np.array([[3.0, -7.0], [-9.0, 11.0]])
    columns, rows = np.rint(plain_grid.pixels(points)).astype(int).T
    assert plain_grid.X[rows, columns] == pytest.approx(points[:, 0], abs=plain_grid.pixel)
    assert plain_grid.Y[rows, columns] == pytest.approx(points[:, 1], abs=plain_grid.pixel)
    mapped = plain_grid.matrix(100, 18.0) @ np.array([columns, rows, np.ones(2)])
    assert (mapped + 0.5) * 0.36 - 18 == pytest.approx(points.T, abs=plain_grid.pixel)


def test_thin_water_follows_beer_and_lambert():
    water = np.full((8, 8), 0.5, np.float32)
    nothing = np.zeros_like(water)
    assert attenuation(water, nothing, nothing, nothing) == pytest.approx(SOFT * 0.5, rel=5e-3)
    assert (
        attenuation(2 * water, 2 * water, nothing, nothing) < attenuation(2 * water, *[nothing] * 3)
    ).all()


def test_noise_falls_with_the_square_root_of_the_quanta():
    pose = dataclasses.replace(patients.draw_pose(1, 1, 0), photons=2e5, scatter=0.2)
    flat = np.ones((128, 128), np.float32)
    spread = [
        expose(flat, dataclasses.replace(pose, photons=n), np.random.default_rng(0)).std() for n in (2e5, 8e5)
    ]
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("label", labels.LABELS)
def test_equal_arguments_give_equal_bits_in_any_order(label):
    first, fact = phantom.render(label, 5, 2, size=SIZE, seed=3)
    for cache in CACHES:
        cache.cache_clear()
    phantom.render("sars", 6, 1, size=96, seed=4)
    phantom.render(label, 5, 1, size=SIZE, seed=3)
    again, fact_again = phantom.render(label, 5, 2, size=SIZE, seed=3)
    assert first.dtype == np.uint8
    assert first.shape == (SIZE, SIZE)
    np.testing.assert_array_equal(first, again)
    assert fact == fact_again
    assert (first != pixels(label, 5, 2, seed=4)).mean() > 0.5


@pytest.mark.parametrize("size", [64, 100, 1024])
def test_size_changes_the_sampling_only(size):
    reference = cv2.resize(pixels("covid19", 3, size=512), (64, 64), interpolation=cv2.INTER_AREA)
    other = cv2.resize(pixels("covid19", 3, size=size), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(reference.ravel(), other.ravel())[0, 1] > 0.98


def test_images_of_a_patient_resemble_each_other():
    people = {patient: [pixels("normal", patient, image) for image in (1, 2, 3)] for patient in range(1, 13)}
    flat = np.array([image.ravel() for images in people.values() for image in images], dtype=float)
    owner = np.repeat(list(people), 3)
    likeness = np.corrcoef(flat)
    same = (owner[:, None] == owner) & ~np.eye(len(owner), dtype=bool)
    assert likeness[same].mean() > likeness[owner[:, None] != owner].mean() + 0.02


def test_person_stays_and_disease_moves_on():
    facts = [truth("covid19", 9, image) for image in (1, 2, 3, 4)]
    assert len({(fact["sex"], fact["age"]) for fact in facts}) == 1
    days = [fact["offset"] for fact in facts]
    assert days == sorted(set(days))
    assert len({fact["severity"] for fact in facts}) == 4


def test_nothing_but_the_disease_depends_on_the_label():
    for patient in (2, 8, 14):
        healthy, fact = phantom.render("normal", patient, 1, size=128)
        ill, ill_fact = phantom.render("bacterial_pneumonia", patient, 1, size=128)
        assert {k: fact[k] for k in ("sex", "age", "view")} == {
            k: ill_fact[k] for k in ("sex", "age", "view")
        }
        change = np.abs(ill.astype(int) - healthy)
        lungs = inside(patient, size=128)
        beyond = cv2.dilate(lungs.astype(np.uint8), np.ones((9, 9))) == 0
        assert change[lungs].mean() > 4 * change[beyond].mean()


def test_lung_fields_are_two_lungs_the_right_one_larger():
    larger = 0
    for patient in range(1, 21):
        mask = inside(patient, size=128)
        parts, count = ndimage.label(mask)
        sizes = np.sort(ndimage.sum(mask, parts, range(1, count + 1)))
        assert sizes[-2:].sum() > 0.98 * mask.sum()
        assert 0.12 < mask.mean() < 0.5
        grey = pixels("normal", patient, size=128)
        assert grey[mask].mean() < grey[40:90, 58:70].mean() - 40
        middle = mask.any(0).nonzero()[0].mean()
        larger += mask[:, : int(middle)].sum() > mask[:, int(middle) :].sum()
    assert larger >= 17


def _heart_share(patient, image):
    """Widest gap between the lungs to the widest lung outline: a cardiothoracic ratio from the mask."""
    mask = inside(patient, image, size=128)
    rows = mask[mask.any(1)]
    left = rows.argmax(1)
    right = rows.shape[1] - rows[:, ::-1].argmax(1)
    gap = right - left - rows.sum(1)
    low = slice(len(rows) // 2, int(0.85 * len(rows)))
    return gap[low].max() / (right - left).max()


def test_heart_is_wider_in_bed():
    ratios = {"PA": [], "AP": []}
    for patient in range(1, 41):
        ratios[truth("normal", patient)["view"]].append(_heart_share(patient, 1))
    assert min(map(len, ratios.values())) >= 8
    assert np.mean(ratios["AP"]) > np.mean(ratios["PA"]) + 0.02


def _brightness(label, count):
    means, unevenness = [], []
    for patient in ids(label, count):
        grey, mask = pixels(label, patient).astype(float), inside(patient)
        healthy = pixels("normal", patient)
        rise = (grey - healthy) * mask
        means.append(rise.sum() / mask.sum())
        halves = rise[:, : SIZE // 2].sum(), rise[:, SIZE // 2 :].sum()
        unevenness.append(abs(halves[0] - halves[1]) / max(sum(halves), 1e-6))
    return np.mean(means), np.median(unevenness)


def test_each_disease_leaves_its_mark():
    found = {label: _brightness(label, 24) for label in ("covid19", "sars", *labels.LABELS[3:5])}
    assert all(rise > 1.5 for rise, _ in found.values())
    assert found["bacterial_pneumonia"][1] > 0.8
    assert found["covid19"][1] < 0.6
    assert found["viral_pneumonia"][1] < 0.5
    assert found["sars"][1] > found["covid19"][1]


def test_truth_agrees_with_the_pixels():
    for patient in ids("bacterial_pneumonia", 12):
        fact = truth("bacterial_pneumonia", patient, size=128)
        rise = pixels("bacterial_pneumonia", patient, size=128).astype(float) - pixels(
            "normal", patient, size=128
        )
        rise = np.maximum(rise, 0) * inside(patient, size=128)
        x, y = (rise.sum(0) @ np.arange(128), rise.sum(1) @ np.arange(128)) / rise.sum() / 128
        told_x, told_y = map(float, fact["lesion_centres"].split("; ")[0].split())
        assert fact["lesion_side"] == ("right" if x < 0.5 else "left")
        assert (x, y) == pytest.approx((told_x, told_y), abs=0.06)
    healthy = truth("normal", 2)
    assert (healthy["severity"], healthy["opacity"], healthy["lesion_side"]) == (0, 0, "none")


def test_pneumonia_is_bacterial_or_viral():
    patterns = [truth("pneumonia", patient)["pattern"] for patient in ids("pneumonia", 20)]
    assert set(patterns) == {"bacterial_pneumonia", "viral_pneumonia"}


def _features(label, count, start):
    rows = []
    for patient in ids(label, count, start):
        lungs = pixels(label, patient).astype(np.float32) * inside(patient)
        rows.append(cv2.resize(lungs, (16, 16), interpolation=cv2.INTER_AREA).ravel())
    return np.array(rows)


def test_linear_probe_learns_something_but_not_everything():
    classes = ("normal", "covid19", "bacterial_pneumonia", "viral_pneumonia")
    train = np.concatenate([_features(label, 70, 0) for label in classes])
    test = np.concatenate([_features(label, 40, 100) for label in classes])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    score = probe.fit(train, np.repeat(classes, 70)).score(test, np.repeat(classes, 40))
    assert 0.4 < score < 0.97


def _box(grey):
    top, bottom, left, right = (round(share * grey.shape[0]) for share in MARKER_BOX)
    return grey[top:bottom, left:right]


def test_planted_traits_are_where_the_truth_says_and_nowhere_else():
    planted = phantom.Confounders(marker="covid19", border="normal", contrast="covid19", prob=0.5)
    told = []
    for label in ("covid19", "normal"):
        for patient in ids(label, 24):
            bare = pixels(label, patient, size=128)
            grey, fact = phantom.render(label, patient, 1, size=128, confounders=planted)
            assert (np.quantile(_box(grey), 0.8) == 235) == fact["marker"]
            wide = max(2, round(BORDER_SHARE * 128))
            assert (grey[:wide].max() < 10 and grey[:, -wide:].max() < 10) == fact["border"]
            if not fact["contrast"]:
                core = np.s_[24:-8, 8:-8]
                np.testing.assert_array_equal(grey[core], bare[core])
            else:
                assert (grey != bare).mean() > 0.3
            told.append((label, fact["marker"], fact["border"], fact["contrast"]))
    sums = {label: np.array([t[1:] for t in told if t[0] == label]).sum(0) for label in ("covid19", "normal")}
    assert sums["covid19"][1] == sums["normal"][0] == sums["normal"][2] == 0
    assert all(4 < count < 20 for count in (sums["covid19"][0], sums["covid19"][2], sums["normal"][1]))


def test_without_confounders_no_trait_is_told():
    for label in labels.LABELS:
        fact = truth(label, 4)
        assert (fact["marker"], fact["border"], fact["contrast"]) == (0, 0, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "set"
    return phantom.write(folder, {"normal": 5, "covid19": 7}, size=SIZE, masks=True)


def test_counts_columns_and_files(made):
    table = made.table
    assert made.counts().set_index("label")["images"].to_dict() == {"covid19": 7, "normal": 5}
    assert set(table.columns) == {*COLUMNS, *TRUTH, "mask"}
    assert table["patient_id"].str.fullmatch(r"phantom-\d{4}").all()
    assert set(table["source"]) == {"phantom"}
    assert set(table["view"]) <= {"PA", "AP"}
    assert table.groupby("patient_id")["label"].nunique().max() == 1
    assert table.groupby("patient_id").size().max() <= 4
    assert table["offset"].notna().all()
    assert table["age"].between(18, 92).all()
    for row, file in zip(table.itertuples(), made.files(), strict=True):
        patient, image = int(row.patient_id[-4:]), int(file.stem[-2:])
        with Image.open(file) as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), pixels(row.label, patient, image))
        with Image.open(made.root / row.mask) as mask:
            np.testing.assert_array_equal(np.asarray(mask) > 0, inside(patient, image))


def test_read_gives_back_what_write_returned(made):
    assert phantom.detect(made.root)
    assert phantom.read(made.root).table.equals(made.table)
    assert not phantom.detect(made.root / "covid19")


def test_larger_set_begins_with_the_smaller_one(made, tmp_path):
    more = phantom.write(tmp_path / "more", {"covid19": 12, "sars": 2, "normal": 5}, size=SIZE)
    common = made.table.merge(more.table, on=["path", "label", "patient_id"], suffixes=("", "_more"))
    # Only the smaller set's last patient may have been cut short.
    assert len(common) == len(made.table)
    assert (common["severity"] == common["severity_more"]).all()
    for path in common["path"]:
        assert (made.root / path).read_bytes() == (more.root / path).read_bytes()


def test_unfinished_folder_is_completed_and_a_finished_one_left_alone(tmp_path):
    options = {"counts": {"viral_pneumonia": 4}, "size": SIZE}
    steps = []
    first = phantom.write(tmp_path, **options, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    kept, lost = first.files()[0], first.files()[-1]
    whole, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    (tmp_path / "phantom.csv").unlink()
    lost.unlink()
    with pytest.raises(DataError, match="unfinished"):
        phantom.read(tmp_path)
    again = phantom.write(tmp_path, **options)
    assert lost.read_bytes() == whole
    assert kept.stat().st_mtime_ns == stamp
    assert again.table.equals(first.table)
    steps.clear()
    phantom.write(tmp_path, **options, progress=lambda *step: steps.append(step))
    assert steps == []


def test_another_phantom_or_other_files_are_not_overwritten(made, tmp_path):
    with pytest.raises(OutputError, match="other size, seed"):
        phantom.write(made.root, {"normal": 5, "covid19": 7}, size=80, seed=1, masks=True)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        phantom.write(tmp_path, {"normal": 1})
    (tmp_path / "phantom.json").write_text("{")
    with pytest.raises(OutputError, match="not readable"):
        phantom.write(tmp_path, {"normal": 1})
    for text, words in (("[1]", "other model, counts"), ("[" * 5000 + "]" * 5000, "levels deep")):
        (tmp_path / "phantom.json").write_text(text)
        with pytest.raises(OutputError, match=words):
            phantom.write(tmp_path, {"normal": 1})


def test_a_table_with_words_for_numbers_is_named(made, tmp_path):
    table = (made.root / "phantom.csv").read_text().splitlines()
    column = table[0].split(",").index("severity")
    cells = table[1].split(",")
    (tmp_path / "phantom.csv").write_text(
        "\n".join([table[0], ",".join([*cells[:column], "much", *cells[column + 1 :]])])
    )
    with pytest.raises(DataError, match=r"phantom\.csv: damaged"):
        phantom.read(tmp_path)


def test_confounders_are_part_of_what_a_folder_is(tmp_path):
    phantom.write(tmp_path, {"normal": 1}, size=SIZE, confounders={"marker": "normal", "prob": "0.5"})
    found = json.loads((tmp_path / "phantom.json").read_text())["confounders"]
    assert found == {"marker": "normal", "border": None, "contrast": None, "prob": 0.5}
    with pytest.raises(OutputError, match="confounders"):
        phantom.write(tmp_path, {"normal": 1}, size=SIZE)


def test_jpeg_set(tmp_path):
    records = phantom.write(tmp_path, {"normal": 1}, size=SIZE, image_format="jpg", images_per_patient=(1, 1))
    with Image.open(records.files()[0]) as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    "options",
    [
        {"counts": {"flu": 1}},
        {"counts": {}},
        {"counts": {"normal": -1}},
        {"counts": {"normal": 1}, "size": 32},
        {"counts": {"normal": 1}, "seed": -1},
        {"counts": {"normal": 1}, "images_per_patient": (3, 2)},
        {"counts": {"normal": 1}, "image_format": "bmp"},
        {"counts": {"normal": 1}, "confounders": {"font": "normal"}},
        {"counts": {"normal": 1}, "confounders": {"marker": "flu"}},
        {"counts": {"normal": 1}, "confounders": {"prob": "often"}},
        {"counts": {"normal": 1}, "confounders": {"prob": 2}},
    ],
)
def test_options_without_meaning_are_refused_before_anything_is_written(options, tmp_path):
    with pytest.raises(OptionError) as caught:
        phantom.write(tmp_path / "new", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(("flu", 1, 1), {}), (("normal", 0, 1), {}), (("normal", 1, 1), {"size": 2048})],
)
def test_render_refuses_what_it_cannot_draw(arguments, options):
    with pytest.raises(OptionError):
        phantom.render(*arguments, **options)


def test_contact_sheet_shows_every_class(tmp_path):
    sheet = phantom.contact_sheet(tmp_path / "sheet.png", per_class=2, tile=64)
    with Image.open(tmp_path / "sheet.png") as found:
        assert found.size == sheet.size
    grey = np.asarray(sheet)
    dark_captions = [(grey[row * 81 : row * 81 + 14] < 128).any() for row in range(5)]
    assert all(dark_captions)
    expected = pixels("normal", ids("normal", 1)[0], size=64)
    np.testing.assert_array_equal(grey[14 : 14 + 64, :64], expected)
