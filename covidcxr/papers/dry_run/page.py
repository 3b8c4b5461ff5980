"""A dry run on the terminal and in a notebook."""

import html
import math

import pandas as pd
from rich.markup import escape

from covidcxr.papers.reporting import show

_GIB, _MIB = 1 << 30, 1 << 20
_HOW = (
    "Time: an estimate. Steps were timed on noise, on one device, without a first one that compiles; reading on up "
    "to 16 of the images. Of training and of what is scored after each epoch, both count, or with a graphics card the "
    "slower of the two; building, the scores of the finished model and figures are not in it."
)


def print_page(dry):
    """Print the tables of a dry run and what they mean."""
    from rich.table import Table

    console = show.wide_console()
    console.print(dry.title, style="bold", markup=False)
    for caption, frame in _tables(dry):
        console.print(caption, style="italic", markup=False)
        table = Table()
        for column in frame:
            numbers = pd.api.types.is_numeric_dtype(frame[column])
            table.add_column(escape(str(column)), justify="right" if numbers else "left")
        for row in frame.itertuples(index=False):
            table.add_row(*(escape(_cell(value)) for value in row))
        console.print(table)
    for line in lines(dry):
        console.print(line, markup=False, emoji=False)


def as_html(dry):
    """Return the same for a notebook."""
    parts = [
        f"<p>{html.escape(caption)}</p>{frame.to_html(index=False, escape=True, na_rep='')}"
        for caption, frame in _tables(dry)
    ]
    text = "<br>".join(html.escape(line) for line in lines(dry))
    return f"<b>{html.escape(dry.title)}</b>{''.join(parts)}<p>{text}</p>"


def lines(dry):
    """Return the sentences below the tables, as a list of str."""
    missing = list(dict.fromkeys(filter(None, dry.models["missing"])))
    return [
        f"{len(dry.models)} models, {dry.steps:,} training steps",
        *_memory_lines(dry),
        *(f"weights not at hand: {reason}" for reason in missing),
        *_time_lines(dry),
        *(f"note: {note}" for note in dry.notes),
    ]


def listed(words):
    """Join words, each once, with commas."""
    return ", ".join(dict.fromkeys(filter(None, words)))


def _tables(dry):
    yield f"Images{_first_of(dry.models)}", _wide_images(dry.images)
    yield "Models", _grouped_models(dry.models)
    yield "Stages", _readable_stages(dry.stages)
    yield "Networks", _readable_networks(dry.networks)


def _readable_stages(stages):
    """Return the stages without their losses; many networks are counted, since the models' table names them."""
    names = [_few(text, "networks") for text in stages["networks"]]
    arms = [_few(text, "arms") for text in stages["arm"]]
    shown = stages.drop(columns="loss").assign(networks=names, arm=arms)
    return _without_empty(shown.rename(columns=lambda name: name.replace("_", " ")))


def _first_of(models):
    """Return which fold and trial stand for several, as a part of the caption."""
    several = [what for what in ("fold", "trial") if models[what].nunique() > 1]
    shown = " and ".join(f"{what} {models[what].iloc[0]} of {models[what].nunique()}" for what in several)
    return f" ({shown}; the others have as many, give or take a few)" if shown else ""


def _few(text, what, most=3):
    number = text.count(", ") + 1
    return text if number <= most else f"{number} {what}"


def _wide_images(images):
    """Return one row a part, one column a class; arms with the same images share their rows."""
    labels = list(dict.fromkeys(images["label"]))
    rows = {}
    for (case, arm), group in images.groupby(["case", "arm"], sort=False):
        wide = group.pivot_table(index="part", columns="label", values="images", sort=False).reindex(
            columns=labels
        )
        same = rows.setdefault((case, wide.to_csv()), ([], wide))
        same[0].append(arm)
    parts = [
        wide.assign(all=wide.sum(axis=1)).astype("Int64").reset_index().assign(case=case, arm=listed(arms))
        for (case, _), (arms, wide) in rows.items()
    ]
    return _without_empty(pd.concat(parts, ignore_index=True)[["case", "arm", "part", *labels, "all"]])


def _grouped_models(models):
    rows = [
        {
            "case": case,
            "networks": listed(group["model"]),
            "arms": listed(group["arm"]),
            "folds": listed(str(fold or "") for fold in group["fold"]),
            "trials": listed(str(trial or "") for trial in group["trial"]),
            "models": len(group),
            "steps": group["steps"].sum(),
            "time": _clock(group["seconds"].sum(min_count=len(group))),
        }
        for case, group in models.groupby("case", sort=False)
    ]
    return _without_empty(pd.DataFrame(rows))


def _readable_networks(frame):
    shown = frame[["model", "arm", "input", "batch", "parameters", "trainable"]].copy()
    shown["memory"] = [_amount(size) for size in frame["memory"]]
    shown["step"] = ["" if pd.isna(seconds) else f"{seconds:.2f} s" for seconds in frame["step"]]
    shown["timed"] = frame["timed"]
    return _without_empty(shown)


def _without_empty(frame):
    return frame[[column for column in frame if not (frame[column].astype(str) == "").all()]]


def _memory_lines(dry):
    if dry.memory is None:
        return ["memory: what this machine has is not known; the estimates leave out the process itself"]
    basis = "estimates are of one device, without the process itself and images that wait"
    found = [f"memory: this machine has {_amount(dry.memory)} for a process; {basis}"]
    for row in dry.networks[dry.networks["memory"] > dry.memory].itertuples():
        name = " ".join(filter(None, (row.model, row.arm)))
        found.append(
            f"warning: {name} needs about {_amount(row.memory)} in batches of {row.batch}, more than there is; "
            "lower --batch-size"
        )
    return found


def _time_lines(dry):
    untimed = listed(dry.models.loc[dry.models["seconds"].isna(), "model"])
    if dry.seconds is None:
        return [f"time: not timed: {untimed}"]
    share = f" for the models that were timed; not timed: {untimed}" if untimed else ""
    return [f"time: about {_clock(dry.seconds)} (h:mm){share}", _HOW]


def _amount(size):
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"


def _clock(seconds):
    if pd.isna(seconds):
        return ""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _cell(value):
    if pd.isna(value):
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
