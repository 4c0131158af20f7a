import itertools

import pytest

from gluon_action.errors import UsageError
from gluon_action.train.schedules import (
    MODES,
    PRESETS,
    LRScheduler,
    LRSequential,
    decay_factor,
    make_schedule,
    parse_decay,
    rate_at,
    stairs,
    updates_per_epoch,
)


def oracle(mode, lr, epochs, iters, warmup, warmup_lr, decay, factor):
    from gluoncv.utils import LRScheduler as OracleScheduler
    from gluoncv.utils import LRSequential as OracleSequential
    return OracleSequential([
        OracleScheduler('linear', base_lr=warmup_lr, target_lr=lr, nepochs=warmup, iters_per_epoch=iters),
        OracleScheduler(mode, base_lr=lr, target_lr=0, nepochs=epochs - warmup, iters_per_epoch=iters,
                        step_epoch=[e - warmup for e in decay], step_factor=factor, power=2)])


@pytest.mark.parametrize('mode, warmup', itertools.product(MODES, (0, 2)))
def test_every_mode_equals_gluoncv_at_every_iteration(mode, warmup):
    ours = make_schedule(mode, 0.05, 9, 7, warmup_epochs=warmup, warmup_lr=0.001, decay=(4, 6), factor=0.2)
    theirs = oracle(mode, 0.05, 9, 7, warmup, 0.001, [4, 6], 0.2)
    assert [ours(t) for t in range(9 * 7 + 5)] == pytest.approx([theirs(t) for t in range(9 * 7 + 5)], abs=1e-15)


def test_decay_as_text_equals_decay_as_epochs():
    text, numbers = (make_schedule('step', 0.1, 8, 5, decay=decay) for decay in ('3,6', [3, 6]))
    assert [text(t) for t in range(40)] == [numbers(t) for t in range(40)]


def test_the_classes_take_gluoncvs_arguments():
    from gluoncv.utils import LRScheduler as OracleScheduler
    kwargs = dict(base_lr=0.4, target_lr=0.1, niters=11, offset=3, power=3)
    for mode in ('constant', 'linear', 'poly', 'cosine'):
        ours, theirs = LRScheduler(mode, **kwargs), OracleScheduler(mode, **kwargs)
        assert [ours(t) for t in range(20)] == pytest.approx([theirs(t) for t in range(20)], abs=1e-15)


@pytest.mark.parametrize('mode', ('linear', 'poly', 'cosine'))
def test_a_schedule_of_one_iteration_stays_at_its_start(mode):
    assert LRScheduler(mode, base_lr=0.3, target_lr=0.1, niters=1)(0) == 0.3


def test_a_run_of_one_iteration_has_a_rate():
    assert make_schedule('cosine', 0.1, 1, 1)(1) == 0.1


def test_a_warmup_of_no_epochs_is_passed_over():
    assert make_schedule('constant', 0.1, 2, 3, warmup_epochs=0)(0) == 0.1


def test_rates_may_rise_and_fall_at_epochs():
    schedule = make_schedule('step', 123.0, 30, 4, decay='0:0.01,10:0.1,20:0.001')
    assert [schedule(t) for t in (0, 39, 40, 79, 80, 119, 500)] == [0.01, 0.01, 0.1, 0.1, 0.001, 0.001, 0.001]


def test_rates_may_be_given_at_steps():
    schedule = make_schedule('step', 1.0, 10, 100, decay='0s:0.01,250s:0.1')
    assert [schedule(t) for t in (0, 249, 250)] == [0.01, 0.01, 0.1]


def test_warmup_rises_to_the_first_rate_and_does_not_shift_the_others():
    schedule = make_schedule('step', 1.0, 10, 10, warmup_epochs=2, decay='0:0.2,5:0.4')
    assert [schedule(t) for t in (0, 19, 20, 49, 50)] == pytest.approx([0, 0.2, 0.2, 0.2, 0.4])


@pytest.mark.parametrize('text, complaint', [
    ('ten', "cannot read 'ten'"), ('10:', "cannot read '10:'"), ('10:fast', "cannot read '10:fast'"),
    ('10,20:0.1', 'with and without'), ('20,10', 'must rise'), ('1,1', 'must rise'), ('-5', 'negative'),
    ('3:-0.1', 'negative'), ('nan', 'infinite'), ('1:0.1,20s:0.2', 'epochs and steps')])
def test_a_decay_that_cannot_be_read_is_named(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        parse_decay(text)


#: Steps and rates as kinetics-i3d states them for its two streams.
PUBLISHED = {'i3d-rgb': [(0, 97, 1e-1), (97, 108, 1e-2), (108, 115, 1e-3)],
             'i3d-flow': [(0, 97, 1e-1), (97, 104.5, 1e-2), (104.5, 115, 1e-3), (115, 140, 1e-1), (140, 150, 1e-2),
                          (150, 155, 1e-3)]}


@pytest.mark.parametrize('name', PUBLISHED)
def test_presets_give_the_published_rate_in_every_stretch(name):
    schedule = make_schedule('step', 0.1, 155, 1000, decay=name)
    assert PRESETS[name].num_steps == PUBLISHED[name][-1][1] * 1000
    for first, end, rate in PUBLISHED[name]:
        assert [schedule(t) for t in (first * 1000, (first + end) * 500, end * 1000 - 1)] == pytest.approx([rate] * 3)


def test_the_flow_preset_rises_again_at_115k_steps():
    schedule = make_schedule('step', 0.1, 155, 1000, decay='i3d-flow')
    assert schedule(114_999) == pytest.approx(0.001) and schedule(115_000) == pytest.approx(0.1)


@pytest.mark.parametrize('text', ['i3d-flow@1550', 'i3d-flow@run'])
def test_a_preset_can_be_squeezed_into_other_steps(text):
    whole = make_schedule('step', 0.1, 155, 1000, decay='i3d-flow')
    short = make_schedule('step', 0.1, 5, 310, decay=text)
    assert [short(t) for t in range(1550)] == [whole(100 * t) for t in range(1550)]


def test_a_preset_starts_from_the_given_rate_and_falls_by_the_given_factor():
    schedule = make_schedule('step', 0.4, 1, 1150, decay='i3d-rgb@run', factor=0.5)
    assert [schedule(t) for t in (0, 970, 1080)] == [0.4, 0.2, 0.1]


def test_warmup_does_not_shift_a_preset():
    schedule = make_schedule('step', 0.1, 115, 10, warmup_epochs=5, decay='i3d-rgb@run')
    assert [schedule(t) for t in (0, 50, 969, 970)] == pytest.approx([0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize('text, complaint', [
    ('i3d', "no preset 'i3d', only i3d-rgb and i3d-flow"), ('ten', "'40,60'"), ('i3d-flow@', "got ''"),
    ('i3d-flow@0', "'i3d-flow@20000'"), ('i3d-flow@-5', "'i3d-flow@20000'"), ('i3d-flow@2.5', "'i3d-flow@20000'"),
    ('i3d-flow@all', "'i3d-flow@run'"), ('i3d-rgb,40', 'no preset')])
def test_a_preset_that_cannot_be_read_is_named(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_schedule('step', 0.1, 3, 5, decay=text)


def test_an_empty_decay_changes_nothing():
    assert make_schedule('step', 0.1, 5, 3, decay='')(14) == 0.1


@pytest.mark.parametrize('kwargs', [dict(mode='exponential'), dict(num_epochs=0), dict(iters_per_epoch=0),
                                    dict(warmup_epochs=9), dict(warmup_epochs=-1)])
def test_a_schedule_that_cannot_be_is_refused(kwargs):
    with pytest.raises(UsageError):
        make_schedule(**{'mode': 'poly', 'lr': 0.1, 'num_epochs': 3, 'iters_per_epoch': 2, **kwargs})


def test_pure_functions_hold_at_the_ends():
    assert [decay_factor(mode, 0, 5) for mode in ('linear', 'poly', 'cosine')] == [1, 1, 1]
    assert [decay_factor(mode, 99, 5) for mode in ('linear', 'poly', 'cosine')] == [0, 0, 0]
    assert rate_at(-1, [(0, 0.1), (5, 0.2)]) == 0.1


@pytest.mark.parametrize('batches, accumulate, updates', [(3, 2, 2), (4, 2, 2), (1, 5, 1), (5, 5, 1), (6, 5, 2),
                                                           (7, 1, 7), (11, 4, 3)])
def test_what_is_left_at_the_end_of_an_epoch_is_an_update_too(batches, accumulate, updates):
    assert updates_per_epoch(batches, accumulate) == updates


def test_schedules_that_do_not_meet_change_over_where_the_second_begins():
    from gluoncv.utils import LRScheduler as OracleScheduler
    from gluoncv.utils import LRSequential as OracleSequential
    parts = [dict(mode='constant', base_lr=0.3, niters=3), dict(mode='linear', base_lr=0.2, target_lr=0.1, niters=5),
             dict(mode='constant', base_lr=0.7, niters=2)]
    ours = LRSequential([LRScheduler(**part) for part in parts])
    theirs = OracleSequential([OracleScheduler(**part) for part in parts])
    assert [ours(t) for t in range(12)] == pytest.approx([theirs(t) for t in range(12)], abs=1e-15)
    assert [ours(t) for t in (0, 2, 3, 7, 8, 9, 99)] == pytest.approx([0.3, 0.3, 0.2, 0.1, 0.7, 0.7, 0.7])


def test_only_schedules_can_be_put_in_sequence():
    with pytest.raises(UsageError, match='int'):
        LRSequential([3])
    with pytest.raises(UsageError, match='none'):
        LRSequential([])
    with pytest.raises(UsageError, match='step_iter'):
        LRScheduler('step')


@pytest.mark.parametrize('batch, examples, changes', [(160, 4_000_000, [25_001, 50_001]), (3, 10, [5, 8, 11]),
                                                      (20, 10, [2, 3, 4])])
def test_stairs_change_after_so_many_examples(batch, examples, changes):
    """Update u is the step u - 1 of TensorFlow, at which (u - 1) * batch examples are done."""
    schedule = stairs(0.1, 0.5, examples, batch)
    for falls, update in enumerate(changes, 1):
        done = (update - 1) * batch // examples
        assert done == falls * max(1, batch // examples)
        assert schedule(update) == pytest.approx(0.1 * 0.5 ** done) != schedule(update - 1)
    assert schedule(1) == 0.1
