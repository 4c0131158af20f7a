"""Makers of files that hold two recordings, one after the other, as cameras and ``cat`` join them."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from timed_videos import write_timed

#: Encoders' settings of two recordings: with the header of the other, pictures are decoded, but wrongly.
SETTINGS = ({'g': '12', 'bf': '0', 'qp': '8'}, {'g': '12', 'bf': '2', 'qp': '34'})


def joined_transport_streams(path: Path, delay: float, count: int = 40) -> Path:
    """``cat`` of two transport streams, the times of whose second begin again, `delay` seconds later."""
    parts = [write_timed(path.with_stem(f'part{first}'), begin + np.arange(count) / 25, first=first,
                         options={'g': '12', 'bf': '2'}) for first, begin in ((0, 0), (count, delay))]
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    return path


def flv_told_anew(path: Path, count: int = 40) -> Path:
    """An FLV whose encoder was started again with other settings: a new header in mid-stream."""
    parts = [write_timed(path.with_stem(f'part{first}'), np.arange(count) / 25, first=first, options=options)
             for first, options in zip((0, count), SETTINGS)]
    shift = round(1000 * count / 25)
    content = parts[0].read_bytes()
    for tag in tags_in(parts[1].read_bytes()):
        if tag[0] == 9:  # of the video; another description of the file is none of the stream
            time = int.from_bytes(tag[7:8] + tag[4:7]) + shift
            tag = tag[:4] + time.to_bytes(4)[1:] + time.to_bytes(4)[:1] + tag[8:]
            content += tag + len(tag).to_bytes(4)
    path.write_bytes(content)
    return path


def with_tag_before(content: bytes, tag: bytes, number: int) -> bytes:
    """An FLV with another tag before its `number`-th one of video, at the time of that."""
    tags = list(tags_in(content))
    place = [index for index, other in enumerate(tags) if other[0] == 9][number]
    tags.insert(place, tag[:4] + tags[place][4:8] + tag[8:])
    return content[:13] + b''.join(tag + len(tag).to_bytes(4) for tag in tags)


def tags_in(content: bytes) -> Iterator[bytes]:
    """The tags of an FLV: kind, size, time, stream and data of each."""
    place = 13
    while place + 11 <= len(content):
        size = 11 + int.from_bytes(content[place + 1:place + 4])
        yield content[place:place + size]
        place += size + 4


def mp4_with_two_descriptions(path: Path, count: int = 40) -> Path:
    """An MP4 whose one track has two sample descriptions, as tools write that join recordings without encoding."""
    first, second = (write_timed(path.with_name(f'part{number}.mp4'), np.arange(count) / 25, first=number,
                                 options={**options, 'bf': '0'})
                     for number, options in zip((0, count), SETTINGS))
    samples = [_samples(part) for part in (first, second)]
    entries = [_box_content(part.read_bytes(), [b'moov', b'trak', b'mdia', b'minf', b'stbl', b'stsd'])[8:]
               for part in (first, second)]
    sizes = [len(data) for part in samples for data, _ in part]
    keys = [1 + number for number, (_, is_key) in enumerate([*samples[0], *samples[1]]) if is_key]
    head = _box(b'ftyp', b'isom' + bytes(4) + b'isomavc1')
    data = _box(b'mdat', b''.join(data for part in samples for data, _ in part))
    places = [len(head) + 8, len(head) + 8 + sum(len(data) for data, _ in samples[0])]
    table = _box(b'stbl', b''.join([
        _table(b'stsd', 2, b''.join(entries)),
        _table(b'stts', 1, _words(2 * count, 40)),
        _table(b'stss', len(keys), _words(*keys)),
        _table(b'stsc', 2, _words(1, count, 1, 2, count, 2)),
        _box(b'stsz', _words(0, 0, 2 * count, *sizes)),
        _table(b'stco', 2, _words(*places))]))
    duration, matrix = 80 * count, _words(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    media = _box(b'minf', _box(b'vmhd', _words(1, 0, 0)) + _box(b'dinf', _table(b'dref', 1, _box(b'url ', _words(1))))
                 + table)
    head_of_track = _words(3, 0, 0, 1, 0, duration, 0, 0, 0, 0) + matrix + _words(96 << 16, 64 << 16)
    track = _box(b'trak', _box(b'tkhd', head_of_track)
                 + _box(b'mdia', _box(b'mdhd', _words(0, 0, 0, 1000, duration, 0x55c40000))
                        + _box(b'hdlr', _words(0, 0) + b'vide' + bytes(12) + b'\0') + media))
    movie = _box(b'mvhd', _words(0, 0, 0, 1000, duration, 1 << 16, 0x01000000, 0, 0) + matrix + bytes(24) + _words(2))
    path.write_bytes(head + data + _box(b'moov', movie + track))
    return path


def _samples(path: Path) -> list[tuple[bytes, bool]]:
    with av.open(str(path)) as container:
        return [(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def _box_content(content: bytes, names: list[bytes]) -> bytes:
    for name in names:
        place = 0
        while content[place + 4:place + 8] != name:
            place += int.from_bytes(content[place:place + 4])
        content = content[place + 8:place + int.from_bytes(content[place:place + 4])]
    return content


def _box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + name + content


def _table(name: bytes, count: int, content: bytes) -> bytes:
    return _box(name, _words(0, count) + content)


def _words(*numbers: int) -> bytes:
    return b''.join(number.to_bytes(4) for number in numbers)


def of_two_sizes(path: Path, count: int = 20) -> Path:
    """A WebM whose pictures change in size, as browsers record a call or a phone that is turned."""
    sizes = ((96, 64), (64, 96))
    parts = [write_timed(path.with_stem(f'part{first}'), np.arange(count) / 25, first=first, size=size,
                         codec='libvpx-vp9', options={'deadline': 'realtime', 'cpu-used': '8', 'g': '10'})
             for first, size in zip((0, count), sizes)]
    with av.open(str(parts[0])) as one, av.open(str(parts[1])) as other, av.open(str(path), 'w') as written:
        stream = written.add_stream_from_template(one.streams.video[0])
        for number, source in enumerate((one, other)):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = packet.pts + round(number * count / 25 / packet.time_base)
                    packet.stream = stream
                    written.mux(packet)
    return path
