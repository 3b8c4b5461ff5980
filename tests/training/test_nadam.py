import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from covidcxr.training.legacy_optimizers import LegacyNadam

# Fits a line by hand-made gradients, on whatever backend, and prints the weights and the momenta's product.
FIT = """
import json, keras, numpy
from covidcxr.training.legacy_optimizers import LegacyNadam
optimizer = LegacyNadam(learning_rate=0.05)
slope = keras.Variable([[0.5], [-1.0]])
x = numpy.linspace(-1, 1, 16, dtype="float32").reshape(8, 2)
y = x @ numpy.array([[2.0], [1.0]], "float32")
for step in range(12):
    residual = keras.ops.convert_to_numpy(keras.ops.matmul(x, slope)) - y
    optimizer.apply([keras.ops.convert_to_tensor(x.T @ residual / 8)], [slope])
product = keras.ops.convert_to_numpy(optimizer._product)
print(json.dumps([keras.backend.backend(), keras.ops.convert_to_numpy(slope).tolist(), float(product)]))
"""

REPLICAS = """
import json, keras, numpy, tensorflow as tf
from covidcxr.training.legacy_optimizers import LegacyNadam
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x = numpy.linspace(-1, 1, 64, dtype="float32").reshape(16, 4)
y = x.sum(1, keepdims=True)
weights = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    with strategy.scope():
        layer = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((4,)), layer])
        model.compile(LegacyNadam(0.05), "mse", jit_compile=False)
    model.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(8), epochs=3, verbose=0)
    weights.append(layer.kernel.numpy().tolist() + [float(model.optimizer._product.numpy())])
print(json.dumps(weights))
"""


def run(code, **environment):
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def schedule(step, beta_1=0.9):
    return beta_1 * (1 - 0.5 * 0.96 ** (0.004 * step))


def test_momentum_is_that_of_the_papers_time():
    # At step 100 the old schedule has 0.457; Keras 3's has 0.892.
    optimizer = LegacyNadam()
    optimizer.build([keras.Variable([0.0])])
    optimizer.iterations.assign(99)
    assert float(optimizer._momentum(1)) == pytest.approx(schedule(100))
    assert round(schedule(100), 3) == 0.457


def test_first_steps_by_hand():
    """Two steps of one weight, in double precision, from the definition."""
    optimizer = LegacyNadam(learning_rate=0.1)
    weight = keras.Variable([1.0])
    w, m, v, product = 1.0, 0.0, 0.0, 1.0
    for step, g in ((1, 0.3), (2, -0.8)):
        optimizer.apply([np.array([g], "float32")], [weight])
        product *= schedule(step)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        following = schedule(step + 1)
        m_bar = (1 - schedule(step)) * g / (1 - product) + following * m / (1 - product * following)
        w -= 0.1 * m_bar / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
        # float32 leaves 1 - 0.999 five correct digits.
        assert float(weight.numpy()[0]) == pytest.approx(w, rel=1e-4)
    assert float(optimizer._product.numpy()) == pytest.approx(product)


def small_model():
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(LegacyNadam(0.02, schedule_decay=0.01), "mse", jit_compile=False)
    return model


def fit(model, epochs):
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model.fit(x, x.prod(axis=1), batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def test_a_resumed_fit_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, part = small_model(), small_model()
    fit(whole, 5)
    fit(part, 2)
    part.save(tmp_path / "part.keras")
    resumed = keras.saving.load_model(tmp_path / "part.keras")
    assert resumed.optimizer.get_config() == part.optimizer.get_config()
    for saved, loaded in zip(part.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(saved.numpy(), loaded.numpy())
    assert 0 < float(resumed.optimizer._product.numpy()) < 1
    fit(resumed, 3)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_take_the_same_steps(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    reference = run(FIT, KERAS_BACKEND="tensorflow")
    other = run(FIT, KERAS_BACKEND=backend)
    assert (reference[0], other[0]) == ("tensorflow", backend)
    np.testing.assert_allclose(other[1], reference[1], rtol=1e-5)
    assert other[2] == pytest.approx(reference[2], rel=1e-5)


def test_replicas_multiply_the_product_once_a_step():
    one, two = run(REPLICAS)
    np.testing.assert_allclose(np.ravel(two[:-1]), np.ravel(one[:-1]), rtol=1e-5)
    assert two[-1] == pytest.approx(one[-1], rel=1e-6)
