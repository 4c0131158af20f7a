"""Makers of small real videos whose frames carry their own number, and of broken ones."""
from __future__ import annotations

import functools
from pathlib import Path

import av
import numpy as np

_BARCODE_ROWS, _BARCODE_COLUMNS = 3, 4  # 12 bits: numbers up to 4095

#: Arguments of `write_video` for each kind of file that people have, and the file's name.
KINDS = {
    'h264_b_frames': dict(name='b_frames.mp4', options={'bf': '3', 'g': '12', 'crf': '18'}),
    'h264_long_gop': dict(name='long_gop.mp4', options={'bf': '2', 'g': '1000', 'sc_threshold': '0', 'crf': '18'}),
    'h264_b_pyramid': dict(name='pyramid.mkv', options={'bf': '5', 'b-pyramid': 'normal', 'g': '30', 'crf': '18'}),
    'h264_open_gop': dict(name='open_gop.mp4', options={'bf': '3', 'g': '10', 'x264-params': 'open-gop=1'}),
    'h264_intra_refresh': dict(name='refresh.mp4', options={'bf': '0', 'g': '15', 'x264-params': 'intra-refresh=1'}),
    'h264_all_intra': dict(name='intra.mp4', options={'g': '1'}),
    'h264_odd_size': dict(name='odd.mp4', size=(101, 77), pix_fmt='yuv444p', options={'bf': '2', 'g': '12'}),
    'h264_transport_stream': dict(name='stream.ts', options={'bf': '2', 'g': '12'}),
    'hevc_open_gop': dict(name='hevc.mp4', codec='libx265',
                          options={'x265-params': 'keyint=15:bframes=4:open-gop=1:log-level=none:pools=1'}),
    'av1': dict(name='av1.mp4', codec='libsvtav1', num_frames=30,
                options={'preset': '11', 'g': '16', 'svtav1-params': 'lp=1'}),
    'vp8_hidden_frames': dict(name='vp8.webm', codec='libvpx', num_frames=40,
                              options={'auto-alt-ref': '1', 'lag-in-frames': '16', 'cpu-used': '5', 'g': '20'}),
    'mpeg4_avi': dict(name='mpeg4.avi', codec='mpeg4', options={'g': '12'}),
    'mpeg4_avi_b_frames': dict(name='mpeg4_b.avi', codec='mpeg4', options={'bf': '2', 'g': '12'}),
    'mpeg4_avi_odd_size': dict(name='mpeg4_odd.avi', codec='mpeg4', size=(75, 53), options={'g': '12'}),
    'mjpeg_avi': dict(name='mjpeg.avi', codec='mjpeg', pix_fmt='yuvj420p'),
    'vp9_webm': dict(name='vp9.webm', codec='libvpx-vp9', options={'deadline': 'realtime', 'cpu-used': '8', 'g': '20'}),
    'vp9_alt_ref': dict(name='vp9_alt.webm', codec='libvpx-vp9', size=(75, 53), num_frames=40,
                        options={'auto-alt-ref': '1', 'lag-in-frames': '16', 'cpu-used': '5', 'g': '30'}),
    'h264_one_frame': dict(name='one.mp4', num_frames=1),
    'h264_two_frames': dict(name='two.mp4', num_frames=2),
    'mpeg4_one_frame': dict(name='one.avi', codec='mpeg4', num_frames=1),
    'vp9_one_frame': dict(name='one.webm', codec='libvpx-vp9', num_frames=1, options={'deadline': 'realtime'}),
    'h264_raw_stream': dict(name='raw.h264', options={'bf': '2', 'g': '12'}),
    'gif': dict(name='moving.gif', codec='gif', pix_fmt='rgb8', num_frames=20),
}
#: Contents of the files that were made in this process: most tests want one of a few.
_FILES: dict[tuple, bytes] = {}
BROKEN = ('missing', 'empty', 'garbage', 'moov_missing', 'data_cut', 'audio_only', 'zero_frames')


def make_kind(kind: str, folder: Path) -> tuple[Path, int]:
    """One of `KINDS` in `folder`: its path and number of frames."""
    arguments = {'num_frames': 60, **KINDS[kind]}
    path = write_video(Path(folder, arguments.pop('name')), **arguments)
    return path, arguments['num_frames']


def write_video(path: Path, num_frames: int = 60, *, codec: str = 'libx264', size: tuple[int, int] = (96, 64),
                fps: int = 25, pix_fmt: str = 'yuv420p', options: dict | None = None,
                muxer: dict | None = None) -> Path:
    """A video of barcode frames 0 .. num_frames - 1; size is (width, height)."""
    made = (Path(path).suffix, num_frames, codec, size, fps, pix_fmt, str(options), str(muxer))
    if made not in _FILES:
        _encode(path, num_frames, codec, size, fps, pix_fmt, options, muxer)
        _FILES[made] = Path(path).read_bytes()
    else:
        Path(path).write_bytes(_FILES[made])
    return Path(path)


def _encode(path, num_frames, codec, size, fps, pix_fmt, options, muxer):
    with av.open(str(path), 'w', options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=fps, options={'threads': '1', **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        container.start_encoding()
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(barcode_frame(number, *size), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def barcode_frame(number: int, width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3): `number` in binary as light and dark blocks, over a little noise."""
    return _barcode(number, width, height).copy()


@functools.lru_cache(maxsize=1024)
def _barcode(number, width, height):
    bits = (number >> np.arange(_BARCODE_ROWS * _BARCODE_COLUMNS)) & 1
    rows = np.arange(height) * _BARCODE_ROWS // height
    columns = np.arange(width) * _BARCODE_COLUMNS // width
    light = bits.reshape(_BARCODE_ROWS, _BARCODE_COLUMNS)[rows][:, columns]
    noise = np.random.default_rng(number).integers(0, 30, (height, width, 3))
    return (noise + 20 + 180 * light[..., None]).astype(np.uint8)


def read_barcode(frame: np.ndarray) -> int:
    """The number that a decoded frame of any size carries."""
    number, (height, width) = 0, frame.shape[:2]
    for bit in range(_BARCODE_ROWS * _BARCODE_COLUMNS):
        row, column = divmod(bit, _BARCODE_COLUMNS)
        block = frame[_inner(row, height, _BARCODE_ROWS), _inner(column, width, _BARCODE_COLUMNS)]
        number |= int(block.mean() > 127) << bit
    return number


def make_broken(kind: str, folder: Path) -> Path:
    """One of `BROKEN` in `folder`."""
    path = Path(folder, f'{kind}.mp4')
    if kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'garbage':
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == 'moov_missing':  # the index of an ordinary mp4 is at its end
        whole = write_video(path, 60).read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
    elif kind == 'data_cut':  # the index comes first and promises frames that are not there
        write_video(path, 60, options={'g': '12'}, muxer={'movflags': 'faststart'})
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) * 6 // 10])
    elif kind == 'audio_only':
        write_audio(path)
    elif kind == 'zero_frames':  # a track is announced and never filled
        write_video(path, 0, muxer={'movflags': 'empty_moov'})
    return path


def overwrite_packets(source: Path, target: Path, packets, content: bytes = b'\xff' * 40, at: int = 4) -> Path:
    """`source` with the content of some packets overwritten from a byte on, by default behind their length field."""
    with av.open(str(source)) as given, av.open(str(target), 'w') as written:
        stream = written.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            data = bytes(packet)
            fresh = av.Packet(data[:at] + content + data[at + len(content):] if number in packets else data)
            fresh.pts, fresh.dts, fresh.duration = packet.pts, packet.dts, packet.duration
            fresh.is_keyframe, fresh.time_base, fresh.stream = packet.is_keyframe, packet.time_base, stream
            written.mux(fresh)
    return target


def write_guessed(path: Path, codec: str = 'wmv2', packet: int = 20, at: float = 0.2, **options) -> Path:
    """60 frames, a key frame every 12; from this share on a third of a packet is noise, so that FFmpeg guesses.

    The same without noise is beside it, as NAME_whole.
    """
    whole = write_video(path.with_stem(path.stem + '_whole'), 60, codec=codec, options={
        'g': '12', 'b': '3000000', **options})
    with av.open(str(whole)) as container:
        size = [packet.size for packet in container.demux(video=0) if packet.size][packet]
    return overwrite_packets(whole, path, {packet}, np.random.default_rng(0).bytes(size // 3), at=int(size * at))


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    """An mp4 with a tone and no picture."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        container.mux(stream.encode(_tone(int(16000 * seconds))) + stream.encode())
    return Path(path)


def write_frames(folder: Path, numbers=range(1, 31), *, pattern: str = 'img_%05d.jpg',
                 size: tuple[int, int] = (96, 64)) -> Path:
    """A folder of barcode images; the image that is named n carries n."""
    import cv2
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        assert cv2.imwrite(str(Path(folder, pattern % number)), barcode_frame(number, *size)[:, :, ::-1])
    return Path(folder)


def write_packed_avi(path: Path) -> Path:
    """An AVI whose B-frames share a packet with the frame before, as DivX and XviD wrote them (HMDB51 has such files).

    Each pair of a P- and a B-frame becomes one packet, followed by a packet that says "nothing new".
    """
    plain = write_video(path.with_suffix('.plain.avi'), 60, codec='mpeg4', options={'bf': '1', 'g': '12'})
    user_data, nothing_new = b'\0\0\1\xb2DivX503b1393p', b'\0\0\1\xb6' + bytes([0b01010000, 0b11001111])

    def kind(data):
        return 'IPB'[data[data.index(b'\0\0\1\xb6') + 4] >> 6]

    packets = []
    with av.open(str(plain)) as source, av.open(str(path), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            data = bytes(packet)
            if data and kind(data) == 'I':
                start = data.index(b'\0\0\1\xb6')
                data = data[:start] + user_data + data[start:]
            if data and kind(data) == 'B':
                packets[-1] = (packets[-1][0] + data, packets[-1][1])
                packets.append((nothing_new, False))
            elif data:
                packets.append((data, packet.is_keyframe))
        for number, (data, is_key) in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.duration = stream, stream.time_base, 1
            packet.pts = packet.dts = number
            packet.is_keyframe = is_key
            target.mux(packet)
    plain.unlink()
    return path


def copy_packets(source: Path, target: Path, *, first_key: int = 0, earlier: float = 0.0) -> Path:
    """`source` without re-encoding: from the key frame of this number on, and shown so many seconds earlier.

    What would be shown before time 0 is hidden by the mp4's edit list.
    """
    with av.open(str(source)) as given, av.open(str(target), 'w', options={'avoid_negative_ts': 'disabled'}) as written:
        stream = written.add_stream_from_template(given.streams.video[0])
        keys = -1
        for packet in given.demux(video=0):
            keys += packet.is_keyframe
            if not packet.size or keys < first_key:
                continue
            packet.pts -= int(earlier / packet.time_base)
            packet.dts -= int(earlier / packet.time_base)
            packet.stream = stream
            written.mux(packet)
    return target


def write_song_with_cover(path: Path) -> Path:
    """An mp3 with a picture on its cover."""
    with av.open(str(path), 'w') as container:
        tone, cover = container.add_stream('libmp3lame', rate=16000), container.add_stream('mjpeg', rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(barcode_frame(1, 32, 32), format='rgb24')
        container.mux(cover.encode(picture) + cover.encode())
        container.mux(tone.encode(_tone(8000)) + tone.encode())
    return path


def rotate_by_header(path: Path, matrix: tuple[int, int, int, int] = (0, 1, -1, 0)) -> Path:
    """Mark an mp4 as filmed with the phone on its side, as a phone does: in the track header's matrix alone.

    `matrix` is (a, b, c, d): what is stored at (x, y) is shown at (a x + c y, b x + d y), by default 90 degrees
    clockwise.
    """
    content = bytearray(path.read_bytes())
    place = content.index(b'tkhd') + 4 + 40  # version 0: 40 bytes stand before the matrix
    a, b, c, d = ((number << 16).to_bytes(4, 'big', signed=True) for number in matrix)
    content[place:place + 20] = a + b + bytes(4) + c + d
    path.write_bytes(content)
    return path


def _tone(length: int) -> av.AudioFrame:
    tone = np.sin(np.arange(length) * 0.1).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(tone, format='fltp', layout='mono')
    frame.sample_rate = 16000
    return frame


def _inner(part: int, length: int, parts: int) -> slice:
    """The middle half of a part, away from its blurred borders."""
    first, last = part * length / parts, (part + 1) * length / parts
    quarter = (last - first) / 4
    return slice(int(first + quarter), max(int(last - quarter), int(first + quarter) + 1))
