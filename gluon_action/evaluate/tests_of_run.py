"""Results of tests that lie in the folder of a run, which go with it when it is deleted."""
from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from ..files import open_file, parse_json
from .interrupted import UNFINISHED
from .options.config import TestConfig
from .reports import FILES, RESULTS

#: What a test calls its folder in a run.
_OWN_NAME = re.compile(r'test-\d+x\d+(-.*)?')


def remove_tests(run: Path) -> list[str]:
    """Remove what tests of a run have written into it, and their folders where these hold nothing else.

    Those are the folders that tests make in a run, and others in it with results of parameters that lie in the run. A
    folder that is a link is left alone, and so are results of parameters that are elsewhere: --save-dir may put them
    here.

    Parameters
    ----------
    run : path
        The folder of the run.

    Returns
    -------
    list of str
        Names of the folders.

    Raises
    ------
    OSError
    """
    removed = []
    for folder in sorted(run.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and (log := _log_of_test(folder, run)) is not None:
            removed.append(folder.name)
            for name in (*FILES, UNFINISHED, log):
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    (folder / name).unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed


def _log_of_test(folder: Path, run: Path) -> str | None:
    """Return the name of the log of a test of the run in this folder; None where there was no such test."""
    try:
        with open_file(folder / RESULTS) as file:
            results = parse_json(file.read())
    except (OSError, ValueError):
        results = None
    config = results.get('config') if isinstance(results, dict) and 'protocol' in results else None
    config = config if isinstance(config, dict) else {}
    log = _text(config.get('logging_file'))
    if os.path.basename(log) != log or not log:  # a log elsewhere stays, and so does what is called as it is
        log = TestConfig.logging_file
    weights = _text(config.get('resume_params'))
    place = Path(_text(results.get('directory')), Path(weights).expanduser()) if weights else None
    if _OWN_NAME.fullmatch(folder.name):
        # Weights that are no more may be those of this run under another name: it was moved.
        elsewhere = place and place.exists() and not place.parent.resolve().is_relative_to(run.resolve())
        tested = config or (folder / UNFINISHED).is_file()
        return log if tested and not elsewhere else None
    return log if place and place.parent.resolve() == run.resolve() else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) and '\0' not in value else ''
