"""Generator and discriminator, of standard layers only, so that their files open anywhere."""

import keras

from covidcxr.errors import OptionError

# Strides from the 4 × 4 map outwards.
_STRIDES = {64: (2, 2, 2, 2), 128: (4, 2, 2, 2)}
SIZES = tuple(_STRIDES)
_KERNEL = 4
_WIDTHS = (8, 4, 2, 1)
_SLOPE = 0.2
# A class may have a few hundred images, an epoch a few steps: Keras' 0.99 would lag behind the weights.
_MOMENTUM, _EPSILON = 0.9, 1e-5


def generator(size=64, channels=3, latent=100, width=64):
    """Build the network from noise to images.

    Parameters
    ----------
    size : int
        One of :data:`SIZES`: height and width of the images.
    channels : int
        1 or 3.
    latent : int
        Length of a noise vector.
    width : int
        Channels of the last hidden layer; those before have 2, 4 and 8 times as many.

    Returns
    -------
    keras.Model
        float32 noise (n, latent), standard normal, to float32 images (n, size, size, channels) in -1..1. With
        the defaults 3,576,704 trainable parameters.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """
    check(size, channels, latent, width)
    noise = keras.Input((latent,), name="noise")
    x = keras.layers.Reshape((1, 1, latent), name="map")(noise)
    # From one place to 4 × 4, then outwards; the last one makes the image.
    steps = [(1, "valid"), *((stride, "same") for stride in _STRIDES[size])]
    for number, (factor, (stride, padding)) in enumerate(zip(_WIDTHS, steps, strict=False), start=1):
        x = _layer(keras.layers.Conv2DTranspose, factor * width, stride, padding, f"up{number}")(x)
        x = _norm(f"up{number}_norm")(x)
        x = keras.layers.ReLU(name=f"up{number}_relu")(x)
    x = _layer(keras.layers.Conv2DTranspose, channels, *steps[-1], "up5")(x)
    return keras.Model(noise, keras.layers.Activation("tanh", name="image")(x), name="generator")


def discriminator(size=64, channels=3, width=64):
    """Build the network from images to how real they look.

    Parameters
    ----------
    size, channels : int
        As for :func:`generator`.
    width : int
        Channels of the first layer; those after have 2, 4 and 8 times as many.

    Returns
    -------
    keras.Model
        float32 images (n, size, size, channels) in -1..1 to float32 logits (n, 1): their sigmoid is the
        probability of being real. With the defaults 2,765,568 trainable parameters.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """
    check(size, channels, 1, width)
    image = x = keras.Input((size, size, channels), name="image")
    layers = zip(reversed(_WIDTHS), reversed(_STRIDES[size]), strict=True)
    for number, (factor, stride) in enumerate(layers, start=1):
        x = _layer(keras.layers.Conv2D, factor * width, stride, "same", f"down{number}")(x)
        if number > 1:
            x = _norm(f"down{number}_norm")(x)
        x = keras.layers.LeakyReLU(_SLOPE, name=f"down{number}_relu")(x)
    x = _layer(keras.layers.Conv2D, 1, 1, "valid", "down5")(x)
    return keras.Model(image, keras.layers.Flatten(name="logit")(x), name="discriminator")


def check(size, channels, latent, width):
    """Raise `OptionError` for a setting without meaning."""
    if size not in _STRIDES:
        raise OptionError(f"size {size} of generated images; choose one of {', '.join(map(str, SIZES))}")
    if channels not in (1, 3):
        raise OptionError(f"channels is {channels!r}; give 1 or 3")
    if min(latent, width) < 1:
        raise OptionError(f"latent ({latent}) and width ({width}) must both be at least 1")


def _layer(kind, filters, stride, padding, name):
    return kind(
        filters,
        _KERNEL,
        strides=stride,
        padding=padding,
        use_bias=False,
        # Unseeded, so that `keras.utils.set_random_seed` decides, and no two layers start alike.
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name=name,
    )


def _norm(name):
    return keras.layers.BatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=name)
