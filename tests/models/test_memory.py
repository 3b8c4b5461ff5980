import math

import keras
import pytest
from keras import layers

from covidcxr.errors import ModelError
from covidcxr.models import memory
from covidcxr.training.optimizers import NAMES, OptimizerSpec

FLOAT = 4
BATCH = 5


def chain(*middle):
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for layer in middle:
        x = layer(x)
    return keras.Model(inputs, x)


def test_a_chain_that_learns_keeps_every_output():
    model = chain(layers.Conv2D(4, 3, padding="same"), layers.Flatten(), layers.Dense(2))
    found = memory.estimate(model, BATCH)
    parameters = (3 * 3 * 3 * 4 + 4) + (256 * 2 + 2)
    assert found.weights == found.gradients == FLOAT * parameters
    assert found.optimizer == 2 * FLOAT * parameters
    outputs = 8 * 8 * 3 + 256 + 256 + 2
    # The backward pass is at its widest where Flatten takes 256 gradients and gives 256.
    assert found.activations == FLOAT * BATCH * (outputs + 512)
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations


def test_a_frozen_prefix_needs_its_two_largest_neighbours_only():
    frozen = [layers.Conv2D(filters, 1, trainable=False) for filters in (10, 20, 6)]
    model = chain(*frozen, layers.GlobalAveragePooling2D(), layers.Dense(2))
    found = memory.estimate(model, BATCH)
    assert found.activations == FLOAT * BATCH * 64 * (10 + 20)
    assert found.gradients == FLOAT * (6 * 2 + 2)


def test_a_skipped_connection_lives_until_it_is_added():
    inputs = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 1)(inputs)
    x = layers.Conv2D(10, 1)(first)
    x = layers.Conv2D(4, 1)(x)
    model = keras.Model(inputs, layers.Add()([first, x]))
    assert memory.estimate(model, 1, training=False).activations == FLOAT * 64 * (4 + 10 + 4)


def test_predicting_needs_neither_gradients_nor_what_training_keeps():
    model = chain(*(layers.Conv2D(4, 1) for _ in range(6)))
    found = memory.estimate(model, BATCH, training=False)
    assert (found.gradients, found.optimizer) == (0, 0)
    assert found.activations == FLOAT * BATCH * 64 * (4 + 4)


def test_what_follows_a_layer_that_learns_is_kept_though_it_is_frozen():
    late = layers.Conv2D(7, 1, trainable=False)
    model = chain(layers.Conv2D(4, 1, trainable=False), layers.Conv2D(5, 1), late)
    # Kept: the input of the layer that learns, and all after it. Coming and going: 5 + 7.
    assert memory.estimate(model, 1).activations == FLOAT * 64 * ((4 + 5 + 7) + (5 + 7))


@pytest.mark.parametrize("wrap", [lambda inner: keras.Sequential([inner, layers.Flatten()]), None])
def test_models_inside_a_model_count_as_if_laid_out_flat(wrap):
    def body():
        return [layers.Conv2D(4, 3), layers.ReLU(), layers.Conv2D(6, 3)]

    flat = memory.estimate(chain(*body(), layers.Flatten()), BATCH)
    inner = chain(*body())
    nested = wrap(inner) if wrap else chain(inner, layers.Flatten())
    assert memory.estimate(nested, BATCH) == flat


def test_a_model_called_twice_counts_twice_what_it_keeps_but_once_its_weights():
    shared = chain(layers.Conv2D(4, 1))
    left, right = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    both = keras.Model([left, right], layers.Concatenate()([shared(left), shared(right)]))
    found = memory.estimate(both, 1)
    assert found.weights == FLOAT * (3 * 4 + 4)
    assert found.activations == FLOAT * 64 * ((3 + 3 + 4 + 4 + 8) + (8 + 4 + 4))


def test_half_precision_halves_what_stands_between_layers_and_not_the_weights():
    def build():
        return chain(layers.Conv2D(4, 1), layers.Conv2D(4, 1))

    whole = memory.estimate(build(), BATCH)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = memory.estimate(build(), BATCH)
    finally:
        keras.config.set_dtype_policy(before)
    assert half.weights == whole.weights
    # The images themselves stay float32 until the first layer.
    images = FLOAT * BATCH * 64 * 3
    assert 2 * (half.activations - images) == whole.activations - images


def test_separable_convolutions_keep_what_stands_between_their_halves():
    model = chain(layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2))
    assert memory.estimate(model, 1, training=False).activations == FLOAT * 64 * (3 + 4 + 6)


def test_memory_grows_with_the_batch():
    model = chain(layers.Conv2D(4, 3))
    one, ten = (memory.estimate(model, size).activations for size in (1, 10))
    assert ten == 10 * one


def test_open_sizes_and_models_without_a_graph_are_refused():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="leaves a size open"):
        memory.estimate(keras.Model(inputs, layers.Conv2D(2, 1)(inputs)), 1)

    class Own(keras.Model):
        pass

    with pytest.raises(ModelError, match="functional and sequential"):
        memory.estimate(Own(name="own"), 1)


@pytest.mark.parametrize("name", NAMES)
def test_slots_are_what_the_optimiser_really_makes(name):
    model = chain(layers.Flatten(), layers.Dense(3))
    spec = OptimizerSpec(name, 1e-3)
    optimizer = spec.build()
    optimizer.build(model.trainable_variables)
    numbers = sum(math.prod(variable.shape) for variable in optimizer.variables)
    parameters = model.count_params()
    # Scalars such as the step's number and the learning rate come on top.
    assert 0 <= numbers - memory.slots_of(spec) * parameters < 10


def test_momentum_is_a_slot():
    assert memory.slots_of(OptimizerSpec("sgd", 0.1)) == 0
    assert memory.slots_of(OptimizerSpec("sgd", 0.1, {"momentum": 0.9})) == 1


def machine(root, cgroup, limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, value in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return memory.available(root)


@pytest.mark.parametrize(
    ("cgroup", "limits", "bytes_there"),
    [
        ("0::/a/b\n", {"memory.max": "max", "a/memory.max": 4096, "a/b/memory.max": 8192}, 4096),
        ("0::/host/path\n", {"memory.max": 4096}, 4096),
        ("4:cpu:/x\n3:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": 2048}, 2048),
        ("3:cpuset,memory:/elsewhere\n", {"memory/memory.limit_in_bytes": 2048}, 2048),
    ],
)
def test_limits_of_containers_and_jobs_count(cgroup, limits, bytes_there, tmp_path):
    assert machine(tmp_path, cgroup, limits) == bytes_there


@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        ("", {}),
        ("0::/\n", {"memory.max": "max"}),
        ("3:memory:/\n", {"memory/memory.limit_in_bytes": 9223372036854771712}),
    ],
)
def test_without_a_limit_the_machine_has_what_it_has(cgroup, limits, tmp_path):
    psutil = pytest.importorskip("psutil")
    assert machine(tmp_path, cgroup, limits) == psutil.virtual_memory().total
