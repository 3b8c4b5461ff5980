"""Damage to valid bytes: at any place, and where a format keeps its numbers, names and checksums.

Every function takes a NumPy generator, the bytes to damage and the valid bytes of the same target, and returns new
bytes. Nothing else decides the result, so that one input can be made again alone.
"""

import copy
import csv
import io
import json
import re

ODD_INTEGERS = (
    *(0, 1, 2, 3, -1, 127, 128, 255, 256, 1000, 2**15 - 1, 2**15, 2**16 - 1, 2**16),
    *(2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
ODD_CELLS = (
    *(
        "",
        " ",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "0",
        "0.5",
        "1,5",
        " 0.5",
        "0x10",
        "1_000",
        "²",
        "٣",
    ),
    *("9" * 400, "9" * 5000, "1e-400", "None", "True", "[]", "{}", "x" * 70_000),
    *("=1+1", "=cmd|' /C calc'!A0", "@x", "+1", "-x", "\t=1", "'=1"),
    *(
        '"',
        '""',
        "'",
        "a,b",
        "a\nb",
        "a\r\nb",
        "\r",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\ud800",
        "\udcff",
        "ä",
        "\u202e",
        "\ufeff",
    ),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "a/../b",
        "./a.png",
        "images//a.png",
        "~",
        "<script>x</script>",
    ),
    *(
        "train",
        "test",
        "val",
        "covid19",
        "normal",
        "other:",
        "other:x",
        "COVID-19",
        "Normal ",
        "prob_",
        "path",
        "label",
    ),
)
ODD_JSON = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**400,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *("", "x", "x" * 10_000, "\0", "a\nb", "\ud800", "../x", "/etc/passwd", "nan", "1"),
    *([], {}, [[]], [None], {"": None}, [1, "a", None], {"class_name": "Lambda"}, {"a": {"a": {"a": 1}}}),
)
_DEPTHS = (60, 900, 3000, 100_000)
_DEEP = "@deep@"


def one_of(rng, values):
    """Return one of a sequence."""
    return values[int(rng.integers(len(values)))]


# Bytes


def _places(rng, size):
    """Return from one to eight places, half of them in the first half kilobyte, where most formats keep what counts."""
    drawn = rng.integers(0, size, int(rng.integers(1, 9)))
    return [int(place % 512) if place % 2 and size > 512 else int(place) for place in drawn]


def flip_bits(rng, data, others):
    """Flip a few bits."""
    changed = bytearray(data)
    for place in _places(rng, len(changed)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(rng, data, others):
    """Set a few bytes."""
    changed = bytearray(data)
    for place in _places(rng, len(changed)):
        changed[place] = one_of(rng, (0, 1, 0x7F, 0x80, 0xFE, 0xFF, int(rng.integers(256))))
    return bytes(changed)


def set_integer(rng, data, others):
    """Write an odd integer of one to eight bytes, in either order."""
    place, width = _places(rng, len(data))[0], one_of(rng, (1, 2, 4, 8))
    order = one_of(rng, ("little", "big"))
    number = (one_of(rng, ODD_INTEGERS) & (2 ** (8 * width) - 1)).to_bytes(width, order)
    return data[:place] + number + data[place + width :]


def truncate(rng, data, others):
    """Cut the end off."""
    return data[: int(rng.integers(0, len(data)))]


def cut_out(rng, data, others):
    """Take a piece out of the middle."""
    place = int(rng.integers(0, len(data)))
    return data[:place] + data[place + int(rng.integers(1, 200)) :]


def insert(rng, data, others):
    """Put random bytes in."""
    place = int(rng.integers(0, len(data)))
    return data[:place] + rng.bytes(int(rng.integers(1, 64))) + data[place:]


def splice(rng, data, others):
    """Put a piece of a valid file in, or over what stands there."""
    other = one_of(rng, others)
    start, place = int(rng.integers(0, len(other))), int(rng.integers(0, len(data)))
    piece = other[start : start + int(rng.integers(1, 400))]
    return data[:place] + piece + data[place + (len(piece) if rng.integers(2) else 0) :]


def repeat(rng, data, others):
    """Repeat a block."""
    place = int(rng.integers(0, len(data)))
    block = data[place : place + int(rng.integers(1, 300))]
    return data[:place] + block * int(rng.integers(2, 200)) + data[place:]


def digits(rng, data, others):
    """Write another number where one stands as text."""
    found = list(re.finditer(rb"\d+", data[:100_000]))
    if not found:
        return set_integer(rng, data, others)
    place = one_of(rng, found)
    return data[: place.start()] + str(one_of(rng, ODD_INTEGERS)).encode() + data[place.end() :]


_BYTES = (flip_bits, set_bytes, set_integer, set_integer, truncate, cut_out, insert, splice, repeat, digits)


def any_bytes(rng, data, others):
    """Damage a file whatever its format, once to three times."""
    for _ in range(int(rng.integers(1, 4))):
        data = one_of(rng, _BYTES)(rng, data, others) if data else rng.bytes(9)
    return data


def either(*functions, plain=0.35):
    """Return a function that damages in one of several ways, some of the results by :func:`any_bytes` alone or too."""

    def damage(rng, data, others):
        share = rng.random()
        if share < plain:
            return any_bytes(rng, data, others)
        changed = one_of(rng, functions)(rng, data, others)
        return any_bytes(rng, changed, others) if share > 0.95 else changed

    return damage


# CSV


def cells(rng, data, others):
    """Change cells, rows, columns and the header of a table; then, at times, its encoding."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"))))
    for _ in range(int(rng.integers(1, 5))):
        one_of(rng, _CSV_CHANGES)(rng, rows)
        rows = rows or [[]]
    stream = io.StringIO()
    ends = one_of(rng, ("\n", "\n", "\r\n", "\r"))
    delimiter = one_of(rng, (*",,,,,,", ";", "\t"))
    csv.writer(stream, lineterminator=ends, delimiter=delimiter).writerows(rows)
    return _encoded(rng, stream.getvalue())


def _encoded(rng, text):
    encoding = one_of(rng, ("utf-8",) * 9 + ("utf-8-sig", "utf-16", "latin-1", "utf-7"))
    errors = "surrogatepass" if encoding in ("utf-8", "utf-8-sig", "utf-16") else "replace"
    return text.encode(encoding, errors)


def _change_cell(rng, rows):
    row = one_of(rng, rows)
    if row:
        known = one_of(rng, one_of(rng, rows) or [""])
        row[int(rng.integers(len(row)))] = one_of(rng, (*ODD_CELLS, known))


def _change_column(rng, rows):
    column, value = int(rng.integers(max(1, len(rows[0])))), one_of(rng, ODD_CELLS[:60])
    for row in rows[1:]:
        row[column : column + 1] = [value]


def _change_header(rng, rows):
    if rows[0]:
        rows[0][int(rng.integers(len(rows[0])))] = one_of(rng, (*ODD_CELLS, *rows[0]))


def _drop_row(rng, rows):
    del rows[int(rng.integers(len(rows)))]


def _double_row(rng, rows):
    rows.insert(int(rng.integers(len(rows) + 1)), list(one_of(rng, rows)))


def _drop_cell(rng, rows):
    row = one_of(rng, rows)
    place = int(rng.integers(len(row) + 1))
    del row[place : place + 1]


def _shorten_row(rng, rows):
    row = one_of(rng, rows)
    del row[int(rng.integers(len(row) + 1)) :]


def _lengthen_row(rng, rows):
    one_of(rng, rows).extend([one_of(rng, ODD_CELLS)] * int(rng.integers(1, 20)))


def _lengthen_all(rng, rows):
    for row in rows[1:]:
        row.append("x")


def _drop_column(rng, rows):
    column = int(rng.integers(max(1, len(rows[0]))))
    for row in rows:
        del row[column : column + 1]


def _empty_row(rng, rows):
    rows.insert(int(rng.integers(len(rows) + 1)), [])


def _only_header(rng, rows):
    del rows[1:]


_CSV_CHANGES = (
    *(_change_cell,) * 6,
    *(_change_column, _change_column, _change_header, _drop_row, _double_row, _drop_cell, _shorten_row),
    *(_lengthen_row, _lengthen_all, _drop_column, _empty_row, _only_header),
)


# JSON


def nodes(rng, data, others):
    """Change values, kinds and keys anywhere in a JSON text; then, at times, nest it beyond Python's depth."""
    value = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        value = _changed_json(rng, value)
    text = json.dumps(value)
    depth = one_of(rng, _DEPTHS)
    opening, closing = one_of(rng, (("[", "]"), ('{"a":', "}")))
    return text.replace(f'"{_DEEP}"', opening * depth + "1" + closing * depth).encode()


def _slots(node):
    """Yield (container, key) of every value below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        yield node, key
        yield from _slots(value)


# Copies: what an input is changed into must not live on in the next one.
def _changed_json(rng, value):
    slots = list(_slots(value))
    if not slots or rng.random() < 0.02:
        return copy.deepcopy(one_of(rng, (*ODD_JSON, _DEEP)))
    holder, key = one_of(rng, slots)
    way = rng.random()
    if way < 0.6:
        holder[key] = copy.deepcopy(one_of(rng, (*ODD_JSON, _DEEP)))
    elif way < 0.75:
        del holder[key]
    elif way < 0.9:
        other, name = one_of(rng, slots)
        holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder, dict):
        holder[str(one_of(rng, ODD_CELLS))] = holder.pop(key)
    else:
        holder[key] = [copy.deepcopy(holder[key]) for _ in range(3)]
    return value
