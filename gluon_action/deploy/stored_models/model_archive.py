"""A stored model as one archive, ``.tgz``, as the competitions of YouTube-8M took them; read with care."""
from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path

from ...errors import OutputError, UsageError
from ...feature_architecture import FILE as FLAGS
from ...files import describe, output_errors, replacing, space_left, sync, to_json
from ...model_zoo.frame_features.stored.prefix import NAME, files_of
from ...model_zoo.frame_features.stored.reading import read_stored

# Files of a model, and those of TensorFlow of the same name, which are told what they are.
_ALLOWED = re.compile(rf'(?:\./)?({re.escape(NAME)}\.[\w.-]+|{re.escape(FLAGS)})')
_BLOCK = 1 << 20  # bytes that are read at a time


def pack_model(model: str | os.PathLike, archive: str | os.PathLike, flag: str = '') -> Path:
    """Write the files of a stored model, and its ``model_flags.json``, as a compressed tar file; returns its path.

    Parameters
    ----------
    model : path
        A prefix, or a train_dir.
    archive : path
        A file of this name is replaced when the new one is whole.
    flag : str
        That named the model, for messages.

    Raises
    ------
    WeightsError
        When there is no such model.
    OutputError
        When it cannot be written.
    """
    stored, archive = read_stored(model, flag), Path(archive).expanduser()
    # Weights hardly become smaller, so no time is spent on trying.
    with (replacing(archive, hint=space_left(archive.parent)) as part,
          tarfile.open(part, 'w:gz', compresslevel=1) as tar):
        for path in files_of(stored.prefix):
            tar.add(path, NAME + path.suffix)
        flags = to_json(stored.architecture.to_json()).encode()
        entry = tarfile.TarInfo(FLAGS)
        entry.size = len(flags)
        tar.addfile(entry, io.BytesIO(flags))
    return archive


def unpack_model(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack what `pack_model` wrote into a folder, which has no files in it, or these; returns the folder.

    Raises
    ------
    UsageError
        When it is no such archive, or the folder holds something else: another process may be about to read it. Nothing
        is unpacked when the archive holds anything but files named as a model's are, so that nothing can be written
        elsewhere, or when it lacks the two that are a model.
    OutputError
        When the folder cannot be written.
    """
    archive, folder = Path(archive).expanduser(), Path(folder).expanduser().resolve()
    part = folder.with_name(f'.part-{folder.name}-{os.getpid()}')
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode='r:') as tar:
            with output_errors(folder, space_left(folder.parent)):
                part.mkdir(parents=True)
            for entry in tar:
                name = _name_of(entry, archive)
                _write(tar.extractfile(entry), part / name)
            while stream.read(_BLOCK):  # the checksum of all of it is at the end
                pass
        _check_model(part, archive)
        _put(part, folder)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OutputError):
            raise
        raise UsageError(f'--input_model_tgz {archive}: cannot be read as a .tgz: {error}') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _name_of(entry: tarfile.TarInfo, archive: Path) -> str:
    found = _ALLOWED.fullmatch(entry.name)
    if not (found and entry.isfile()):
        kind = 'the file' if entry.isfile() else 'a folder, a link or a device,'
        raise UsageError(f'--input_model_tgz {archive}: holds {kind} {entry.name!r}; such an archive has files named '
                         f'{NAME}.* and {FLAGS} at its top, and nothing was unpacked')
    return found[1]


def _write(source, path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with output_errors(path, space_left(path.parent)):
            file = stack.enter_context(open(path, 'wb'))
        while block := source.read(_BLOCK):  # an error here is the archive's
            with output_errors(path, space_left(path.parent)):
                file.write(block)


def _check_model(folder: Path, archive: Path) -> None:
    there = sorted(path.name for path in folder.iterdir())
    missing = [path.name for path in files_of(folder / NAME) if path.name not in there]
    if missing:
        cure = ('it is a checkpoint of TensorFlow: unpack it, and scripts/youtube8m/import_checkpoint.py makes a '
                'train_dir of it' if f'{NAME}.index' in there else '--output_model_tgz writes one with a model')
        raise UsageError(f'--input_model_tgz {archive}: lacks {" and ".join(missing)}, it '
                         f'{"holds " + ", ".join(there) if there else "is empty"}; {cure}')


def _put(part: Path, folder: Path) -> None:
    """Give the unpacked files their folder; one that is there is left alone, as another process may be reading it."""
    with output_errors(folder):
        for path in part.iterdir():
            sync(path)
        try:
            os.rename(part, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            names = [path.name for path in files_of(part / NAME)]
            if not all((folder / name).is_file() for name in names) or describe(part, names) != describe(folder, names):
                raise UsageError(f'--untar_model_dir {folder}: holds another model, or other files; name a new folder'
                                 ) from error
