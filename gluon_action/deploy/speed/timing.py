"""How fast models are: latency and throughput over batch sizes, warm, on random input."""
from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import engine
from ...errors import UsageError
from ...input_kind import kind_of_shape
from ..bundle.format import MANIFEST, read_bundle
from ..onnx.header import read_header
from ..onnx.model import OnnxModel
from .cost import Cost, network_cost, onnx_cost


@dataclass(frozen=True)
class Subject:
    """A model that is ready to be timed.

    Attributes
    ----------
    name : str
    runtime : {'mxnet', 'onnx'}
    precision : str
        ``'float32'`` or ``'int8'``.
    row : tuple of int
        Shape of one row of its input.
    rows : int
        Rows that it makes one score of.
    cost : Cost
        Of one score.
    size : int
        Bytes of its file, or of its parameters.
    run : callable
        Input float32 to scores, which are there when it returns.
    """

    name: str
    runtime: str
    precision: str
    row: tuple[int, ...]
    rows: int
    cost: Cost
    size: int
    run: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Timing:
    """What one batch size takes.

    Attributes
    ----------
    batch : int
        Scores that are computed together.
    runs : int
        That were timed.
    median, p90 : float
        Seconds of a run; nine of ten take no longer than `p90`.
    """

    batch: int
    runs: int
    median: float
    p90: float

    @property
    def throughput(self) -> float:
        """Scores a second."""
        return self.batch / self.median


def open_subject(source: str, *, runtime: str | None = None, threads: int | None = None,
                 clip_length: int | None = None, input_size: int | None = None) -> Subject:
    """Open a model to time it.

    Parameters
    ----------
    source : str
        A bundle, an ONNX file, a training run, or the name of a model of the zoo, which gets random weights.
    runtime : {'mxnet', 'onnx'}, optional
        Who computes; by default ONNX Runtime for bundles and ONNX files, MXNet for the others.
    threads : int, optional
        Of ONNX Runtime; MXNet reads ``OMP_NUM_THREADS`` when it is loaded.
    clip_length, input_size : int, optional
        Frames of a clip and side of the crop, of models that leave them open; bundles do not.

    Raises
    ------
    UsageError
        When it is none of these, cannot run on `runtime`, or leaves its size open.
    """
    path = Path(source).expanduser()
    if not is_exported(source):
        return _of_network(source, runtime or 'mxnet', threads, clip_length, input_size)
    if runtime == 'mxnet':
        raise UsageError(f'{source}: an exported model runs in ONNX Runtime; leave out --runtime, or name the network '
                         'or its run instead')
    if path.suffix == '.onnx' and 'preprocess' not in read_header(path).metadata:
        return _of_file(path, threads, clip_length, input_size)
    bundle = read_bundle(path)
    rows = bundle.preprocess.rows
    return Subject(path.name if path.is_dir() else path.stem, 'onnx', bundle.manifest.get('precision', 'float32'),
                   bundle.preprocess.shape(1)[1:], rows, onnx_cost(bundle.model, bundle.preprocess.shape(rows)),
                   bundle.model.stat().st_size, OnnxModel(bundle.model, threads=threads).run)


def is_exported(source: str) -> bool:
    """Whether a source is a bundle or an ONNX file rather than a network."""
    path = Path(source).expanduser()
    return path.suffix == '.onnx' or (path / MANIFEST).exists()


def time_batches(subject: Subject, batches: Sequence[int], *, warmup: int = 3, runs: int = 20, seconds: float = 10.,
                 memory: int | None = None) -> Iterator[Timing | str]:
    """Time a model with each batch size.

    Parameters
    ----------
    subject : Subject
    batches : sequence of int
        Scores computed together.
    warmup : int
        Runs before the clock starts: the first ones make primitives and allocate.
    runs : int
        To time, 1 or more.
    seconds : float
        No further run starts after as many, for each batch size.
    memory : int, optional
        Bytes that a batch may take, judged by what the one before took.

    Yields
    ------
    Timing or str
        For a batch that would take more memory the reason why it was left out.
    """
    rng = np.random.default_rng(0)
    before, each = _peak(), 0.
    for batch in batches:
        rows = batch * subject.rows
        need = max(each * batch, 4. * rows * np.prod(subject.row))
        if memory is not None and need > memory:
            yield f'batch {batch} would take about {need / 2 ** 30:.1f} GiB, --memory allows {memory / 2 ** 30:.1f}'
            continue
        data = rng.uniform(-1, 1, (rows, *subject.row)).astype(np.float32)
        yield Timing(batch, *_timed(lambda data=data: subject.run(data), warmup, runs, seconds))
        each = max(each, (_peak() - before) / batch)


def _timed(run: Callable[[], object], warmup: int, runs: int, seconds: float) -> tuple[int, float, float]:
    for _ in range(warmup):
        run()
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < runs and (not taken or time.perf_counter() < end):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return len(taken), float(np.median(taken)), float(np.quantile(taken, 0.9))


def available_memory() -> int | None:
    """Bytes that the machine has to spare; None where it does not say."""
    try:
        with open('/proc/meminfo') as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith('MemAvailable:'))
    except (OSError, StopIteration):
        return None


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _of_network(source: str, runtime: str, threads: int | None, clip_length: int | None,
                input_size: int | None) -> Subject:
    engine.set_threads()
    from ...compute.on_mxnet.tracing import run
    from ...model_zoo import model_card
    from ..bundle.what_is_exported import open_source
    of_zoo = not Path(source).expanduser().exists()
    if of_zoo and not model_card(source).input.takes('clip_length'):
        clip_length = None
    opened = open_source(source, clip_length=clip_length, input_size=input_size, no_weights=of_zoo)
    net, rows = opened.net, opened.preprocess.rows
    shape = opened.preprocess.shape(rows)
    cost = network_cost(net, shape)
    if runtime == 'onnx':
        from ..onnx.export import export_onnx
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'model.onnx')
            export_onnx(net, Path(path), input_shape=shape)
            size, model = os.path.getsize(path), OnnxModel(path, threads=threads)
        return Subject(opened.name, runtime, 'float32', shape[1:], rows, cost, size, model.run)
    net.hybridize(static_alloc=True, static_shape=True)
    size = sum(4 * int(np.prod(parameter.shape)) for parameter in net.collect_params().values())
    return Subject(opened.name, runtime, 'float32', shape[1:], rows, cost, size,
                   lambda data: run(net, data))


def _of_file(path: Path, threads: int | None, clip_length: int | None, input_size: int | None) -> Subject:
    """Open an ONNX file that says nothing of how videos are prepared."""
    model = OnnxModel(path, threads=threads)
    axes = list(model.input_shape)
    kind = kind_of_shape(axes)
    told = {'T': clip_length, 'H': input_size, 'W': input_size}
    for place, axis in enumerate(kind.layout if kind else ''):
        if axis in told and not isinstance(axes[place], int):
            axes[place] = told[axis]
    row = tuple(axes[1:])
    if not all(isinstance(length, int) for length in row):
        raise UsageError(f'{path}: its input is {" x ".join(map(str, model.input_shape))}; say how long the free axes '
                         'are with --clip-length and --input-size')
    rows = axes[0] if isinstance(axes[0], int) else 1
    return Subject(path.stem, 'onnx', 'float32', row, rows, onnx_cost(path, (rows, *row)), path.stat().st_size,
                   model.run)
