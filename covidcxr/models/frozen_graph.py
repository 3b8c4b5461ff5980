"""A network as a frozen graph of TensorFlow: no variables, batch normalisation folded, one fused step a layer."""

from covidcxr.errors import ModelError
from covidcxr.models.folding import fold, write_constant


def frozen(model, precision="float32"):
    """Turn a network into a frozen graph.

    Parameters
    ----------
    model : keras.Model
        Built on Keras' TensorFlow backend. Later changes of its weights are not seen.
    precision : {"float32", "bfloat16"}, optional
        "bfloat16" lets TensorFlow's optimiser choose the operations that are rounded: convolutions and products
        of matrices, and what lies between them.

    Returns
    -------
    callable
        Takes and returns numpy.ndarray of float32, (n, height, width, channels) to (n, classes); safe to call
        from several threads.

    Raises
    ------
    ModelError
        If the network does more with its variables than read them.
    """
    run = frozen_outputs(model, precision)
    return lambda images: run(images)[0]


def frozen_outputs(model, precision="float32"):
    """Turn a network of one input and any number of outputs into a frozen graph.

    Parameters
    ----------
    model, precision
        As for :func:`frozen`.

    Returns
    -------
    callable
        numpy.ndarray of float32, (n, height, width, channels), to a list of arrays (n, ...), one an output; safe
        to call from several threads.

    Raises
    ------
    ModelError
        If the network does more with its variables than read them.
    """
    import tensorflow as tf

    function = traced(model)
    definition = fold(function.graph, _without_variables(function, model.name))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    session = tf.compat.v1.Session(graph=graph, config=_config(precision))
    # Without variables the session owns nothing but threads, and ends with the callable.
    return session.make_callable([output.name for output in function.outputs], [function.inputs[0].name])


def traced(model):
    """Trace a network once, for batches of any size.

    Parameters
    ----------
    model : keras.Model
        Built on Keras' TensorFlow backend.

    Returns
    -------
    tensorflow.types.experimental.ConcreteFunction
        float32 (n, height, width, channels) to (n, classes), or to what other outputs the network has.
    """
    import tensorflow as tf

    images = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name="images")
    run = tf.function(lambda images: tf.nest.flatten(model(_as_built(model, images), training=False)))
    return run.get_concrete_function(images)


def _as_built(model, images):
    """Return images as the network was built to take them: alone, in a list or by name; Keras warns otherwise."""
    import keras

    structure = getattr(model, "input", None)  # A Sequential network has none.
    return images if structure is None else keras.tree.pack_sequence_as(structure, [images])


def _without_variables(function, name):
    """Return the graph of a traced function with each reading of a variable replaced by its value.

    TensorFlow's own converter does this too, but copies the whole network many times on its way: seconds.
    """
    import tensorflow as tf

    values = {variable.handle.ref(): variable for variable in function.variables}
    captured = {inside.op.name: outside for outside, inside in function.graph.captures}
    variables = {key: values.get(item.ref()) for key, item in captured.items() if item.dtype == tf.resource}
    definition = function.graph.as_graph_def()
    for node in definition.node:
        sources = [source for source in (entry.split(":")[0] for entry in node.input) if source in variables]
        if node.name in captured and node.name not in variables:
            # A plain tensor: Keras keeps the mean and deviation of a Normalization layer so.
            write_constant(node, node.name, captured[node.name].numpy())
        elif sources:
            variable = variables[sources[0]]
            if node.op != "ReadVariableOp" or variable is None:
                raise ModelError(f"{name}: reads its weights in a way that cannot be frozen ({node.op})")
            write_constant(node, node.name, variable.numpy())
    return definition


def _config(precision):
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    if precision == "bfloat16":
        options.auto_mixed_precision_onednn_bfloat16 = options.ON
    return config
