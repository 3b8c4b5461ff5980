"""Multiplications and additions of a network, counted from its graph: those of convolutions and dense layers.

They are what papers count; normalisation, activations and pooling cost memory traffic, hardly arithmetic.
"""

import math

# A pass forward, and two backward: gradients of the inputs and of the weights (Kaplan et al. 2020, section 2.1).
TRAINING_PASSES = 3


def forward_flops(model):
    """Count the operations of one image's forward pass.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, channels last, other such models inside it allowed.

    Returns
    -------
    int
        Two for each multiplication with its addition: half of it are the MACs of the papers.
    """
    return 2 * _macs(model)


def training_flops(model):
    """Count the operations of one image in a training step in which every layer learns.

    Returns
    -------
    int
        :data:`TRAINING_PASSES` times the forward pass.
    """
    return TRAINING_PASSES * forward_flops(model)


def _macs(model):
    graph = getattr(model, "_functional", None) or model
    total = 0
    for nodes in graph._nodes_by_depth.values():
        for node in nodes:
            inner = hasattr(node.operation, "_nodes_by_depth") or hasattr(node.operation, "_functional")
            total += _macs(node.operation) if inner else _of_call(node)
    return total


def _of_call(node):
    """Count one call of a layer: each weight of its kernels is used once for every place it is applied at."""
    import keras

    layer = node.operation
    kernels = [
        math.prod(kernel.shape)
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if (kernel := getattr(layer, name, None)) is not None
    ]
    if not kernels:
        return 0
    # A transposed convolution applies its kernel at every place of what it is given.
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    (tensor,) = node.input_tensors if transposed else node.output_tensors
    return math.prod(tensor.shape[1:-1]) * sum(kernels)
