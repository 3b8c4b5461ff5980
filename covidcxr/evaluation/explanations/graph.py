"""A network as the sequence of its layers' calls, nested networks opened, so that any map inside can be reached."""

from dataclasses import dataclass

import numpy as np

from covidcxr.errors import ModelError, OptionError

# Layers that only coarsen, thin out or frame the map before them.
_NO_FEATURES = ("InputLayer", "Pooling", "Dropout", "Padding", "Cropping", "Reshape", "Permute")


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes
    ----------
    path : str
        Its name, after those of the networks that it is nested in: ``"mobilenet_v2/out_relu"``.
    node : object
        Keras' record of the call.
    whole : bool
        Whether everything that reaches the network's output passes through the layer's output.
    """

    path: str
    node: object
    whole: bool

    @property
    def layer(self):
        """The layer itself."""
        return self.node.operation

    @property
    def shape(self):
        """Shape of its (first) output, None for the batch."""
        return tuple(self.node.output_tensors[0].shape)


class Network:
    """The calls of a network's layers, in an order in which they can be run.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, other such models inside it allowed; one input of images (n, rows, columns,
        channels), one output of class probabilities (n, k).

    Raises
    ------
    ModelError
        If it is no such network.
    """

    def __init__(self, model):
        self.model = model
        self._graph = _graph(model)
        if self._graph is None:
            raise ModelError(f"{model.name}: not a graph of layers with one input and one output to explain")
        gives = tuple(self._graph.outputs[0].shape)
        if len(gives) != 2 or gives[1] == 1:
            raise ModelError(
                f"{model.name}: gives {gives}, no probabilities of two or more classes; "
                "give a classifier, not a bare backbone"
            )
        self.calls = list(_calls(self._graph, "", True))
        self._in_score = {id(self.calls[-1].node): _before_softmax(self.calls[-1])}

    def feature_map(self, layer=None):
        """Choose the map that Grad-CAM looks at.

        Parameters
        ----------
        layer : str, optional
            Name of a layer, alone or as `Call.path`. Default: the last map of more than one cell through which
            all that is known of the image passes, and that is more than a pooled, padded or thinned-out one: of
            DenseNet the last activation, of VGG the last convolution, of a concatenated network what
            follows the concatenation.

        Returns
        -------
        Call

        Raises
        ------
        OptionError
            If there is no such layer, several have the name, or it gives no map.
        ModelError
            If the network has no map at all (a few dense layers).
        """
        if layer is not None:
            return self._named(layer)
        found, learnt = None, False
        for call in self.calls:
            learnt = learnt or bool(call.layer.weights)
            if learnt and call.whole and _is_map(call) and not _is_plain(call):
                found = call
        if found is None:
            raise ModelError(f"{self.model.name}: has no feature map; explain it by occlusion")
        return found

    def score(self, images, at=None, tape=None):
        """Run the network up to the scores before the softmax.

        Parameters
        ----------
        images : tensor of float32, shape (n, rows, columns, channels)
        at : Call, optional
            The call whose output is wanted.
        tape : tensorflow.GradientTape, optional
            Told to watch that output, and so records only what follows it.

        Returns
        -------
        scores : tensor of float32, shape (n, k)
            Probabilities where the network does not end in a softmax.
        features : tensor or None
            Output of `at`.
        """
        seen = []

        def look(node, output):
            if at is not None and node is at.node:
                if tape is not None:
                    tape.watch(output)
                seen.append(output)

        scores = _run(self._graph, images, self._in_score, look)
        return scores, seen[-1] if seen else None

    def _named(self, name):
        found = {call.path: call for call in self.calls if name in (call.path, call.layer.name)}
        if not found:
            maps = [call.path for call in self.calls if _is_map(call)]
            raise OptionError(
                f"layer {name!r}: not in {self.model.name}; the last that give maps: {', '.join(maps[-3:])}"
            )
        if len(found) > 1:
            raise OptionError(f"layer {name!r}: stands for {' and '.join(found)}; give one of these")
        call = next(iter(found.values()))
        if len(call.shape) != 4:
            raise OptionError(f"layer {name!r}: gives {call.shape}, not a map of rows, columns and channels")
        return call


def _graph(layer):
    """Return the graph of a model with one input and one output; None for any other layer."""
    graph = getattr(layer, "_functional", None) or layer
    single = hasattr(graph, "_nodes_by_depth") and len(graph.inputs) == len(graph.outputs) == 1
    return graph if single else None


def _nodes(graph):
    """Return the calls of a graph in Keras' own order, without its inputs."""
    by_depth = graph._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _calls(graph, prefix, whole):
    nodes = _nodes(graph)
    last_use = _last_use(nodes, graph)
    waiting = {id(tensor) for tensor in graph.inputs}
    for place, node in enumerate(nodes):
        waiting |= {id(tensor) for tensor in node.output_tensors}
        waiting = {tensor for tensor in waiting if last_use.get(tensor, -1) > place}
        alone = whole and waiting == {id(tensor) for tensor in node.output_tensors}
        path = prefix + node.operation.name
        inner = _graph(node.operation)
        if inner is None:
            yield Call(path, node, alone)
        else:
            yield from _calls(inner, f"{path}/", alone)


def _last_use(nodes, graph):
    """Return, by tensor, the place of the last call that reads it; the graph's outputs outlive them all."""
    places = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.input_tensors}
    return places | {id(tensor): len(nodes) for tensor in graph.outputs}


def _run(graph, inputs, instead, look):
    """Run a graph, nested ones included, dropping every tensor after its last use.

    `instead` has the function to call in place of a layer, by the id of its node; `look` is shown every output.
    """
    nodes = _nodes(graph)
    last_use = _last_use(nodes, graph)
    values = {id(graph.inputs[0]): inputs}
    for place, node in enumerate(nodes):
        arguments, options = node.arguments.fill_in(values)
        inner = _graph(node.operation)
        if inner is None:
            output = instead.get(id(node), node.operation)(*arguments, **options)
        else:
            output = _run(inner, values[id(node.input_tensors[0])], instead, look)
        look(node, output)
        results = output if isinstance(output, list | tuple) else [output]
        values.update(zip(map(id, node.output_tensors), results, strict=True))
        for tensor in node.input_tensors:
            if last_use[id(tensor)] == place:
                values.pop(id(tensor), None)
    return values[id(graph.outputs[0])]


def _before_softmax(call):
    """Return the last layer as a function without its softmax, or the layer itself if it has none."""
    import keras

    layer = call.layer
    if isinstance(layer, keras.layers.Softmax):
        return _unchanged
    if getattr(layer, "activation", None) is not keras.activations.softmax:
        return layer
    if isinstance(layer, keras.layers.Activation):
        return _unchanged
    copy = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    copy.build(call.node.input_tensors[0].shape)
    copy.set_weights(layer.get_weights())
    return copy


def _unchanged(x, **options):
    return x


def _is_map(call):
    return len(call.shape) == 4 and (None in call.shape[1:3] or int(np.prod(call.shape[1:3])) > 1)


def _is_plain(call):
    return any(word in type(call.layer).__name__ for word in _NO_FEATURES)
