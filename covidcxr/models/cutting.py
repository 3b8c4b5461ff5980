"""Where a network can be cut in two: what says the same of an image at every step, and what trains on it."""

import math
from dataclasses import dataclass

# Below this share of the network's multiplications, keeping what the prefix says costs more than it saves: a
# training step takes about three passes over what trains, and one over what is frozen.
WORTHWHILE = 0.25


@dataclass(frozen=True)
class Cut:
    """The two parts of one network. Both share its layers and variables: who trains the suffix trains the network.

    Attributes
    ----------
    prefix : keras.Model
        From the network's inputs to a list of tensors, one for each that the suffix takes. Nothing in it trains,
        nothing draws noise, and nothing depends on the other images of a batch.
    suffix : keras.Model
        From those tensors to the network's outputs.
    share : float
        Of the network's multiplications in one forward pass, how many the prefix has: 0 to 1.
    """

    prefix: object
    suffix: object
    share: float

    @property
    def shapes(self):
        """Shape of each tensor between the parts, for one image."""
        return tuple(tuple(tensor.shape[1:]) for tensor in self.prefix.outputs)

    @property
    def dtypes(self):
        """Dtype of each tensor between the parts, by name."""
        return tuple(tensor.dtype for tensor in self.prefix.outputs)


def cut(model, worthwhile=WORTHWHILE):
    """Cut a network where what is frozen ends.

    The prefix is the greatest part of the graph that computes the same function of an image at every training
    step: no layer in it has a weight that trains, batch normalisation uses its moving statistics, and no layer
    draws noise. (Keras' dropout goes on in a frozen layer: EfficientNet has it between its blocks, so its prefix
    ends at the first.)

    Parameters
    ----------
    model : keras.Model
        Functional, frozen as it is to train; it stays as it is.
    worthwhile : float
        Share of the multiplications that the prefix must have at least.

    Returns
    -------
    Cut or None
        None where the prefix is too small, or all of the network is frozen.
    """
    import keras

    # A sequential model keeps its graph by itself.
    model = getattr(model, "_functional", None) or model
    if not hasattr(model, "_nodes_by_depth"):
        return None
    steps = _steps(model)
    steady = _steady(steps)
    boundary = _boundary(model, steps, steady)
    share = _share(steps, steady)
    if share < worthwhile or all(id(tensor) in steady for tensor in model.outputs):
        return None
    return Cut(
        keras.Model(model.inputs, boundary, name=f"{model.name}_prefix"),
        keras.Model(boundary, model.output, name=f"{model.name}_suffix"),
        share,
    )


def _steps(model):
    """Return the nodes of the graph, each after those that it reads."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def _steady(steps):
    """Return the ids of the tensors that are the same at every step."""
    steady = set()
    for node in steps:
        inputs = all(id(tensor) in steady for tensor in node.input_tensors)
        if node.is_input or (inputs and _is_steady(node.operation)):
            steady.update(map(id, node.output_tensors))
    return steady


def _is_steady(operation):
    """Tell whether a layer computes the same function at every training step."""
    import keras

    from covidcxr.models.freezing import layers_within

    if not isinstance(operation, keras.Layer):
        return True
    if operation.trainable_weights:
        return False
    return all(_leaf_is_steady(layer, keras) for layer in layers_within(operation))


def _leaf_is_steady(layer, keras):
    if isinstance(layer, keras.layers.BatchNormalization):
        return not layer.trainable
    if isinstance(layer, keras.layers.Dropout):
        return not layer.rate
    if isinstance(layer, (keras.Model, keras.layers.Dense)):
        # A dense layer asks for the sake of quantisation alone.
        return True
    # Whatever else asks whether it trains does another thing then, or remembers what it saw.
    asks = layer._call_has_training_arg
    return not asks and not layer._seed_generators and layer.activity_regularizer is None


def _boundary(model, steps, steady):
    """Return the steady tensors that something unsteady reads, or that the network gives."""
    wanted = {}
    for node in steps:
        if all(id(tensor) in steady for tensor in node.output_tensors):
            continue
        wanted.update((id(tensor), tensor) for tensor in node.input_tensors if id(tensor) in steady)
    wanted.update((id(tensor), tensor) for tensor in model.outputs if id(tensor) in steady)
    return list(wanted.values())


def _share(steps, steady):
    within = sum(_multiplications(node) for node in steps if id(node.output_tensors[0]) in steady)
    return within / (sum(map(_multiplications, steps)) or 1)


def _multiplications(node):
    """Count those of a convolution or dense layer for one image, those inside a nested model included."""
    inner = node.operation
    if hasattr(inner, "_nodes_by_depth"):
        return sum(map(_multiplications, _steps(inner)))
    # An output place takes each number of a kernel once; vectors (biases, statistics) are only added or scaled.
    places = math.prod(size or 1 for size in node.output_tensors[0].shape[1:-1])
    kernels = [weight.shape for weight in getattr(inner, "weights", ()) if len(weight.shape) > 1]
    return places * sum(map(math.prod, kernels))
