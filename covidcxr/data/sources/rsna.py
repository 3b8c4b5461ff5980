"""RSNA Pneumonia Detection Challenge 2018: DICOM files as Kaggle gives them, or pictures in class folders."""

import re
from pathlib import Path

from covidcxr import handles
from covidcxr.data import labels
from covidcxr.data.records import Exclusion, Records
from covidcxr.data.sources._listing import folder_names, image_names, letters, read_text_table
from covidcxr.errors import DataError

SOURCE = "rsna"
CLASS_TABLE = "stage_2_detailed_class_info.csv"
BOX_TABLE = "stage_2_train_labels.csv"
IMAGE_FOLDER = "stage_2_train_images"
SOURCE_MAP = "source-map.csv"
THIRD_CLASS = "No Lung Opacity / Not Normal"

_LABELS = {"Normal": labels.NORMAL, "Lung Opacity": labels.PNEUMONIA, THIRD_CLASS: f"other:{THIRD_CLASS}"}
_BY_FOLDER = {letters(name): label for name, label in _LABELS.items()}
_RSNA_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEADER_TAGS = ("ViewPosition", "PatientSex", "PatientAge")
_YEARS_PER_UNIT = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def detect(folder):
    """Tell whether a folder holds the challenge's tables or images, or its third class's folder."""
    folder = Path(folder)
    files = (CLASS_TABLE, BOX_TABLE)
    folders = (IMAGE_FOLDER, "No_Lung_Opacity_Not_Normal")
    return any((folder / name).is_file() for name in files) or any(
        (folder / name).is_dir() for name in folders
    )


def read(folder, *, headers=False, progress=None):
    """Read the training images; the tables' class counts, and the folder's where the tables have no row.

    Parameters
    ----------
    folder : path-like
        With stage_2_train_images/ or class folders (Normal, Lung_Opacity, No_Lung_Opacity_Not_Normal), the
        two tables, and optionally source-map.csv (columns file, nih_patient, view, sex, age).
    headers : bool
        Read view, sex and age from each DICOM header (no pixels). Some minutes for all 26,684 files.
    progress : callable, optional
        Called as ``progress(done, total)`` while headers are read.

    Returns
    -------
    Records
        Normal -> normal, Target 1 (Lung Opacity) -> pneumonia, the third class ``other:...``. Rows without a
        file and files without a class are exclusions.

    Raises
    ------
    DataError
        If a table cannot be read, or there is neither a table nor a class folder.
    """
    folder = Path(folder)
    classes = _classes(folder)
    known = _source_map(folder)
    rows, exclusions, files = [], [], {}
    for part, name in _files(folder):
        path, image_id = (Path(part) / name).as_posix(), Path(name).stem
        label = classes.get(image_id) or _BY_FOLDER.get(letters(part))
        reason = _why_not(image_id, label, files)
        if reason:
            exclusions.append(Exclusion(path, SOURCE, reason))
        else:
            rows.append(_row(path, image_id, label, image_id in classes, known.get(path, {})))
        files.setdefault(image_id, path)
    exclusions += [
        Exclusion(image_id, SOURCE, "file missing") for image_id in classes if image_id not in files
    ]
    if headers:
        rows, unreadable = _with_headers(folder, rows, progress)
        exclusions += unreadable
    return Records.from_rows(rows, folder, exclusions, _notes(rows, folder))


def _classes(folder):
    """Return the label of each image id that the tables name; both repeat an id for each box."""
    classes = {}
    if (folder / CLASS_TABLE).is_file():
        table = read_text_table(folder / CLASS_TABLE, ("patientid", "class"))
        unknown = sorted(set(table["class"]) - set(_LABELS))
        if unknown:
            raise DataError(f"{folder / CLASS_TABLE}: unknown class {unknown[0]!r}; get the file again")
        classes = dict(zip(table["patientid"], table["class"].map(_LABELS), strict=True))
    if (folder / BOX_TABLE).is_file():
        table = read_text_table(folder / BOX_TABLE, ("patientid", "target"))
        classes.update(dict.fromkeys(table["patientid"][table["target"] == "1"], labels.PNEUMONIA))
        # Target 0 joins two classes, so without the other table only a folder can tell which it is.
        for image_id in table["patientid"]:
            classes.setdefault(image_id, None)
    if not classes and not _class_folders(folder):
        raise DataError(f"{folder}: lacks {CLASS_TABLE} and {BOX_TABLE}; put the challenge's tables there")
    return classes


def _class_folders(folder):
    return [name for name in folder_names(folder) if letters(name) in _BY_FOLDER]


def _files(folder):
    return [
        (part, name)
        for part in (IMAGE_FOLDER, *_class_folders(folder))
        for name in image_names(folder / part)
    ]


def _source_map(folder):
    if not (folder / SOURCE_MAP).is_file():
        return {}
    table = read_text_table(folder / SOURCE_MAP, ("file",))
    return {cells["file"]: cells for cells in table.to_dict("records")}


def _why_not(image_id, label, files):
    if image_id in files:
        return f"same image as {files[image_id]}"
    return None if label else "class unknown"


def _row(path, image_id, label, listed, known):
    patient = f"nih-{known['nih_patient']}" if known.get("nih_patient") else ""
    if not patient and (listed or _RSNA_ID.fullmatch(image_id)):
        patient = f"{SOURCE}-{image_id}"
    facts = {name: known.get(name, "") for name in ("view", "sex", "age")}
    return {"path": path, "label": label, "patient_id": patient, "source": SOURCE, **facts}


def _with_headers(folder, rows, progress):
    read, unreadable = [], []
    for done, row in enumerate(rows, start=1):
        facts = _header(folder / row["path"]) if row["path"].lower().endswith((".dcm", ".dicom")) else {}
        if facts is None:
            unreadable.append(Exclusion(row["path"], SOURCE, "not readable as DICOM"))
        else:
            read.append({**row, **facts})
        if progress:
            progress(done, len(rows))
    return read, unreadable


def _header(path):
    import pydicom

    try:
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
        view, sex, age = (str(data.get(tag) or "").strip() for tag in _HEADER_TAGS)
    except Exception as error:
        # Damaged bytes make pydicom raise almost anything.
        if handles.spent(error):
            raise
        return None
    return {"view": view, "sex": sex, "age": _years(age)}


def _years(age):
    """Return an age in years; the challenge's headers have "58" where DICOM wants "058Y"."""
    match = re.fullmatch(r"(\d+)([YMWD]?)", age)
    return int(match[1]) * _YEARS_PER_UNIT[match[2] or "Y"] if match else float("nan")


def _notes(rows, folder):
    by_image = sum(row["patient_id"].startswith(f"{SOURCE}-") for row in rows)
    unknown = sum(not row["patient_id"] for row in rows)
    moved = sum(
        _BY_FOLDER.get(letters(Path(row["path"]).parts[0]), row["label"]) != row["label"] for row in rows
    )
    if by_image:
        yield (
            f"{SOURCE}: {by_image} images have an id of their own instead of a patient's; "
            "a patient with several images is not seen as one"
        )
    if unknown:
        yield f"{SOURCE}: {unknown} images tell neither patient nor RSNA id"
    if moved:
        yield f"{SOURCE}: {moved} images lie in another folder than the tables' class; the tables count"
    if (folder / "stage_2_test_images").is_dir():
        yield f"{SOURCE}: stage_2_test_images is not read; the challenge published no class for it"
