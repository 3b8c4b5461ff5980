"""Batch normalisation folded into the convolution before it, in a graph whose variables are constants.

TensorFlow's own optimiser folds a product into an ordinary convolution, but not into a depthwise one, and leaves
the sum that follows in a form that its fused kernels (convolution, bias and activation in one) do not take.
"""

from dataclasses import dataclass

import numpy as np

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


@dataclass(frozen=True)
class _Fold:
    """A convolution, its kernel's node, the sum after its product, and the names of product and sum."""

    convolution: object
    add: object
    kernel: object
    scale: str
    shift: str


def fold(shapes, graph):
    """Fold batch normalisations and paddings into the convolutions beside them.

    Parameters
    ----------
    shapes : tensorflow.Graph
        The same graph as TensorFlow holds it; tells the shapes of its tensors.
    graph : tensorflow.compat.v1.GraphDef
        Without variables. Changed in place.

    Returns
    -------
    tensorflow.compat.v1.GraphDef
        `graph`: the same names of inputs and outputs, the same values up to rounding.
    """
    _fold_paddings(shapes, graph)
    folds = _folds(graph)
    values = iter(_constants(graph, [name for item in folds for name in (item.scale, item.shift)]))
    for item, scale, shift in zip(folds, values, values, strict=True):
        _apply(graph, item, scale.ravel(), shift.ravel())
    return graph


def _folds(graph):
    """List the convolutions of constant kernels whose result goes through a product and a sum only."""
    users, varying = _users(graph), _varying(graph)
    constants = {node.name: node for node in graph.node if node.op == "Const"}
    found = []
    for node in graph.node:
        if node.op not in _CONVOLUTIONS or node.input[1] not in constants or not _is_float32(node):
            continue
        product = _only_user(node, users, "Mul")
        add = product is not None and _only_user(product, users, "AddV2")
        if not add:
            continue
        scale = [name for name in product.input if _bare(name) not in varying]
        shift = [name for name in add.input if _bare(name) not in varying]
        if len(scale) == len(shift) == 1:
            found.append(_Fold(node, add, constants[node.input[1]], scale[0], shift[0]))
    return found


def _apply(graph, fold, scale, shift):
    """Write one fold into the graph: the product into the kernel, the sum as a bias."""
    import tensorflow as tf

    kernel = tf.make_ndarray(fold.kernel.attr["value"].tensor)
    depthwise = fold.convolution.op != "Conv2D"
    channels = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    scale, shift = (np.broadcast_to(values, channels) for values in (scale, shift))
    scaled = kernel * (scale.reshape(kernel.shape[2:]) if depthwise else scale)
    del fold.convolution.input[1:]
    fold.convolution.input.append(_add_constant(graph, f"{fold.convolution.name}/folded_kernel", scaled))
    bias = _add_constant(graph, f"{fold.convolution.name}/folded_bias", shift)
    add = fold.add
    add.op = "BiasAdd"
    del add.input[:]
    add.input.extend([fold.convolution.name, bias])
    add.attr["data_format"].s = b"NHWC"


def _fold_paddings(shapes, graph):
    """Let a convolution pad by itself where Keras' explicit zeros are what "SAME" means."""
    import tensorflow as tf

    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op not in _CONVOLUTIONS or node.attr["padding"].s != b"VALID":
            continue
        padding = nodes.get(_bare(node.input[0]))
        if padding is None or padding.op != "Pad":
            continue
        amounts = nodes[_bare(padding.input[1])]
        if amounts.op != "Const":
            continue
        amounts = tf.make_ndarray(amounts.attr["value"].tensor)
        if _is_same(amounts, _shape(shapes, padding.input[0]), _shape(shapes, node.input[1]), node):
            node.input[0] = padding.input[0]
            node.attr["padding"].s = b"SAME"


def _is_same(amounts, shape, kernel, node):
    """Tell whether zeros of these amounts are those that TensorFlow's "SAME" adds."""
    sides, strides, dilations = shape[1:3], node.attr["strides"].list.i[1:3], node.attr["dilations"].list.i
    if None in sides or any(step != 1 for step in dilations) or amounts[0].any() or amounts[3].any():
        return False
    for side, stride, width, given in zip(sides, strides, kernel[:2], amounts[1:3], strict=True):
        lacking = max((-(-side // stride) - 1) * stride + width - side, 0)
        if tuple(given) != (lacking // 2, lacking - lacking // 2):
            return False
    return True


def _constants(graph, names):
    """Compute tensors of the graph that depend on constants alone."""
    import tensorflow as tf

    if not names:
        return []
    with tf.Graph().as_default() as alone:
        tf.import_graph_def(_behind(graph, names), name="")
    with tf.compat.v1.Session(graph=alone) as session:
        return session.run([_output(name) for name in names])


def _behind(graph, names):
    """Return the part of a graph that some tensors rest on, without the kernels of the network."""
    import tensorflow as tf

    nodes, wanted, waiting = {node.name: node for node in graph.node}, {}, [_bare(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted[name] = nodes[name]
            waiting.extend(map(_bare, nodes[name].input))
    return tf.compat.v1.GraphDef(node=wanted.values(), versions=graph.versions)


def _output(name):
    return name if ":" in name else f"{name}:0"


def _shape(shapes, name):
    return shapes.get_tensor_by_name(_output(name)).shape.as_list()


def _add_constant(graph, name, values):
    write_constant(graph.node.add(), name, np.ascontiguousarray(values, np.float32))
    return name


def write_constant(node, name, values):
    """Make a node of a graph a constant.

    Parameters
    ----------
    node : tensorflow.compat.v1.NodeDef
        Changed in place.
    name : str
    values : numpy.ndarray
    """
    import tensorflow as tf

    node.Clear()
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))


def _users(graph):
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(_bare(name), []).append(node)
    return users


def _only_user(node, users, kind):
    using = users.get(node.name, [])
    return using[0] if len(using) == 1 and using[0].op == kind else None


def _varying(graph):
    """Return the names of nodes that depend on the input. A graph's nodes stand in the order of their use."""
    names = set()
    for node in graph.node:
        if node.op == "Placeholder" or any(_bare(name) in names for name in node.input):
            names.add(node.name)
    return names


def _bare(name):
    return name.removeprefix("^").split(":")[0]


def _is_float32(node):
    import tensorflow as tf

    return node.attr["T"].type == tf.float32.as_datatype_enum
