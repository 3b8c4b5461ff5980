"""ImageNet weights published as `.caffemodel`, and their way into the Keras networks of this package."""

from dataclasses import dataclass

from covidcxr.errors import ModelError
from covidcxr.models.caffe_files import read_layers


@dataclass(frozen=True)
class PublishedModel:
    """A `.caffemodel` that a network's authors publish.

    Attributes
    ----------
    network : str
        Key of :data:`covidcxr.models.small_networks.SMALL_NETWORKS`.
    name : str
        File name.
    stem : str
        Beginning of the names of the .h5 files made of it.
    url : str
        Address; BVLC's server is documented without encryption only.
    size : int
        Bytes.
    digest : str
        ``"<algorithm>:<hexadecimal digits>"``.
    licence : str
    unused : tuple of str
        Beginnings of the names, in Keras' spelling, of layers that the file has for training alone.
    """

    network: str
    name: str
    stem: str
    url: str
    size: int
    digest: str
    licence: str
    unused: tuple = ()


_DEEPSCALE = "https://github.com/forresti/SqueezeNet/raw/a47b6f13d30985279789d08053d37013d67d131b"

# Sizes and digests: models/public/{squeezenet1.1,squeezenet1.0,googlenet-v1}/model.yml of
# https://github.com/openvinotoolkit/open_model_zoo. BVLC's AlexNet is left out: its response normalisation has
# other constants than the paper's, which `alexnet_2012` follows.
PUBLISHED = {
    model.network: model
    for model in (
        PublishedModel(
            "squeezenet1_1",
            "squeezenet_v1.1.caffemodel",
            "squeezenet_v1.1",
            f"{_DEEPSCALE}/SqueezeNet_v1.1/squeezenet_v1.1.caffemodel",
            4_950_080,
            "sha256:72b912ace512e8621f8ff168a7d72af55910d3c7c9445af8dfbff4c2ee960142",
            "BSD-2-Clause",
        ),
        PublishedModel(
            "squeezenet1_0",
            "squeezenet_v1.0.caffemodel",
            "squeezenet_v1.0",
            f"{_DEEPSCALE}/SqueezeNet_v1.0/squeezenet_v1.0.caffemodel",
            5_001_403,
            "sha384:b8dc96393e093b4f23390b70f01fe37330d629759db59c1da3c15f846d0b1b17"
            "51b6ad841570c2e303c86829c750a745",
            "BSD-2-Clause",
        ),
        PublishedModel(
            "googlenet_bvlc",
            "bvlc_googlenet.caffemodel",
            "googlenet_bvlc",
            "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
            53_533_754,
            "sha256:6f7101e3a2183738a7125a0c5021ba82a1feb4228c5ca0924d991b6daf6f6fad",
            "unrestricted (model card)",
            unused=("loss1_", "loss2_"),
        ),
    )
}


def load_file(model, path, network):
    """Fill a network from a `.caffemodel`, or leave it alone if anything differs.

    Convolutions go from (out, in, rows, columns) to (rows, columns, in, out), inner products are transposed.
    The first convolution keeps its channels in the order blue, green, red: the input is prepared so
    (value range ``"caffe"``).

    Parameters
    ----------
    model : keras.Model
        As the package's builder made it, with its top.
    path : path-like
    network : str
        Key of :data:`PUBLISHED`.

    Raises
    ------
    ModelError
        If a layer is missing, left over or of another shape; the message begins with the path.
    """
    if network not in PUBLISHED:
        raise ModelError(f"{network}: no caffemodel of it is published; choose one of {', '.join(PUBLISHED)}")
    # Keras allows no "/" in a name.
    stored = {name.replace("/", "_"): layer.blobs for name, layer in read_layers(path).items()}
    targets = {layer.name: layer.weights for layer in model.layers if layer.weights}
    try:
        _check_names(targets, stored, PUBLISHED[network].unused)
        arrays = [
            pair for name, variables in targets.items() for pair in _pairs(name, variables, stored[name])
        ]
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    for variable, array in arrays:
        variable.assign(array)


def _check_names(targets, stored, unused):
    missing = [name for name in targets if name not in stored]
    if missing:
        raise ModelError(
            f"lacks the layer {missing[0]} ({len(missing)} missing); use the network it belongs to"
        )
    extra = [name for name in stored if name not in targets and not name.startswith(unused)]
    if extra:
        raise ModelError(f"has the layer {extra[0]!a} ({len(extra)} unused); use the network it belongs to")


def _pairs(name, variables, blobs):
    if len(blobs) != len(variables):
        raise ModelError(f"layer {name} has {len(blobs)} arrays, not {len(variables)}")
    return [
        (variable, _converted(name, variable.shape, blob))
        for variable, blob in zip(variables, blobs, strict=True)
    ]


def _converted(name, shape, blob):
    # Older files have four dimensions for everything, the first ones 1.
    while blob.ndim > len(shape) and blob.shape[0] == 1:
        blob = blob[0]
    array = blob.transpose(2, 3, 1, 0) if blob.ndim == 4 else blob.T
    if array.shape != tuple(shape):
        raise ModelError(
            f"layer {name} has an array of shape {array.shape} in Keras' order, not {tuple(shape)}; "
            "use the network it belongs to"
        )
    return array
