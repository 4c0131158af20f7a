"""Which files are videos and which are pictures, by their names, and which ones no user put there."""
from __future__ import annotations

from collections.abc import Iterable

#: What FFmpeg reads pictures in motion from, the most usual first.
VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.mpg', '.mpeg', '.m4v', '.wmv', '.flv', '.3gp', '.ts',
                    '.ogv', '.gif', '.mts', '.m2ts', '.m2t', '.mxf', '.vob', '.asf', '.f4v', '.3g2', '.divx', '.xvid',
                    '.ogm', '.dv', '.rm', '.rmvb', '.mpe', '.m1v', '.m2v', '.mpv', '.mp4v', '.qt', '.mjpg', '.mjpeg',
                    '.mjp2', '.y4m', '.h264', '.264', '.h265', '.265', '.hevc', '.ivf', '.obu', '.av1', '.nut', '.amv',
                    '.mod', '.tod', '.trp', '.tp', '.wtv', '.dvr-ms', '.lrv', '.insv', '.evo', '.nsv', '.apng')
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp')
#: The end of a video's name, as a regular expression.
NAMED_VIDEO = rf'(?:{"|".join(extension.replace(".", chr(92) + ".") for extension in VIDEO_EXTENSIONS)})'

_SYSTEM = {'__macosx', 'thumbs.db', 'desktop.ini', '$recycle.bin', 'system volume information', '@eadir', 'lost+found'}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's, not the user's: ``.DS_Store``, ``._a.mp4``, ``__MACOSX``."""
    return name.startswith('.') or name.lower() in _SYSTEM


def are_frames(names: Iterable[str]) -> bool:
    """Whether the files of a folder are the frames of a video: pictures, and no videos."""
    plain = [name.lower() for name in names]
    return any(name.endswith(IMAGE_EXTENSIONS) for name in plain) and \
        not any(name.endswith(VIDEO_EXTENSIONS) for name in plain)
