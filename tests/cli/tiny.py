"""`covidcxr` with ragab2022 on a network of one dense layer, so that a whole run takes a second.

In a process of its own: ``python tests/cli/tiny.py [--images N] train ragab2022 ...``.
"""

import sys
from dataclasses import replace

NAME = "tiny"
SIDE = 32


def build(classes, dropout, input_size):
    """Build the network."""
    import keras

    layers = [
        keras.Input((input_size, input_size, 3)),
        keras.layers.AveragePooling2D(8),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, "softmax", name="head_probabilities"),
    ]
    return keras.Sequential(layers)


def recipe(images=None):
    """Return ragab2022's recipe with this network; `images`: of each class, instead of the paper's numbers."""
    from covidcxr.papers.ragab2022 import RECIPE
    from covidcxr.papers.recipe import Network

    network = Network("one dense layer", build, "mobilenet_v2", (SIDE, SIDE))
    sets = RECIPE.data_sets
    if images:
        sets = {
            key: replace(data_set, counts=dict.fromkeys(data_set.counts, images))
            for key, data_set in sets.items()
        }
    return replace(RECIPE, networks={**RECIPE.networks, NAME: network}, data_sets=sets)


if __name__ == "__main__":
    from covidcxr.cli import main
    from covidcxr.papers import ragab2022

    arguments = sys.argv[1:]
    number = None
    if arguments[0] == "--images":
        _, number, *arguments = arguments
    ragab2022.RECIPE = recipe(int(number) if number else None)
    sys.exit(main(arguments, own_process=True))
