"""Smaller versions of a recipe's parts, for ``--preset smoke``: the same steps, in seconds."""

from dataclasses import replace

BATCH = 8
_EPOCHS = 2


def data_sets(data_sets, most=16):
    """Return data sets of at most `most` images a class; printed parts shrink with them, none to nothing."""
    return {key: _fewer(data_set, most) for key, data_set in data_sets.items()}


def networks(networks, side=64):
    """Return the networks with inputs of `side` pixels, or of the least that their backbone takes."""
    return {
        key: replace(network, input_size=(_side(network, side),) * 2, batch_size=None)
        for key, network in networks.items()
    }


def cases(cases, epochs=_EPOCHS, batch_size=BATCH):
    """Return the cases with `epochs` in all, spread over as many of their stages, in batches of eight."""
    return {
        key: replace(
            case,
            stages={name: _shorter(stages, epochs) for name, stages in case.stages.items()},
            batch_size=batch_size,
            batch_sizes={},
        )
        for key, case in cases.items()
    }


def _fewer(data_set, most):
    counts = {label: min(number, most) for label, number in data_set.counts.items()}
    parts = {
        label: _shrunk(numbers, counts[label]) for label, numbers in data_set.parts.items() if label in counts
    }
    return replace(data_set, counts=counts, parts=parts)


def _shrunk(numbers, total):
    whole = sum(numbers.values())
    small = {split: max(1, number * total // whole) for split, number in numbers.items() if split != "train"}
    return {"train": total - sum(small.values()), **small}


def _side(network, side):
    from covidcxr.models import backbones

    return max(side, backbones.get(network.backbone).minimum_size)


def _shorter(stages, epochs):
    each, more = divmod(epochs, min(epochs, len(stages)))
    kept = stages[: min(epochs, len(stages))]
    return tuple(replace(stage, epochs=each + (number < more)) for number, stage in enumerate(kept))
