"""Tables of the models of the zoo: their cards, the weights that are published for them, and what they cost."""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ...weights import Index, Row, bundled_index, read_index
from ..registry import ModelCard, list_models, model_card
from .costs import ModelCost, ZooCosts, read_costs
from .trainings import FAST_STRIDE, clip_flags, pathways, training_lines

#: Name of a data set as ``--dataset`` takes it -> its heading in ``model_zoo.md``.
HEADINGS = {'kinetics400': 'Kinetics-400', 'kinetics600': 'Kinetics-600', 'kinetics700': 'Kinetics-700',
             'somethingsomethingv2': 'Something-Something V2', 'ucf101': 'UCF101', 'hmdb51': 'HMDB51',
             'demo_motion': 'Generated videos', 'youtube8m': 'YouTube-8M', 'custom': 'Your own classes'}
#: Points that make a picture worth drawing.
LEAST_POINTS = 4
_USUAL_SIZE = (256, 340)  # height and width that test_recognizer.py resizes frames to, as GluonCV does

_HEAD = """# Model zoo

Made by `gluon-action list-models --markdown > model_zoo.md` out of the models' cards, the index of published weights and
the costs that were counted and measured; a test fails when it is stale.

`get_model(name, pretrained=True)`, `--use-pretrained` and `gluon-action predict NAME VIDEO --use-pretrained` take the
first row of a model here that can be had and verifies; `pretrained='TAG'` and `--hashtag TAG` take a certain one.

| column | what it says |
|---|---|
| clip | frames x their distance, for which the weights were trained; of SlowFast those of the slow and of the fast pathway |
| segments | parts of a video that training took a frame from (TSN) |
| views | clips or frames x crops of a test video whose average the published score is |
| M | millions of parameters |
| GMACs | billions of multiply-accumulates of one view, counted; a FLOP count is about twice as many |
| ms | milliseconds of processor time that one view by itself takes on one thread, measured: {measured} |
| top-1 / top-5 | percent, as the publisher of the weights gives it{here} |
| weights | tag, publisher, and where the file is. **Old bucket only**: nobody but GluonCV's retired bucket has it, which was reported as failing in 2024 |
| licence | of the weights; those with NC are not for commercial use |
| flags | what goes where the command above the table says FLAGS, to test weights as their score was measured |
| trained by | whose training it is: GluonCV's published command, that of the paper, ours; or of a relative, where nobody published one. Batches are of each of 8 GPUs: on fewer, scale the rate with them, or pass `--accumulate`. `KINETICS.params` are the parameters of `i3d_resnet50_v1_kinetics400` |

To learn classes of your own from the weights of a row, see [networks of clips](docs/clip_networks.md) and the README.
The pictures have one point a model, of its best weights that can be had; hollow ones are in the old bucket only.
"""  # noqa: E501  (rows of a table)


@dataclass(frozen=True)
class View:
    """An input of one row that a model is given, and the network that it is given to.

    Attributes
    ----------
    shape : tuple of int
        (C, H, W), (C, T, H, W) or (T, D).
    options : dict
        Options of ``get_model`` that some weights need.
    used : bool
        Whether anything is computed for it by default; otherwise published scores are of such views.
    """

    shape: tuple[int, ...]
    options: dict = field(default_factory=dict)
    used: bool = True


@dataclass(frozen=True)
class Point:
    """A model in the picture of a data set.

    Attributes
    ----------
    name, family : str
        The model without its data set; its family.
    gmacs : float
        Billions of multiply-accumulates of all views of a video together.
    top1 : float
        Percent.
    living : bool
        Whether anybody but GluonCV's old bucket has the weights.
    """

    name: str
    family: str
    gmacs: float
    top1: float
    living: bool


def markdown(index: Index | None = None, costs: ZooCosts | None = None) -> str:
    """Return ``model_zoo.md``: a table a data set, a row for each set of published weights, or model without any.

    Parameters
    ----------
    index : Index, optional
        By default the one that the package brings, without what the user adds.
    costs : ZooCosts, optional
        By default the package's.
    """
    index, costs = index or bundled_index(), costs or read_costs()
    cards = [model_card(name) for name in list_models()]
    parts = [_HEAD.format(measured=_measured(costs),
                          here='; ours on the generated videos, which `test_recognizer.py` measured')]
    for dataset in dict.fromkeys([*HEADINGS, *(card.dataset for card in cards)]):
        members = [card for card in cards if card.dataset == dataset]
        parts += [f'## {HEADINGS.get(dataset, dataset)}', '']
        if len(points(dataset, index, costs)) >= LEAST_POINTS:
            parts += [f'![Accuracy against cost on {HEADINGS[dataset]}]({picture(dataset)})', '']
        parts += _of_custom(members, costs) if dataset == 'custom' else _of_features(members, costs) \
            if dataset == 'youtube8m' else _of_dataset(dataset, members, index, costs)
        parts += training_lines(dataset, members)
    parts += [*_bases(cards, index), *_families(cards)]
    return '\n'.join(parts)


def table(cards: Iterable[ModelCard], index: Index | None = None) -> str:
    """Return lines for a terminal: one a model, with its best published weights."""
    index = index or read_index()
    rows = [('name', 'data set', 'classes', 'input', 'top-1', 'views', 'weights')]
    for card in cards:
        best = next(iter(index.rows_of(card.name)), None)
        found = (_top(best), best.protocol or '-', best.tag) if best else ('-', '-', '-')
        rows.append((card.name, card.dataset, str(card.num_classes), 'x'.join(map(str, card.input_shape()[1:])),
                     *found))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def views_of(name: str, index: Index | None = None) -> list[View]:
    """Return what is to be counted of a model: views as its card and its weights want them, and as they were scored."""
    card = model_card(name)
    rows = (index or bundled_index()).rows_of(name)
    used = [View(card.input_shape()[1:]), *(_view(card, row) for row in rows)]
    scored = [replace(view, used=False) for view in (_view(card, row, scored=True) for row in rows if row.measured)]
    kept: dict[tuple, View] = {}
    for view in [*used, *scored]:
        kept.setdefault((view.shape, *sorted(view.options.items())), view)
    return list(kept.values())


def points(dataset: str, index: Index | None = None, costs: ZooCosts | None = None) -> list[Point]:
    """Return one point for each model of a data set whose score and cost are known.

    It is of the best weights that can be had, or of the best of those in the old bucket.
    """
    index, costs = index or bundled_index(), costs or read_costs()
    found = []
    for card in (model_card(name) for name in list_models()):
        rows = [row for row in index.rows_of(card.name) if row.top1 and re.fullmatch(r'\d+x\d+', row.protocol or '')]
        best = max(rows, key=lambda row: (living(row), row.top1), default=None)
        view = best and _view(card, best, scored=True)
        cost = view and costs.of(card.name, view.shape, view.options)
        if card.dataset == dataset and cost:
            clips, crops = map(int, best.protocol.split('x'))
            found.append(Point(_short(card), card.family, clips * crops * cost.macs / 1e9, best.top1, living(best)))
    return found


def picture(dataset: str) -> str:
    """Return the path of the picture of a data set, from the root of the project."""
    return f'docs/pictures/zoo_{dataset}.svg'


def living(row: Row) -> bool:
    """Whether anybody but GluonCV's old bucket has all files of a row."""
    return all(any(not url.startswith('mxnet://') for url in file.urls) for file in row.files)


def flags(card: ModelCard, row: Row) -> str | None:
    """Return the flags that test weights as their score was measured; None where no flags say that.

    Parameters
    ----------
    card : ModelCard
        Of the zoo.
    row : Row
        Of its weights.
    """
    views = re.fullmatch(r'(\d+)x(\d+)', row.protocol or '')
    if not views:
        return None
    clips, crops = map(int, views.groups())
    height, width = row.measured.get('resize', (0, 0))
    said = [f'--num-segments {clips}', {1: '', 3: '--three-crop', 10: '--ten-crop'}[crops],
            clip_flags(_prepared(card, row, scored=True)),
            f'--new-height {height} --new-width {width}' if (height, width) != _USUAL_SIZE else '']
    if card.input.takes('clip_length') and clips > 1:
        said.append('--clip-sampling dense')
    return ' '.join(filter(None, said))


def _prepared(card: ModelCard, row: Row, scored: bool = False) -> ModelCard:
    """Return the card as weights want their input, or as their score was measured."""
    return card.prepared({**row.input, **(row.measured if scored else {})})


def _view(card: ModelCard, row: Row, scored: bool = False) -> View:
    return View(_prepared(card, row, scored).input_shape()[1:], row.options)


def _of_dataset(dataset: str, cards: Sequence[ModelCard], index: Index, costs: ZooCosts) -> list[str]:
    known = dataset not in ('kinetics600',)  # it has no preset: its lists are the user's
    where = dataset if known else 'custom --data-dir videos --val-list val.txt'
    rows, notes = [], _Notes()
    for card in cards:
        published = index.rows_of(card.name)
        rows += [_weights_row(card, row, costs, notes) for row in published] or [_plain_row(card, costs)]
    columns = ('model', 'clip', 'segments', 'views', 'M', 'GMACs', 'ms', 'top-1 / top-5', 'weights', 'licence', 'flags')
    return ['```sh', f'python scripts/test_recognizer.py --dataset {where} --model MODEL --use-pretrained '
            '--hashtag TAG FLAGS', '```', '', *_table(columns, rows), '', *notes.lines()]


def _of_custom(cards: Sequence[ModelCard], costs: ZooCosts) -> list[str]:
    rows = []
    for card in cards:
        cost = costs.of(card.name, card.input_shape()[1:])
        start = f'`{card.starts_from}`' if card.starts_from else f'`{card.base}` of ImageNet' if card.base else '-'
        rows.append((f'`{card.name}`', _clip(card), *_costs(cost), start, _code(clip_flags(card))))
    return ['These begin with the body of another network, or at random where there is none (`--no-pretrained-base`).',
            '', *_table(('model', 'clip', 'M', 'GMACs', 'ms', 'starts from', 'flags'), rows), '']


def _of_features(cards: Sequence[ModelCard], costs: ZooCosts) -> list[str]:
    rows = [(f'`{card.name}`', 'x'.join(map(str, card.input_shape()[1:])), *_costs(costs.of(
        card.name, card.input_shape()[1:])), card.source) for card in cards]
    return ['Features of frames, or of whole videos, go in, and probabilities of classes come out. The names are those '
            "of the original's classes; the options of `get_model` are its flags, and the numbers here are of their "
            'defaults.', '', *_table(('model', 'frames x numbers', 'M', 'GMACs', 'ms', 'source'), rows), '']


def _weights_row(card: ModelCard, row: Row, costs: ZooCosts, notes: _Notes) -> tuple[str, ...]:
    cost = costs.of(card.name, _view(card, row).shape, row.options)
    return (f'`{card.name}`', _clip(_prepared(card, row)), str(row.segments or '-'), row.protocol or '-',
            *_costs(cost), _top(row), _home(row) + notes.mark(row.note), row.licence, _code(flags(card, row)))


class _Notes:
    """What stands below a table, by number."""

    def __init__(self):
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        """Return the mark of a note, a new one where it is not among them yet; nothing for an empty text."""
        if text and text not in self._texts:
            self._texts.append(text)
        return f' <sup>{self._texts.index(text) + 1}</sup>' if text else ''

    def lines(self) -> list[str]:
        """Return the lines below the table."""
        return [*(f'<sup>{number}</sup> {text}.  ' for number, text in enumerate(self._texts, 1)),
                *[''] * bool(self._texts)]


def _plain_row(card: ModelCard, costs: ZooCosts) -> tuple[str, ...]:
    cost = costs.of(card.name, card.input_shape()[1:])
    start = f'none; starts from `{card.base}` of ImageNet' if card.base else 'none'
    return f'`{card.name}`', _clip(card), '-', '-', *_costs(cost), '-', start, '-', '-'


def _bases(cards: Sequence[ModelCard], index: Index) -> list[str]:
    notes = _Notes()
    rows = [(f'`{row.model}`', _top(row), _home(row) + notes.mark(row.note), row.licence)
            for row in index.rows if row.kind == 'base']
    used = sorted({card.base for card in cards if card.base})
    return ['## ImageNet', '', 'What bodies begin with: `pretrained_base=True`, or a tag. Scores are on the pictures '
            f'of ImageNet. Models of the zoo start from {", ".join(f"`{name}`" for name in used)}.', '',
            *_table(('network', 'top-1 / top-5', 'weights', 'licence'), rows), '', *notes.lines()]


def _families(cards: Sequence[ModelCard]) -> list[str]:
    rows = []
    for family in dict.fromkeys(card.family for card in cards):
        members = [card for card in cards if card.family == family]
        options = sorted(set().union(*(card.supports for card in members)))
        sources = dict.fromkeys(source for card in members for source in card.source.split(', '))
        rows.append((family, ', '.join(sources), ', '.join(f'`{option}`' for option in options)))
    return ['## Families', '', *_table(('family', 'source', 'options of `get_model`'), rows), '']


def _clip(card: ModelCard) -> str:
    if not card.input.takes('clip_length'):
        return '1'
    slow = pathways(card)
    if slow:
        return f'{slow[0]}x{slow[1]} + {card.clip_length - slow[0]}x{FAST_STRIDE}'
    return f'{card.clip_length}x{card.clip_stride}'


def _short(card: ModelCard) -> str:
    return re.sub(r'_(kinetics\d+|ucf101|hmdb51|sthsthv2|ssv2|demo_motion|custom)$', '', card.name)


def _top(row: Row) -> str:
    return ' / '.join(f'{score:g}' for score in (row.top1, row.top5) if score is not None) or '-'


def _costs(cost: ModelCost | None) -> tuple[str, str, str]:
    if cost is None:
        return '-', '-', '-'
    latency = '-' if cost.latency_ms is None else _digits(cost.latency_ms)
    return f'{cost.parameters / 1e6:.2f}', _digits(cost.macs / 1e9), latency


def _digits(number: float) -> str:
    """Three digits, or all before the point."""
    return f'{number:.0f}' if number >= 100 else f'{number:.3g}'


def _home(row: Row) -> str:
    """Tag, publisher, and hosts with a link to the first."""
    urls = [url for file in row.files for url in file.urls[:1]]
    if not living(row):
        return f'`{row.tag}`, {row.publisher}: **old bucket only**'
    if urls[0].startswith('package://'):
        return f'`{row.tag}`, ours: in the package'
    hosts = dict.fromkeys(_host(url) for file in row.files for url in file.urls if not url.startswith('mxnet://'))
    unverified = '' if all(file.digest for file in row.files) else ', no hash published: `--trust-first-use`'
    return f'`{row.tag}`, {row.publisher}: {", ".join(hosts)}{unverified}'


def _host(url: str) -> str:
    return f'huggingface.co/{"/".join(url[5:].split("@")[0].split("/")[:2])}' if url.startswith('hf://') else \
        urlsplit(url).netloc


def _measured(costs: ZooCosts) -> str:
    about = costs.measured
    if not about:
        return 'not yet'
    note = f'; {about["note"]}' if about.get('note') else ''
    return f'{about["runtime"]} on {about["processor"]}, median, {about["date"]}{note}'


def _code(text: str | None) -> str:
    return f'`{text}`' if text else '-'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f'| {" | ".join(cells)} |' for cells in (columns, ['---'] * len(columns), *rows)]
