"""A stored model as one archive, ``.tgz``, as the competitions of YouTube-8M took them; read with care."""
from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

from ...errors import OutputError, UsageError
from ...feature_architecture import FILE as FLAGS
from ...files import output_errors, part_of, put_file, replacing, space_left, to_json
from ...model_zoo.frame_features.stored import NAME, files_of, read_stored

# What the original's archives hold too, so that the error about a model of TensorFlow is the usual one.
_ALLOWED = re.compile(rf'(?:\./)?({re.escape(NAME)}\.[\w.-]+|{re.escape(FLAGS)})')


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
    """Unpack what `pack_model` wrote into a folder, which is made where it is not there; returns the folder.

    Raises
    ------
    UsageError
        When it is no such archive. Nothing is unpacked when it holds anything but files named as a model's are, so that
        nothing can be written elsewhere.
    OutputError
        When the folder cannot be written.
    """
    archive, folder = Path(archive).expanduser(), Path(folder).expanduser()
    try:
        with tarfile.open(archive, 'r:gz') as tar:
            entries = {_name_of(entry, archive): entry for entry in tar}
            if not entries:
                raise UsageError(f'--input_model_tgz {archive}: is empty; --output_model_tgz writes one with a model')
            with output_errors(folder, space_left(folder.parent)):
                folder.mkdir(parents=True, exist_ok=True)
            for name, entry in entries.items():
                _write(tar.extractfile(entry), folder / name)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OutputError):
            raise
        raise UsageError(f'--input_model_tgz {archive}: cannot be read as a .tgz: {error}') from error
    return folder


def _name_of(entry: tarfile.TarInfo, archive: Path) -> str:
    found = _ALLOWED.fullmatch(entry.name)
    if not (found and entry.isfile()):
        kind = 'the file' if entry.isfile() else 'a folder, a link or a device,'
        raise UsageError(f'--input_model_tgz {archive}: holds {kind} {entry.name!r}; such an archive has files named '
                         f'{NAME}.* and {FLAGS} at its top, and nothing was unpacked')
    return found[1]


def _write(source, path: Path) -> None:
    part = part_of(path)
    try:
        with output_errors(path, space_left(path.parent)):
            with open(part, 'wb') as file:
                shutil.copyfileobj(source, file)
            put_file(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
