"""Parameters, multiply-accumulates and processor time of every network of the zoo, for one view.

A view is one frame, one clip or the features of one video as the model's card says it, as weights of the index want it
that were trained on others, and, counted only, as their published scores were measured. Writes
``gluon_action/model_zoo/catalogue/costs.json``, which ``model_zoo.md`` is made of. What is there already is kept;
``--again`` measures it anew.

Counting takes the networks' shapes only. For the time they have random weights and are computed by MXNet on one thread,
each in a process of its own, which gives back its memory; of those that differ in the head alone, one is timed. What
counts is the processor time of a view, the median of several: other programs do not lengthen it by what they take
themselves. ``--no-time`` counts only.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

LONG = 60  # seconds of a network that is run only once

if TYPE_CHECKING:
    from gluon_action.model_zoo.catalogue.costs import ModelCost
    from gluon_action.model_zoo.catalogue.tables import View


def main() -> None:
    args = parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'  # MXNet reads it when it is loaded; a second thread would count twice
    from gluon_action.model_zoo import list_models
    from gluon_action.model_zoo.catalogue.costs import COSTS, ZooCosts, read_costs, write_costs
    from gluon_action.model_zoo.catalogue.tables import views_of
    path = Path(args.out or COSTS)
    old = read_costs(path) if path.exists() else ZooCosts({}, ())
    every = [(name, view) for name in list_models() for view in views_of(name)]
    known = {key(name, view): old.of(name, view.shape, view.options) for name, view in every}
    asked = {name for pattern in args.models for name in list_models(pattern)}
    views = [(name, view) for name, view in every if name in asked]
    measured = old.measured

    def save() -> None:
        write_costs(ZooCosts(measured, tuple(cost for cost in known.values() if cost)), path)

    for name, view in views:
        if known[key(name, view)] is None or args.again:
            known[key(name, view)] = count(name, view)
            print(known[key(name, view)], flush=True)
            save()
    if args.time:
        measured = machine(args)
        for group in groups(views):
            if args.again or any(known[key(*one)].latency_ms is None for one in group):
                timed = in_a_process(measure, *group[0], args.runs, args.seconds)
                for one in group:
                    known[key(*one)] = replace(known[key(*one)], timed=group[0][0], **timed)
                print(known[key(*group[0])], flush=True)
                save()
    save()
    print(f'written: {path}')


def key(name: str, view: View) -> tuple:
    return name, view.shape, *sorted(view.options.items())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('models', nargs='*', default=['*'], help="names or patterns, as in 'resnet*'; all by default")
    parser.add_argument('--time', action=argparse.BooleanOptionalAction, default=True, help='measure latencies too')
    parser.add_argument('--again', action='store_true', help='measure what is there already')
    parser.add_argument('--runs', type=int, default=5, help='runs of each; the median counts')
    parser.add_argument('--seconds', type=float, default=20.,
                        help='no further run of a network starts after as many of processor time')
    parser.add_argument('--note', default='', help='what else there is to say, for instance what else the machine did')
    parser.add_argument('--out', default=None, help='another file')
    return parser.parse_args()


def in_a_process(job: Callable, *arguments):
    """Return what `job` returns in a fresh process."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(job, arguments)


def count(name: str, view: View) -> ModelCost:
    """Count one network from its shapes: its parameters hold nothing."""
    from gluon_action.deploy.speed.cost import network_cost
    from gluon_action.model_zoo.catalogue.costs import ModelCost
    with mock.patch('gluon_action.model_zoo.registry.initialize_rest'):
        cost = network_cost(network(name, view), (1, *view.shape))
    return ModelCost(name, view.shape, view.options, cost.parameters, cost.macs)


def measure(name: str, view: View, runs: int, seconds: float) -> dict[str, float | int]:
    """Time one network on noise, hybridized, a view at a time."""
    import mxnet as mx
    import numpy as np

    from gluon_action.compute.on_mxnet.tracing import run
    net = network(name, view)
    net.hybridize(static_alloc=True, static_shape=True)
    data = np.random.default_rng(0).uniform(-1, 1, (1, *view.shape)).astype(np.float32)
    mx.nd.waitall()  # its values are drawn while nothing asks for them
    started = time.process_time()
    run(net, data)  # makes primitives and allocates
    first = time.process_time() - started
    taken, end = [], time.process_time() + seconds
    while first < LONG and len(taken) < runs and (not taken or time.process_time() < end):
        started = time.process_time()
        run(net, data)
        taken.append(time.process_time() - started)
    taken = sorted(taken) or [first]
    return {'latency_ms': float(f'{1000 * taken[len(taken) // 2]:.3g}'), 'runs': len(taken)}


def network(name: str, view: View):
    from gluon_action.model_zoo import get_model, model_card
    if not model_card(name).input.is_video:
        return get_model(name, **view.options)
    clip = {'clip_length': view.shape[1]} if len(view.shape) == 4 else {}
    return get_model(name, pretrained_base=False, input_size=view.shape[-1], **clip, **view.options)


def groups(views: Iterable[tuple[str, View]]) -> list[list[tuple[str, View]]]:
    """Views that are used, by what their networks share but for the head: the name up to the data set, and the rest."""
    from gluon_action.model_zoo import model_card
    found: dict[tuple, list[tuple[str, View]]] = {}
    for name, view in views:
        if view.used:
            body = name.rpartition('_')[0] if model_card(name).input.is_video else name
            found.setdefault(key(body, view), []).append((name, view))
    return list(found.values())


def machine(args: argparse.Namespace) -> dict[str, str | int]:
    import datetime
    import platform

    import mxnet as mx

    from gluon_action.deploy.speed.processor import processor_name
    return {'date': datetime.date.today().isoformat(), 'processor': processor_name(), 'cores': os.cpu_count() or 0,
            'threads': 1, 'runtime': f'MXNet {mx.__version__}', 'python': platform.python_version(),
            'note': args.note}


if __name__ == '__main__':
    main()
