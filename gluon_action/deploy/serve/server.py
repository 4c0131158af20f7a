"""The server: an address of this machine that the app listens at."""
from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import UsageError
from .guard import LOOPBACK

if TYPE_CHECKING:
    import uvicorn


def need_packages() -> None:
    """Raise `UsageError` with the cure where the web server is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"a page needs Starlette and uvicorn ({error}): pip install 'gluon_action[serve]'") from error


def check_address(host: str, network: bool) -> None:
    """Refuse an address that other machines reach, unless that is asked for.

    Raises
    ------
    UsageError
    """
    if is_loopback(host) and network:
        raise UsageError(f'--allow-network: other machines do not reach {host}; name an address that they do by --host '
                         '(0.0.0.0 is all of this machine), or leave it out')
    if not is_loopback(host) and not network:
        raise UsageError(f'--host {host}: other machines reach it, and whoever does can send videos; pass '
                         '--allow-network if that is meant, or leave --host out')


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; of port 0 at one that is free.

    Raises
    ------
    UsageError
        When the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                         flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind)
    except OSError as error:
        raise UsageError(f'--host {host}: is no address of this machine ({error.strerror or error})') from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(64)
    except OSError as error:
        made.close()
        raise UsageError(f'--host {host} --port {port}: cannot be listened at ({error.strerror or error}); pass '
                         'another --port, or 0 for any that is free') from error
    return made


def url_of(made: socket.socket) -> str:
    """Return the address of a socket for browsers."""
    host, port = made.getsockname()[:2]
    if made.family == socket.AF_INET6:
        host = f'[{host}]'
    return f'http://{host}:{port}/'


def make_server(app: Callable) -> uvicorn.Server:
    """Return what serves an app: ``make_server(app).run(sockets=[listen(host, port)])``, until Ctrl-C or SIGTERM."""
    import uvicorn
    return uvicorn.Server(uvicorn.Config(
        app, log_level='warning', log_config=None, access_log=False, server_header=False, lifespan='on', ws='none',
        timeout_keep_alive=5, timeout_graceful_shutdown=3, limit_concurrency=64))
