"""Charts as numbers: where lines, ticks and marks lie, for templates that draw them."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]

#: Size of a chart in its own pixels; the page scales it.
WIDTH, HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 34
# More points than this make a line no smoother, more marks than that hide it.
_MOST_POINTS, _MOST_MARKS = 600, 30
_MOST = 1e100  # numbers beyond are no result of a run, and overflow where distances are taken
# Values so many times those of most others would make a flat line of these.
_FAR = 10


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes
    ----------
    name : str
    color : str
        A class of the page's styles: ``'c0'`` to ``'c7'``.
    points : sequence of (float, float)
        In order of x; what is not finite is left out.
    dashed : bool
    best : (float, float), optional
        A point that gets a star.
    """

    name: str
    color: str
    points: Sequence[Point]
    dashed: bool = False
    best: Point | None = None


def number(value: Any) -> float | None:
    """Return a number of a size that can be drawn as one; None for all else that a file may hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if abs(value) < _MOST else None


def points(records: Iterable[Mapping[str, Any]], x: str, y: str, scale: float = 1.) -> list[Point]:
    """Return what of records can be drawn as (x, y)."""
    pairs = ((number(record.get(x)), number(record.get(y))) for record in records)
    return [(place, scale * value) for place, value in pairs if place is not None and value is not None]


def line_chart(title: str, curves: Sequence[Curve], *, x_label: str, limits: Point | None = None,
               robust: bool = False, steps: bool = False) -> dict[str, Any] | None:
    """Lay out lines.

    Parameters
    ----------
    title, x_label : str
    curves : sequence of Curve
        Those without a point are left out.
    limits : (float, float), optional
        Of the values; by default from 0, or the least of them, to the largest.
    robust : bool
        Take a logarithmic axis where a few values would flatten all the others, and say so.
    steps : bool
        Draw steps: each value holds until the next.

    Returns
    -------
    dict or None
        For ``charts.html``; None where there is nothing to draw.
    """
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    across, low, high = _linear(min(xs), max(xs), _LEFT, WIDTH - _RIGHT), *(limits or (min(0., *ys), max(ys)))
    note, bottom, top = '', HEIGHT - _BOTTOM, _TOP
    if robust and _is_far(ys):
        low = min(y for y in ys if y > 0) if min(ys) > 0 else min((y for y in ys if y > 0), default=1.) / 10
        up, ticks = _logarithmic(low, max(ys), bottom, top)
        note = f'logarithmic axis, up to {max(ys):.3g}'
    else:
        high = high if high > low else low + 1
        up, ticks = _linear(low, high, bottom, top), nice_ticks(low, high)
    return {
        'title': title, 'note': note, 'width': WIDTH, 'height': HEIGHT, 'x_label': x_label,
        'left': _LEFT, 'right': WIDTH - _RIGHT, 'top': top, 'bottom': bottom,
        'x_ticks': [(round(across(x), 1), f'{x:g}') for x in nice_ticks(min(xs), max(xs), whole=True)],
        'y_ticks': [(round(up(y), 1), f'{y:g}') for y in ticks],
        'lines': [_line(curve, across, up, steps) for curve in curves]}


def nice_ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Return at most so many round numbers from `low` to `high`, equally far apart.

    Parameters
    ----------
    low, high : float
    most : int
    whole : bool
        Whole numbers only.
    """
    if not high > low:
        return [low]
    step = 10. ** math.floor(math.log10((high - low) / most))
    step = next(step * times for times in (1, 2, 5, 10, 20) if (high - low) / (step * times) < most)
    step = max(1., step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) + 0. for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _line(curve: Curve, across: Callable[[float], float], up: Callable[[float], float], steps: bool) -> dict[str, Any]:
    thinned = curve.points[::math.ceil(len(curve.points) / _MOST_POINTS)]
    if thinned[-1] != curve.points[-1]:
        thinned = [*thinned, curve.points[-1]]
    places = [(round(across(x), 1), round(up(y), 1)) for x, y in thinned]
    path = f'M{places[0][0]} {places[0][1]}'
    for x, y in places[1:]:
        path += f'H{x}V{y}' if steps else f'L{x} {y}'
    marks = [] if len(thinned) > _MOST_MARKS or steps else [
        (*place, f'{curve.name}: {y:.4g} at {x:g}') for place, (x, y) in zip(places, thinned)]
    star = curve.best and (round(across(curve.best[0]), 1), round(up(curve.best[1]), 1),
                           f'best: {curve.best[1]:.4g} at {curve.best[0]:g}')
    return {'name': curve.name, 'color': curve.color, 'dashed': curve.dashed, 'path': path, 'marks': marks,
            'star': star, 'alone': places[0] if len(places) == 1 else None}


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.
    return lambda value: start + (end - start) * ((value - low) / span if high > low else 0.5)


def _logarithmic(low: float, high: float, start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    low, high = low / 1.5, high * 1.5
    place = _linear(math.log10(low), math.log10(high), start, end)
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    every = max(1, len(powers) // 5)
    ticks = [10. ** power for power in powers][::every] or [low, high]
    return (lambda value: place(math.log10(max(value, low)))), ticks


def _is_far(values: Sequence[float]) -> bool:
    ordered = sorted(values)
    return ordered[-1] > _FAR * max(ordered[int(0.8 * (len(ordered) - 1))], 0) and ordered[-1] > 0
