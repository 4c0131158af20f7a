"""The rules of a data check, on facts made up."""
import pytest

from gluon_action.data.lists.annotations import Sample
from gluon_action.evaluate.data_check.listed import Part
from gluon_action.evaluate.data_check.rules import find_all

GOOD = {'error': None, 'frames': 50, 'fps': 25., 'seconds': 2., 'width': 320, 'height': 240, 'turned': 0,
        'mirrored': False, 'still': False, 'damaged': None, 'fingerprint': None, 'codec': 'h264', 'sound': False}


def part(name='train', classes=None, **labels):
    """Part of videos by their names, which are their paths without ``.mp4``."""
    samples = [Sample(path=f'{path}.mp4', label=label, line=line, source=f'{name}.txt', key=f'{path}.mp4')
               for line, (path, label) in enumerate(labels.items(), 1)]
    return Part(name, f'{name}.txt', samples, classes)


def kinds_of(*parts, clip=1, input_size=None, **changes):
    """(kind, subject) of what is found where videos are good but for `changes`."""
    facts = {sample.path: {**GOOD, 'path': sample.path, 'sha256': sample.path, **changes.get(sample.path[:-4], {})}
             for each in parts for sample in each.samples}
    return [(finding.kind, finding.subject) for finding in find_all(parts, facts, clip=clip, input_size=input_size)]


MANY = {f'{letter}{number}': 'ab'.index(letter) for letter in 'ab' for number in range(3)}


def test_nothing_is_found_where_nothing_is_wrong():
    assert kinds_of(part(**MANY)) == []


@pytest.mark.parametrize('change, kind', [
    ({'error': 'does not exist'}, 'missing'), ({'error': 'is empty (0 bytes)'}, 'unreadable'),
    ({'error': 'the file ends after 1.00 s of the 2.00 s that it announces: it was cut short'}, 'cut_short'),
    ({'damaged': 'frame 7 cannot be decoded whole (x)'}, 'damaged'),
    ({'damaged': 'frame 7 cannot be decoded whole (the file ends or breaks here: it was cut short)'}, 'cut_short'),
    ({'frames': 15}, 'too_short'), ({'still': True}, 'still'), ({'height': 100}, 'small'), ({'turned': 90}, 'turned'),
    ({'mirrored': True}, 'turned'), ({'fps': 60.}, 'rates'), ({'width': 240, 'height': 320}, 'sizes')])
def test_what_is_wrong_with_one_video_is_told_of_it(change, kind):
    assert kinds_of(part(**MANY), clip=16, input_size=112, a1=change) == [(kind, 'a1.mp4')]


def test_parts_of_videos_are_as_long_as_their_bounds():
    video = dict(path='a.mp4', label=0, source='x', key='a')
    facts = {'a.mp4': {**GOOD, 'path': 'a.mp4', 'sha256': 'a'}}
    for bounds, length in (({'start': 1.}, 25), ({'start': .5, 'end': 1.}, 12), ({'first': 11, 'last': 20}, 10)):
        found = find_all([Part('train', 'x', [Sample(**video, **bounds)])], facts, clip=40)
        short = [finding.detail for finding in found if finding.kind == 'too_short']
        assert short == [f'{length} frames, and a clip spans 40']


def test_the_same_content_twice_is_a_copy_or_a_contradiction():
    same = {'a0': {'sha256': 'x'}, 'a1': {'sha256': 'x'}}
    assert kinds_of(part(**MANY), **same) == [('duplicate', 'a1.mp4')]
    assert kinds_of(part(**MANY), a0={'sha256': 'x'}, b0={'sha256': 'x'}) == [
        ('contradiction', 'a0.mp4'), ('contradiction', 'b0.mp4')]


def test_what_is_in_both_lists_is_a_leak():
    val = part('val', x=0, y=1)
    assert kinds_of(part(**MANY), val, a0={'sha256': 'x.mp4'}) == [('leak', 'a0.mp4')]
    train = part(**{**MANY, 'x': 0})
    assert kinds_of(train, val) == [('leak', 'x.mp4')]


def test_parts_of_one_recording_in_both_lists_are_told_by_their_names():
    train, val = part(**{**MANY, 'v_x_g01_c01': 0}), part('val', v_x_g01_c02=0, v_x_g02_c01=1)
    assert kinds_of(train, val) == [('near_leak', 'v_x_g01_c01.mp4')]


def test_videos_that_look_alike_are_told_within_a_list_and_between_lists():
    bits = '0f' * 24
    near, far = f'{int(bits, 16) ^ 0b1011:048x}', f'{int(bits, 16) ^ int("f0" * 24, 16):048x}'
    looks = {'a0': {'fingerprint': bits}, 'a1': {'fingerprint': near}, 'a2': {'fingerprint': far}}
    assert kinds_of(part(**MANY), **looks) == [('near_duplicate', 'a1.mp4')]
    looks = {'a0': {'fingerprint': bits}, 'x': {'fingerprint': near}, 'y': {'fingerprint': far}}
    assert kinds_of(part(**MANY), part('val', x=0, y=1), **looks) == [('near_leak', 'a0.mp4')]
    still = {name: {**look, 'still': True} for name, look in looks.items()}
    assert 'near_leak' not in {kind for kind, _ in kinds_of(part(**MANY), part('val', x=0, y=1), **still)}


def test_classes_are_held_against_each_other():
    names = ['a', 'b', 'c']
    assert kinds_of(part(classes=names, **MANY)) == [('empty_class', 'c')]
    assert kinds_of(part(classes=names, **MANY), part('val', names, x=0, y=2)) == [
        ('only_validated', 'c'), ('never_validated', 'b')]
    assert kinds_of(part(**{**MANY, 'c0': 2})) == [('few', '2')]
    many = {f'a{number}': 0 for number in range(31)} | {f'b{number}': 1 for number in range(3)}
    assert kinds_of(part(classes=['a', 'b'], **many)) == [('imbalance', 'a')]


def test_several_labels_count_for_each_class_and_no_labels_for_none():
    assert kinds_of(part(classes=['a', 'b'], v0=(0, 1), v1=(0, 1), v2=(1, 0))) == []
    assert kinds_of(part(v0=None, v1=None)) == []
