"""The index of published weights: whose they are, where, under which licence, how good, and for which preparation."""
from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import OutputError, WeightsError
from ..files import parse_json, write_file
from .environment import is_address, weights_root
from .transfer import AddressError, read_small

BUNDLED = Path(__file__).with_name('index.json')
#: Names of the formats that model_zoo/importers reads; 'params' is this package's own and GluonCV's.
FORMATS = ('params', 'timm-resnet', 'torchvision-googlenet', 'torchvision-inception3', 'torchvision-vgg16',
           'torchvision-r2plus1d', 'torchvision-s3d', 'mmaction2-resnet2d', 'mmaction2-resnet3d', 'mmaction2-c3d',
           'mmaction2-timesformer', 'pytorchvideo-slowfast', 'pytorchvideo-slow', 'pytorchvideo-i3d', 'ig65m',
           'huggingface-timesformer', 'timesformer', 'vit', 'deepmind-i3d', 'slim')
KINDS = ('actions', 'base')
AVERAGES = ('probabilities', 'scores', 'features', '')
#: Where the clips of a video lie, as --clip-sampling names it.
SAMPLINGS = ('consecutive', 'dense', 'spread')
#: algorithm of a digest -> its hexadecimal digits when it is whole
ALGORITHMS = {'sha256': 64, 'sha1': 40, 'git-blob': 40}
_LOG = logging.getLogger(__name__)
_VERSION = 1
_LARGEST = 16 << 20
_LONGEST_PREFIX = 16


@dataclass(frozen=True)
class WeightsFile:
    """One file of a set of weights.

    Attributes
    ----------
    name : str
        Its name in the cache and in a mirror; no other file of the index has it.
    urls : tuple of str
        Addresses, in the order in which they are tried: ``https://...``; ``hf://owner/repository@commit/path`` of
        Hugging Face; ``mxnet://NAME.zip`` of GluonCV's server, an archive whose one member is the file;
        ``package://NAME`` of this package. In an index of one's own also a path from where the index is.
    digest : str
        ``algorithm:digits``, see `ALGORITHMS`, all digits or the first 8 to 16; empty where the publisher gives none.
    bytes : int or None
        Its size, where that is known exactly.
    """

    name: str
    urls: tuple[str, ...]
    digest: str = ''
    bytes: int | None = None

    @property
    def algorithm(self) -> str:
        """Name of the digest's algorithm; empty without a digest."""
        return self.digest.partition(':')[0]

    @property
    def digits(self) -> str:
        """The known hexadecimal digits of the digest."""
        return self.digest.partition(':')[2]

    @property
    def whole(self) -> bool:
        """Whether all digits of the digest are known."""
        return bool(self.digest) and len(self.digits) == ALGORITHMS[self.algorithm]


@dataclass(frozen=True)
class Row:
    """A set of published weights.

    Attributes
    ----------
    model : str
        Model of the zoo, or the ImageNet network that bodies start from.
    tag : str
        Name of the set, unique within the model; GluonCV's have 8 hexadecimal digits.
    publisher : str
        Whose they are.
    files : tuple of WeightsFile
    format : str
        Whose names the tensors have, one of `FORMATS`.
    licence : str
        As in the list of SPDX.
    top1, top5 : float or None
        Published accuracy in percent.
    protocol : str
        How it was measured: segments x crops of a video, or in words.
    average : str
        What was averaged over the views: 'probabilities', 'scores' or 'features'; empty where that is not known or
        where there was one view.
    segments : int or None
        Segments of a video in training.
    head : bool
        Whether the head for the model's classes is in the file.
    input : dict
        Preparation: any of `mean` and `std` (a number for each channel, of values in 0..1), `clip_length`,
        `clip_stride`, `clip_sampling` (one of `SAMPLINGS`), `input_size`. What is not given is as on the model's card.
    classes : dict
        Index -> name of the class, where the publisher's order differs from the data set's here; names of all classes
        where they are not those of the data set in the model's name.
    channels : {'rgb', 'bgr'}
        Order of the colours in the publisher's input.
    options : dict
        Options of ``get_model`` that the network needs for these weights.
    measured : dict
        What the published score was measured with, where that differs from `input`: any of `clip_length`,
        `input_size`, and `resize`, height and width of frames before the crop, whatever their shape was (otherwise
        their short side is resized).
    note : str
        What else is to be known.
    kind : {'actions', 'base'}
        Weights of a model of the zoo, or of an ImageNet network.
    """

    model: str
    tag: str
    publisher: str
    files: tuple[WeightsFile, ...]
    format: str
    licence: str
    top1: float | None = None
    top5: float | None = None
    protocol: str = ''
    average: str = ''
    segments: int | None = None
    head: bool = True
    input: dict = field(default_factory=dict)
    classes: dict = field(default_factory=dict)
    channels: str = 'rgb'
    options: dict = field(default_factory=dict)
    measured: dict = field(default_factory=dict)
    note: str = ''
    kind: str = 'actions'

    @property
    def commercial(self) -> bool:
        """Whether the licence allows commercial use."""
        return not re.search(r'(^|-)NC(-|$)', self.licence.upper())

    @property
    def trusted(self) -> bool:
        """Whether every file has a digest to check it against."""
        return all(file.digest for file in self.files)

    @property
    def class_names(self) -> list[str] | None:
        """The names of all classes in order, where the row has them all."""
        names = [self.classes.get(str(number)) for number in range(len(self.classes))]
        return names if names and None not in names else None

    @property
    def score(self) -> str:
        """The published accuracy in words; empty without one."""
        if self.top1 is None:
            return ''
        how = ', '.join(filter(None, (self.protocol, self.average and f'{self.average} averaged')))
        return f'top-1 {self.top1:g} %' + (f', top-5 {self.top5:g} %' if self.top5 is not None else '') \
            + (f' ({how})' if how else '')

    def as_json(self) -> dict[str, Any]:
        """Return what an index says of it: the fields that are not as they are by default."""
        row = {part.name: getattr(self, part.name) for part in fields(self)
               if part.default is MISSING and part.default_factory is MISSING
               or getattr(self, part.name) not in (part.default, {})}
        row['files'] = [{name: value for name, value in asdict(file).items() if value not in ('', None)}
                        for file in self.files]
        return row


class Index:
    """Rows of published weights, best first within a model."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = tuple(rows)

    def rows_of(self, model: str) -> list[Row]:
        """Return the rows of a model or an ImageNet network, best first; none for one without published weights."""
        return [row for row in self.rows if row.model == model.lower()]

    def row(self, model: str, tag: str) -> Row:
        """Return the row that a tag, or the first 8 or more digits of a file's digest, names.

        Raises
        ------
        WeightsError
            When there is none; the closest tag is named.
        """
        rows, wanted = self.rows_of(model), tag.lower()
        for row in rows:
            if row.tag.lower() == wanted:
                return row
        if len(wanted) >= 8:
            for row in rows:
                for file in row.files:
                    if file.digits and (file.digits.startswith(wanted) or wanted.startswith(file.digits)):
                        return row
        close = difflib.get_close_matches(wanted, [row.tag.lower() for row in rows], n=1)
        raise WeightsError(f'{model} has no weights {tag!r}; ' + (f'did you mean {close[0]}? ' if close else '')
                           + f'published: {", ".join(row.tag for row in rows) or "none"}')

    def can_be_had(self, model: str) -> bool:
        """Return whether a model has weights that lie elsewhere than on the server of GluonCV's retired project."""
        return any(not url.startswith('mxnet://') for row in self.rows_of(model) for file in row.files
                   for url in file.urls)

    def models(self) -> list[str]:
        """Return the names of the models that have rows, in the index's order."""
        return list(dict.fromkeys(row.model for row in self.rows))


def read_index(extra: str | os.PathLike | None = None) -> Index:
    """Return the index of the package, behind the rows of an index of one's own where there is one.

    Parameters
    ----------
    extra : str or path, optional
        File or address of the other index; by default what ``$GLUON_ACTION_INDEX`` names. Its rows come first, and one
        with model and tag of a row of the package's takes that one's place. What came from an address is kept in the
        folder of weights: where the address does not answer later, that is taken, with a warning.

    Raises
    ------
    WeightsError
        When an index cannot be read or is not valid; file, row and field are named.
    """
    extra = extra or os.environ.get('GLUON_ACTION_INDEX')
    bundled = _bundled()
    if not extra:
        return Index(bundled)
    own = _rows_at(str(extra))
    taken = {(row.model, row.tag) for row in own}
    rest = [row for row in bundled if (row.model, row.tag) not in taken]
    digests = {file.name: file.digest for row in rest for file in row.files}
    for row in own:
        for file in row.files:
            if digests.get(file.name, file.digest) != file.digest:
                raise WeightsError(f"{extra}: {row.model} {row.tag}: files: {file.name} is the name of another file in "
                                   "the package's index; give it another one")
    return Index([*own, *rest])


def bundled_index() -> Index:
    """Return the index of the package alone, whatever the user has."""
    return Index(_bundled())


@cache
def _bundled() -> tuple[Row, ...]:
    return parse_index(BUNDLED.read_text(encoding='utf-8'), str(BUNDLED))


def _rows_at(place: str) -> tuple[Row, ...]:
    """Return the rows of an index in a file or at an address."""
    try:
        if is_address(place):
            return _rows_at_address(place)
        return parse_index(Path(place).read_text(encoding='utf-8'), str(Path(place).absolute()))
    except UnicodeDecodeError as error:
        raise WeightsError(f'{place}: is not an index of weights: no text in UTF-8 ({error})') from error
    except OSError as error:
        raise WeightsError(f'the index {place} cannot be read: {error.strerror or error}; GLUON_ACTION_INDEX and '
                           '--index take a file or an address') from error


def _rows_at_address(place: str) -> tuple[Row, ...]:
    """Return the rows of an index at an address; those that it had last, where it does not answer."""
    copy = weights_root() / f'.index-{hashlib.sha256(place.encode()).hexdigest()[:16]}.json'
    try:
        text = read_small(place, limit=_LARGEST).decode('utf-8')
    except AddressError as error:
        try:
            rows = parse_index(copy.read_text(encoding='utf-8'), place)
        except (OSError, ValueError, WeightsError):  # nor is there a good copy
            raise WeightsError(f'the index {place} cannot be read: {error}, and no copy of it was kept; save it to a '
                               'file where it can be read, and name that file in GLUON_ACTION_INDEX or --index'
                               ) from error
        _warn_once(f'the index {place} cannot be read: {error}; the copy of it in {copy} is taken')
        return rows
    rows = parse_index(text, place)
    with contextlib.suppress(OSError, OutputError):  # the copy is for later; what is asked for now needs none
        if not copy.is_file() or copy.read_text(encoding='utf-8') != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_file(copy, text)
    return rows


@cache
def _warn_once(text: str) -> None:
    _LOG.warning('%s', text)


def parse_index(text: str, source: str) -> tuple[Row, ...]:
    """Return the rows of an index.

    Parameters
    ----------
    text : str
        JSON: ``{"version": 1, "rows": [...]}``, a row with the fields of `Row`.
    source : str
        File or address that it comes from: for messages, and what relative addresses start from.

    Raises
    ------
    WeightsError
        When it is not valid; the row and the field are named.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise WeightsError(f'{source}: is not an index of weights: no JSON ({error})') from error
    if isinstance(content, dict) and content.get('version', _VERSION) != _VERSION:
        raise WeightsError(f'{source}: is not an index of weights of version {_VERSION}, the only one that this '
                           f'gluon_action knows, but of version {content["version"]!r}; a newer one may read it')
    if not isinstance(content, dict) or content.get('version') != _VERSION or not isinstance(content.get('rows'), list):
        raise WeightsError(f'{source}: is not an index of weights of version {_VERSION}: '
                           '{"version": 1, "rows": [...]} is wanted')
    rows = []
    for number, given in enumerate(content['rows'], 1):
        name = ' '.join(str(given[key]) for key in ('model', 'tag') if given.get(key)) \
            if isinstance(given, dict) else ''
        where = f'{source}: row {number}' + (f' ({name})' if name else '')
        rows.append(_row(given, where, source))
    _check_unique(rows, source)
    return tuple(rows)


def _check_unique(rows: list[Row], source: str) -> None:
    tags, names = {}, {}
    for number, row in enumerate(rows, 1):
        where = f'{source}: row {number} ({row.model} {row.tag})'
        if (row.model, row.tag) in tags:
            raise WeightsError(f'{where}: tag: row {tags[row.model, row.tag]} of this model has it too')
        tags[row.model, row.tag] = number
        for file in row.files:
            if file.name in names:
                raise WeightsError(f'{where}: files: {file.name} is a file of row {names[file.name]} too')
            names[file.name] = number


def _row(given: Any, where: str, source: str) -> Row:
    values = _fields(given, where, _ROW, _required(Row))
    values['model'] = values['model'].lower()
    values['files'] = tuple(_file(file, f'{where}: files', source) for file in values['files'])
    if len({file.name for file in values['files']}) < len(values['files']):
        raise WeightsError(f'{where}: files: two have one name')
    values['input'] = _input(values.get('input', {}), f'{where}: input')
    values['measured'] = _fields(values.get('measured', {}), f'{where}: measured', _MEASURED)
    row = Row(**values)
    if row.kind == 'base' and row.classes:
        raise WeightsError(f'{where}: classes: an ImageNet network has no classes of actions')
    return row


def _file(given: Any, where: str, source: str) -> WeightsFile:
    digest = given.get('digest') if isinstance(given, dict) else None
    if isinstance(digest, str) and not _digest(digest) and _digest(digest.lower()):
        raise WeightsError(f'{where}: digest: small letters are wanted, got capitals: {digest!r}')
    values = _fields(given, where, _FILE, _required(WeightsFile))
    own = source != str(BUNDLED)
    values['urls'] = tuple(_address(url, f'{where}: urls', source if own else '') for url in values['urls'])
    return WeightsFile(**values)


def _address(url: str, where: str, source: str) -> str:
    try:
        scheme = urlsplit(url).scheme
        url.encode()  # an address is asked for as UTF-8
    except ValueError as error:
        raise WeightsError(f'{where}: an address is https://..., hf://... or mxnet://..., got {ascii(url)} ({error})'
                           ) from error
    if scheme in ('http', 'https', 'file'):
        return url
    if scheme == 'hf':
        if not re.fullmatch(r'hf://[^/@]+/[^/@]+@[^/@]+/[^/].*', url):
            raise WeightsError(f'{where}: hf://owner/repository@commit/path is wanted, got {url!r}')
        return url
    if scheme == 'mxnet':
        if not re.fullmatch(r'mxnet://[\w.-]+\.zip', url):
            raise WeightsError(f'{where}: mxnet://NAME.zip is wanted, got {url!r}')
        return url
    if scheme == 'package' and not source:
        return url
    if scheme or not source:
        raise WeightsError(f'{where}: an address is https://..., hf://... or mxnet://..., got {url!r}')
    return urljoin(source, url) if is_address(source) else Path(source).parent.joinpath(url).absolute().as_uri()


def _fields(given: Any, where: str, checks: dict[str, tuple[Callable, str]],
            required: Iterable[str] = ()) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise WeightsError(f'{where}: an object with fields is wanted, got {given!r}')
    for name in given:
        if name not in checks:
            close = difflib.get_close_matches(name, checks, n=1)
            raise WeightsError(f'{where}: {name}: there is no such field'
                               + (f'; did you mean {close[0]}?' if close else f', only {", ".join(checks)}'))
    for name in required:
        if name not in given:
            raise WeightsError(f'{where}: {name}: is missing')
    for name, value in given.items():
        good, wanted = checks[name]
        if not good(value):
            raise WeightsError(f'{where}: {name}: {wanted} is wanted, got {value!r}')
    return dict(given)


def _required(cls: type) -> list[str]:
    return [part.name for part in fields(cls) if part.default is MISSING and part.default_factory is MISSING]


def _input(given: dict, where: str) -> dict:
    values = _fields(given, where, INPUT)
    if ('mean' in values) != ('std' in values) or len(values.get('mean', ())) != len(values.get('std', ())):
        raise WeightsError(f'{where}: mean and std: both are wanted, with a number for each channel, got '
                           f'{values.get("mean")} and {values.get("std")}')
    return {name: tuple(map(float, value)) if name in ('mean', 'std') else value for name, value in values.items()}


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _percent(value: Any) -> bool:
    return value is None or _number(value) and 0 <= value <= 100


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _digest(value: Any) -> bool:
    match = re.fullmatch(r'([a-z0-9-]+):([0-9a-f]+)', value) if isinstance(value, str) else None
    # A number of digits between the two is that of a digest that was torn in copying.
    return value == '' or bool(match) and match[1] in ALGORITHMS and (
        8 <= len(match[2]) <= _LONGEST_PREFIX or len(match[2]) == ALGORITHMS[match[1]])


def _numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_number, value))


def _names(value: Any) -> bool:
    return isinstance(value, dict) and all(key.isdecimal() and _text(name) for key, name in value.items())


def _one_of(choices: tuple[str, ...]) -> tuple[Callable, str]:
    return lambda value: value in choices, 'one of ' + ', '.join(choice or "''" for choice in choices)


# field -> whether a value is good, and what is wanted
_ROW = {
    'model': (_text, 'a name'), 'tag': (lambda value: _text(value) and not re.search(r'\s', value), 'a word'),
    'publisher': (_text, 'a name'), 'files': (lambda value: isinstance(value, list) and bool(value), 'a list of files'),
    'format': _one_of(FORMATS), 'licence': (_text, 'the name of a licence'),
    'top1': (_percent, 'a number in 0..100'), 'top5': (_percent, 'a number in 0..100'),
    'protocol': (lambda value: isinstance(value, str), 'a text'), 'average': _one_of(AVERAGES),
    'segments': (lambda value: value is None or _count(value), 'a whole number from 1'),
    'head': (lambda value: isinstance(value, bool), 'true or false'),
    'input': (lambda value: isinstance(value, dict), 'an object'),
    'classes': (_names, 'an object of names by index'), 'channels': _one_of(('rgb', 'bgr')),
    'options': (lambda value: isinstance(value, dict), 'an object'),
    'measured': (lambda value: isinstance(value, dict), 'an object'),
    'note': (lambda value: isinstance(value, str), 'a text'), 'kind': _one_of(KINDS)}
_FILE = {
    'name': (lambda value: isinstance(value, str) and bool(re.fullmatch(r'[\w+-][\w.+-]*', value))
             and value != 'verified.json', 'the name of a file, without a folder'),
    'urls': (lambda value: isinstance(value, list) and bool(value) and all(map(_text, value)), 'a list of addresses'),
    'digest': (_digest, 'algorithm:digits, all digits (' + ', '.join(f'{name} {digits}' for name, digits
                                                                      in ALGORITHMS.items())
               + f') or the first 8 to {_LONGEST_PREFIX}, 0-9 and a-f,'),
    'bytes': (lambda value: value is None or _count(value), 'a whole number from 1')}
#: The preparation that weights want, which is told by rows and beside files of weights.
INPUT = {
    'mean': (_numbers, 'a list of numbers'),
    'std': (lambda value: _numbers(value) and all(number > 0 for number in value), 'a list of numbers above 0'),
    **{name: (_count, 'a whole number from 1') for name in ('clip_length', 'clip_stride')},
    'clip_sampling': _one_of(SAMPLINGS), 'input_size': (_count, 'a whole number from 1')}
_MEASURED = {
    'clip_length': INPUT['clip_length'], 'input_size': INPUT['input_size'],
    'resize': (lambda value: isinstance(value, list) and len(value) == 2 and all(map(_count, value)),
               'height and width')}
