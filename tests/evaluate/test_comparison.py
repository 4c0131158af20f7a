import json

import numpy as np
import pytest
from report_runs import Page, logits_of, write_test, write_training

from gluon_action.errors import UsageError
from gluon_action.evaluate.report.comparison import compare_runs, names_of, write_comparison
from gluon_action.evaluate.scores.significance import mcnemar, wilson_interval

LABELS = np.arange(40) % 4
NAMES = list('abcd')


def two_tests(folder, **more):
    """Tests of which the first has videos 0 to 9 wrong, the second 8 to 11."""
    for name, wrong in (('first', range(10)), ('second', range(8, 12))):
        labels = LABELS.copy()
        labels[list(wrong)] = (labels[list(wrong)] + 1) % 4
        write_test(folder / name, NAMES, LABELS, np.eye(4, dtype=np.float32)[labels],
                   config={'model': 'net', 'num_segments': 3 if name == 'first' else 25, 'save_dir': name}, **more)
    return [folder / 'first', folder / 'second']


def test_a_comparison_counts_who_has_which_video_right(tmp_path):
    found = compare_runs(two_tests(tmp_path))
    assert found.names == ['first', 'second'] and (found.videos, found.of) == (40, 40)
    assert [row['right'] for row in found.scores] == [30, 36]
    assert (found.scores[0]['low'], found.scores[0]['high']) == wilson_interval(30, 40)
    assert found.pairs == [{'first': 0, 'second': 1, 'both': 28, 'only_first': 2, 'only_second': 8, 'neither': 2,
                            'p': mcnemar(2, 8)}]
    assert found.differing == [('num_segments', ['3', '25'])]


def test_the_table_says_it_in_words(tmp_path):
    text = compare_runs(two_tests(tmp_path)).table()
    assert '75.00' in text and '90.00' in text and '59.8 to 85.8' in text
    assert 'first and second: 2 videos only the first has right, 8 only the second; p = 0.11 (McNemar): these videos ' \
           'show no difference' in text
    assert 'num_segments' in text and 'save_dir' not in text


def test_runs_on_different_lists_are_refused_unless_the_shared_videos_are_asked_for(tmp_path):
    first, _ = two_tests(tmp_path)
    other = write_test(tmp_path / 'other', NAMES, LABELS[:12], np.eye(4, dtype=np.float32)[LABELS[:12]])
    with pytest.raises(UsageError, match='different lists: 40 and 12 videos, 12 of them in both; --shared'):
        compare_runs([first, other])
    found = compare_runs([first, other], shared=True)
    assert (found.videos, found.of) == (12, 40) and [row['right'] for row in found.scores] == [2, 12]
    assert 'over the 12 videos that all have; there are 40 in all' in found.table()
    strange = write_test(tmp_path / 'strange', NAMES, LABELS, logits_of(LABELS, 4), keys=[f'w{n}' for n in range(40)])
    with pytest.raises(UsageError, match='40 and 40 videos, none of them in both; test both on the same list'):
        compare_runs([first, strange])
    with pytest.raises(UsageError, match='no video is in all'):
        compare_runs([first, strange], shared=True)


def test_other_classes_and_labels_are_refused(tmp_path):
    first, _ = two_tests(tmp_path)
    named = write_test(tmp_path / 'named', list('abcx'), LABELS, logits_of(LABELS, 4))
    with pytest.raises(UsageError, match="class 3 is 'd' in .* and 'x' in"):
        compare_runs([first, named])
    turned = write_test(tmp_path / 'turned', NAMES, LABELS[::-1], logits_of(LABELS, 4))
    with pytest.raises(UsageError, match='has label'):
        compare_runs([first, turned])


def test_a_training_is_compared_by_its_best_validation(tmp_path):
    for name, noise, rate in (('a', 0.1, 0.1), ('b', 3., 0.2)):
        write_training(tmp_path / name, classes=NAMES, labels=LABELS, scores=logits_of(LABELS, 4, noise=noise), lr=rate)
    found = compare_runs([tmp_path / 'a', tmp_path / 'b'])
    assert found.pairs[0]['p'] < 0.05 and 'a is better' in found.table()
    assert dict(found.differing) == {'lr': ['0.1', '0.2']}
    page = Page(write_comparison(found, tmp_path / 'both.html'))
    assert len(page.of('figure', **{'class': 'chart'})) == 3 and not page.fetched
    assert 'a is better' in page.text and page.has('differing')


def test_what_is_said_in_other_words_does_not_differ(tmp_path):
    for name, clip, recipe in (('a', 0, ['lr']), ('b', 0.0, [])):
        write_training(tmp_path / name, clip_grad=clip, from_recipe=recipe, val_list=f'{name}/lists/val.csv')
    assert compare_runs([tmp_path / 'a', tmp_path / 'b']).differing == []


def test_a_training_and_its_test_differ_in_what_both_say(tmp_path):
    write_training(tmp_path / 'train', classes=NAMES, labels=LABELS, scores=logits_of(LABELS, 4), num_segments=3)
    test = two_tests(tmp_path)[1]
    assert dict(compare_runs([tmp_path / 'train', test]).differing) == {
        'num_segments': ['3', '25'], 'validation list (SHA-256)': ['34' * 6, 'ab' * 6]}


def test_a_run_without_scores_is_compared_by_what_it_says(tmp_path):
    write_training(tmp_path / 'a')
    write_training(tmp_path / 'b', epochs=5)
    text = compare_runs([tmp_path / 'a', tmp_path / 'b']).table()
    assert '75.00' in text and '80.00' in text and 'a: has no scores by video' in text and 'McNemar' not in text


def test_videos_with_several_labels_are_compared_by_their_best_class(tmp_path):
    labels = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]])
    for name, sign in (('a', 1), ('b', -1)):
        write_test(tmp_path / name, list('abc'), labels, np.float32(sign * (2 * labels - 1)))
    found = compare_runs([tmp_path / 'a', tmp_path / 'b'])
    assert [row['right'] for row in found.scores] == [3, 0] and found.scores[0]['mean_average_precision'] == 1
    assert 'mAP' in found.table() and found.table().count('95 % interval') == 2
    assert (found.scores[0]['map_low'], found.scores[0]['map_high']) == (1, 1) and found.scores[1]['map_low'] < 0.9


def test_a_comparison_is_json_without_what_json_cannot_hold(tmp_path):
    found = compare_runs(two_tests(tmp_path)).as_json()
    assert json.loads(json.dumps(found))['pairs'][0]['only_second'] == 8


def test_one_run_or_one_run_twice_is_no_comparison(tmp_path):
    first, _ = two_tests(tmp_path)
    with pytest.raises(UsageError, match='two runs or more, got 1'):
        compare_runs([first])
    with pytest.raises(UsageError, match='given twice'):
        compare_runs([first, first])


def test_runs_are_called_by_what_tells_their_folders_apart(tmp_path):
    assert names_of([tmp_path / 'x' / 'test', tmp_path / 'y' / 'test']) == ['x/test', 'y/test']
