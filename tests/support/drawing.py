"""Pictures that no test looks at are blank: drawing one takes longer than the training that it shows.

Everything up to the drawing itself happens, and the file has the size that the picture would have. Tests of what is in
a picture are marked `draws`.
"""
import os
import struct
import sys
import zlib

_real = None


def draw(really):
    """Let matplotlib draw from now on, or leave what it writes to files blank."""
    global _real
    module = sys.modules.get('matplotlib.figure')
    if module is None:  # nothing has been drawn yet, and most processes never do
        return
    _real = _real or module.Figure.savefig
    module.Figure.savefig = _real if really else _blank


def _blank(figure, fname, *, format=None, dpi=None, **given):
    kind = format or os.path.splitext(fname)[1][1:] or 'png'
    if kind != 'png':
        return _real(figure, fname, format=format, dpi=dpi, **given)
    width, height = (int(side * (dpi or figure.dpi)) for side in figure.get_size_inches())
    content = png(width, height)
    if hasattr(fname, 'write'):
        fname.write(content)
    else:
        with open(fname, 'wb') as file:
            file.write(content)


def png(width, height):
    """A white picture of one bit a pixel."""
    rows = (b'\0' + b'\xff' * -(-width // 8)) * height
    head = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    chunks = ((b'IHDR', head), (b'IDAT', zlib.compress(rows, 1)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(struct.pack('>I', len(body)) + name + body + struct.pack(
        '>I', zlib.crc32(name + body)) for name, body in chunks)
