"""The largest picture that is read, in the forms that take most memory: a small file must not fill the machine."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from covidcxr.data.images import MAX_PIXELS

SIDE = math.isqrt(MAX_PIXELS)
GIB = 2**30
# A small picture is read first, so that what is imported does not count.
CHILD = """
import sys
from pathlib import Path
from covidcxr.data.images import read_grey

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

read_grey(sys.argv[1])
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
grey = read_grey(sys.argv[2])
print(status("VmHWM") - before, *grey.shape)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc for the peak memory of one reading"),
]


def flat(mode, side):
    """Return a picture of one colour, which every format packs well."""
    return Image.new(
        mode, (side, side), {"L": 99, "I;16": 999, "P": 3}.get(mode, (9, 90, 200, 70)[: len(mode)])
    )


def png(path, side, mode):
    flat(mode, side).save(path, compress_level=1)


def jpeg(path, side, mode, **options):
    flat(mode, side).save(path, **options)


def deep_dicom(path, side):
    import pydicom
    from pydicom import uid

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.full((side, side), 999, np.uint16).tobytes()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    path.write_bytes(stream.getvalue())


FORMS = {
    "alpha.png": lambda path, side: png(path, side, "RGBA"),
    "deep.png": lambda path, side: png(path, side, "I;16"),
    "palette.png": lambda path, side: flat("P", side).save(path, transparency=b"\7" * 9, compress_level=1),
    "progressive.jpg": lambda path, side: jpeg(path, side, "RGB", progressive=True, subsampling=0),
    "ink.jpg": lambda path, side: jpeg(path, side, "CMYK"),
    "deep.tif": lambda path, side: flat("I;16", side).save(path, compression="tiff_lzw"),
    "deflated.dcm": deep_dicom,
}


@pytest.mark.parametrize("name", FORMS)
def test_the_largest_picture_takes_less_than_a_gibibyte(name, tmp_path, capsys):
    small, large = tmp_path / f"small-{name}", tmp_path / name
    FORMS[name](small, 32)
    FORMS[name](large, SIDE)
    words = [sys.executable, "-c", CHILD, str(small), str(large)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    peak, *shape = map(int, done.stdout.split())
    with capsys.disabled():
        print(f"\n{name}: {large.stat().st_size / 2**20:.1f} MiB of file, {peak / 2**20:.0f} MiB to read")
    assert shape == [SIDE, SIDE]
    assert peak < GIB
