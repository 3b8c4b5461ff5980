import keras
import numpy as np
import pytest

from covidcxr.errors import OptionError
from covidcxr.training.optimizers import NAMES, OptimizerSpec

STEPS = 210
SHAPES = ((4, 3), (3,))


def starts():
    generator = np.random.default_rng(1)
    return [generator.normal(size=shape).astype("float32") for shape in SHAPES]


def gradients():
    """Dense gradients of very different size: down to near epsilon, where its place shows."""
    generator = np.random.default_rng(2)
    sizes = [10.0 ** generator.uniform(-6, 0, size=shape) for shape in SHAPES]
    return [
        [(size * generator.normal(size=size.shape)).astype("float32") for size in sizes] for _ in range(STEPS)
    ]


def path(optimizer, make_variable, apply):
    variables = [make_variable(start) for start in starts()]
    places = []
    for step in gradients():
        apply(optimizer, step, variables)
        places.append(np.concatenate([variable.numpy().ravel() for variable in variables]))
    return np.array(places)


def ours(optimizer):
    return path(
        optimizer, keras.Variable, lambda optimizer, step, variables: optimizer.apply(step, variables)
    )


def theirs(optimizer):
    tensorflow = pytest.importorskip("tensorflow")

    def apply(optimizer, step, variables):
        pairs = zip(map(tensorflow.constant, step), variables, strict=True)
        optimizer.apply_gradients(pairs)

    return path(optimizer, tensorflow.Variable, apply)


CASES = {
    "nadam": (OptimizerSpec("legacy_nadam", 1e-2), "Nadam", {}),
    "nadam, schedule": (
        OptimizerSpec("legacy_nadam", 1e-2, {"schedule_decay": 0.1, "beta_1": 0.8}),
        "Nadam",
        {"schedule_decay": 0.1, "beta_1": 0.8},
    ),
    "rmsprop": (OptimizerSpec("legacy_rmsprop", 1e-3), "RMSprop", {}),
    "rmsprop, decay": (OptimizerSpec("legacy_rmsprop", 1e-3, decay=0.1), "RMSprop", {"decay": 0.1}),
    "rmsprop, centered": (
        OptimizerSpec("legacy_rmsprop", 1e-4, {"centered": True, "epsilon": 1e-3}),
        "RMSprop",
        {"centered": True, "epsilon": 1e-3},
    ),
    "rmsprop, momentum": (
        OptimizerSpec("legacy_rmsprop", 1e-4, {"momentum": 0.9}),
        "RMSprop",
        {"momentum": 0.9},
    ),
    "adam": (OptimizerSpec("adam", 1e-3), "Adam", {}),
    "adam, decay": (OptimizerSpec("adam", 1e-3, decay=1e-2), "Adam", {"decay": 1e-2}),
    "adam, large epsilon": (OptimizerSpec("adam", 1e-3, {"epsilon": 0.1}), "Adam", {"epsilon": 0.1}),
    "sgd": (OptimizerSpec("sgd", 1e-2), "SGD", {}),
    "sgd, momentum": (
        OptimizerSpec("sgd", 1e-2, {"momentum": 0.9}, decay=1e-3),
        "SGD",
        {"momentum": 0.9, "decay": 1e-3},
    ),
    "sgd, nesterov": (
        OptimizerSpec("sgd", 1e-2, {"momentum": 0.9, "nesterov": True}),
        "SGD",
        {"momentum": 0.9, "nesterov": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_the_papers_time(case):
    legacy = pytest.importorskip("tf_keras").optimizers.legacy
    spec, name, arguments = CASES[case]
    reference = getattr(legacy, name)(learning_rate=spec.learning_rate, **arguments)
    np.testing.assert_allclose(ours(spec.build()), theirs(reference), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("now", "then"), [("nadam", "legacy_nadam"), ("rmsprop", "legacy_rmsprop")])
def test_the_old_ones_are_not_the_new_ones(now, then):
    difference = np.abs(ours(OptimizerSpec(now, 1e-2).build()) - ours(OptimizerSpec(then, 1e-2).build()))
    assert difference.max() > 1e-2


def test_decay_divides_the_rate_by_the_steps_done():
    optimizer = OptimizerSpec("sgd", 0.5, decay=0.25).build()
    variable = keras.Variable([0.0])
    for _ in range(4):
        optimizer.apply([np.ones(1, "float32")], [variable])
    assert float(optimizer.learning_rate) == pytest.approx(0.5 / 2)
    assert float(variable.numpy()[0]) == pytest.approx(-0.5 * (1 + 1 / 1.25 + 1 / 1.5 + 1 / 1.75))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_and_comes_back_from_its_configuration(name):
    optimizer = OptimizerSpec(name, 3e-4, {"clipnorm": 1.0}).build()
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert float(again.learning_rate) == pytest.approx(3e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lion", 1e-3), "lion.*legacy_nadam"),
        (("adam", 0.0), "not above 0"),
        (("adam", 1e-3, {}, -1.0), "below 0"),
        (("legacy_nadam", 1e-3, {}, 0.004), "schedule_decay"),
    ],
)
def test_senseless_values_are_refused(arguments, words):
    with pytest.raises(OptionError, match=words):
        OptimizerSpec(*arguments)
