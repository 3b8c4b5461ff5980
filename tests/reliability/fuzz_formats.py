"""Damage inside images (PNG, JPEG, DICOM), checksums and lengths set right, so that decoders read on."""

import io
import struct
import zlib

from fuzz_mutations import any_bytes, one_of

# PNG


def chunks(rng, data, others):
    """Change the chunks of a PNG and set their checksums right, so that the decoder reads on."""
    found = _chunks(data)
    one_of(rng, _PNG_CHANGES)(rng, found, others)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in found
    )


def _chunks(data):
    found, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _change_chunk(rng, found, others):
    place = int(rng.integers(len(found)))
    kind, body = found[place]
    found[place] = kind, any_bytes(rng, body, others)


def _change_png_header(rng, found, others):
    kind, body = found[0]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body)
    sides = (0, 1, 2, 48, 9_999, 100_000, 2**31 - 1, 2**31, 2**32 - 1)
    width, height = (one_of(rng, (side, side, *sides)) for side in (width, height))
    depth, colour = one_of(rng, (depth, 1, 2, 4, 8, 16, 3)), one_of(rng, (colour, 0, 2, 3, 4, 6, 7))
    found[0] = kind, struct.pack(">IIBBBBB", width, height, depth, colour, *rest)


def _change_pixels(rng, found, others):
    place = next(number for number, (kind, _) in enumerate(found) if kind == b"IDAT")
    raw = zlib.decompressobj().decompress(found[place][1])
    raw = one_of(rng, (raw[: len(raw) // 2], raw * 50, bytes(30_000_000), any_bytes(rng, raw, others)))
    found[place] = b"IDAT", zlib.compress(raw, 1)


def _shuffle_chunks(rng, found, others):
    first, second = (int(rng.integers(len(found))) for _ in range(2))
    found[first], found[second] = found[second], found[first]


def _borrow_chunk(rng, found, others):
    found.insert(int(rng.integers(1, len(found) + 1)), one_of(rng, _chunks(one_of(rng, others))))


def _drop_chunk(rng, found, others):
    del found[int(rng.integers(len(found)))]


_PNG_CHANGES = (
    *(_change_chunk, _change_chunk, _change_png_header, _change_png_header, _change_pixels),
    *(_shuffle_chunks, _borrow_chunk, _drop_chunk),
)


# JPEG


def segments(rng, data, others):
    """Change the marker segments of a JPEG: contents, stated lengths, order, sizes."""
    found, rest = _segments(data)
    place = int(rng.integers(len(found)))
    marker, body = found[place]
    way = int(rng.integers(6))
    if way == 0:
        found[place] = marker, any_bytes(rng, body, others)
    elif way == 1:
        del found[place]
    elif way == 2:
        found.insert(place, one_of(rng, _segments(one_of(rng, others))[0]))
    elif way == 3:
        found[place] = bytes([0xFF, int(rng.integers(0xC0, 0x100))]), body
    elif way == 4:
        found = [(kind, _odd_frame(rng, part) if 0xC0 <= kind[1] <= 0xC2 else part) for kind, part in found]
    else:
        rest = any_bytes(rng, rest, others)
    stated = [len(part) + 2 for _, part in found]
    if rng.random() < 0.15 and stated:
        stated[int(rng.integers(len(stated)))] = one_of(rng, (0, 1, 2, 3, 0xFFFF))
    parts = [
        kind + struct.pack(">H", size & 0xFFFF) + part
        for (kind, part), size in zip(found, stated, strict=True)
    ]
    return data[:2] + b"".join(parts) + rest


def _segments(data):
    """Return the segments up to the first scan, and the rest as it stands."""
    found, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        found.append((data[place : place + 2], data[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, data[place:]


def _odd_frame(rng, body):
    """Change what a frame header says of precision, height, width, components or sampling."""
    if len(body) < 6:
        return body
    precision, height, width = struct.unpack(">BHH", body[:5])
    height, width = (one_of(rng, (side, 0, 1, 8, 9_999, 0xFFFF)) for side in (height, width))
    changed = bytearray(struct.pack(">BHH", one_of(rng, (precision, 8, 12, 16, 0)), height, width) + body[5:])
    changed[int(rng.integers(5, len(changed)))] = one_of(rng, (0, 1, 2, 3, 4, 0x11, 0x22, 0x44, 0xFF))
    return bytes(changed)


# DICOM

_SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.100", "1.2.3", "x"),
)
_PHOTOMETRIC = (
    "MONOCHROME1",
    "MONOCHROME2",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "PALETTE COLOR",
    "",
    "x" * 300,
)
_COUNTS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
)
_TEXTS = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "NumberOfFrames", "PatientAge")


def elements(rng, data, others):
    """Change elements of a DICOM data set: counts, texts of numbers, sequences, pixels, the transfer syntax."""
    import pydicom

    with pydicom.config.disable_value_validation():
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            for _ in range(int(rng.integers(1, 4))):
                one_of(rng, _DICOM_CHANGES)(rng, dataset)
            stream = io.BytesIO()
            pydicom.dcmwrite(stream, dataset, enforce_file_format=False)
        except Exception:
            # What pydicom itself does not write is left to plain damage.
            return any_bytes(rng, data, others)
    return stream.getvalue()


def _odd_count(rng, dataset):
    value = int(one_of(rng, (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 32, 64, 255, 9_999, 0x7FFF, 0x8000, 0xFFFF)))
    dataset.add_new(_tag(one_of(rng, _COUNTS)), "US", one_of(rng, (value, value, value, [value] * 2, None)))


def _odd_text(rng, dataset):
    value = one_of(
        rng, ("0", "-1", "1e400", "nan", "", "1\\2", "1\\", "0.0", "-0", "9" * 16, "1e-320", "x", None)
    )
    # As a long string: one of decimal strings is not taken by pydicom, whose readers go by the tag.
    dataset.add_new(_tag(one_of(rng, _TEXTS)), one_of(rng, ("LO", "LO", "UN")), _as_bytes(rng, value))


def _as_bytes(rng, value):
    return value if value is None or rng.integers(3) else value.encode()


def _other_syntax(rng, dataset):
    dataset.file_meta.TransferSyntaxUID = one_of(rng, _SYNTAXES)


def _other_photometric(rng, dataset):
    dataset.add_new(_tag("PhotometricInterpretation"), "CS", one_of(rng, _PHOTOMETRIC))


def _other_pixels(rng, dataset):
    pixels = bytes(dataset["PixelData"].value)
    dataset["PixelData"].value = one_of(
        rng, (b"", pixels[: len(pixels) // 2], pixels * 3, any_bytes(rng, pixels, [pixels]))
    )


def _other_table(rng, dataset):
    import pydicom

    item = pydicom.Dataset()
    bits = one_of(rng, (0, 1, 8, 12, 16, 0xFFFF))
    item.add_new(
        _tag("LUTDescriptor"),
        "US",
        one_of(rng, ([0, 0, bits], [4, 0, bits], [0xFFFF, 0xFFFF, bits], [4], [])),
    )
    item.add_new(_tag("LUTData"), one_of(rng, ("OW", "UN")), rng.bytes(int(rng.integers(0, 20)) * 2))
    if not rng.integers(4):
        del item[one_of(rng, ("LUTDescriptor", "LUTData"))]
    dataset.add_new(
        _tag(one_of(rng, ("VOILUTSequence", "ModalityLUTSequence"))), "SQ", [item] * int(rng.integers(0, 3))
    )


def _drop_element(rng, dataset):
    tags = list(dataset.keys())
    del dataset[one_of(rng, tags)]


def _other_kind(rng, dataset):
    tag = one_of(rng, list(dataset.keys()))
    dataset.add_new(
        tag, one_of(rng, ("LO", "UN", "OB", "SH")), one_of(rng, (b"", b"\xff\xff", b"abc", b"\0" * 9))
    )


def _tag(keyword):
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)


_DICOM_CHANGES = (
    *(_odd_count, _odd_count, _odd_text, _odd_text, _other_syntax, _other_photometric),
    *(_other_pixels, _other_table, _drop_element, _other_kind),
)
