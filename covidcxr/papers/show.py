"""Papers and their progress on the terminal."""

from rich.console import Console
from rich.table import Table

_STDERR = Console(stderr=True, highlight=False)


def step(text):
    """Say what a run is doing now, on standard error."""
    _STDERR.print(text)


def print_list(recipes):
    """Print one line a paper."""
    table = Table("key", "paper", "models", "cases", title="Papers")
    for recipe in recipes:
        table.add_row(
            recipe.key,
            f"{recipe.title}\n{recipe.reference}, doi:{recipe.doi}",
            ", ".join(recipe.networks),
            ", ".join(recipe.cases),
        )
    Console().print(table)


def print_recipe(recipe):
    """Print a paper's recipe, its numbered deviations and its claims."""
    console = Console(highlight=False)
    console.print(f"[bold]{recipe.key}[/bold]: {recipe.title}\n{recipe.reference}, doi:{recipe.doi}\n")
    for table in (_data_sets(recipe), _networks(recipe), _cases(recipe), _protocols(recipe), _claims(recipe)):
        console.print(table)
    console.print("\nDeviations and readings")
    for number, text in enumerate(recipe.deviations, 1):
        console.print(f"{number:2}. {text}")


def _data_sets(recipe):
    table = Table("data set", "images per class", "from", title="Data sets (as printed)")
    for key, data_set in recipe.data_sets.items():
        counts = ", ".join(f"{label} {number}" for label, number in data_set.counts.items())
        origins = ", ".join(f"{label}: {source}" for label, source in data_set.sources.items())
        table.add_row(key, counts, origins)
    return table


def _networks(recipe):
    table = Table("--model", "network", "input", "parameters", "trainable", title="Networks")
    for key, network in recipe.networks.items():
        size = "x".join(map(str, network.input_size))
        table.add_row(
            key,
            network.title,
            size,
            _count(network.total_parameters),
            _count(network.trainable_parameters),
        )
    return table


def _cases(recipe):
    table = Table(
        "--case", "title", "--schedule", "stages", "batch", title="Cases (first schedule is the default)"
    )
    for key, case in recipe.cases.items():
        for schedule, stages in case.stages.items():
            steps = "; ".join(
                f"{stage.name}: {stage.epochs} epochs, {stage.optimizer.name} {stage.optimizer.learning_rate:g}"
                for stage in stages
            )
            table.add_row(key, case.title, schedule, steps, str(case.batch_size))
    return table


def _protocols(recipe):
    table = Table("--protocol", "what it does", title="Protocols")
    for key, protocol in recipe.protocols.items():
        table.add_row(key, protocol.title)
    return table


def _claims(recipe):
    table = Table("case", "measure", "printed", "where", "note", title="Claims")
    for claim in recipe.claims:
        table.add_row(claim.case, claim.measure, f"{claim.value:g}", claim.where, claim.note)
    return table


def _count(number):
    return "not printed" if number is None else f"{number:,}"
