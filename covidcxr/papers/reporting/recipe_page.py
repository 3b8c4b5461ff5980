"""One paper on the terminal: its recipe, numbered deviations, claims, and how to run it."""

from rich.markup import escape
from rich.table import Table

from covidcxr.papers.reporting.show import wide_console


def print_recipe(recipe):
    """Print a paper's recipe, its numbered deviations and its claims."""
    console = wide_console()
    console.print(f"[bold]{recipe.key}[/bold]: {recipe.title}\n{recipe.citation}\n")
    parts = (_data_sets, _networks, _cases, _repetitions, _arms, _protocols, _tables, _claims)
    for table in filter(None, (part(recipe) for part in parts)):
        console.print(table)
    console.print("\nDeviations and readings")
    for number, text in enumerate(recipe.deviations, 1):
        console.print(f"{number:2}. {escape(text)}")
    console.print(f"\nThe whole paper: {escape(whole_paper(recipe))}")


def whole_paper(recipe):
    """Return the command that trains every model of a paper."""
    several = {
        "case": len(recipe.cases) > 1,
        "model": len(recipe.networks) > 1,
        "fold": recipe.folds > 1,
        "trial": recipe.trials > 1,
        "arm": len(recipe.arms) > 1,
    }
    options = "".join(f" --{name} all" for name, has in several.items() if has)
    return f"covidcxr-train {recipe.key} --data DIR{options}"


def _data_sets(recipe):
    table = _table("data set", "images per class", "by split", "from", title="Data sets (as printed)")
    for key, data_set in recipe.data_sets.items():
        counts = ", ".join(f"{label} {number:,}" for label, number in data_set.counts.items())
        parts = ", ".join(
            f"{label} {' / '.join(f'{split} {n}' for split, n in numbers.items())}"
            for label, numbers in data_set.parts.items()
        )
        origins = ", ".join(f"{label}: {source}" for label, source in data_set.sources.items())
        table.add_row(key, counts, parts, origins)
    return table


def _networks(recipe):
    table = _table("--model", "network", "input", "parameters", "trainable", "batch", title="Networks")
    for key, network in recipe.networks.items():
        table.add_row(
            _default(key, recipe.default_network),
            network.title,
            "x".join(map(str, network.input_size)),
            _count(network.total_parameters),
            _count(network.trainable_parameters),
            str(network.batch_size or ""),
        )
    return table


def _cases(recipe):
    table = _table(
        "--case", "title", "--schedule", "stages", "batch", title="Cases (first schedule is the default)"
    )
    for key, case in recipe.cases.items():
        for schedule, stages in case.stages.items():
            steps = "; ".join(_stages(stages))
            table.add_row(
                _default(key, recipe.default_case),
                case.title,
                schedule,
                steps,
                str(case.batch_sizes.get(schedule, case.batch_size)),
            )
    return table


def _stages(stages):
    """Describe stages in a line each, those of equal length that merely go on together."""
    lines = []
    for stage in stages:
        optimizer = stage.optimizer
        what = f"{optimizer.name} {optimizer.learning_rate:g}" if optimizer else "going on"
        lines.append((f"{stage.epochs} epochs, {what}", stage.name))
    merged = {}
    for line, name in lines:
        merged.setdefault(line, []).append(name)
    for line, names in merged.items():
        yield f"{names[0]}{f' to {names[-1]}' if len(names) > 1 else ''}: {line}{' each' if len(names) > 1 else ''}"


def _repetitions(recipe):
    rows = [
        (f"--{name}", count, default)
        for name, count, default in (
            ("fold", recipe.folds, recipe.default_fold),
            ("trial", recipe.trials, recipe.default_trial),
        )
        if count
    ]
    if not rows:
        return None
    table = _table("option", "1 to", "default", title="Repetitions")
    for name, count, default in rows:
        table.add_row(name, str(count), default)
    return table


def _arms(recipe):
    if not recipe.arms:
        return None
    table = _table("--arm", "what it is", title="Arms of the comparison")
    for key, arm in recipe.arms.items():
        table.add_row(_default(key, recipe.default_arm), arm.title)
    return table


def _protocols(recipe):
    table = _table("--protocol", "what it does", title="Protocols")
    for key, protocol in recipe.protocols.items():
        table.add_row(key, protocol.title)
    return table


def _tables(recipe):
    if not recipe.tables:
        return None
    table = _table("file", "table", title="Tables made anew by a run of several models")
    for key, made in recipe.tables.items():
        table.add_row(f"tables/{key}.csv", made.title)
    return table


def _claims(recipe):
    axes = [axis for axis in ("case", "model", "fold", "arm") if any(getattr(c, axis) for c in recipe.claims)]
    columns = [*axes, "measure", "printed", "where", "note"]
    table = _table(*columns, title="Claims")
    for claim in recipe.claims:
        measure = claim.measure + (f" of {claim.label}" if claim.label else "")
        measure += f" ({claim.split})" if claim.split else ""
        cells = (measure, f"{claim.value:g}", claim.where, escape(claim.note))
        table.add_row(*(getattr(claim, axis) for axis in axes), *cells)
    return table


def _table(key, *columns, title):
    """Start a table whose first column, what a user types, is never cut short."""
    table = Table(title=title)
    table.add_column(key, no_wrap=True)
    for column in columns:
        table.add_column(column)
    return table


def _default(key, default):
    return f"{key} (default)" if default and (key in default.split(",") or default == "all") else key


def _count(number):
    return "not printed" if number is None else f"{number:,}"
