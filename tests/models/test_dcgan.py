from collections import Counter

import keras
import numpy as np
import pytest
from PIL import Image

from covidcxr.data.preprocessing import Preprocessing
from covidcxr.errors import ImageError, ModelError, OptionError
from covidcxr.models.dcgan import (
    DCGAN,
    SIZES,
    SampleSheets,
    discriminator,
    gan_batches,
    generator,
    mosaic,
    small_images,
)

MEASURES = {"discriminator_loss", "generator_loss", "real_score", "fake_score"}


def layers(network):
    return Counter(type(layer).__name__ for layer in network.layers)


def learnt(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize("size", SIZES)
def test_layers_are_those_the_paper_counts(size):
    up, down = generator(size), discriminator(size)
    counts = layers(up)
    assert counts["Conv2DTranspose"] == 5
    assert counts["BatchNormalization"] == counts["ReLU"] == 4
    assert up.layers[-1].activation is keras.activations.tanh
    assert up.output_shape == (None, size, size, 3)
    counts = layers(down)
    assert (counts["Conv2D"], counts["LeakyReLU"], counts["BatchNormalization"]) == (5, 4, 3)
    assert down.input_shape == (None, size, size, 3)
    assert down.output_shape == (None, 1)
    kernels = [
        layer.kernel_size for net in (up, down) for layer in net.layers if hasattr(layer, "kernel_size")
    ]
    assert kernels == [(4, 4)] * 10


@pytest.mark.parametrize("size", SIZES)
def test_parameters_by_hand(size):
    """Of 64 × 64 × 3 these are also the published counts of PyTorch's DCGAN example."""
    taps, widths = 16, (512, 256, 128, 64)
    steps = [100, *widths]
    up = sum(taps * a * b for a, b in zip(steps, widths, strict=False)) + taps * 64 * 3 + 2 * sum(widths)
    down = taps * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 2 * (128 + 256 + 512)
    assert (up, down) == (3_576_704, 2_765_568)
    assert (learnt(generator(size)), learnt(discriminator(size))) == (up, down)


def test_every_pixel_of_an_image_depends_on_the_noise_and_is_seen():
    """At 128 the layer of stride 4 must leave no pixel out, in either network."""
    keras.utils.set_random_seed(1)
    noise = np.random.default_rng(0).normal(size=(4, 10)).astype("float32")
    images = generator(128, 1, 10, width=4)(noise, training=True).numpy()
    assert (np.ptp(images, axis=0) > 1e-4).all()
    assert np.abs(images).max() <= 1
    import tensorflow as tf

    page = tf.Variable(np.zeros((1, 128, 128, 1), "float32"))
    with tf.GradientTape() as tape:
        logit = discriminator(128, 1, width=2)(page + 0.1)
    assert (tape.gradient(logit, page).numpy() != 0).all()


def test_weights_start_as_in_the_source():
    keras.utils.set_random_seed(2)
    for network in (generator(), discriminator()):
        for layer in network.layers:
            if hasattr(layer, "kernel"):
                kernel = layer.kernel.numpy()
                assert kernel.std() == pytest.approx(0.02, rel=0.06)
                assert abs(kernel.mean()) < 0.002
                assert not layer.use_bias


@pytest.mark.parametrize(
    "arguments", [{"size": 96}, {"channels": 2}, {"latent": 0}, {"width": 0}, {"ema": 1.0}]
)
def test_senseless_settings_are_refused(arguments):
    with pytest.raises(OptionError, match=str(next(iter(arguments.values())))):
        DCGAN(**arguments)


def radiographs(count, seed=0, side=64):
    """Dark pages with a bright round field: easy to tell from noise, hard to draw in a few steps."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    radii = generator.uniform(0.15, 0.35, size=(count, 1, 1))
    field = np.where(rows**2 + columns**2 < radii**2, 200, 20)
    return (field + generator.integers(0, 30, size=(count, side, side))).astype(np.uint8)


def made(ema=None, **options):
    keras.utils.set_random_seed(7)
    gan = DCGAN(channels=1, latent=8, width=4, ema=ema, seed=11)
    gan.compile(jit_compile=False, **options)
    return gan


def fit(gan, epochs, first_epoch=0, callbacks=()):
    batches = gan_batches(radiographs(24), 64, 8, seed=3, channels=1, first_epoch=first_epoch)
    return gan.fit(
        batches.dataset,
        steps_per_epoch=batches.steps,
        initial_epoch=first_epoch,
        epochs=first_epoch + epochs,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    ).history


def test_training_moves_both_networks_and_measures_them():
    gan = made(ema=0.9)
    before = [network.get_weights() for network in (gan.generator, gan.discriminator)]
    history = fit(gan, 3)
    assert set(history) == MEASURES
    assert np.isfinite(list(history.values())).all()
    for network, weights in zip((gan.generator, gan.discriminator), before, strict=True):
        for old, new in zip(weights, network.get_weights(), strict=True):
            assert np.abs(old - new).max() > 0
    assert gan.optimizer.iterations.numpy() == gan.discriminator_optimizer.iterations.numpy() == 9


def test_discriminator_learns_real_from_generated():
    gan = made(discriminator_optimizer=keras.optimizers.Adam(2e-3, beta_1=0.5))
    history = fit(gan, 8)
    # An untrained discriminator cannot tell: both near one half, the loss near 2 log 2.
    assert history["real_score"][0] == pytest.approx(0.5, abs=0.25)
    assert history["real_score"][-1] > 0.8 > 0.2 > history["fake_score"][-1]
    assert history["discriminator_loss"][-1] < 0.5 < history["discriminator_loss"][0]
    assert history["generator_loss"][-1] > history["generator_loss"][0]


def test_first_measures_are_those_of_the_definition():
    """Losses and scores of the first step, in NumPy, from logits of the untrained networks."""
    gan, again = made(run_eagerly=True), made()
    real = radiographs(8)[..., None] / np.float32(127.5) - 1
    noise = keras.random.normal((8, 8), seed=keras.random.SeedGenerator(11))
    fake = again.generator(noise, training=True)
    on_real, on_fake = (again.discriminator(x, training=True).numpy() for x in (real, fake))
    found = {name: float(value) for name, value in gan.train_step(real).items()}
    sigmoid = [1 / (1 + np.exp(-logits.astype(float))) for logits in (on_real, on_fake)]
    expected = -np.log(sigmoid[0]).mean() - np.log(1 - sigmoid[1]).mean()
    assert found["discriminator_loss"] == pytest.approx(expected, rel=1e-4)
    assert found["real_score"] == pytest.approx(sigmoid[0].mean(), rel=1e-4)
    assert found["fake_score"] == pytest.approx(sigmoid[1].mean(), rel=1e-4)


def test_the_average_follows_the_generator():
    gan = made(ema=0.5, run_eagerly=True)
    start = gan.averaged_generator.get_weights()
    real = radiographs(8)[..., None] / np.float32(127.5) - 1
    gan.train_step(real)
    # At step 1 the momentum is 2 / 11; running statistics are those of now.
    for variable, mean, old in zip(
        gan.generator.variables, gan.averaged_generator.get_weights(), start, strict=True
    ):
        now = variable.numpy()
        expected = 2 / 11 * old + 9 / 11 * now if variable.trainable else now
        np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_mixed_precision_measures_in_float32_and_refuses_float16():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        gan = made(run_eagerly=True)
        found = gan.train_step(radiographs(4)[..., None] / np.float32(127.5) - 1)
        keras.config.set_dtype_policy("mixed_float16")
        with pytest.raises(ModelError, match="bfloat16"):
            gan.compile()
    finally:
        keras.config.set_dtype_policy(before)
    assert float(found["discriminator_loss"]) == pytest.approx(2 * np.log(2), abs=0.5)
    assert gan.generate(2, seed=0).dtype == np.uint8


def test_default_optimisers_are_the_sources():
    gan = made()
    for optimizer in (gan.optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(2e-4)
        assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.999)


def test_generated_images_depend_on_the_seed_alone():
    gan = made(ema=0.9)
    images = gan.generate(70, seed=1)
    assert (images.shape, images.dtype) == ((70, 64, 64), np.uint8)
    np.testing.assert_array_equal(images[:5], gan.generate(5, seed=1))
    assert (gan.generate(5, seed=2) != images[:5]).any()
    assert gan.generate(0, seed=1).shape == (0, 64, 64)
    noise = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(1))).standard_normal((64, 8))
    expected = (gan.averaged_generator(noise[:5]).numpy()[..., 0] + 1) * 127.5
    assert np.abs(expected - images[:5]).max() <= 0.501
    with pytest.raises(OptionError, match="0 or more"):
        gan.generate(-1, seed=1)


def test_three_channels_are_averaged_to_grey():
    keras.utils.set_random_seed(3)
    gan = DCGAN(channels=3, latent=4, width=2)
    noise = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(5))).standard_normal((64, 4))
    expected = (gan(noise).numpy()[:2].mean(axis=-1) + 1) * 127.5
    assert np.abs(expected - gan.generate(2, seed=5)).max() <= 0.501


@pytest.mark.slow
def test_same_seeds_same_training():
    one, two = made(), made()
    assert fit(one, 2) == fit(two, 2)
    np.testing.assert_array_equal(one.generate(3, seed=0), two.generate(3, seed=0))


@pytest.mark.slow
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, part = made(ema=0.9), made(ema=0.9)
    fit(whole, 3)
    fit(part, 1)
    part.save(tmp_path / "gan.keras")
    resumed = keras.saving.load_model(tmp_path / "gan.keras")
    for saved, loaded in zip(everything(part), everything(resumed), strict=True):
        np.testing.assert_array_equal(saved, loaded)
    fit(resumed, 2, first_epoch=1)
    for one, other in zip(everything(whole), everything(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def everything(gan):
    """Weights, optimisers' states and where the noise stands."""
    optimizers = [*gan.optimizer.variables, *gan.discriminator_optimizer.variables]
    return [variable.numpy() for variable in [*gan.variables, *optimizers, gan.noise_source.state]]


def test_an_uncompiled_model_is_saved_and_loaded(tmp_path):
    gan = DCGAN(latent=4, width=2, ema=0.9, seed=5)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras")
    assert loaded.get_config() == gan.get_config()
    np.testing.assert_array_equal(loaded.generate(2, seed=0), gan.generate(2, seed=0))


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_each_network_is_a_file_of_its_own(ending, tmp_path):
    gan = made()
    noise = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    images = gan.generator(noise)
    for network, inputs in ((gan.generator, noise), (gan.discriminator, images)):
        network.save(tmp_path / f"net.{ending}")
        loaded = keras.saving.load_model(tmp_path / f"net.{ending}", compile=False)
        np.testing.assert_allclose(loaded(inputs), network(inputs), atol=1e-6)


def test_a_page_of_samples_is_written_when_one_is_due(tmp_path):
    gan = made()
    fit(gan, 4, callbacks=[SampleSheets(tmp_path / "samples", every=2, rows=2, columns=3, seed=9)])
    assert [path.name for path in sorted((tmp_path / "samples").iterdir())] == [
        "epoch-0002.png",
        "epoch-0004.png",
    ]
    with Image.open(tmp_path / "samples" / "epoch-0004.png") as sheet:
        page = np.asarray(sheet)
    np.testing.assert_array_equal(page, mosaic(gan.generate(6, seed=9), 3))
    assert page.shape == (2 * 64 + 2, 3 * 64 + 4)


def test_pages_that_never_come_are_refused(tmp_path):
    with pytest.raises(OptionError, match="every 0 epochs"):
        SampleSheets(tmp_path, every=0)


def test_mosaic_by_hand():
    images = np.array([[[1]], [[2]], [[3]]], np.uint8)
    expected = np.full((4, 4), 255)
    expected[0, 0], expected[0, 3], expected[3, 0] = 1, 2, 3
    np.testing.assert_array_equal(mosaic(images, 2), expected)


@pytest.fixture
def files(tmp_path):
    paths = []
    for number, image in enumerate(radiographs(10, side=90)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    return paths


def test_batches_are_the_files_standardized_each_once_an_epoch(files):
    batches = gan_batches(files, 16, 5, seed=4)
    assert batches.steps == 2
    epochs = [
        np.concatenate([next(stream) for _ in range(2)])
        for stream in [batches.dataset.as_numpy_iterator()] * 2
    ]
    expected = Preprocessing((16, 16), 3, interpolation="cv2_area", mode="tf").batch(files)
    for epoch in epochs:
        assert epoch.dtype == np.float32
        order = [int(np.abs(expected - image).sum(axis=(1, 2, 3)).argmin()) for image in epoch]
        assert sorted(order) == list(range(10))
        np.testing.assert_allclose(epoch, expected[order], atol=1e-6)
    assert (epochs[0] != epochs[1]).any()
    later = next(gan_batches(files, 16, 5, seed=4, first_epoch=1).dataset.as_numpy_iterator())
    np.testing.assert_array_equal(later, epochs[1][:5])


def test_what_does_not_fill_a_batch_waits_for_another_epoch(files):
    batches = gan_batches(small_images(files, 16), 16, 4, seed=0, channels=1)
    stream = batches.dataset.as_numpy_iterator()
    assert batches.steps == 2
    assert {next(stream).shape for _ in range(6)} == {(4, 16, 16, 1)}


def test_what_cannot_be_batched_is_refused(files, tmp_path):
    with pytest.raises(OptionError, match="10 images do not fill a batch of 11"):
        gan_batches(files, 16, 11, seed=0)
    with pytest.raises(OptionError, match="uint8"):
        gan_batches(np.zeros((4, 8, 8), np.uint8), 16, 2, seed=0)
    with pytest.raises(OptionError, match="channels"):
        gan_batches(files, 16, 2, seed=0, channels=2)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        gan_batches([*files, tmp_path / "bad.png"], 16, 2, seed=0)
