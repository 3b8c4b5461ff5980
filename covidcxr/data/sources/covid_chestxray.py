"""covid-chestxray-dataset (Cohen et al. 2020): metadata.csv and images/, of any state of the repository."""

from pathlib import Path

from covidcxr.data import labels
from covidcxr.data.records import Exclusion, Records
from covidcxr.data.sources._listing import image_names, read_text_table
from covidcxr.errors import OptionError

SOURCE = "covid-chestxray-dataset"
TABLE = "metadata.csv"
FRONTAL_VIEWS = ("PA", "AP", "AP Supine", "AP semi erect", "AP erect")

_COVID = "COVID-19"
_CT_VIEWS = ("ct", "axial", "coronal", "sagittal")
_LATERAL_VIEWS = ("l", "lateral")
_BACTERIAL = {
    *("Bacterial", "Streptococcus", "Pneumococcal pneumonia", "Klebsiella", "E.Coli", "Legionella", "MRSA"),
    *("Mycoplasma Bacterial Pneumonia", "Chlamydophila", "Nocardia"),
}
_VIRAL = {"Viral", "Varicella", "Influenza", "Herpes pneumonia", "MERS", "MERS-CoV"}
_RAHIMZADEH_PNEUMONIA = ("Pneumocystis", "SARS", "Streptococcus")


def detect(folder):
    """Tell whether a folder holds metadata.csv beside images/."""
    folder = Path(folder)
    return (folder / TABLE).is_file() and (folder / "images").is_dir()


def read(folder, *, views=FRONTAL_VIEWS, findings="detailed"):
    """Read the X-rays that metadata.csv names.

    Parameters
    ----------
    folder : path-like
    views : sequence of str or None
        Views to keep, capitals ignored; default all frontal ones. None keeps every X-ray, whatever its view.
    findings : {"detailed", "rahimzadeh2020"}
        How the column `finding` becomes the label. ``"detailed"``: the settled labels, ``other:<finding>``
        for the rest. ``"rahimzadeh2020"``: COVID-19 with or without ARDS is `covid19`; Pneumocystis, SARS and
        Streptococcus are `pneumonia`; the rest is excluded (the authors' dataset_preparing.ipynb).

    Returns
    -------
    Records
        With the columns `finding` and `license` besides. CT slices, views not asked for, files that are not
        there and images without a row are exclusions.

    Raises
    ------
    DataError
        If metadata.csv cannot be read or lacks a column it always had.
    OptionError
        If `findings` is neither of the two.
    """
    folder = Path(folder)
    if findings not in _READINGS:
        raise OptionError(f"findings {findings!r}: the readings are {', '.join(_READINGS)}")
    wanted = None if views is None else {view.lower() for view in views}
    table = read_text_table(folder / TABLE, ("patientid", "finding", "view", "filename"))
    there = {f"images/{name}" for name in image_names(folder / "images")}
    rows, exclusions, named = [], [], set()
    for cells in table.to_dict("records"):
        row = _row(cells, _READINGS[findings])
        reason = "listed twice" if row["path"] in named else _why_not(cells, wanted, row, there)
        if reason:
            exclusions.append(Exclusion(row["path"], SOURCE, reason))
        else:
            rows.append(row)
        named.add(row["path"])
    exclusions += [Exclusion(path, SOURCE, f"no row in {TABLE}") for path in sorted(there - named)]
    return Records.from_rows(rows, folder, exclusions, _notes(rows))


def detailed_label(finding):
    """Return the label of a finding in the upstream's words, of 2020's flat or later hierarchical names.

    Parameters
    ----------
    finding : str
        Such as ``"COVID-19, ARDS"`` or ``"Pneumonia/Viral/COVID-19"``.

    Returns
    -------
    str
        A settled label, or ``other:`` and the finding's last part.
    """
    parts = _parts(finding)
    if _COVID in parts:
        return labels.COVID19
    if "SARS" in parts:
        return labels.SARS
    if _BACTERIAL.intersection(parts):
        return labels.BACTERIAL
    if _VIRAL.intersection(parts) or "Viral Pneumonia" in parts[-1]:
        return labels.VIRAL
    return {"Pneumonia": labels.PNEUMONIA, "No Finding": labels.NORMAL}.get(parts[-1], f"other:{parts[-1]}")


def rahimzadeh_label(finding):
    """Return the label rahimzadeh2020's authors gave a finding, or None where they left it out."""
    parts = _parts(finding)
    if _COVID in parts:
        return labels.COVID19
    return labels.PNEUMONIA if parts[-1] in _RAHIMZADEH_PNEUMONIA else None


_READINGS = {"detailed": detailed_label, "rahimzadeh2020": rahimzadeh_label}


def _parts(finding):
    """Split off what follows a comma (a complication: "COVID-19, ARDS") and the levels of the hierarchy."""
    return [part.strip() for part in finding.split(",")[0].split("/")]


def _row(cells, reading):
    patient = cells["patientid"]
    return {
        "path": f"{cells.get('folder') or 'images'}/{cells['filename']}",
        "label": reading(cells["finding"]),
        "patient_id": f"ieee8023-{patient}" if patient else "",
        "view": cells["view"],
        "source": SOURCE,
        **{name: cells.get(name, "") for name in ("sex", "age", "offset")},
        "finding": cells["finding"],
        "license": cells.get("license", ""),
    }


def _why_not(cells, wanted, row, there):
    view = cells["view"].lower()
    # The states before April 2020 have no column modality; CT slices are told by their view there.
    if cells.get("modality", "").upper() == "CT" or view in _CT_VIEWS:
        return "CT"
    if wanted is not None and view not in wanted:
        return _why_not_view(cells["view"])
    if row["path"] not in there:
        return "file missing"
    return None if row["label"] else f"finding not used: {row['finding']}"


def _why_not_view(view):
    if view.lower() in _LATERAL_VIEWS:
        return "lateral view"
    if view.strip("?"):
        return f"view not asked for: {view}"
    return "view unknown"


def _notes(rows):
    with_ards = sum(_COVID in _parts(row["finding"]) and "ARDS" in row["finding"] for row in rows)
    normal = sum(row["label"] == labels.NORMAL for row in rows)
    if with_ards:
        yield f"{SOURCE}: {with_ards} images of COVID-19 with ARDS count as covid19"
    if normal:
        yield f"{SOURCE}: the {normal} images without finding are of patients, not of healthy people"
