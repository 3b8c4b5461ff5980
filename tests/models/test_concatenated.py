import keras
import numpy as np
import pytest

from covidcxr.errors import ModelError
from covidcxr.models import concatenated, files, pretrained, weight_files
from covidcxr.models.freezing import blocks, freeze_blocks, trainable_counts

SMALL = (71, 71, 3)
INFO = files.ModelInfo("rahimzadeh2020", "concatenated", "sound", ("a", "b", "c"), {"size": [71, 71]}, 0, {})


@pytest.fixture(scope="module")
def published():
    return concatenated.build()


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return concatenated.build(input_shape=SMALL)


def images(count=1):
    return np.random.default_rng(0).random((count, *SMALL), dtype=np.float32)


def test_the_paper_prints_its_maps_and_the_authors_its_count(published):
    assert published.count_params() == 48_928_811
    assert published.input_shape == (None, 300, 300, 3)
    assert published.output_shape == (None, 3)
    maps = [part.output_shape for part in concatenated.parts(published).values()]
    assert maps == [(None, 10, 10, 2048), (None, 10, 10, 2048)]
    assert published.get_layer("stacked").output.shape == (None, 10, 10, 4096)
    conv = published.get_layer("stacked_conv")
    assert conv.kernel.shape == (1, 1, 4096, 1024)
    assert conv.activation is keras.activations.linear
    assert published.get_layer("head_dropout").rate == 0.5
    assert all(layer.trainable for layer in published.layers)


def test_the_softmax_starts_close_to_zero(published):
    kernel = np.asarray(published.get_layer("head_probabilities").kernel)
    assert kernel.shape == (10 * 10 * 1024, 3)
    assert kernel.std() == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize(("key", "parameters"), [("xception", 21_475_883), ("resnet50_v2", 24_179_203)])
def test_single_networks_are_keras_own_and_three_outputs(key, parameters):
    model = concatenated.build_single(key)
    name = {"xception": "Xception", "resnet50_v2": "ResNet50V2"}[key]
    own = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(300, 300, 3))
    assert model.count_params() == own.count_params() + 3 * (10 * 10 * 2048 + 1) == parameters
    assert model.output_shape == (None, 3)


def test_the_model_is_flat_and_its_names_are_unique(small):
    names = [layer.name for layer in small.layers]
    assert len(set(names)) == len(names)
    assert not any(isinstance(layer, keras.Model) for layer in small.layers)


def test_both_networks_read_the_same_image(small):
    inside = concatenated.parts(small)
    maps = [np.asarray(part(images())) for part in inside.values()]
    stacked = keras.Model(small.input, small.get_layer("stacked").output)
    np.testing.assert_allclose(stacked(images()), np.concatenate(maps, axis=-1), atol=1e-6)


def test_a_file_gives_the_same_network(small, tmp_path):
    path = files.save_model(small, tmp_path / "model.h5", INFO)
    again = files.load_model(path)
    path.unlink()
    np.testing.assert_allclose(again(images()), small(images()), atol=1e-6)
    assert set(concatenated.parts(again)) == {"xception", "resnet50_v2"}


@pytest.fixture(scope="module")
def weight_folder(tmp_path_factory):
    """Weights of the two networks by themselves, in the files that Keras publishes them in."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(1)
    names = {"Xception": "xception", "ResNet50V2": "resnet50v2"}
    for name, stem in names.items():
        network = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=SMALL)
        network.save(folder / f"{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5")
    yield folder
    for path in folder.iterdir():
        path.unlink()


def test_each_network_takes_its_own_weight_file(weight_folder):
    model = concatenated.build(input_shape=SMALL)
    report = concatenated.load_weights(model, weight_folder)
    assert report.missing == ("stacked_conv", "head_probabilities")
    assert len(report.loaded) == 80 + 102
    assert report.unused == ()
    assert [name.split("_")[0] for name in report.source.split(", ")] == ["xception", "resnet50v2"]
    inside = concatenated.parts(model)
    for part, name in zip(inside.values(), ("xception", "resnet50v2"), strict=True):
        (path,) = weight_folder.glob(f"{name}_*")
        alone = keras.models.load_model(path, compile=False)
        np.testing.assert_allclose(part(images()), alone(images()), atol=1e-5)


def test_nothing_is_loaded_unless_both_are_found(weight_folder, tmp_path, small):
    (only,) = weight_folder.glob("xception_*")
    (tmp_path / only.name).symlink_to(only)
    before = small.get_layer("block1_conv1").get_weights()
    with pytest.raises(ModelError, match="no weights of resnet50_v2"):
        concatenated.load_weights(small, tmp_path)
    np.testing.assert_array_equal(small.get_layer("block1_conv1").get_weights()[0], before[0])


def test_real_weights_of_the_first_layers_fit(shared):
    (trunk,) = (shared / "weights").glob("xception_*trunk*")
    part = concatenated.parts(concatenated.build(input_shape=SMALL))["xception"]
    report = weight_files.load_into(part, pretrained.find_weights("xception", trunk), partial=True)
    assert len(report.loaded) == 80 - 4
    assert all(name.startswith("block14") for name in report.missing)


def test_blocks_are_those_of_its_parts(small):
    with pytest.raises(ModelError, match="side by side"):
        blocks(small)
    part = concatenated.parts(small)["xception"]
    freeze_blocks(part, 14)
    try:
        assert trainable_counts(part)[0] == 0
        assert trainable_counts(small)[1] == 20_861_480 + 45_440
    finally:
        freeze_blocks(part, 0)


def test_another_network_has_no_parts():
    inputs = keras.Input((4,))
    with pytest.raises(ModelError, match="not the concatenated network"):
        concatenated.parts(keras.Model(inputs, keras.layers.Dense(1)(inputs)))


def test_an_input_whose_maps_differ_is_refused():
    with pytest.raises(ModelError, match=r"cannot be stacked; take 300 x 300") as caught:
        concatenated.build(input_shape=(97, 97, 3))
    assert "\n" not in str(caught.value)
