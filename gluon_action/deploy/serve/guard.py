"""What keeps other sites, and pages that pretend to be of this machine, away from the app."""
from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from ...printable import printable

#: Names of this machine that no name server is asked for.
LOOPBACK = ('localhost', '127.0.0.1', '::1')

#: What browsers are told: nothing from elsewhere is loaded, shown in a frame, kept, or guessed.
HEADERS = {
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                               "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; "
                               "frame-ancestors 'none'",
    'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cache-control': 'no-store',
    'cross-origin-resource-policy': 'same-origin', 'cross-origin-opener-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=()',
}


class Guard:
    """An ASGI app around another one, which answers nobody but this machine's own page and programs.

    A page of another site may ask this machine in two ways. It may send a request to ``127.0.0.1``: then the browser
    says where the page is from (`Origin`, `Sec-Fetch-Site`). Or it lets its own name point here for a moment (DNS
    rebinding): then the name in `Host` is not one of this machine.

    Parameters
    ----------
    app : callable
    network : bool
        Other machines may ask as well: by an address, or by the machine's own name.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], network: bool = False):
        self._app, self._network = app, network
        self._names = {*LOOPBACK, *({socket.gethostname().lower(), socket.getfqdn().lower()} if network else ())}

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request."""
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self._app(scope, receive, send)
            return  # nothing here speaks over web sockets

        async def send_guarded(message) -> None:
            if message['type'] == 'http.response.start':
                message = {**message, 'headers': [*message.get('headers', ()), *(
                    (name.encode(), value.encode()) for name, value in HEADERS.items())]}
            await send(message)

        trouble = self.refuses({name.decode('latin-1').lower(): value.decode('latin-1')
                                for name, value in scope['headers']})
        if not trouble:
            await self._app(scope, receive, send_guarded)
            return
        body = json.dumps({'error': trouble}).encode()
        await send_guarded({'type': 'http.response.start', 'status': 403,
                            'headers': [(b'content-type', b'application/json'), (b'connection', b'close')]})
        await send({'type': 'http.response.body', 'body': body})

    def refuses(self, headers: dict[str, str]) -> str:
        """Return why a request with these headers, by small names, is refused; empty when it is not."""
        host = headers.get('host', '')
        if not self._knows(host):
            return f'{printable(host)!r} is no name of this machine; ask by the address that gluon-action serve printed'
        origin = headers.get('origin')
        if origin is not None and origin.lower() != f'http://{host}'.lower():
            return 'the request comes from a page of another site'
        if headers.get('sec-fetch-site', 'none') not in ('none', 'same-origin'):
            return 'the request comes from a page of another site'
        return ''

    def _knows(self, host: str) -> bool:
        try:
            name = (urlsplit(f'//{host}').hostname or '').rstrip('.')
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback or self._network
        except ValueError:
            return False
