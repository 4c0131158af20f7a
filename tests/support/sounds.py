"""A video with a sound."""
from pathlib import Path

import av
import numpy as np
from videos import barcode_frame


def write_sounding_video(path: Path, *, seconds: float = 3, hertz: float = 440, rate: int = 16000, channels: int = 1,
                         fps: int = 10) -> Path:
    """Barcode frames, and a tone of half of the full amplitude that lasts as long."""
    layout = {1: 'mono', 2: 'stereo'}[channels]
    tone = (16384 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)
    with av.open(str(path), 'w') as container:
        pictures = container.add_stream('libx264', rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, 'yuv420p'
        sound = container.add_stream('pcm_s16le', rate=rate, layout=layout)
        for number in range(round(seconds * fps)):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(barcode_frame(number, 96, 64), format='rgb24')))
        for start in range(0, len(tone), 1024):
            part = np.repeat(tone[start:start + 1024], channels)[None]
            frame = av.AudioFrame.from_ndarray(part, format='s16', layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(sound.encode(frame))
        for stream in (pictures, sound):
            container.mux(stream.encode())
    return path
