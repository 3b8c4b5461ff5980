"""A model loaded so that no variable takes memory before its file has proved to hold the values.

Keras makes every variable first, as large as the file's description wants it, and then reads its values. Whoever writes
a description can ask for more than any machine has.
"""

import math

from covidcxr.errors import ModelError

# A gigabyte of float32 for one image; the widest maps of 1024 x 1024 images are a sixteenth of it.
LARGEST_MAP = 2**28
# States of dropout, a pair of numbers each.
_MOST_UNSTORED = 2**16


def load(read, path):
    """Build a model and read its weights, and only then give the variables their memory.

    Parameters
    ----------
    read : callable
        ``read() -> keras.Model``, by `keras.saving.load_model`.
    path : path-like
        For the message.

    Returns
    -------
    keras.Model

    Raises
    ------
    ModelError
        If a feature map of one image has more than :data:`LARGEST_MAP` values, or the file does not hold what the
        network needs. Whatever `read` raises is passed on. Nothing was allocated then.
    """
    import keras

    # Keras' own way of building without values: inside, assigning keeps a value aside.
    scope = keras.StatelessScope(initialize_variables=False)
    try:
        with scope:
            model = read()
        _check(model, scope, path)
        with keras.StatelessScope():
            # Leaving such a scope is what makes the variables that wait.
            pass
    except BaseException:
        _forget()
        raise
    for variable in model.variables:
        value = scope.get_current_value(variable)
        if value is not None:
            variable.assign(value)
    return model


def largest_map(model):
    """Return the most values that one layer gives for one image; a size left open counts as one.

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential.

    Returns
    -------
    int
    """
    graph = getattr(model, "_functional", None) or model
    nodes = [node for depth in getattr(graph, "_nodes_by_depth", {}).values() for node in depth]
    own = [
        math.prod(side or 1 for side in tensor.shape[1:]) for node in nodes for tensor in node.output_tensors
    ]
    inner = [largest_map(node.operation) for node in nodes]
    return max([0, *own, *inner])


def _check(model, scope, path):
    values = largest_map(model)
    if values > LARGEST_MAP:
        raise ModelError(
            f"{path}: one layer gives {values:,} values for each image, more than any network of this package; "
            "it is not loaded"
        )
    unstored = [variable for variable in model.variables if scope.get_current_value(variable) is None]
    if sum(math.prod(variable.shape) for variable in unstored) > _MOST_UNSTORED:
        raise ModelError(f"{path}: lacks the values of {unstored[0].path}; ask for the whole file")


def _forget():
    """Drop the variables that wait: Keras would make them when it leaves the next such scope, whosever it is."""
    from keras.src.backend.common import global_state

    global_state.set_global_attribute("uninitialized_variables", [])
