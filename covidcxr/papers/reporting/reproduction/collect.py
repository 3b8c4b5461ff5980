"""From finished run folders to rows of the results' CSV files: numbers and names, no patient and no place."""

from pathlib import Path

from covidcxr.errors import DataError, OptionError
from covidcxr.papers.reporting import comparison, comparison_runs
from covidcxr.papers.reporting.reproduction import audits, identity, leaving, store
from covidcxr.papers.running import folder as run_folder

LAST, SEEN, UNSEEN = "last epoch", "best epoch on the scored images", "best epoch on other images"
THRESHOLD = "threshold: "
# Columns of their own beside each measure.
_COUNTED = ("images", "patients")


def collect(folders, externals=()):
    """Read finished runs, single or studies, and what was scored elsewhere with their models.

    Parameters
    ----------
    folders : sequence of path-like
        Of `covidcxr train`, of any papers.
    externals : sequence of path-like
        Of `covidcxr evaluate --out`; each is of a model of `folders`.

    Returns
    -------
    covidcxr.papers.reporting.reproduction.store.Results

    Raises
    ------
    DataError
        If a run is unfinished or damaged.
    OptionError
        If two folders hold the same run, or an external score belongs to none or several of them.
    """
    rows = {name: [] for name in store.COLUMNS}
    places = {}
    for folder in folders:
        recipe, (run,) = comparison_runs.read_runs([folder])
        for model in run.models:
            name = _add(rows, recipe, model, run.audits.get(model.folder, ()))
            if name in places:
                raise OptionError(
                    f"{model.folder}: is the same run as {places[name][1].folder} ({name}); give one of the two"
                )
            places[name] = (recipe, model)
        rows[store.LEFT_OUT] += leaving.rows(recipe, run)
    for folder in externals:
        _add_external(rows, folder, places)
    if not places:
        raise DataError("no finished model in the runs given; see models.csv there for what was left out")
    return store.of_rows(rows)


def _add(rows, recipe, model, found):
    config, unit, split = model.config, model.unit, model.split
    options = config["options"]
    setting = identity.setting_of(recipe, unit, options, split)
    name = identity.run_id(recipe.key, unit, model.protocol, options.get("seed", 0), setting)
    digest, versions, devices = identity.environment_of(config["environment"])
    headline = model.metrics["headline_split"]
    block = model.metrics["splits"][headline]
    weights = config.get("weights") or {}
    rows["runs"].append(
        {
            store.RUN: name,
            "paper": recipe.key,
            **{axis: getattr(unit, axis) for axis in ("case", "model", "fold", "trial", "arm")},
            "protocol": model.protocol,
            "seed": options.get("seed", 0),
            "setting": setting,
            "sources": ", ".join(sorted(set(split["source"]))),
            "headline_split": headline,
            "images_scored": block["images"],
            "patients_scored": block["patients"],
            "images_trained": int((split["split"] == "train").sum()),
            "shared_patients": _shared(split, headline),
            "weights_of": Path(str(weights.get("source", ""))).name if weights.get("loaded") else "",
            "epoch_kept": _kept(recipe.protocols[model.protocol], split, headline),
            "epochs": len(model.history),
            "seconds": _seconds(model.history),
            "parameters": config.get("parameters"),
            "trainable": config.get("trainable"),
            "environment": digest,
            "versions": versions,
            "devices": devices,
            "command": identity.command_of(config["command"]),
        }
    )
    rows["measures"] += _measures(name, comparison.measures(model)) + list(_thresholds(name, model.metrics))
    rows["confusion"] += list(_confusions(name, model.metrics))
    rows["history"] += list(_history(name, model.history))
    rows["images"] += list(_images(name, split))
    rows["audits"] += audits.rows(name, found)
    return name


def _add_external(rows, folder, places):
    matching = {}
    for name, (recipe, model) in places.items():
        try:
            external = comparison_runs.read_external(folder, recipe)
        except OptionError:
            # Of another paper than this run.
            continue
        if _is_of(external, model):
            matching[name] = (external, model)
    if len(matching) != 1:
        which = ", ".join(matching) or "none"
        raise OptionError(
            f"--external {folder}: belongs to {which} of the runs collected; collect it with the run that was scored"
        )
    ((name, (external, model)),) = matching.items()
    if any(row["scoring"] == "external" and row["split"] == external.name for row in rows["confusion"]):
        raise OptionError(
            f"--external {folder}: another of that name was given; rename one of the two folders"
        )
    table = comparison.external_measures(model.unit, external.metrics)
    rows["measures"] += _measures(name, table.assign(split=external.name), "external")
    rows["confusion"] += list(_confusion(name, "external", external.name, external.metrics))


def _is_of(external, model):
    """Tell whether this model was scored: by its file where that is known, else by what it is."""
    scored = external.facts.get("model")
    if scored and Path(scored).exists():
        return Path(scored).resolve() == (model.folder / run_folder.MODEL).resolve()
    same = external.unit in (None, model.unit)
    return same and external.facts.get("protocol") in (None, model.protocol)


def _measures(name, table, scoring=None):
    kept = table[~table["measure"].isin(_COUNTED)]
    return [
        {
            **row,
            store.RUN: name,
            "headline": "yes" if row["headline"] else "no",
            "scoring": scoring or row["scoring"],
        }
        for row in kept.to_dict("records")
    ]


def _thresholds(name, metrics):
    for held in metrics.get("thresholds") or ():
        chosen = held["threshold"]
        for key, entry in held["measures"].items():
            group, _, rest = key.partition(".")
            label, _, measure = rest.partition(".")
            if group == "per_class" and label != chosen["positive"]:
                continue
            if group == "macro":
                label, measure = "macro", rest
            yield {
                store.RUN: name,
                "scoring": f"{THRESHOLD}{chosen['rule']}",
                "split": metrics["headline_split"],
                "headline": "yes",
                "label": label if rest else "",
                "measure": measure or group,
                **{field: entry.get(field) for field in ("value", "low", "high", "method")},
                "images": held["images"],
                "patients": held["patients"],
            }


def _confusions(name, metrics):
    for split, block in metrics["splits"].items():
        yield from _confusion(name, "plain", split, block)
    published = (metrics.get("as_published") or {}).get("augmented_validation")
    if published:
        yield from _confusion(name, "as_paper", metrics["headline_split"], published)


def _confusion(name, scoring, split, block):
    for true, line in zip(block["classes"], block["confusion_matrix"], strict=True):
        for predicted, images in zip(block["classes"], line, strict=True):
            yield {
                store.RUN: name,
                "scoring": scoring,
                "split": split,
                "true": true,
                "predicted": predicted,
                "images": images,
            }


def _history(name, history):
    for line in history.to_dict("records"):
        curves = {curve: float(line[curve]) for curve in store.CURVES if curve in line}
        yield {store.RUN: name, "epoch": int(line["epoch"]), "stage": line.get("stage"), **curves}


def _images(name, split):
    for (part, label, source), images in split.groupby(["split", "label", "source"], sort=True):
        known = images["patient_id"][images["patient_id"] != ""]
        yield {
            store.RUN: name,
            "split": part,
            "label": label,
            "source": source,
            "images": len(images),
            "patients": known.nunique(),
        }


def _shared(split, headline):
    trained, scored = (set(split.loc[split["split"] == part, "patient_id"]) for part in ("train", headline))
    return len((trained & scored) - {""})


def _kept(protocol, split, headline):
    if protocol.keep == "last":
        return LAST
    if "monitored" in split:
        monitored = split["monitored"].str.lower() == "true"
    else:
        monitored = split["split"] == "val"
    return SEEN if (monitored & (split["split"] == headline)).any() else UNSEEN


def _seconds(history):
    return round(float(history["seconds"].sum()), 1) if "seconds" in history else None
