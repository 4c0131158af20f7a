"""What the environment says about weights: the folder that they are kept in, and who may be asked for them."""
from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError


def weights_root(root: str | os.PathLike | None = None) -> Path:
    """Return the folder of weights: `root`, or ``$MXNET_HOME/models``, or ``~/.mxnet/models``."""
    if root is None:
        root = Path(os.environ.get('MXNET_HOME') or '~/.mxnet', 'models')
    return Path(root).expanduser()


def mirror() -> str:
    """Return the folder or the address that ``$GLUON_ACTION_REPO`` names; empty without one.

    Raises
    ------
    UsageError
        When it is an address of another kind than http and https, or one without that.
    """
    repository = os.environ.get('GLUON_ACTION_REPO', '')
    if is_address(repository):
        return repository
    other = re.match(r'[a-z][a-z0-9+.-]*://', repository, re.I)
    bare = re.match(r'[\w.-]+:\d+(/|$)', repository) and not os.path.exists(repository)
    if other or bare:
        raise UsageError('GLUON_ACTION_REPO: a folder, or an address that begins with http:// or https://, is wanted, '
                         f'got {repository!r}' + (f'; did you mean http://{repository}?' if bare else ''))
    return os.path.expanduser(repository)


def offline() -> bool:
    """Return whether ``$GLUON_ACTION_OFFLINE`` forbids to ask any server but the mirror."""
    return os.environ.get('GLUON_ACTION_OFFLINE', '0') not in ('', '0')


def may_be_asked(url: str) -> bool:
    """Return whether an address may be asked: with ``$GLUON_ACTION_OFFLINE`` only the server of the mirror."""
    if not offline():
        return True
    place = mirror()
    return is_address(place) and urlsplit(url).netloc == urlsplit(place).netloc


def is_address(place: str) -> bool:
    """Return whether a place is an address, and no file or folder."""
    return urlsplit(place).scheme in ('http', 'https')
