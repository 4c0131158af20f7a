"""The addresses that a file may come from, in the order in which they are asked."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from .environment import is_address, mirror, offline
from .index import WeightsFile

#: Where GluonCV and MXNet published. The project is retired: it may not answer, so nobody waits long for it.
REPOSITORY = 'https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/'
#: Files that the package brings.
PACKAGED = Path(__file__).with_name('files')
_PATIENCE_WITH_THE_RETIRED = 5.


@dataclass(frozen=True)
class Address:
    """Where a file may be had: `shown` is what messages say."""

    shown: str
    way: str  # 'file', 'folder', 'zip' or 'hub'
    retired: bool = False

    @property
    def manners(self) -> dict[str, float]:
        """How long, and how often, it is waited for."""
        return {'patience': _PATIENCE_WITH_THE_RETIRED, 'attempts': 1} if self.retired else {}


def addresses(file: WeightsFile, hub: bool) -> list[Address]:
    """Return where a file is asked for, the mirror first; with `hub` Hugging Face's library may fetch what is there."""
    repository = mirror()
    first = []
    if is_address(repository):
        first.append(Address(f'{repository.rstrip("/")}/{quote(file.name)}', 'file'))
    elif repository:
        first.append(Address(str(Path(repository, file.name)), 'folder'))
    return first + [_address(url, hub) for url in file.urls]


def _address(url: str, hub: bool) -> Address:
    scheme, rest = url.split('://', 1)
    if scheme == 'mxnet':
        server = os.environ.get('MXNET_GLUON_REPO')
        return Address(f'{(server or REPOSITORY).rstrip("/")}/gluon/models/{rest}', 'zip', retired=not server)
    if scheme == 'hf':
        if hub and hub_library() and not offline():
            return Address(url, 'hub')
        owner, repository, commit, path = parts_on_hub(url)
        return Address(f'{hub_server()}/{owner}/{repository}/resolve/{commit}/{path}', 'file')
    if scheme == 'package':
        return Address(str(PACKAGED / rest), 'folder')
    if scheme == 'file':
        return Address(unquote(urlsplit(url).path), 'folder')
    return Address(url, 'file')


def parts_on_hub(url: str) -> tuple[str, str, str, str]:
    """Return owner, repository, commit and path of ``hf://OWNER/REPOSITORY@COMMIT/PATH``."""
    owner, rest = url.removeprefix('hf://').split('/', 1)
    repository, rest = rest.split('@', 1)
    return owner, repository, *rest.split('/', 1)


def hub_server() -> str:
    """Return the server of Hugging Face's files, or the one that stands in for it."""
    return os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')


def hub_library():
    """Return `huggingface_hub` where it is installed, else None."""
    try:
        import huggingface_hub
    except ImportError:
        return None
    return huggingface_hub
