"""Whether a run's starting weights are at hand, told without fetching or converting any."""

from pathlib import Path

from covidcxr.errors import ModelError
from covidcxr.papers.running import networks


def missing(plan):
    """Tell what is wrong with the weights that a plan's network starts from.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    str
        One line; "" where they are at hand or none are wanted.
    """
    from covidcxr.models import backbones
    from covidcxr.models.small_networks import SMALL_NETWORKS

    spec = str(plan.options.weights)
    network = backbones.get(plan.network.backbone)
    parts = [backbones.get(key) for key in network.parts or (network.key,)]
    if spec == "none":
        return ""
    if spec == "imagenet":
        absent = [part.key for part in parts if not _cached(part, plan.network.input_size[0])]
        return f"ImageNet weights of {', '.join(absent)}, which a run fetches if it can" if absent else ""
    if any(part in SMALL_NETWORKS for part in parts) and Path(spec).expanduser().exists():
        return _missing_small(parts, Path(spec).expanduser())
    try:
        networks.find_weights(plan)
    except ModelError as error:
        return str(error)
    return ""


def _cached(network, side):
    from covidcxr.models import pretrained, small_weights
    from covidcxr.models.small_networks import SMALL_NETWORKS

    if network in SMALL_NETWORKS:
        return any(small_weights.locate(source) for source in small_weights.sources(network.key)[:1])
    names = pretrained.cache_names(network, input_size=side)
    return any((pretrained.cache_folder() / name).is_file() for name in names)


def _missing_small(parts, place):
    from covidcxr.models import small_weights

    if place.is_file():
        return ""
    absent = [
        part.key
        for part in parts
        if not any(small_weights.locate(source, place) for source in small_weights.sources(part.key))
    ]
    return f"{place}: no weights of {', '.join(absent)} there" if absent else ""
