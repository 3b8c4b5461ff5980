"""How much memory a network takes, from its graph alone: nothing is computed, so that what cannot fit is known."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from covidcxr.errors import ModelError


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of one network on one device, in bytes.

    Attributes
    ----------
    weights : int
    gradients : int
        One number for each parameter that learns.
    optimizer : int
        What the optimiser keeps of each parameter that learns.
    activations : int
        The most that stands between layers at one moment, one batch of images included.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self):
        """All of it together."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class _Step:
    """One call of a layer: numbers of the tensors it takes and gives, and whether it learns."""

    inputs: tuple
    outputs: tuple
    learns: bool


def estimate(model, batch_size, training=True, slots=2):
    """Estimate the memory of a network.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential, other such models inside it allowed.
    batch_size : int
        Images on this device.
    training : bool
        False: what predicting takes.
    slots : int
        Numbers that the optimiser keeps of each that learns (see :func:`slots_of`); Adam has two.

    Returns
    -------
    MemoryEstimate

    Raises
    ------
    ModelError
        If the network is no graph of layers, or leaves a size open other than the batch's.

    Notes
    -----
    Every layer's output counts once, in its own dtype. While training, the inputs and outputs of all layers
    from the first that learns on are kept for the backward pass; on top come, there, the gradients that one
    layer takes and gives, wherever these are largest. Before the first layer that learns, and in predicting,
    an output lives until the last layer that reads it: in a chain of layers these are two at a time.

    Not counted: what single operations need inside (of separable convolutions the tensor between their two
    halves is), copies of weights in another precision, images waiting in a queue, and the process itself.
    TensorFlow may need more (parallel branches) or less (outputs changed in place).
    """
    learning = model.trainable_weights if training else []
    gradients = sum(map(_size, learning))
    return MemoryEstimate(
        weights=sum(map(_size, model.weights)),
        gradients=gradients,
        optimizer=slots * gradients,
        activations=_activations(model, batch_size, training),
    )


def slots_of(spec):
    """Return how many numbers an optimiser keeps of each parameter.

    Parameters
    ----------
    spec : covidcxr.training.optimizers.OptimizerSpec

    Returns
    -------
    int
    """
    import keras

    shape = (2, 3)
    optimizer = spec.build()
    optimizer.build([keras.Variable(keras.ops.zeros(shape))])
    return sum(tuple(variable.shape) == shape for variable in optimizer.variables)


def available(root="/"):
    """Return the memory that this process may use: the machine's, or less where a container or job limits it.

    Parameters
    ----------
    root : path-like
        Folder that holds `proc` and `sys`.

    Returns
    -------
    int or None
        Bytes, used ones included; None where the system does not tell. Graphics memory is another matter.
    """
    known = [*_physical(), *_limits(Path(root))]
    return min(known) if known else None


def _physical():
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        return []


def _limits(root):
    """Yield the limits of this process' control groups and of those around them (cgroup v2 and v1)."""
    for folder, file in _groups(root):
        # Inside a container the group's own folder is the mount itself: whichever exists, counts.
        base = root / "sys/fs/cgroup"
        for place in (folder, *folder.parents):
            if not place.is_relative_to(base):
                break
            text = _text(place / file).strip()
            # Version 2 writes "max" for none, version 1 a number beyond every machine.
            if text.isdecimal():
                yield int(text)


def _groups(root):
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if not controllers:
            yield base / inside, "memory.max"
        elif "memory" in controllers.split(","):
            yield base / "memory" / inside, "memory.limit_in_bytes"


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _activations(model, batch_size, training):
    sizes, steps = [], []
    _record(model, {}, batch_size, sizes, steps)
    kept, backward = _for_backward(steps, sizes) if training else (set(), 0)
    held = sum(sizes[tensor] for tensor in kept)
    return max(_forward_peak(steps, sizes, kept), held + backward)


def _record(model, numbers, batch_size, sizes, steps):
    """Write down every call of a layer in the order of the graph; `numbers` has the model's inputs already."""
    graph = _graph(model)
    if graph is None:
        raise ModelError(f"{model.name}: memory can be estimated of functional and sequential models only")
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            inputs = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
            inner = _graph(node.operation)
            if inner is not None:
                results = _record_inner(inner, inputs, batch_size, sizes, steps)
                numbers.update(zip(map(id, node.output_tensors), results, strict=True))
            elif not (node.is_input and id(node.output_tensors[0]) in numbers):
                outputs = tuple(
                    _new(tensor, numbers, batch_size, sizes, model.name) for tensor in node.output_tensors
                )
                learns = bool(getattr(node.operation, "trainable_weights", ()))
                inside = _inside(node, batch_size, sizes)
                steps.append(_Step(inputs, (*outputs, *inside), learns))


def _record_inner(inner, inputs, batch_size, sizes, steps):
    numbers = dict(zip(map(id, inner.inputs), inputs, strict=True))
    _record(inner, numbers, batch_size, sizes, steps)
    return [numbers[id(tensor)] for tensor in inner.outputs]


def _graph(layer):
    """Return the graph of a functional or built sequential model; None for any other layer."""
    graph = getattr(layer, "_functional", None) or layer
    return graph if hasattr(graph, "_nodes_by_depth") else None


def _new(tensor, numbers, batch_size, sizes, name):
    numbers[id(tensor)] = len(sizes)
    shape = (batch_size, *tensor.shape[1:])
    if None in shape:
        raise ModelError(f"{name}: leaves a size open besides the batch's ({tuple(tensor.shape)}); fix it")
    sizes.append(math.prod(shape) * _bytes(tensor.dtype))
    return numbers[id(tensor)]


def _inside(node, batch_size, sizes):
    """Return the number of the tensor between the two halves of a separable convolution."""
    import keras

    layer = node.operation
    if not isinstance(layer, keras.layers.SeparableConv2D):
        return ()
    (images,), (result,) = node.input_tensors, node.output_tensors
    channels = images.shape[-1] * layer.depth_multiplier
    sizes.append(batch_size * math.prod(result.shape[1:-1]) * channels * _bytes(result.dtype))
    return (len(sizes) - 1,)


def _for_backward(steps, sizes):
    """Return the tensors kept for the backward pass, and the largest gradients that it holds at one layer."""
    reached, kept, largest = set(), set(), 0
    for step in steps:
        if step.learns or reached.intersection(step.inputs):
            kept.update(step.inputs, step.outputs)
            coming = [*step.outputs, *reached.intersection(step.inputs)]
            largest = max(largest, sum(sizes[tensor] for tensor in coming))
            reached.update(step.outputs)
    return kept, largest


def _forward_peak(steps, sizes, kept):
    last_use = {tensor: place for place, step in enumerate(steps) for tensor in step.inputs}
    held = peak = 0
    for place, step in enumerate(steps):
        held += sum(sizes[tensor] for tensor in step.outputs)
        peak = max(peak, held)
        over = {tensor for tensor in (*step.inputs, *step.outputs) if last_use.get(tensor, place) == place}
        held -= sum(sizes[tensor] for tensor in over - kept)
    return peak


def _size(weight):
    return math.prod(weight.shape) * _bytes(weight.dtype)


def _bytes(dtype):
    bits = re.search(r"\d+$", str(dtype))
    return max(1, int(bits.group()) // 8) if bits else 1
