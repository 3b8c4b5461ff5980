"""Decoding against Pillow, Keras, pydicom's own files and closed forms; every fault is one line."""

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_windowing
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from covidcxr.data.images import (
    IMAGE_SUFFIXES,
    INTERPOLATIONS,
    GreyReading,
    image_size,
    list_images,
    read_grey,
    read_resized,
    resize,
)
from covidcxr.errors import DataError, ImageError, ModelError, OptionError, one_line

RNG = np.random.default_rng(20)
GREY = np.add.outer(np.arange(40), np.arange(0, 120, 2)).astype(np.uint8) + RNG.integers(
    0, 60, (40, 60), "u1"
)
# TIFF 6.0, tag 274: where row 0 and column 0 of the stored picture belong.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
RAW = GreyReading(invert_monochrome1=False, depth="as_stored")
STRETCHED = GreyReading(depth="min_max")


def dataset(pixels, bits=8, photometric="MONOCHROME2", **tags):
    """Build a Secondary Capture of `pixels` (int8/16, signed or not)."""
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality = "DX"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def table_item(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


@pytest.fixture
def dicom(tmp_path):
    def write(*args, **tags):
        dataset(*args, **tags).save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return tmp_path / "x.dcm"

    return write


@pytest.fixture
def saved(tmp_path):
    """Save a Pillow image; the name's suffix chooses the format."""

    def save(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def one_clear_line(line, path):
    return line.startswith(one_line(f"{path}: ")) and line.isprintable() and "; " in line


def refused(path, *words, reading=None):
    """Check that `path` gives one clear line beginning with it, and return that line."""
    with pytest.raises(ImageError) as caught:
        read_grey(path, reading or GreyReading())
    line = str(caught.value)
    assert one_clear_line(line, path), line
    assert all(word in line for word in words), line
    return line


# ---------------------------------------------------------------- ordinary formats


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.jpg"])
def test_grey_files_are_read_as_pillow_reads_them(saved, name):
    path = saved(Image.fromarray(GREY), name)
    grey = read_grey(path)
    np.testing.assert_array_equal(grey, np.asarray(Image.open(path)))
    assert grey.dtype == np.uint8
    assert image_size(path) == grey.shape == (40, 60)


QUARTER_TURN = Image.Exif()
QUARTER_TURN[0x0112] = 6
PICTURES = {
    "grey.png": (Image.fromarray(GREY), {}),
    "grey.jpg": (Image.fromarray(GREY), {}),
    "grey.bmp": (Image.fromarray(GREY), {}),
    "grey.tif": (Image.fromarray(GREY), {}),
    "turned.jpg": (Image.fromarray(GREY), {"exif": QUARTER_TURN}),
    "clear.png": (Image.fromarray(GREY), {"transparency": 90}),
    "alpha.png": (
        Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY.T.reshape(GREY.shape))]),
        {},
    ),
    "colour.png": (Image.fromarray(np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)), {}),
    "palette.png": (Image.fromarray(GREY).quantize(8), {}),
    "bits.png": (Image.fromarray(GREY > 128), {}),
    "deep.png": (Image.fromarray(GREY.astype(np.uint16) * 200), {}),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("reading", [GreyReading(), STRETCHED], ids=["full", "stretched"])
def test_reading_at_a_size_gives_what_reading_and_resizing_give(saved, name, reading):
    image, options = PICTURES[name]
    path = saved(image, name, **options)
    grey = read_grey(path, reading)
    for interpolation in INTERPOLATIONS:
        for size in ((17, 13), (55, 40), grey.shape):
            found = read_resized(path, size, interpolation, reading)
            np.testing.assert_array_equal(found, resize(grey, size, interpolation))
            assert found.flags.writeable


def test_rgb_and_palette_become_keras_grey(saved):
    import keras

    colour = RNG.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.tif"):
        path = saved(Image.fromarray(colour), name)
        np.testing.assert_array_equal(
            read_grey(path), np.asarray(keras.utils.load_img(path, color_mode="grayscale"))
        )
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_grey(saved(Image.fromarray(colour), "a.png")) - luma).max() <= 1
    palette = saved(Image.fromarray(colour).quantize(16), "p.png")
    np.testing.assert_array_equal(
        read_grey(palette), np.asarray(keras.utils.load_img(palette, color_mode="grayscale"))
    )


def test_one_bit_is_black_and_white(saved):
    bits = RNG.integers(0, 2, (9, 17)).astype(bool)
    for name in ("b.png", "b.bmp", "b.tif"):
        np.testing.assert_array_equal(read_grey(saved(Image.fromarray(bits), name)), bits * np.uint8(255))


def test_alpha_is_flattened_on_black(saved):
    alpha = RNG.integers(0, 256, GREY.shape, dtype=np.uint8)
    expected = np.rint(GREY.astype(float) * alpha / 255)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    rgba = Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.fromarray(alpha)])
    for image in (grey_alpha, rgba):
        np.testing.assert_array_equal(read_grey(saved(image, "a.png")), expected)


def test_a_transparent_colour_is_black(saved):
    image = Image.fromarray(np.array([[10, 200, 30]], np.uint8))
    np.testing.assert_array_equal(read_grey(saved(image, "t.png", transparency=200)), [[10, 0, 30]])
    palette = image.convert("P")
    key = palette.getpixel((1, 0))
    np.testing.assert_array_equal(read_grey(saved(palette, "p.png", transparency=key)), [[10, 0, 30]])
    deep = Image.fromarray(np.array([[0, 65535, 257 * 30]], np.uint16))
    np.testing.assert_array_equal(read_grey(saved(deep, "d.png", transparency=65535)), [[0, 0, 30]])


def test_sixteen_bits_are_scaled_not_cut(saved):
    deep = RNG.integers(0, 65536, (12, 11), dtype=np.uint16)
    for name in ("d.png", "d.tif"):
        path = saved(Image.fromarray(deep), name)
        np.testing.assert_array_equal(read_grey(path), np.rint(deep / 257))
        refused(path, "8 bits", "full_range", reading=RAW)
    low = Image.fromarray(np.array([[0, 255]], np.uint16))
    np.testing.assert_array_equal(read_grey(saved(low, "l.png"), RAW), [[0, 255]])


def test_min_max_stretches_every_depth(saved):
    expected = [[0, 128, 255]]
    shallow = Image.fromarray(np.array([[10, 60, 110]], np.uint8))
    deep = Image.fromarray(np.array([[1000, 1500, 2000]], np.uint16))
    for image in (shallow, deep):
        np.testing.assert_array_equal(read_grey(saved(image, "m.png"), STRETCHED), expected)
    flat = saved(Image.fromarray(np.full((3, 3), 7, np.uint8)), "f.png")
    assert not read_grey(flat, STRETCHED).any()


def test_cmyk_jpeg_keeps_its_tones(saved):
    for colour in ((255, 255, 255), (0, 0, 0), (0, 255, 255), (200, 200, 200)):
        image = Image.new("RGB", (16, 16), colour)
        path = saved(image.convert("CMYK"), "c.jpg")
        assert Image.open(path).mode == "CMYK"
        assert np.abs(read_grey(path).astype(int) - image.convert("L").getpixel((0, 0))).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["o.jpg", "o.png", "o.tif"])
def test_exif_orientation_is_honoured(saved, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(GREY), name, exif=exif)
    whole = Image.fromarray(GREY) if name != "o.jpg" else Image.open(io.BytesIO(path.read_bytes()))
    expected = np.asarray(whole.transpose(TURNS[orientation]) if orientation in TURNS else whole)
    np.testing.assert_array_equal(read_grey(path), expected)
    assert image_size(path) == expected.shape


def test_a_damaged_exif_block_does_not_lose_the_image(saved):
    path = saved(Image.fromarray(GREY), "e.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_grey(path).shape == GREY.shape


def test_content_decides_not_the_name(saved, tmp_path, dicom):
    png = saved(Image.fromarray(GREY), "a.png").read_bytes()
    for name in ("b.jpg", "b.dcm", "b"):
        (tmp_path / name).write_bytes(png)
        np.testing.assert_array_equal(read_grey(tmp_path / name), GREY)
    misnamed = dicom(GREY).rename(tmp_path / "c.png")
    np.testing.assert_array_equal(read_grey(misnamed), GREY)
    assert image_size(misnamed) == GREY.shape


def test_a_telephone_picture_with_two_frames_gives_the_first(saved):
    image = Image.fromarray(GREY)
    path = saved(image, "m.jpg", format="MPO", save_all=True, append_images=[ImageOps.invert(image)])
    assert Image.open(path).format == "MPO"
    assert np.abs(read_grey(path).astype(int) - GREY).mean() < 20


def test_real_files_have_the_listed_sizes(shared):
    manifest = pd.read_csv(shared / "data" / "manifest.csv")
    sizes = [image_size(shared / "data" / path) for path in manifest["path"]]
    assert sizes == list(zip(manifest["height"], manifest["width"], strict=True))


def test_real_files_decode_in_every_mode(shared, saved):
    for path in pd.read_csv(shared / "data" / "manifest.csv")["path"][::400]:
        with Image.open(shared / "data" / path) as image:
            grey = np.asarray(image)
            np.testing.assert_array_equal(read_grey(shared / "data" / path), grey)
            for mode in ("L", "RGB", "RGBA", "LA", "P"):
                np.testing.assert_array_equal(read_grey(saved(image.convert(mode), "r.png")), grey)
            deep = Image.fromarray(grey.astype(np.uint16) * 257)
            np.testing.assert_array_equal(read_grey(saved(deep, "r.png")), grey)


# ---------------------------------------------------------------- DICOM


@pytest.mark.parametrize(
    ("dtype", "bits"), [("u1", 8), ("u2", 16), ("u2", 12), ("u2", 10), ("i2", 16), ("i2", 12), ("i1", 8)]
)
def test_dicom_full_range_maps_the_stored_bits(dicom, dtype, bits):
    low = -(2 ** (bits - 1)) if dtype[0] == "i" else 0
    pixels = RNG.integers(low, low + 2**bits, (13, 7)).astype(dtype)
    pixels.flat[:2] = low, low + 2**bits - 1
    expected = np.rint((pixels.astype(float) - low) * 255 / (2**bits - 1))
    path = dicom(pixels, bits)
    np.testing.assert_array_equal(read_grey(path), expected)
    assert image_size(path) == (13, 7)
    np.testing.assert_array_equal(read_grey(dicom(pixels, bits, "MONOCHROME1")), 255 - expected)
    kept = GreyReading(invert_monochrome1=False)
    np.testing.assert_array_equal(read_grey(dicom(pixels, bits, "MONOCHROME1"), kept), expected)


def test_dicom_as_stored_is_the_pixel_array(dicom):
    np.testing.assert_array_equal(read_grey(dicom(GREY), RAW), GREY)
    np.testing.assert_array_equal(read_grey(dicom(GREY, 8, "MONOCHROME1"), RAW), GREY)
    deep = GREY.astype(np.uint16)
    rescaled = dicom(deep, 12, RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_array_equal(read_grey(rescaled, RAW), GREY)
    turned = GreyReading(depth="as_stored")
    np.testing.assert_array_equal(read_grey(dicom(deep, 12, "MONOCHROME1"), turned), 255 - GREY)
    refused(dicom(deep * 2, 12), "8 bits", reading=RAW)
    refused(dicom(GREY.astype(np.int16) - 300, 16), "8 bits", reading=RAW)


def test_dicom_rescale_only_turns_the_picture_when_negative(dicom):
    pixels = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
    plain = np.rint(pixels / 4095 * 255)
    np.testing.assert_array_equal(
        read_grey(dicom(pixels, 12, RescaleSlope="0.5", RescaleIntercept="-1000")), plain
    )
    turned = read_grey(dicom(pixels, 12, RescaleSlope="-1", RescaleIntercept="4095"))
    np.testing.assert_array_equal(turned, 255 - plain)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_dicom_window_agrees_with_pydicom(dicom, function):
    pixels = RNG.integers(0, 4096, (16, 16)).astype(np.uint16)
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "VOILUTFunction": function}
    tags |= {"WindowCenter": ["2500", "7"], "WindowWidth": ["1800", "9"]}
    path = dicom(pixels, 12, **tags)
    windowed = apply_windowing(pixels * 2.0 - 1000, pydicom.dcmread(path))
    expected = np.rint((windowed + 1000) / (2 * 4095) * 255)
    np.testing.assert_allclose(
        read_grey(path, GreyReading(voi_lut=True)), expected, atol=1 * (function == "SIGMOID")
    )
    assert (read_grey(path) != expected).any()


def test_dicom_linear_window_by_hand(dicom):
    """PS3.3 C.11.2.1.2.1, note 2: c = 2048, w = 4096 uses 0..4095 whole; w = 1 is a threshold."""
    pixels = np.array([[0, 2047, 2048, 4095]], np.uint16)
    windowed = GreyReading(voi_lut=True)
    whole = dicom(pixels, 12, WindowCenter="2048", WindowWidth="4096")
    np.testing.assert_array_equal(read_grey(whole, windowed), [[0, 127, 128, 255]])
    threshold = dicom(pixels, 12, WindowCenter="2048", WindowWidth="1")
    np.testing.assert_array_equal(read_grey(threshold, windowed), [[0, 0, 255, 255]])


def test_dicom_lookup_tables(dicom):
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    falling = 255 - np.arange(300) * 255 // 299
    expected = falling[np.clip(pixels.astype(int) - 50, 0, 299)]
    voi = dicom(pixels, 12, VOILUTSequence=[table_item(falling, 50, 8)])
    np.testing.assert_array_equal(read_grey(voi, GreyReading(voi_lut=True)), expected)
    modality = dicom(pixels, 12, ModalityLUTSequence=[table_item(falling * 16, 50, 12)])
    np.testing.assert_array_equal(read_grey(modality), np.rint(expected * 16 * 255 / 4095))
    both = dicom(
        pixels,
        12,
        ModalityLUTSequence=[table_item(np.arange(4096), 0, 12)],
        VOILUTSequence=[table_item(falling, 50, 8)],
    )
    np.testing.assert_array_equal(read_grey(both, GreyReading(voi_lut=True)), expected)


def test_dicom_bits_above_those_stored_are_ignored(dicom):
    pixels = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
    np.testing.assert_array_equal(read_grey(dicom(pixels | 0x8000, 12)), read_grey(dicom(pixels, 12)))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_dicom_lossless_compression_changes_nothing(tmp_path, syntax):
    pixels = RNG.integers(0, 4096, (32, 48)).astype(np.uint16)
    ds = dataset(pixels, 12)
    ds.compress(syntax)
    ds.save_as(tmp_path / "c.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(tmp_path / "c.dcm"), np.rint(pixels / 4095 * 255))


def test_dicom_jpeg_baseline_is_near_pillows(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", quality=95)
    ds = dataset(GREY, PixelData=encapsulate([stream.getvalue()]))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds["PixelData"].is_undefined_length = True
    ds.save_as(tmp_path / "j.dcm", enforce_file_format=True)
    expected = np.asarray(Image.open(stream)).astype(int)
    assert np.abs(read_grey(tmp_path / "j.dcm") - expected).max() <= 2


@pytest.mark.parametrize(
    "name", ["implicit", "bigendian", "expb", "RLE", "jp2klossless", "jpeg_ls_lossless", "padded"]
)
def test_dicom_of_every_encoding_pydicom_brings_is_the_same_picture(name):
    if name == "jpeg_ls_lossless":
        pytest.importorskip("libjpeg", reason="the decoder of the extra 'dicom' is not installed")
    plain = read_grey(get_testdata_file("MR_small.dcm", download=False), STRETCHED)
    other = get_testdata_file(f"MR_small_{name}.dcm", download=False)
    np.testing.assert_array_equal(read_grey(other, STRETCHED), plain)


def test_dicom_colour_becomes_luma():
    path = get_testdata_file("SC_rgb_rle.dcm", download=False)
    rgb = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(read_grey(path), np.asarray(Image.fromarray(rgb).convert("L")))


def test_dicom_without_preamble_or_meta_is_known_by_its_suffix(tmp_path):
    for implicit in (True, False):
        ds = dataset(GREY)
        del ds.file_meta, ds.preamble
        path = tmp_path / "bare.dcm"
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=True)
        np.testing.assert_array_equal(read_grey(path), GREY)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_dicom_other_native_syntaxes(tmp_path, syntax):
    ds = dataset(GREY)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "n.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(tmp_path / "n.dcm"), GREY)


# ---------------------------------------------------------------- faults


def test_faults_of_the_file_system(tmp_path):
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "0 bytes")
    refused(tmp_path / "empty.png" / "x.png", "not a folder")
    refused(str(tmp_path / "nul\0.png"), "null")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "pipe")
    for path in (tmp_path / "none.png", tmp_path / "empty.png"):
        with pytest.raises(ImageError, match=path.name):
            image_size(path)


def test_no_permission(saved):
    path = saved(Image.fromarray(GREY), "p.png")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything (root)")
    refused(path, "permission")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp"])
def test_a_cut_file_is_never_filled_with_grey(saved, name):
    whole = saved(Image.fromarray(GREY), name).read_bytes()
    path = saved(Image.fromarray(GREY), name)
    for part in (0.02, 0.3, 0.6, 0.97):
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "again")


def test_a_cut_jpeg_is_not_read_where_the_program_asked_pillow_to_fill_it(saved, monkeypatch):
    path = saved(Image.fromarray(GREY), "a.jpg")
    path.write_bytes(path.read_bytes()[:900])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    refused(path, "LOAD_TRUNCATED_IMAGES")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"path,label\na.png,covid19\n", "text"),
        (b"GIF89a" + b"\0" * 99, "GIF"),
        (b"\x1f\x8b" + b"\0" * 99, "gzip"),
        (bytes(range(256)), "something else"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 99, "JPEG header is damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "PNG header is damaged"),
    ],
)
def test_other_content_named_jpg(tmp_path, content, word):
    (tmp_path / "a.jpg").write_bytes(content)
    refused(tmp_path / "a.jpg", word)


def test_text_named_dcm(tmp_path):
    (tmp_path / "a.dcm").write_text("not an image\n" * 50)
    refused(tmp_path / "a.dcm", "no DICOM")


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_072, 12_000, 30_000])
def test_a_bomb_is_refused_from_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    refused(path, "too many pixels")
    with pytest.raises(ImageError, match="too many pixels"):
        image_size(path)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_dicom_bomb_is_refused_from_its_header(dicom):
    refused(dicom(GREY, Rows=30_000, Columns=30_000), "too many pixels")
    refused(dicom(GREY, NumberOfFrames="90000"), "too many pixels", "frames")


def test_no_pixels(tmp_path, dicom):
    (tmp_path / "zero.png").write_bytes(png_header(0, 5))
    refused(tmp_path / "zero.png")
    refused(dicom(GREY, Rows=0), "0 pixels")


def test_several_pages_or_frames(saved, dicom):
    image = Image.fromarray(GREY)
    refused(saved(image, "p.tif", save_all=True, append_images=[image]), "2 pages")
    refused(dicom(np.vstack([GREY, GREY]), Rows=40, NumberOfFrames="2"), "2 frames")


def test_float_tiff(saved):
    refused(saved(Image.fromarray(GREY.astype(np.float32)), "f.tif"), "real")


def test_dicom_without_an_image(dicom):
    path = dicom(GREY)
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(path)
    refused(path, "without pixels", "Secondary Capture")
    del ds.Rows
    ds.save_as(path)
    refused(path, "without pixels")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"RescaleSlope": "nan", "RescaleIntercept": "0"}, ["rescale"]),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, ["rescale"]),
        ({"RescaleSlope": "1e308", "RescaleIntercept": "0"}, ["rescale"]),
        ({"BitsStored": 12}, ["12 bits stored in 8"]),
        ({"BitsAllocated": 32}, ["32 bits"]),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ["PALETTE COLOR"]),
        ({"PhotometricInterpretation": "A\nB\x1b[31m"}, ["A B"]),
        ({"Rows": 41}, ["cut short"]),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Columns": 20}, ["header"]),
    ],
)
def test_dicom_headers_that_cannot_be_right(dicom, tags, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = dicom(GREY, **tags)
    refused(path, *words)


def test_dicom_window_without_meaning(dicom):
    path = dicom(GREY, WindowCenter="100", WindowWidth="-5")
    refused(path, "window", reading=GreyReading(voi_lut=True))
    np.testing.assert_array_equal(read_grey(path), GREY)


def test_dicom_of_an_undecodable_transfer_syntax(tmp_path):
    ds = dataset(GREY, PixelData=encapsulate([b"\0" * 100]))
    ds.file_meta.TransferSyntaxUID = MPEG2MPML
    ds["PixelData"].is_undefined_length = True
    ds.save_as(tmp_path / "v.dcm", enforce_file_format=True)
    refused(tmp_path / "v.dcm", "MPEG2", "Explicit VR Little Endian")


def test_nothing_is_printed_and_the_callers_warnings_stay(saved, dicom, capfd, tmp_path):
    damaged_exif = saved(Image.fromarray(GREY), "e.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "bomb.png").write_bytes(png_header(7_000, 7_000))
    too_long = dicom(GREY, PixelData=GREY.tobytes() + bytes(100))
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_grey(damaged_exif)
        read_grey(too_long)
        refused(tmp_path / "bomb.png")
        image_size(tmp_path / "bomb.png")
    assert caught == []
    assert list(warnings.filters) == filters
    assert capfd.readouterr() == ("", "")


def test_many_threads_read_as_one(saved, dicom, tmp_path):
    (tmp_path / "bad.jpg").write_text("text")
    paths = [
        saved(Image.fromarray(GREY), "a.png"),
        saved(Image.fromarray(GREY), "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        dicom(GREY, 8, "MONOCHROME1"),
        tmp_path / "bad.jpg",
    ]

    def outcome(path):
        try:
            return read_grey(path).tobytes()
        except ImageError as error:
            return str(error)

    alone = [outcome(path) for path in paths]
    before, threads = list(warnings.filters), threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(outcome, paths * 40))
    assert together == alone * 40
    assert list(warnings.filters) == before
    assert threading.active_count() == threads


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    Image.fromarray(GREY).save(folder / "a.png")
    Image.fromarray(GREY).save(folder / "a.jpg")
    dataset(GREY.astype(np.uint16), 12, RescaleSlope="1", RescaleIntercept="0", WindowCenter="9").save_as(
        folder / "a.dcm", enforce_file_format=True
    )
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}, folder


@settings(max_examples=180, deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".dcm"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    kept=st.floats(0.1, 1),
    reading=st.sampled_from([GreyReading(), RAW, STRETCHED, GreyReading(voi_lut=True)]),
)
def test_damaged_bytes_give_an_image_or_one_line(whole_files, suffix, changes, kept, reading):
    contents, folder = whole_files
    content = bytearray(contents[suffix])
    for place, byte in changes:
        # Half of the changes go to the header, where they do most harm.
        content[int(place * (len(content) if byte % 2 else min(700, len(content))))] = byte
    path = folder / f"damaged{suffix}"
    path.write_bytes(bytes(content[: int(len(content) * kept) + 1]))
    try:
        grey = read_grey(path, reading)
    except ImageError as error:
        line = str(error)
    else:
        line = None
    if line is None:
        assert grey.dtype == np.uint8
        assert grey.shape == image_size(path)
    else:
        assert one_clear_line(line, path), line


# ---------------------------------------------------------------- resize, lists, settings


@pytest.mark.parametrize("interpolation", [name for name in INTERPOLATIONS if not name.startswith("cv2")])
@pytest.mark.parametrize("size", [(24, 24), (90, 50)])
def test_resize_is_keras_load_img(saved, interpolation, size):
    import keras

    path = saved(Image.fromarray(GREY), "k.png")
    expected = keras.utils.load_img(
        path, color_mode="grayscale", target_size=size, interpolation=interpolation
    )
    result = resize(read_grey(path), size, interpolation)
    np.testing.assert_array_equal(result, np.asarray(expected))
    assert result.dtype == np.uint8


def test_resize_by_area_averages_and_by_linear_samples():
    grey = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
    blocks = grey.reshape(2, 4, 3, 4).mean(axis=(1, 3))
    assert np.abs(resize(grey, (2, 3), "cv2_area") - blocks).max() <= 0.5
    # At a quarter of the size the sample points lie between the four middle pixels of each 4 by 4 block.
    middles = grey.reshape(2, 4, 3, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    assert np.abs(resize(grey, (2, 3), "cv2_linear") - middles).max() <= 1


def test_resize_refuses_what_has_no_meaning():
    with pytest.raises(OptionError, match="nearest, bilinear, bicubic, hamming, box, lanczos, cv2_linear"):
        resize(GREY, (8, 8), "cubic")
    for size in ((0, 8), (8, -1), (8,), 8, (8.5, 8), None):
        with pytest.raises(OptionError, match="height and a width"):
            resize(GREY, size)
    assert resize(GREY, GREY.shape) is GREY


def test_list_images(tmp_path):
    wanted = ["B/z.JPG", "a/1.png", "a/b/2.dcm", "a-b/3.jpeg", "x.tiff"]
    ignored = ["._x.png", ".git/y.png", "__MACOSX/a/1.png", "Thumbs.db", "a/notes.txt", "a/.hidden.jpg"]
    for name in wanted + ignored:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = list_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == sorted(wanted)
    assert {path.suffix.lower() for path in found} <= set(IMAGE_SUFFIXES)


def test_list_images_follows_a_linked_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "covid").symlink_to(tmp_path / "elsewhere")
    assert list_images(tmp_path / "set") == [tmp_path / "set" / "covid" / "1.png"]


def test_list_images_of_no_folder(tmp_path):
    with pytest.raises(DataError, match="cannot list"):
        list_images(tmp_path / "none")


def test_reading_round_trip_and_refusals():
    for reading in (GreyReading(), RAW, STRETCHED, GreyReading(voi_lut=True)):
        assert GreyReading.from_dict(reading.to_dict()) == reading
    for values in (
        {"depth": "deep"},
        {"voi_lut": "yes"},
        {"gamma": 2},
        {"voi_lut": True, "depth": "as_stored"},
        3,
    ):
        with pytest.raises(ModelError, match="grey reading"):
            GreyReading.from_dict(values)
    with pytest.raises(OptionError, match="full_range, min_max, as_stored"):
        GreyReading(depth="deep")
