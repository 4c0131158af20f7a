"""Pages of HTML out of templates: whatever a name holds is shown as it is written, and nothing in it acts."""
from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...printable import duration, printable

_TEMPLATES = Path(__file__).with_name('templates')
_LONGEST_NAME = 28


def render(name: str, contents: Mapping[str, Any]) -> str:
    """Return a page that asks no other machine, or file, for anything.

    Parameters
    ----------
    name : str
        Of the template.
    contents : mapping
        What it shows, by the template's names. Texts are escaped, and `printable`.

    Raises
    ------
    UsageError
        When Jinja is not installed.
    """
    environment = _environment()
    script = _read('page.js') if _needs_script(contents) else ''
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(name).render(
        contents, style=_safe(_read('page.css')), script=_safe(script), version=_version(),
        made=time.strftime('%Y-%m-%d %H:%M'), script_source=_safe(f"'sha256-{digest}'" if script else "'none'"))


@functools.cache
def _environment():
    try:
        import jinja2
    except ImportError as error:
        raise UsageError("pages need Jinja, which is not installed: pip install 'jinja2>=3.1,<4'") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    environment.filters |= {
        'percent': lambda share: '' if share is None or not math.isfinite(share) else f'{100 * share:.1f} %',
        'duration': duration, 'ordinal': ordinal, 'shortened': shortened, 'cells_json': _cells_json}
    return environment


def ordinal(count: int) -> str:
    """Return ``'2nd'`` for 2."""
    last = '' if count % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, '')
    return f'{count}{last or "th"}'


def shortened(name: str) -> str:
    """Return a name that fits beside a row."""
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME - 1] + '…'


def _shown(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def _safe(text: str):
    from markupsafe import Markup
    return Markup(text)


def _cells_json(picture: Mapping[str, Any]):
    from jinja2.utils import htmlsafe_json_dumps
    return htmlsafe_json_dumps({'size': picture['size'], 'names': [printable(name) for name in picture['names']],
                                'cells': picture['cells']}, separators=(',', ':'))


def _needs_script(contents: Mapping[str, Any]) -> bool:
    return bool((contents.get('confusion') or {}).get('picture'))


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text('utf-8')


def _version() -> str:
    return importlib.metadata.version('gluon_action')
