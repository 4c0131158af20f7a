"""Makers of small videos whose numbered frames are shown at times of one's own choice; and of long files."""
from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from videos import barcode_frame

SIZE = (96, 64)


def write_timed(path: Path, times: Sequence[float], *, first: int = 0, rate: int = 25, sound_seconds: float = 0.,
                codec: str = 'libx264', size: tuple[int, int] = SIZE, options: dict | None = None,
                muxer: dict | None = None) -> Path:
    """A video whose frame i carries ``first + i`` and is shown at ``times[i]`` seconds, to the millisecond.

    `rate` is what the file says of it, where its format keeps that. With `sound_seconds` there is a tone from second 0
    on, so that the file begins there whenever its pictures do.
    """
    tick = Fraction(1, 1000)
    with av.open(str(path), 'w', options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={'threads': '1', **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        stream.time_base = stream.codec_context.time_base = tick
        sound = container.add_stream('aac', rate=16000) if sound_seconds else None
        packets = []
        for number, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(barcode_frame(first + number, *size), format='rgb24')
            frame.pts, frame.time_base = round(seconds * 1000), tick
            packets += stream.encode(frame)
        packets += stream.encode()
        if sound:
            tone = np.sin(np.arange(round(16000 * sound_seconds)) * 0.1).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format='fltp', layout='mono')
            frame.sample_rate, frame.pts = 16000, 0
            packets += sound.encode(frame) + sound.encode()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return Path(path)


def write_long(path: Path, num_frames: int = 300, *, size: tuple[int, int] = (160, 96), key_every: int = 12) -> Path:
    """A file of about 30 kB a frame: barcodes under noise, which no codec can shrink."""
    noise = np.random.default_rng(0).integers(-40, 40, (16, size[1], size[0], 3))
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25, options={'g': str(key_every), 'qmin': '1', 'qmax': '1'})
        stream.width, stream.height, stream.pix_fmt = *size, 'yuv420p'
        stream.bit_rate = 1 << 27
        for number in range(num_frames):
            picture = np.clip(barcode_frame(number, *size) + noise[number % 16], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    return Path(path)
