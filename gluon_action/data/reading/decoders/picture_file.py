"""One picture file as pixels, by OpenCV or Pillow, the same by either: whole, upright, in 8 bits, on black."""
from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

import numpy as np

from ....files import open_file
from ..media.media_file import DecoderTrouble, import_decoder, on_black

Load = Callable[[str], np.ndarray]


class PictureTrouble(DecoderTrouble):
    """A file that is no picture, or not all of one; reads on from the file's name."""


def opencv_loader(gray: bool) -> Load:
    """A function that reads a picture by OpenCV: file -> uint8 (H, W, 3) RGB, or (H, W) where `gray`.

    Raises
    ------
    DecoderTrouble
        When OpenCV is not installed; from the function `PictureTrouble`.
    """
    cv2 = import_decoder('cv2', 'opencv-python-headless')

    def load(path: str) -> np.ndarray:
        data = _whole(path)
        transparent = not gray and _is_transparent(data)
        how = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_UNCHANGED if transparent else cv2.IMREAD_COLOR
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
        except cv2.error:
            picture = None
        if picture is None:
            raise PictureTrouble('is not a picture that can be decoded')
        if gray:
            return picture
        if not transparent:
            return np.ascontiguousarray(picture[:, :, ::-1])
        if picture.ndim != 3 or picture.shape[2] != 4:
            raise PictureTrouble("makes one colour transparent, which OpenCV does not read; decoder='pillow' does")
        return on_black(_in_8_bits(picture)[:, :, [2, 1, 0, 3]])
    return load


def pillow_loader(gray: bool) -> Load:
    """The same by Pillow."""
    image = import_decoder('PIL.Image', 'pillow')
    operations = import_decoder('PIL.ImageOps', 'pillow')
    files = import_decoder('PIL.ImageFile', 'pillow')

    def load(path: str) -> np.ndarray:
        data = _whole(path)
        try:
            with _strict(files), image.open(io.BytesIO(data)) as opened:
                picture = operations.exif_transpose(opened)
                if picture.mode.startswith('I;16') or picture.mode == 'I' and data.startswith(_PNG):
                    levels = _in_8_bits(np.asarray(picture).astype(np.uint16))  # `convert` takes 256 and more for white
                    return levels if gray else np.stack([levels] * 3, axis=-1)
                if picture.mode in ('I', 'F'):
                    raise PictureTrouble('has values of 32 bits, of which nobody knows what is black and white; '
                                         'store 8 or 16 bits')
                if not gray and (picture.mode in ('RGBA', 'LA', 'PA') or 'transparency' in picture.info):
                    return on_black(np.asarray(picture.convert('RGBA')))
                return np.array(picture.convert('L' if gray else 'RGB'))
        except (OSError, SyntaxError, ValueError, image.DecompressionBombError) as error:
            # Pillow raises any of these for a damaged picture.
            raise PictureTrouble('is not a picture that can be decoded') from error
    return load


@contextlib.contextmanager
def _strict(files) -> Iterator[None]:
    """Have Pillow refuse what was cut off: GluonCV, once imported, has it fill that with black everywhere."""
    kept, files.LOAD_TRUNCATED_IMAGES = files.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        files.LOAD_TRUNCATED_IMAGES = kept


def _whole(path: str) -> bytes:
    """The content of a picture file. OpenCV fills what is missing of a JPEG with grey."""
    try:
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise PictureTrouble(f'cannot be read: {error.strerror}') from error
    if not data:
        raise PictureTrouble('is empty (0 bytes)')
    if data.startswith(b'\xff\xd8') and not _jpeg_ends(data) or data.startswith(_PNG) and data.rfind(b'IEND') < 0:
        raise PictureTrouble('is a picture that was cut off: its end is missing')
    return data


_PNG = b'\x89PNG\r\n\x1a\n'


def _jpeg_ends(data: bytes) -> bool:
    """Whether the marker of the end follows the start of the pixels; the one of a thumbnail before them is none."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xff:
        marker = data[place + 1]
        if marker == 0xda:  # within pixels a byte 0xff is followed by 0 (ISO/IEC 10918-1, B.1.1.5)
            return data.find(b'\xff\xd9', place) >= 0
        if marker == 0xff:
            place += 1
        elif marker == 0x01 or 0xd0 <= marker <= 0xd8:  # these have no length
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2:place + 4], 'big')
    return data.find(b'\xff\xd9', place) >= 0


def _is_transparent(data: bytes) -> bool:
    """Whether a PNG or a WebP has an alpha channel or colours that are transparent."""
    if data.startswith(_PNG):
        return data[25:26] in (b'\4', b'\6') or b'tRNS' in data[:max(0, data.find(b'IDAT'))]
    if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        place = {b'VP8X': 20, b'VP8L': 24}.get(data[12:16], len(data))
        return bool(data[place:place + 1]) and bool(data[place] & 0x10)
    return False


def _in_8_bits(picture: np.ndarray) -> np.ndarray:
    """The upper half of values of 16 bits, as OpenCV takes it."""
    return (picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture


#: Who reads pictures, in the order to try them.
PICTURE_LOADERS = {'opencv': opencv_loader, 'pillow': pillow_loader}
