"""A picture of the models of a data set: accuracy over cost."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ...errors import OutputError
from ...model_zoo import list_models, model_card
from ...model_zoo.catalogue.tables import Point

# Okabe and Ito's colours, which people of every colour vision tell apart, and four more; each has its own marker.
_COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#8C6D1F', '#7F7F7F', '#5D3A9B',
           '#882255', '#117733')
_MARKERS = 'osD^vPX*<>hp'


def plot(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw top-1 over the multiply-accumulates of all views of a video, every point with its name beside it.

    Hollow points are those that only GluonCV's old bucket has weights of. The file says which points it was made of
    (`digest`).

    Parameters
    ----------
    points : sequence of Point
        One or more.
    path : Path
        An SVG file.
    title : str

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter
    height = min(8., 3.6 + 0.12 * len(points))
    with matplotlib.rc_context({'svg.hashsalt': 'zoo', 'svg.fonttype': 'path', 'font.size': 9}):
        figure = Figure(figsize=(11, height), layout='constrained')
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        looks = _looks(points)
        for point in points:
            look = looks[point.family]
            axes.plot(point.gmacs, point.top1, ls='', ms=7, mew=1.4, **look,
                      markerfacecolor=look['color'] if point.living else 'white')
        axes.set(xscale='log', xlabel='billions of multiply-accumulates of all views of a video',
                 ylabel='top-1, percent', title=title)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter('{x:,.0f}')
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.08)
        axes.grid(alpha=0.25, which='both')
        keys = [Line2D([], [], ls='', label=family, **look) for family, look in looks.items()]
        if not all(point.living for point in points):
            keys.append(Line2D([], [], color='black', marker='o', markerfacecolor='white', ls='',
                               label="hollow: GluonCV's old bucket only"))
        figure.legend(handles=keys, loc='outside lower center', ncols=min(6, len(keys)), frameon=False)
        _name(axes, points)
        try:
            figure.savefig(path, format='svg', metadata={'Date': None, 'Description': digest(points)})
        except OSError as error:
            raise OutputError(f'{path}: cannot be written: {error.strerror or error}') from error


def _looks(points: Sequence[Point]) -> dict[str, dict[str, str]]:
    """Return colour and marker of the families of some points, the same in every picture."""
    mine = {point.family for point in points}
    known = sorted(mine.union(card.family for card in map(model_card, list_models()) if card.input.is_video))
    return {family: {'color': _COLORS[number % len(_COLORS)], 'marker': _MARKERS[number % len(_MARKERS)]}
            for number, family in enumerate(known) if family in mine}


def digest(points: Sequence[Point]) -> str:
    """Return what tells a picture of these points from one of others."""
    said = '\n'.join(f'{point.name} {point.family} {point.gmacs:.4g} {point.top1:g} {point.living}'
                     for point in sorted(points, key=lambda point: point.name))
    return f'points {hashlib.sha256(said.encode()).hexdigest()[:16]}'


def _name(axes, points: Sequence[Point]) -> None:
    """Write the name of every point where it covers no point and no other name, with a line to it where that is far."""
    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine('none')  # axes stay where they are now
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, 'get_renderer') else figure._get_renderer()
    places = [axes.transData.transform((point.gmacs, point.top1)) for point in points]
    pixel = figure.dpi / 72
    taken = [(x - 5 * pixel, y - 5 * pixel, x + 5 * pixel, y + 5 * pixel) for x, y in places]
    inside = axes.get_window_extent()
    for point, (x, y) in sorted(zip(points, places), key=lambda pair: -pair[0].top1):
        text = axes.text(0, 0, point.name, fontsize=7.5, va='center')
        box = text.get_window_extent(renderer)
        width, high = box.width + 2 * pixel, box.height
        best = None
        for far in (8, 14, 22, 32, 44, 58, 74, 92):
            for side, rise in _AROUND:
                left = x + side * far * pixel - (width if side < 0 else 0 if side > 0 else width / 2)
                low = y + rise * far * pixel - high / 2
                mine = (left, low, left + width, low + high)
                if mine[0] < inside.x0 or mine[2] > inside.x1 or mine[1] < inside.y0 or mine[3] > inside.y1:
                    continue
                if not any(_overlap(mine, other) for other in taken):
                    best = mine, far
                    break
            if best:
                break
        mine, far = best or ((x + 8 * pixel, y - high / 2, x + 8 * pixel + width, y + high / 2), 8)
        taken.append(mine)
        text.set_position(axes.transData.inverted().transform((mine[0] + pixel, (mine[1] + mine[3]) / 2)))
        if far > 8:
            end = (min(max(x, mine[0]), mine[2]), min(max(y, mine[1]), mine[3]))
            line = axes.transData.inverted().transform([(x, y), end])
            axes.plot(line[:, 0], line[:, 1], color='0.6', lw=0.6, zorder=0)


#: Directions in which a name may lie from its point: to the right first, then left, above, below, and between.
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0.5, 1), (0.5, -1), (-0.5, 1),
           (-0.5, -1))


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
