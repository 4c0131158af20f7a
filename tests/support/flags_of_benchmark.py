"""What shows each flag of the command that times models."""
import json

import drawing
import pytest
from bundles import make_bundle, make_model
from flags_world import NAME, import_row, seen, traceback_row

from gluon_action.cli import benchmark_model
from gluon_action.cli.command import run
from gluon_action.deploy.speed import timing as model_timing

QUICK = ('--warmup', '0', '--runs', '1', '--batch-sizes', '1')
TINY = (NAME, '--input-size', '32', *QUICK)


def timed(world, *flags, code=0):
    """The numbers that the command writes."""
    path = world.new_folder() / 'numbers.json'
    argv = [str(item).format(**world.paths) for item in (*flags, '--json', path)]
    assert run(benchmark_model.parse_args, benchmark_model.main, argv) == code
    return json.loads(path.read_text()) if path.exists() else None


def bundle(world):
    if 'means' not in world.paths:
        world.paths['means'] = str(make_bundle(world.new_folder() / 'means'))
    return world.paths['means']


def row(look, *flags, base=TINY, to):
    """`look` at the first row of numbers finds `to` with the flag, and something else without it."""
    @seen(*flags)
    def check(world, output, *flags):
        before, after = (look(timed(world, *base, *extra)['rows']) for extra in ((), flags))
        assert before != after == to
    return check


def batches(rows):
    return [entry['batch'] for entry in rows]


@seen('models')
def every_model_has_its_rows(world, output, *flags):
    rows = timed(world, bundle(world), *TINY)['rows']
    assert [(entry['model'], entry['runtime']) for entry in rows] == [('means', 'onnx'), (NAME, 'mxnet')]
    assert rows[0]['parameters'] == 9 and NAME in output.readouterr().out


@seen('--clip-length', '5')
def clips_are_as_long_as_told(world, output, *flags):
    clips = ('timesformer_small_custom', '--input-size', '16', *QUICK)
    assert [timed(world, *clips, *extra)['rows'][0]['input'][2] for extra in ((), flags)] == [8, 5]
    assert timed(world, bundle(world), *flags, code=2) is None
    assert 'say themselves what their clips are' in output.readouterr().err


@seen('--warmup', '2')
def the_first_runs_are_not_timed(world, output, *flags):
    counts = []
    for extra in (('--warmup', '0'), flags):
        with pytest.MonkeyPatch.context() as patch:
            done = []
            patch.setattr(model_timing.OnnxModel, 'run', lambda self, data, done=done: done.append(data))
            timed(world, bundle(world), '--runs', '1', '--batch-sizes', '1', *extra)
        counts.append(len(done))
    assert counts == [1, 3]


@seen('--seconds', '0')
def time_ends_the_runs(world, output, *flags):
    given = (bundle(world), '--runs', '3', '--batch-sizes', '1')
    assert [timed(world, *given, *extra)['rows'][0]['runs'] for extra in ((), flags)] == [3, 1]


@seen('--threads', '1')
def as_many_threads_compute(world, output, *flags):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '2')
        assert timed(world, bundle(world), *QUICK)['machine']['threads'] == 2
        assert timed(world, bundle(world), *QUICK, *flags)['machine']['threads'] == 1


@seen('--memory', '0.0001')
def batches_that_need_more_memory_are_left_out(world, output, *flags):
    given = (bundle(world), '--runs', '1', '--batch-sizes', '1', '500')
    assert [batches(timed(world, *given, *extra)['rows']) for extra in ((), flags)] == [[1, 500], [1]]
    assert '--memory allows' in output.logs.text


@seen('--json', '{tmp}/timings.json')
def numbers_are_written(world, output, *flags):
    flags = [item.format(**world.paths) for item in flags]
    argv = [bundle(world), *QUICK, *flags]
    assert [run(benchmark_model.parse_args, benchmark_model.main, argv) for _ in range(2)] == [0, 2]
    assert json.loads((world.folder / 'timings.json').read_text())['machine']['processor']
    assert 'timings.json exists' in output.readouterr().err


@seen('--plot', '{tmp}/timings.png')
def a_picture_is_drawn(world, output, *flags):
    from PIL import Image
    drawing.draw(True)
    timed(world, bundle(world), *TINY, *flags)
    assert Image.open(world.folder / 'timings.png').width > 600


@seen('--overwrite')
def files_are_replaced(world, output, *flags):
    path = world.new_folder() / 'old.json'
    path.write_text('old')
    argv = [bundle(world), *QUICK, '--json', str(path)]
    assert [run(benchmark_model.parse_args, benchmark_model.main, [*argv, *extra]) for extra in ((), flags)] == [2, 0]
    assert path.read_text() != 'old'


@seen('--runtime', 'onnx')
def onnx_runtime_computes_networks_too(world, output, *flags):
    assert [timed(world, *TINY, *extra)['rows'][0]['runtime'] for extra in ((), flags)] == ['mxnet', 'onnx']
    path = make_model(world.new_folder() / 'bare.onnx', metadata=False)
    assert timed(world, path, '--runtime', 'mxnet', code=2) is None
    assert 'runs in ONNX Runtime' in output.readouterr().err


BENCHMARK_ROWS = {
    '--debug': traceback_row(lambda world: [benchmark_model, 'no_such_model']),
    '--import': import_row(lambda world: [benchmark_model, 'no_such_model']),
    'models': every_model_has_its_rows,
    '--runtime': onnx_runtime_computes_networks_too,
    '--batch-sizes': row(batches, '--batch-sizes', '2', '1', to=[1, 2]),
    '--clip-length': clips_are_as_long_as_told,
    '--input-size': row(lambda rows: rows[0]['input'], '--input-size', '24', to=[1, 3, 24, 24]),
    '--warmup': the_first_runs_are_not_timed,
    '--runs': row(lambda rows: rows[0]['runs'], '--runs', '2', to=2),
    '--seconds': time_ends_the_runs,
    '--threads': as_many_threads_compute,
    '--memory': batches_that_need_more_memory_are_left_out,
    '--json': numbers_are_written,
    '--plot': a_picture_is_drawn,
    '--overwrite': files_are_replaced,
}
