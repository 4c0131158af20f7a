"""Damage to files, drawn from a seed: bytes, JSON, members of zip archives."""
import copy
import io
import json
import random
import struct
import zipfile

_NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 40, 2 ** 62,
            2 ** 63 - 1, 2 ** 64 - 1)
_WORDS = (b'\0', b'"', b"'", b',', b'[', b'{', b'\n', b'\r', b'\xff\xfe', b'\xc3', b'-', b'9' * 20, b'9' * 5000, b' ',
          b'1e999', b'NaN', b'null', b'../', b'\x1b[2J', b'\t', b';', b'(', b'#')
_VALUES = (None, True, False, -1, 0, 1, 7, 2 ** 31, 2 ** 63, 10 ** 30, 1.5, -0.0, 1e308, float('inf'), float('nan'), '',
           'x', '\x1b[31m', '../../x', '/etc/passwd', '\ud800', 'a' * 5000, '9' * 5000, [], {}, [[]], [None], {'a': 1},
           [1, 2, 3], '1e999')


def rng_of(name, number):
    """The generator of a case."""
    return random.Random(f'{name} {number}')


def damaged(data, rng):
    """Some bytes changed, put in, taken out, cut off or moved."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((1, 1, 2, 4, 8, 30)))
        kind = rng.randrange(9)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind in (2, 3):
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) % 256 ** size
            data[place:place + size] = number.to_bytes(size, rng.choice(('little', 'big')))
        elif kind == 4:
            del data[place:end]
        elif kind == 5:
            data[place:place] = data[place:end]
        elif kind == 6:
            data[place:place] = rng.choice(_WORDS)
        elif kind == 7 and rng.random() < 0.3:
            del data[place:]
        elif kind == 8:
            other = rng.randrange(len(data) + 1)
            data[other:other] = data[place:end]
    return bytes(data)


def other_json(value, rng):
    """The same JSON with values of other kinds, or without some, or with names that it has not."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        spots = list(_spots(value))
        if not spots:
            return rng.choice(_VALUES)
        inside, key = rng.choice(spots)
        kind = rng.randrange(8)
        if kind == 0:
            del inside[key]
        elif kind == 1 and isinstance(inside, dict):
            inside[rng.choice(('', 'x', key.upper(), '../x', 'a' * 300))] = inside.pop(key)
        elif kind == 2 and isinstance(inside, list):
            inside.insert(key, copy.deepcopy(inside[key]))
        elif kind == 3:
            source, name = rng.choice(spots)
            inside[key] = copy.deepcopy(source[name])
        else:
            inside[key] = copy.deepcopy(rng.choice(_VALUES))
    return rng.choice(_VALUES) if rng.random() < 0.02 else value


def json_text(value, rng):
    """A damaged document as bytes: another value, or another text."""
    if rng.random() < 0.3:
        return damaged(json.dumps(value).encode(), rng)
    if rng.random() < 0.02:
        return b'[' * 100_000
    return json.dumps(other_json(value, rng)).encode()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    """Members by name as an archive whose checksums fit."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def unzipped(data):
    """The members of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def damaged_archive(data, rng):
    """An archive with damage outside or inside; of the latter its checksums know nothing."""
    if rng.random() < 0.4:
        return damaged(data, rng)
    members = unzipped(data)
    name = rng.choice(sorted(members))
    if rng.random() < 0.1:
        members[rng.choice(('x', '../x', name.upper()))] = members.pop(name)
    else:
        members[name] = damaged(members[name], rng)
    return zipped(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))


def framed(records, checksum):
    """Contents as a TFRecord file whose checksums fit; `checksum` is that of the format."""
    pack = struct.pack
    return b''.join(pack('<Q', len(record)) + pack('<I', checksum(pack('<Q', len(record)))) + record
                    + pack('<I', checksum(record)) for record in records)


def _spots(value):
    """(container, key or number) of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _spots(item)
