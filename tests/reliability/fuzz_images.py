"""Small valid radiographs of every format, and how the commands read them."""

import io

import numpy as np
from PIL import Image

# JPEG 2000 divides the sides five times.
ROWS, COLUMNS = 32, 40
_UID = "1.2.826.0.1.3680043.8.498.1"


def _grey():
    return np.add.outer(np.arange(ROWS) * 4, np.arange(COLUMNS) * 3).astype(np.uint8)


def _saved(image, suffix, **options):
    stream = io.BytesIO()
    image.save(stream, {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "bmp": "BMP"}[suffix], **options)
    return stream.getvalue()


def _all(suffix, images):
    return [
        (f"{number}.{suffix}", _saved(image, suffix, **options))
        for number, (image, options) in enumerate(images)
    ]


def jpegs(_folder):
    """Grey, colour, CMYK, progressive, turned by EXIF."""
    grey = Image.fromarray(_grey())
    turned = Image.Exif()
    turned[0x0112] = 6
    colour = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT), grey))
    return _all(
        "jpg",
        [
            (grey, {}),
            (colour, {}),
            (colour.convert("CMYK"), {}),
            (colour, {"progressive": True, "subsampling": 2}),
            (grey, {"exif": turned.tobytes()}),
            (grey, {"progressive": True, "optimize": True}),
        ],
    )


def pngs(_folder):
    """Of 1, 8 and 16 bits, colour, alpha, palette with and without transparency."""
    grey = Image.fromarray(_grey())
    deep = Image.fromarray(_grey().astype(np.uint16) * 257)
    palette = grey.convert("P", palette=Image.Palette.ADAPTIVE)
    return _all(
        "png",
        [
            (grey, {}),
            (deep, {}),
            (deep, {"transparency": 257}),
            (grey.convert("RGB"), {"dpi": (72, 72)}),
            (Image.merge("LA", (grey, grey)), {}),
            (grey.convert("RGBA"), {}),
            (palette, {}),
            (palette, {"transparency": bytes(range(200))}),
            (grey.convert("1"), {}),
        ],
    )


def tiffs(_folder):
    """Plain, packed, of 16 bits, turned."""
    grey = Image.fromarray(_grey())
    deep = Image.fromarray(_grey().astype(np.uint16) * 257)
    return _all(
        "tif",
        [
            (grey, {}),
            (deep, {}),
            (grey, {"compression": "tiff_lzw"}),
            (deep, {"compression": "tiff_adobe_deflate"}),
            (grey.convert("RGB"), {"compression": "packbits"}),
            (grey, {"tiffinfo": {0x0112: 6}}),
            (grey.convert("1"), {"compression": "group4"}),
            (grey.convert("RGB"), {"compression": "jpeg"}),
        ],
    )


def bmps(_folder):
    """Grey, colour, one bit."""
    grey = Image.fromarray(_grey())
    return _all("bmp", [(grey, {}), (grey.convert("RGB"), {}), (grey.convert("1"), {})])


def dicoms(_folder):
    """Every native transfer syntax and the compressed ones that pydicom writes or brings."""
    from pydicom import uid
    from pydicom.data import get_testdata_file

    deep = _grey().astype(np.uint16) * 16
    made = {syntax.name: _dicom(deep, 12, syntax) for syntax in _native(uid)}
    made["windowed"] = _dicom(deep, 12, WindowCenter="2048", WindowWidth="1000", RescaleSlope="2")
    made["inverted"] = _dicom(_grey(), 8, PhotometricInterpretation="MONOCHROME1")
    made["tables"] = _dicom(_grey(), 8, VOILUTSequence=[_table()])
    made["rle"] = _dicom(deep, 12, uid.RLELossless)
    made["jpeg2000"] = _dicom(deep, 12, uid.JPEG2000Lossless)
    made["jpeg"] = _encapsulated(_saved(Image.fromarray(_grey()), "jpg"))
    made["bare"] = _bare(deep)
    paths = [get_testdata_file(name, download=False) for name in ("SC_rgb_rle.dcm", "JPEG2000.dcm")]
    found = [open(path, "rb").read() for path in paths if path]  # noqa: SIM115
    return [(f"{number}.dcm", data) for number, data in enumerate([*made.values(), *found])]


def _native(uid):
    return (
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )


def _dataset(pixels, bits, **tags):
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = _UID
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.Modality, dataset.PatientAge, dataset.ViewPosition, dataset.PatientSex = "DX", "058Y", "PA", "F"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def _dicom(pixels, bits, syntax=None, **tags):
    from pydicom import uid

    dataset = _dataset(pixels, bits, **tags)
    if syntax in (uid.RLELossless, uid.JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    return _written(dataset, enforce_file_format=True)


def _written(dataset, **options):
    import pydicom

    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, **options)
    return stream.getvalue()


def _table():
    from pydicom.dataset import Dataset

    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", bytes(range(256)) * 2)
    return item


def _encapsulated(jpeg):
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    dataset = _dataset(_grey(), 8)
    dataset.PixelData = encapsulate([jpeg])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return _written(dataset, enforce_file_format=True)


def _bare(pixels):
    dataset = _dataset(pixels, 12)
    del dataset.file_meta
    return _written(dataset, implicit_vr=True, little_endian=True)


def read_image(folder, place):
    """Read a file as `covidcxr predict` and `covidcxr data inspect` do; the header must not belie the picture."""
    from covidcxr.data.images import GreyReading, image_size, read_grey
    from covidcxr.data.preprocessing import Preprocessing
    from covidcxr.errors import CovidcxrError

    path = folder / place
    number = path.stat().st_size
    readings = (
        GreyReading(),
        GreyReading(depth="min_max"),
        GreyReading(voi_lut=True),
        GreyReading(invert_monochrome1=False),
    )
    reading = readings[number % 4]
    if number % 3 == 0:
        return Preprocessing((16, 16), reading=reading).load(path)
    try:
        size = image_size(path)
    except CovidcxrError:
        size = None
    grey = read_grey(path, reading)
    if size not in (None, grey.shape):
        raise AssertionError(f"the header says {size}, the picture is {grey.shape}")
    return grey


def rsna_dicoms(folder):
    """Data sets in the challenge's folder, whose headers tell view, sex and age."""
    (folder / "stage_2_train_images").mkdir(parents=True)
    (folder / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\nimage,,,,,1\n")
    return [("stage_2_train_images/image.dcm", data) for _, data in dicoms(folder)[:6]]


def read_rsna_headers(folder, place):
    """Read the challenge's folder with the headers of its images."""
    from covidcxr.data import sources

    return sources.read(folder, headers=True).counts()
