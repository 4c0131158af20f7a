import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from gluon_action.cli import fuse_scores as command
from gluon_action.cli.command import run
from gluon_action.errors import UsageError
from gluon_action.evaluate.reports import write_report
from gluon_action.evaluate.scores import fusion
from gluon_action.evaluate.scores.files import match_videos, read_scores, read_streams
from gluon_action.evaluate.scores.fusion_weights import cross_validate, fit_weights, fuse
from gluon_action.files import file_sha256

CLASSES = ['left', 'right', 'up', 'down']
LABELS = np.arange(80) % 4
KEYS = [f'v_{n:02d}.mp4' for n in range(80)]


def report(folder, scores, *, keys=KEYS, labels=LABELS, classes=CLASSES, scored=None, average='scores'):
    """The folder that a test of these scores leaves, without its pictures."""
    folder.mkdir(parents=True)
    scores, labels = np.asarray(scores, np.float32), np.asarray(labels)
    scored = np.ones(len(keys), bool) if scored is None else scored
    write_report(folder, {'protocol': {'average': average, 'model': folder.name}}, keys=keys, labels=labels,
                 scores=scores, scored=scored, failures=[], classes=classes, meter=None)
    return str(folder)


def half_blind(columns, seed, noise=1.0):
    """Logits of a network that tells classes apart by one half of the question only."""
    rng = np.random.default_rng(seed)
    return 3. * (columns[LABELS][:, None] == columns[None]) + noise * rng.normal(size=(80, 4))


SIDE, HEIGHT = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])


@pytest.fixture
def streams(tmp_path):
    return [report(tmp_path / 'rgb', half_blind(SIDE, 0)), report(tmp_path / 'flow', half_blind(HEIGHT, 1))]


def fused(streams, folder, **kwargs):
    return fusion.fuse_scores(fusion.FusionConfig(streams, save_dir=str(folder), **kwargs))


def probabilities(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_two_streams_that_see_different_halves_beat_either_alone(tmp_path, streams):
    result = fused(streams, tmp_path / 'both')
    alone = [stream['top1'] for stream in result.results['streams']]
    assert max(alone) < 0.7 and result.results['top1'] > 0.8
    assert [stream['name'] for stream in result.results['streams']] == ['rgb', 'flow']


def test_logits_are_added_with_their_weights(tmp_path, streams):
    result = fused(streams, tmp_path / 'both', weights=[1, 1.5])
    expected = np.float32(half_blind(SIDE, 0)) + 1.5 * np.float32(half_blind(HEIGHT, 1))
    np.testing.assert_allclose(result.scores, expected, rtol=1e-5)
    assert result.results['top1'] == np.mean(expected.argmax(axis=1) == LABELS)
    log_p = np.log(probabilities(expected))[np.arange(80), LABELS]
    assert result.results['loss'] == pytest.approx(-log_p.mean(), rel=1e-5)


def test_probabilities_are_averaged_with_their_weights(tmp_path):
    tables = [probabilities(half_blind(SIDE, 0)), probabilities(half_blind(HEIGHT, 1))]
    paths = [report(tmp_path / str(n), table, average='probabilities') for n, table in enumerate(tables)]
    result = fused(paths, tmp_path / 'both', weights=[1, 3])
    np.testing.assert_allclose(result.scores, 0.25 * tables[0] + 0.75 * tables[1], rtol=1e-5)
    assert result.results['protocol']['scores'] == 'probabilities'


def test_the_report_is_one_that_can_be_fused_again(tmp_path, streams):
    folder = tmp_path / 'both'
    result = fused(streams, folder)
    assert {path.name for path in folder.iterdir()} == {
        'results.json', 'scores.npz', 'failures.jsonl', 'confusion_matrix.png', 'per_class_accuracy.png',
        'top_confusions.json', 'top_confusions.txt'}
    stored = json.loads((folder / 'results.json').read_text())
    assert stored['protocol']['weights'] == [1, 1] and stored['protocol']['weights_from'] == 'equal'
    assert [protocol['model'] for protocol in stored['protocol']['fused']] == ['rgb', 'flow']
    assert stored['streams'][0]['sha256'] == file_sha256(Path(streams[0]) / 'scores.npz')
    again = fused([str(folder), streams[0]], tmp_path / 'three', weights=[1, 0])
    assert again.results['top1'] == result.results['top1']


def test_videos_are_matched_by_key_whatever_their_order(tmp_path, streams):
    order = np.random.default_rng(3).permutation(80)
    shuffled = report(tmp_path / 'shuffled', half_blind(HEIGHT, 1)[order], keys=[KEYS[n] for n in order],
                      labels=LABELS[order])
    straight, crossed = (fused([streams[0], other], tmp_path / name)
                         for other, name in ((streams[1], 'a'), (shuffled, 'b')))
    np.testing.assert_array_equal(straight.scores, crossed.scores)


def test_what_one_stream_lacks_is_listed_and_counts_as_wrong(tmp_path):
    certain = 9. * np.eye(4)[LABELS]
    scored = np.arange(80) != 5
    rgb = report(tmp_path / 'rgb', np.where(scored[:, None], certain, np.nan), scored=scored)
    flow = report(tmp_path / 'flow', certain[:78], keys=KEYS[:78], labels=LABELS[:78])
    result = fused([rgb, flow], tmp_path / 'both')
    assert (result.results['n_expected'], result.results['n_scored'], result.results['n_failed']) == (80, 77, 3)
    assert result.results['top1'] == 77 / 80
    listed = [json.loads(line) for line in (tmp_path / 'both' / 'failures.jsonl').read_text().splitlines()]
    assert [failure['key'] for failure in listed] == ['v_05.mp4', 'v_78.mp4', 'v_79.mp4']
    assert 'could not be scored in' in listed[0]['message'] and 'is missing in' in listed[1]['message']
    assert np.isnan(np.load(tmp_path / 'both' / 'scores.npz')['scores'][5]).all()
    assert [stream['top1'] for stream in result.results['streams']] == [79 / 80, 78 / 80]


def reference_sum(scores, labels):
    """Weights by a general optimiser: softmax cross entropy of the sum, slightly pulled to 1."""
    def loss(weights):
        p = probabilities(np.tensordot(weights, scores, 1))
        return -np.log(p[np.arange(len(labels)), labels]).mean() + 5e-4 * ((weights - 1) ** 2).sum()
    return minimize(loss, np.ones(len(scores)), bounds=[(0, None)] * len(scores), tol=1e-12).x


@pytest.mark.parametrize('noise', [(1, 1), (0.5, 3), (1, 9)])
def test_fitted_weights_of_logits_are_the_most_likely(noise):
    rng = np.random.default_rng(7)
    scores = np.stack([half_blind(SIDE, 0, noise[0]), half_blind(HEIGHT, 1, noise[1]), 5 * rng.normal(size=(80, 4))])
    np.testing.assert_allclose(fit_weights(scores, LABELS, 'logits'), reference_sum(scores, LABELS), atol=2e-3)


def test_a_stream_that_misleads_gets_no_weight():
    good = half_blind(SIDE, 0)
    bad = -half_blind(SIDE, 4)
    assert fit_weights(np.stack([good, bad]), LABELS, 'logits')[1] == 0
    assert fit_weights(np.stack([probabilities(good), probabilities(bad)]), LABELS, 'probabilities')[1] < 0.1


def test_fitted_weights_of_probabilities_are_the_most_likely():
    scores = np.stack([probabilities(half_blind(SIDE, 0)), probabilities(half_blind(HEIGHT, 1, 2.))])
    own = scores[:, np.arange(80), LABELS]
    shares = np.linspace(0, 1, 100001)[:, None]
    best = shares[np.log(shares * own[0] + (1 - shares) * own[1] + 1e-300).sum(axis=1).argmax(), 0]
    assert fit_weights(scores, LABELS, 'probabilities') == pytest.approx([2 * best, 2 - 2 * best], abs=1e-4)


def test_weights_stay_finite_where_every_video_is_right():
    scores = np.stack([5. * np.eye(4)[LABELS]] * 2)
    weights = fit_weights(scores, LABELS, 'logits')
    assert np.isfinite(weights).all() and weights[0] == pytest.approx(weights[1]) and weights[0] < 10


def test_weights_fitted_on_a_validation_report_are_applied(tmp_path, streams):
    noisy = report(tmp_path / 'noisy', half_blind(HEIGHT, 5, 9.))
    val = [report(tmp_path / 'val' / 'rgb', half_blind(SIDE, 8)),
           report(tmp_path / 'val' / 'noisy', half_blind(HEIGHT, 9, 9.))]
    equal = fused([streams[0], noisy], tmp_path / 'equal')
    fitted = fused([streams[0], noisy], tmp_path / 'fitted', fit=val)
    assert fitted.weights[1] < 0.5 * fitted.weights[0] and fitted.results['loss'] < equal.results['loss']
    protocol = fitted.results['protocol']
    assert protocol['weights_from'] == 'fitted' and protocol['n_fitted_on'] == 80 and 'warning' not in protocol
    expected = sum(w * np.float32(table) for w, table in
                   zip(fitted.weights, (half_blind(SIDE, 0), half_blind(HEIGHT, 5, 9.))))
    np.testing.assert_allclose(fitted.scores, expected, rtol=1e-4)


def test_fitting_on_the_scores_that_are_tested_is_told(tmp_path, streams):
    assert 'very scores' in fused(streams, tmp_path / 'a', fit=streams).results['protocol']['warning']


def test_cross_validation_never_fits_on_the_video_it_fuses(tmp_path, streams):
    scores = np.stack([half_blind(SIDE, 0), half_blind(HEIGHT, 1)])
    complete = np.ones(80, bool)
    mean, by_video, folds = cross_validate(scores, LABELS, KEYS, complete, 'logits')
    turned = scores.copy()
    turned[:, 7] *= -4
    assert (cross_validate(turned, LABELS, KEYS, complete, 'logits')[1][:, 7] == by_video[:, 7]).all()
    assert folds.shape == (5, 2) and mean == pytest.approx(folds.mean(axis=0))
    result = fused(streams, tmp_path / 'crossed', fit=[])
    np.testing.assert_allclose(result.scores, fuse(np.float32(scores), by_video, 'logits'), rtol=1e-3)
    assert 'cross-validation' in result.results['protocol']['warning']


def test_folds_do_not_depend_on_the_order_of_the_videos():
    scores = np.stack([half_blind(SIDE, 0), half_blind(HEIGHT, 1)])
    order = np.random.default_rng(1).permutation(80)
    straight = cross_validate(scores, LABELS, KEYS, np.ones(80, bool), 'logits')
    crossed = cross_validate(scores[:, order], LABELS[order], [KEYS[n] for n in order], np.ones(80, bool), 'logits')
    np.testing.assert_allclose(straight[1][:, order], crossed[1], rtol=1e-6)


def test_videos_with_several_labels_are_fused_too(tmp_path):
    rng = np.random.default_rng(2)
    labels = (rng.random((80, 4)) < 0.4).astype(int)
    tables = [6. * labels - 3 + rng.normal(size=(80, 4)) * noise for noise in (3, 9)]
    paths = [report(tmp_path / str(n), table, labels=labels) for n, table in enumerate(tables)]
    result = fused(paths, tmp_path / 'both', fit=[])
    assert result.results['mean_average_precision'] > result.results['streams'][1]['mean_average_precision']
    assert set(result.files) == {'scores', 'failures', 'results'}

    def loss(weights):
        summed = np.tensordot(weights, np.stack(tables), 1)
        return (np.logaddexp(0, summed) - labels * summed).sum(axis=1).mean() + 5e-4 * ((weights - 1) ** 2).sum()
    best = minimize(loss, [1, 1], bounds=[(0, None)] * 2, tol=1e-12).x
    np.testing.assert_allclose(fit_weights(np.stack(tables), labels, 'logits'), best, atol=2e-3)


def test_what_scores_are_is_read_from_the_report_or_seen(tmp_path, streams):
    table = probabilities(half_blind(SIDE, 0))
    assert read_scores(streams[0]).kind == 'logits'
    assert read_scores(report(tmp_path / 'p', table, average='probabilities')).kind == 'probabilities'
    for name, scores, kind in (('x', table, 'probabilities'), ('y', half_blind(SIDE, 0), 'logits')):
        folder = Path(report(tmp_path / name, scores))
        (folder / 'results.json').unlink()
        assert read_scores(folder / 'scores.npz').kind == kind


@pytest.mark.parametrize('change, kind', [
    (lambda p: p, 'probabilities'), (lambda p: 2 * p - 1 / 4, 'logits'), (lambda p: p + 1e-5, 'probabilities'),
    (lambda p: p + 0.01, 'logits'), (lambda p: np.where(np.arange(80)[:, None] == 7, np.nan, p), 'probabilities'),
    (lambda p: np.where(np.arange(80)[:, None] == 7, 3 * p, p), 'logits')])
def test_only_shares_of_one_are_taken_for_probabilities(tmp_path, change, kind):
    """Rows that add up to 1 with negative numbers among them are logits."""
    scores = change(probabilities(half_blind(SIDE, 0)))
    folder = Path(report(tmp_path / 'x', scores, scored=np.isfinite(scores).all(axis=1)))
    (folder / 'results.json').unlink()
    assert read_scores(folder / 'scores.npz').kind == kind


@pytest.mark.parametrize('told, kind', [
    ({'average': 'softmax'}, 'probabilities'), ({'average': 'logits'}, 'logits'), ({'average': 'features'}, 'logits'),
    ({'scores': 'logits'}, 'logits'),
    ({'scores': 'probabilities'}, 'probabilities')])
def test_what_the_protocol_says_the_scores_are_counts_more_than_their_looks(tmp_path, told, kind):
    scores = probabilities(half_blind(SIDE, 0)) if kind == 'logits' else half_blind(SIDE, 0)
    folder = Path(report(tmp_path / 'x', scores))
    (folder / 'results.json').write_text(json.dumps({'protocol': told}))
    assert read_scores(folder).kind == kind


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_scores_that_are_not_finite_are_none_even_where_a_file_says_so(tmp_path, bad):
    certain = 9. * np.eye(4)[LABELS]
    spoilt = certain.copy()
    spoilt[3, 1] = bad
    foreign = report(tmp_path / 'foreign', spoilt)  # which says that it scored all videos
    matched = match_videos(read_streams([report(tmp_path / 'rgb', certain), foreign]))
    assert np.flatnonzero(~matched.complete).tolist() == [3] and [f['key'] for f in matched.failures] == ['v_03.mp4']
    result = fused([str(tmp_path / 'rgb'), foreign], tmp_path / 'both')
    assert (result.results['n_scored'], result.results['top1']) == (79, 79 / 80)
    assert [stream['top1'] for stream in result.results['streams']] == [1, 79 / 80]


def test_logits_and_probabilities_meet_as_probabilities_only(tmp_path, streams):
    table = probabilities(half_blind(HEIGHT, 1))
    other = report(tmp_path / 'p', table, average='probabilities')
    with pytest.raises(UsageError, match='--scores probabilities'):
        fused([streams[0], other], tmp_path / 'both')
    with pytest.raises(UsageError, match='--average scores'):
        fused([streams[0], other], tmp_path / 'both', scores='logits')
    result = fused([streams[0], other], tmp_path / 'both', scores='probabilities')
    np.testing.assert_allclose(result.scores, (probabilities(half_blind(SIDE, 0)) + table) / 2, rtol=1e-4)


def test_folders_of_one_name_are_told_apart(tmp_path):
    paths = [report(tmp_path / name / 'test', half_blind(SIDE, 0)) for name in ('rgb', 'flow')]
    assert [stream.name for stream in read_streams(paths)] == ['rgb', 'flow']


def test_names_of_classes_are_not_asked_of_everybody(tmp_path, streams):
    unnamed = report(tmp_path / 'u', half_blind(HEIGHT, 1), classes=[f'class {k}' for k in range(4)])
    assert match_videos(read_streams([unnamed, streams[0]])).classes == CLASSES


@pytest.mark.parametrize('change, complaint', [
    (dict(classes=CLASSES[::-1]), "class 0 is 'left' in .*rgb.* and 'down' in .*other"),
    (dict(labels=(LABELS + 1) % 4), r'v_00.mp4 has label 0 in .*rgb.* and 1 in .*other'),
    (dict(keys=[f'flow/{key}' for key in KEYS]), "no video is in all of the reports: .*'v_00.mp4'.*'flow/v_00.mp4'"),
    (dict(keys=KEYS[:79] + KEYS[:1]), "names the video 'v_00.mp4' twice")])
def test_reports_that_do_not_fit_are_refused(tmp_path, streams, change, complaint):
    other = report(tmp_path / 'other', half_blind(HEIGHT, 1), **change)
    with pytest.raises(UsageError, match=complaint):
        fused([streams[0], other], tmp_path / 'both')
    assert not (tmp_path / 'both').exists()


def test_reports_of_more_classes_or_labels_are_refused(tmp_path, streams):
    five = report(tmp_path / 'five', np.zeros((80, 5)), classes=[*CLASSES, 'stop'])
    several = report(tmp_path / 'several', half_blind(SIDE, 0), labels=np.eye(4, dtype=int)[LABELS])
    for other, complaint in ((five, 'is of 4 classes and .*five.* of 5'), (several, 'with several labels')):
        with pytest.raises(UsageError, match=complaint):
            fused([streams[0], other], tmp_path / 'both')


@pytest.mark.parametrize('kwargs, complaint', [
    (dict(weights=[1]), 'for each of the 2 reports, got 1'), (dict(weights=[1, -1]), '0 or more'),
    (dict(weights=[0, 0]), 'not all 0'), (dict(weights=[1, float('nan')]), 'finite'),
    (dict(weights=[1, 1], fit=[]), 'leave out one'), (dict(fit=['x']), 'got 1')])
def test_weights_that_cannot_be_are_refused(tmp_path, streams, kwargs, complaint):
    with pytest.raises(UsageError, match=complaint):
        fused(streams, tmp_path / 'both', **kwargs)


def test_the_same_scores_twice_are_not_a_fusion(tmp_path, streams):
    with pytest.raises(UsageError, match='same scores'):
        fused([streams[0], streams[0]], tmp_path / 'both')


def test_a_refused_fusion_leaves_no_folder(tmp_path, streams):
    with pytest.raises(UsageError):
        fused(streams, tmp_path / 'both', weights=[1., -1.])
    assert not (tmp_path / 'both').exists()


def test_one_report_is_not_a_fusion(tmp_path, streams):
    with pytest.raises(UsageError, match='two reports or more, got 1'):
        fused(streams[:1], tmp_path / 'both')


@pytest.mark.parametrize('content, complaint', [
    (None, 'does not exist'), (b'not a zip', 'is not a score file'), (b'', 'is not a score file'),
    ('truncated', 'is not a score file'), ('other', 'is not a score file'), ('pickle', 'is not a score file'),
    ('short', 'damaged')])
def test_what_is_no_score_file_is_refused(tmp_path, streams, content, complaint):
    path = tmp_path / 'x.npz'
    good = (Path(streams[0]) / 'scores.npz')
    if content == 'truncated':
        path.write_bytes(good.read_bytes()[:-200])
    elif content == 'other':
        np.savez(path, weights=np.zeros(3))
    elif content == 'pickle':
        np.savez(path, **{**np.load(good), 'keys': np.array([{}], object)})
    elif content == 'short':
        np.savez(path, **{**np.load(good), 'labels': np.zeros(3, int)})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_scores(path)


def test_the_command_prints_each_stream_and_the_fusion(tmp_path, streams, capsys):
    argv = [*streams, '--weights', '1', '2', '--save-dir', str(tmp_path / 'both')]
    assert run(command.parse_args, command.main, argv) == 0
    printed = capsys.readouterr().out
    assert re.search(r'rgb +1 +\d\d\.\d\d%.* 80/80\nflow +2 .*\nfused +\d', printed)
    assert f'Results: {tmp_path / "both" / "results.json"}' in printed
    assert run(command.parse_args, command.main, argv) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert run(command.parse_args, command.main, [*argv[:2], '--fit', *argv[5:], '--overwrite']) == 0
    assert 'Warning: the weights were fitted' in capsys.readouterr().out


def test_the_script_runs_without_loading_mxnet(tmp_path, streams):
    code = f"""
import sys
from gluon_action.cli import fuse_scores
fuse_scores.main(fuse_scores.parse_args({[*streams, '--save-dir', str(tmp_path / 'both')]!r}))
assert 'mxnet' not in sys.modules
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and 'fused' in done.stdout, done.stderr
