"""Caffe's files: written here by protobuf's own library after caffe.proto, read by the package."""

import contextlib

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from covidcxr.errors import ModelError
from covidcxr.models import caffe_files, caffe_weights, convert, googlenet, squeezenet
from covidcxr.models.caffe_files import read_layers

FIELD = descriptor_pb2.FieldDescriptorProto
# The parts of caffe.proto that carry weights, and some that must be stepped over.
SCHEMA = {
    "BlobShape": [("dim", 1, FIELD.TYPE_INT64, "packed")],
    "BlobProto": [
        ("num", 1, FIELD.TYPE_INT32, ""),
        ("channels", 2, FIELD.TYPE_INT32, ""),
        ("height", 3, FIELD.TYPE_INT32, ""),
        ("width", 4, FIELD.TYPE_INT32, ""),
        ("data", 5, FIELD.TYPE_FLOAT, "packed"),
        ("diff", 6, FIELD.TYPE_FLOAT, "packed"),
        ("shape", 7, "BlobShape", ""),
        ("double_data", 8, FIELD.TYPE_DOUBLE, "packed"),
    ],
    "LayerParameter": [
        ("name", 1, FIELD.TYPE_STRING, ""),
        ("type", 2, FIELD.TYPE_STRING, ""),
        ("bottom", 3, FIELD.TYPE_STRING, "repeated"),
        ("loss_weight", 5, FIELD.TYPE_FLOAT, "repeated"),
        ("blobs", 7, "BlobProto", "repeated"),
        ("phase", 10, FIELD.TYPE_INT32, ""),
    ],
    "V1LayerParameter": [
        ("bottom", 2, FIELD.TYPE_STRING, "repeated"),
        ("name", 4, FIELD.TYPE_STRING, ""),
        ("type", 5, FIELD.TYPE_INT32, ""),
        ("blobs", 6, "BlobProto", "repeated"),
    ],
    "NetParameter": [
        ("name", 1, FIELD.TYPE_STRING, ""),
        ("layers", 2, "V1LayerParameter", "repeated"),
        ("input_dim", 4, FIELD.TYPE_INT32, "repeated"),
        ("force_backward", 5, FIELD.TYPE_BOOL, ""),
        ("layer", 100, "LayerParameter", "repeated"),
    ],
}


def schema():
    file = descriptor_pb2.FileDescriptorProto(name="caffe_for_test.proto", package="caffe", syntax="proto2")
    for message, fields in SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, number, kind, label in fields:
            field = described.field.add(name=name, number=number)
            field.label = FIELD.LABEL_REPEATED if label else FIELD.LABEL_OPTIONAL
            field.options.packed = label == "packed"
            if isinstance(kind, str):
                field.type, field.type_name = FIELD.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


NetParameter = schema()


def add(net, name, kind, arrays, old=False):
    layer = (net.layers if old else net.layer).add(name=name, type=kind)
    layer.bottom.append("data")
    for array in arrays:
        blob = layer.blobs.add()
        blob.data.extend(array.ravel().tolist())
        if old:
            sides = (1,) * (4 - array.ndim) + array.shape
            blob.num, blob.channels, blob.height, blob.width = sides
        else:
            blob.shape.dim.extend(array.shape)


def write(path, net):
    path.write_bytes(net.SerializeToString())
    return path


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def refused(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        read_layers(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("old", [False, True])
def test_names_types_and_arrays_come_back(tmp_path, old):
    net = NetParameter(name="net", force_backward=True)
    net.input_dim.extend([1, 3, 227, 227])
    kernel, bias = numbers(4, 3, 2, 5), numbers(4)
    add(net, "data", 5 if old else "Input", [], old)
    add(net, "conv/ä", 4 if old else "Convolution", [kernel, bias], old)
    layers = read_layers(write(tmp_path / "net.caffemodel", net))
    assert list(layers) == ["conv/ä"]
    assert layers["conv/ä"].kind == ("4" if old else "Convolution")
    read_kernel, read_bias = layers["conv/ä"].blobs
    np.testing.assert_array_equal(read_kernel, kernel)
    np.testing.assert_array_equal(read_bias, bias.reshape((1, 1, 1, 4) if old else (4,)))
    assert not read_kernel.flags.writeable


def test_doubles_gradients_and_scalars(tmp_path):
    net = NetParameter()
    layer = net.layer.add(name="scale", type="Scale", phase=1)
    layer.loss_weight.append(0.5)
    blob = layer.blobs.add()
    blob.double_data.extend([1.5, -2.25])
    blob.diff.extend([9.0, 9.0])
    blob.shape.dim.extend([2])
    layer.blobs.add().data.append(3.0)
    layer.blobs[1].shape.SetInParent()
    layer.blobs.add()
    first, scalar, empty = read_layers(write(tmp_path / "net.caffemodel", net))["scale"].blobs
    assert (first.tolist(), first.dtype.str) == ([1.5, -2.25], "<f8")
    assert (scalar.shape, float(scalar)) == ((), 3.0)
    assert empty.size == 0


@pytest.fixture
def whole(tmp_path):
    net = NetParameter(name="net")
    add(net, "conv", "Convolution", [numbers(4, 3, 2, 2), numbers(4)])
    add(net, "fc", "InnerProduct", [numbers(5, 16), numbers(5)])
    return write(tmp_path / "net.caffemodel", net)


def test_a_cut_file_is_refused_unless_cut_between_layers(whole):
    content, complete = whole.read_bytes(), []
    for length in range(len(content)):
        whole.write_bytes(content[:length])
        with contextlib.suppress(ModelError):
            complete.append(list(read_layers(whole)))
    assert complete == [["conv"]]


def test_random_damage_never_raises_anything_else(whole):
    rng = np.random.default_rng(0)
    content = whole.read_bytes()
    refusals = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        whole.write_bytes(bytes(damaged))
        try:
            read_layers(whole)
        except ModelError:
            refusals += 1
    assert 0 < refusals < 300


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda blob: blob.shape.dim.append(2**40), "has the shape"),
        (lambda blob: blob.shape.dim.append(-1), "has the shape"),
        (lambda blob: blob.shape.dim.extend([1] * 9), "more than 8 dimensions"),
        (lambda blob: blob.data.append(1.0), "an array of 5 numbers has the shape"),
        (lambda blob: blob.double_data.append(1.0), "an array is in pieces"),
    ],
)
def test_an_array_must_be_what_it_says(tmp_path, change, match):
    net = NetParameter()
    add(net, "fc", "InnerProduct", [numbers(2, 2)])
    change(net.layer[0].blobs[0])
    refused(write(tmp_path / "net.caffemodel", net), match)


def test_what_is_no_network_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.caffemodel"
    refused(path, "No such file")
    refused(tmp_path, "not a file")
    for content in (b"", b"<html>not found</html>", bytes(100), b"\xff" * 100, b"\x0b\x0c"):
        path.write_bytes(content)
        refused(path, "not a readable caffemodel")
    twice = NetParameter()
    for _ in range(2):
        add(twice, "fc", "InnerProduct", [numbers(2)])
    refused(write(path, twice), "two layers are called 'fc'")
    many = NetParameter()
    many.input_dim.extend([0] * 20)
    monkeypatch.setattr(caffe_files, "MOST_FIELDS", 10)
    refused(write(path, many), "more than 10 fields")
    monkeypatch.setattr(caffe_files, "LARGEST_FILE", 10)
    refused(path, "are more than the 10 allowed")


def test_memory_stays_at_the_size_of_the_file(tmp_path):
    import tracemalloc

    net = NetParameter()
    add(net, "fc", "InnerProduct", [numbers(1000, 500)])
    path = write(tmp_path / "net.caffemodel", net)
    tracemalloc.start()
    layers = read_layers(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert layers["fc"].blobs[0].size == 500_000
    assert peak < 1.1 * path.stat().st_size


def caffe_order(array):
    """Turn a Keras kernel into Caffe's, by the definition: out, in, rows, columns."""
    return np.moveaxis(array, (3, 2), (0, 1)) if array.ndim == 4 else array.T


def as_caffemodel(model, path, name_of, old=False):
    net = NetParameter(name=model.name)
    for layer in model.layers:
        if layer.weights:
            add(
                net,
                name_of(layer.name),
                4 if old else "Convolution",
                map(caffe_order, layer.get_weights()),
                old,
            )
    return write(path, net)


def fire_name(name):
    return name.replace("_squeeze", "/squeeze").replace("_expand", "/expand")


def test_the_real_squeezenet_survives_the_way_through_caffes_format(shared, tmp_path):
    published = shared / "weights" / "squeezenet_v1.1_imagenet.h5"
    reference = squeezenet.build()
    reference.load_weights(published)
    path = as_caffemodel(reference, tmp_path / "squeezenet_v1.1.caffemodel", fire_name)
    # The published caffemodel has 4,950,080 bytes; the arrays alone 4 x 1,235,496.
    assert 4_941_984 < path.stat().st_size < 4_960_000
    convert.convert(path, "squeezenet1_1", tmp_path / "out.h5")
    model = squeezenet.build()
    model.load_weights(tmp_path / "out.h5")
    image = np.random.default_rng(1).uniform(-120, 130, (1, 227, 227, 3)).astype("float32")
    expected = np.asarray(reference(image))
    assert expected.max() > 5 / 1000
    np.testing.assert_array_equal(model(image), expected)


def test_googlenet_in_the_older_form_with_its_auxiliary_heads(tmp_path):
    source = googlenet.build_bvlc(aux=True)

    def name_of(name):
        stage, _, rest = name.partition("_")
        return f"inception_{rest.replace('_', '/', 1)}" if stage == "inception" else f"{stage}/{rest}"

    path = as_caffemodel(source, tmp_path / "bvlc_googlenet.caffemodel", name_of, old=True)
    assert {"inception_3a/5x5_reduce", "loss3/classifier", "conv1/7x7_s2"} <= set(read_layers(path))
    model = googlenet.build_bvlc()
    caffe_weights.load_file(model, path, "googlenet_bvlc")
    for layer in filter(lambda layer: layer.weights, model.layers):
        for ours, theirs in zip(layer.get_weights(), source.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_another_networks_file_changes_nothing(tmp_path):
    model = squeezenet.build()
    before = model.get_weights()

    def refuses(network, net, match):
        path = write(tmp_path / "x.caffemodel", net)
        with pytest.raises(ModelError, match=match) as caught:
            caffe_weights.load_file(model, path, network)
        assert "\n" not in str(caught.value)
        assert all(map(np.array_equal, before, model.get_weights()))

    net = NetParameter()
    add(net, "conv1", "Convolution", [numbers(64, 3, 3, 3), numbers(64)])
    refuses("squeezenet1_1", net, r"lacks the layer fire2_squeeze1x1 \(25 missing\)")
    refuses("resnet18", net, "no caffemodel of it is published")
    other = squeezenet.build_1_0()
    as_caffemodel(other, tmp_path / "x.caffemodel", fire_name)
    net.ParseFromString((tmp_path / "x.caffemodel").read_bytes())
    refuses("squeezenet1_1", net, r"layer conv1 has an array of shape \(7, 7, 3, 96\)")
    add(net, "more", "Convolution", [numbers(1)])
    refuses("squeezenet1_1", net, r"has the layer 'more' \(1 unused\)")
    del net.layer[-1]
    del net.layer[0].blobs[1]
    refuses("squeezenet1_1", net, "layer conv1 has 1 arrays, not 2")


def test_a_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"\xa2\x06\x03\x0a\x01\xff")
    refused(path, "a name is not text")


def varint(number):
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def message(field, content, length=None):
    """A field of bytes, by default of its true length."""
    return varint(field << 3 | 2) + varint(len(content) if length is None else length) + content


SHAPE = message(1, varint(2**40) + varint(2**40))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (message(100, b"abc", 2**62), "it ends inside a field"),
        (message(100, message(1, b"fc", 2**62)), "it ends inside a field"),
        (message(100, message(7, message(5, bytes(8), 2**40))), "it ends inside a field"),
        (
            message(100, message(7, message(7, SHAPE) + message(5, bytes(8)))),
            r"has the shape \(1099511627776,",
        ),
        (message(100, message(7, message(7, SHAPE))), "an array of 0 numbers has the shape"),
        (message(2, message(6, varint(8) + varint(2**40) + message(5, bytes(8)))), "has the shape"),
    ],
)
def test_declared_lengths_and_shapes_take_no_memory(tmp_path, content, match):
    import tracemalloc

    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    tracemalloc.start()
    refused(path, match)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
