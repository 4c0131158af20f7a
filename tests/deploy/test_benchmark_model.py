"""Timing of models: what is measured is what was asked for, and what is wrong is named."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import time

import numpy as np
import pytest
from bundles import CLIPS, WEIGHTS, make_bundle, make_model

from gluon_action.cli import benchmark_model
from gluon_action.cli.command import run
from gluon_action.deploy.speed import report as timing_report
from gluon_action.deploy.speed.cost import Cost
from gluon_action.deploy.speed.timing import Subject, Timing, open_subject, time_batches


def subject(run, rows=1, row=(3, 4, 4)):
    return Subject('net', 'onnx', 'float32', row, rows, Cost(10, {'a': 2_000_000}), 40, run)


def start(*argv):
    return run(benchmark_model.parse_args, benchmark_model.main, [str(item) for item in argv])


def test_median_and_90th_percentile_are_those_of_the_runs_after_the_warm_up():
    naps = iter([0.2, 0.2, 0.01, 0.01, 0.01, 0.01, 0.06])
    seen = []
    napping = subject(lambda data: (seen.append(data.shape), time.sleep(next(naps))))
    timing, = time_batches(napping, [3], warmup=2, runs=5)
    assert (timing.batch, timing.runs) == (3, 5) and seen == [(3, 3, 4, 4)] * 7
    assert 0.01 <= timing.median < 0.03 < timing.p90 < 0.1
    assert timing.throughput == 3 / timing.median


def test_a_score_of_several_rows_is_one_score():
    seen = []
    list(time_batches(subject(lambda data: seen.append(len(data)), rows=5), [1, 2], warmup=0, runs=1))
    assert seen == [5, 10]


def test_a_batch_that_would_not_fit_is_never_made():
    seen = []
    answers = list(time_batches(subject(lambda data: seen.append(len(data))), [1, 10 ** 9], warmup=0, runs=1,
                                memory=10 ** 9))
    assert seen == [1] and isinstance(answers[0], Timing)
    assert answers[1].startswith('batch 1000000000 would take about 178.8 GiB, --memory allows 0.9')


def test_a_bundle_and_a_bare_model_compute_what_they_hold(tmp_path):
    data = np.random.default_rng(0).normal(size=(2, 3, 2, 8, 8)).astype('float32')
    expected = data.mean(axis=(2, 3, 4)) @ WEIGHTS.T
    bundle = open_subject(str(make_bundle(tmp_path / 'bundle')))
    bare = open_subject(str(make_model(tmp_path / 'bare.onnx', metadata=False)), threads=1)
    for one in (bundle, bare):
        np.testing.assert_allclose(one.run(data), expected, rtol=1e-4)
        assert one.row == CLIPS.shape(1)[1:] and one.cost.macs == 9


def test_the_same_network_takes_the_same_input_in_both_runtimes():
    options = {'clip_length': 4, 'input_size': 16}
    ours, exported = (open_subject('timesformer_small_custom', runtime=runtime, **options) for runtime in
                      ('mxnet', 'onnx'))
    data = np.random.default_rng(0).normal(size=(1, 3, 4, 16, 16)).astype('float32')
    assert ours.row == exported.row and ours.cost.macs == exported.cost.macs == sum(exported.cost.layers.values())
    np.testing.assert_allclose(ours.run(data), exported.run(data), atol=1e-4 * np.abs(exported.run(data)).max())


def test_the_table_has_a_line_for_each_batch():
    rows = timing_report.rows_of(subject(None), [Timing(1, 5, 0.01, 0.02), Timing(8, 5, 0.05, 0.06)])
    header, *lines = timing_report.table(rows).splitlines()
    assert header.split()[:4] == ['model', 'runtime', 'precision', 'input']
    assert [line.split()[3:] for line in lines] == [
        ['1x3x4x4', '0.00', '0.002', '0.0', '1', '10.0', '20.0', '100.00'],
        ['1x3x4x4', '0.00', '0.002', '0.0', '8', '50.0', '60.0', '160.00']]


@pytest.mark.parametrize('argv, code, told', [
    (['no_such_model'], 2, 'no_such_model'), (['{tmp}/gone.onnx'], 1, 'gone.onnx'), (['{tmp}'], 2, 'config.json'),
    (['{bundle}', '--runtime', 'mxnet'], 2, 'runs in ONNX Runtime'), (['{bundle}', '--input-size', '8'], 2, 'leave it'),
    (['{bundle}', '--plot', '{tmp}/x.gif'], 2, 'must end with .png'),
    (['{bundle}', '--plot', '{tmp}/x.png', '--json', '{tmp}/x.png'], 2, 'is the file of --json too'),
    (['{bundle}', '--json', '/nowhere/x.json'], 2, 'the folder does not exist'),
    (['{bundle}', '--memory', '1e-9'], 1, '')])
def test_what_cannot_be_is_refused_with_the_way_out(tmp_path, capsys, argv, code, told):
    names = {'tmp': tmp_path, 'bundle': make_bundle(tmp_path / 'bundle')}
    assert start(*(item.format(**names) for item in argv)) == code
    error = capsys.readouterr().err
    assert told in error and 'Traceback' not in error


def test_numbers_that_cannot_be_are_refused(capsys):
    for flags in (['--batch-sizes', '0'], ['--runs', '0'], ['--threads', '0'], ['--seconds', 'nan']):
        with pytest.raises(SystemExit) as stop:
            start('x', *flags)
        assert stop.value.code == 2 and f'{flags[0]} must be' in capsys.readouterr().err
