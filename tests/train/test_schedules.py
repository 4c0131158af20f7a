import itertools
import math

import pytest

from gluon_action.errors import UsageError
from gluon_action.train.lr_scheduler import MODES, LRScheduler, LRSequential, rate_at, remaining
from gluon_action.train.schedules import PRESETS, make_schedule, parse_decay, stairs, updates_per_epoch


def rates_of(schedule, updates):
    """The rates of the first updates, which count from 1."""
    return [schedule(update) for update in range(1, updates + 1)]


def oracle(mode, lr, epochs, iters, warmup, warmup_lr, decay, factor):
    from gluoncv.utils import LRScheduler as OracleScheduler
    from gluoncv.utils import LRSequential as OracleSequential
    return OracleSequential([
        OracleScheduler('linear', base_lr=warmup_lr, target_lr=lr, nepochs=warmup, iters_per_epoch=iters),
        OracleScheduler(mode, base_lr=lr, target_lr=0, nepochs=epochs - warmup, iters_per_epoch=iters,
                        step_epoch=[e - warmup for e in decay], step_factor=factor, power=2)])


@pytest.mark.parametrize('mode, warmup', itertools.product(MODES, (0, 2)))
def test_the_rule_of_earlier_versions_equals_gluoncv_at_every_iteration(mode, warmup):
    ours = make_schedule(mode, 0.05, 9, 7, warmup_epochs=warmup, warmup_lr=0.001, decay=(4, 6), factor=0.2,
                         rule='gluoncv')
    theirs = oracle(mode, 0.05, 9, 7, warmup, 0.001, [4, 6], 0.2)
    assert [ours(t) for t in range(9 * 7 + 5)] == pytest.approx([theirs(t) for t in range(9 * 7 + 5)], abs=1e-15)


def test_decay_as_text_equals_decay_as_epochs():
    text, numbers = (make_schedule('step', 0.1, 8, 5, decay=decay) for decay in ('3,6', [3, 6]))
    assert rates_of(text, 40) == rates_of(numbers, 40)


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
    assert make_schedule('constant', 0.1, 2, 3, warmup_epochs=0)(1) == 0.1


@pytest.mark.parametrize('per_epoch', [1, 2, 3, 1000])
@pytest.mark.parametrize('warmup', [0, 2])
def test_every_change_of_a_step_schedule_is_made_by_the_first_update_of_its_epoch(per_epoch, warmup):
    schedule = make_schedule('step', 0.1, 7, per_epoch, warmup_epochs=warmup, decay='3,5')
    expected = [0.1] * 3 + [0.01] * 2 + [0.001] * 2
    found = rates_of(schedule, 7 * per_epoch)
    for epoch in range(warmup, 7):
        assert found[epoch * per_epoch:(epoch + 1) * per_epoch] == pytest.approx([expected[epoch]] * per_epoch)


def test_the_rates_of_the_report_of_one_update_an_epoch():
    assert rates_of(make_schedule('step', 0.1, 3, 1, decay='1,2'), 3) == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.parametrize('per_epoch', [1, 2, 3, 1000])
@pytest.mark.parametrize('mode, left', [
    ('linear', lambda done: 1 - done), ('poly', lambda done: (1 - done) ** 2),
    ('cosine', lambda done: math.cos(math.pi / 2 * done) ** 2)])
def test_a_rate_that_falls_begins_at_the_first_and_is_never_0(per_epoch, mode, left):
    total = 3 * per_epoch
    found = rates_of(make_schedule(mode, 0.1, 3, per_epoch), total)
    assert found == pytest.approx([0.1 * left(done / total) for done in range(total)], abs=1e-12)
    assert found[0] == 0.1 and found[-1] > 0 and found == sorted(found, reverse=True)
    after = rates_of(make_schedule(mode, 0.1, 3, per_epoch, target_lr=0.02), total)
    assert after == pytest.approx([0.02 + 0.08 * left(done / total) for done in range(total)], abs=1e-12)


@pytest.mark.parametrize('per_epoch', [1, 2, 3, 1000])
@pytest.mark.parametrize('mode', MODES)
def test_a_warmup_rises_by_equal_steps_to_the_rate_that_follows(per_epoch, mode):
    found = rates_of(make_schedule(mode, 0.1, 3, per_epoch, warmup_epochs=1, decay='2'), per_epoch + 1)
    assert found == pytest.approx([0.1 * (done + 1) / (per_epoch + 1) for done in range(per_epoch + 1)])
    found = rates_of(make_schedule(mode, 0.1, 3, per_epoch, warmup_epochs=1, warmup_lr=0.02, decay='2'), per_epoch + 1)
    assert found == pytest.approx([0.02 + 0.08 * done / per_epoch for done in range(per_epoch + 1)])


def test_a_change_within_an_update_is_made_by_the_next_one():
    assert rates_of(make_schedule('step', 0.1, 4, 1, decay='0.3,2.5'), 4) == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert rates_of(make_schedule('step', 0.1, 1, 10, decay='0.3'), 5) == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01])


def test_rates_may_rise_and_fall_at_epochs():
    schedule = make_schedule('step', 123.0, 30, 4, decay='0:0.01,10:0.1,20:0.001')
    assert [schedule(t) for t in (1, 40, 41, 80, 81, 120, 500)] == [0.01, 0.01, 0.1, 0.1, 0.001, 0.001, 0.001]


def test_rates_may_be_given_at_steps():
    schedule = make_schedule('step', 1.0, 10, 100, decay='0s:0.01,250s:0.1')
    assert [schedule(t) for t in (1, 250, 251)] == [0.01, 0.01, 0.1]


def test_warmup_rises_to_the_first_rate_and_does_not_shift_the_others():
    schedule = make_schedule('step', 1.0, 10, 10, warmup_epochs=2, decay='0:0.2,5:0.4')
    assert [schedule(t) for t in (1, 20, 21, 50, 51)] == pytest.approx([0.2 / 21, 0.2 * 20 / 21, 0.2, 0.2, 0.4])


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
        assert [schedule(1 + t) for t in (first * 1000, (first + end) * 500, end * 1000 - 1)] == pytest.approx(
            [rate] * 3)


def test_the_flow_preset_rises_again_at_115k_steps():
    schedule = make_schedule('step', 0.1, 155, 1000, decay='i3d-flow')
    assert schedule(115_000) == pytest.approx(0.001) and schedule(115_001) == pytest.approx(0.1)


@pytest.mark.parametrize('text', ['i3d-flow@1550', 'i3d-flow@run'])
def test_a_preset_can_be_squeezed_into_other_steps(text):
    whole = make_schedule('step', 0.1, 155, 1000, decay='i3d-flow')
    short = make_schedule('step', 0.1, 5, 310, decay=text)
    assert rates_of(short, 1550) == [whole(1 + 100 * done) for done in range(1550)]


def test_a_preset_starts_from_the_given_rate_and_falls_by_the_given_factor():
    schedule = make_schedule('step', 0.4, 1, 1150, decay='i3d-rgb@run', factor=0.5)
    assert [schedule(t) for t in (1, 971, 1081)] == [0.4, 0.2, 0.1]


def test_warmup_does_not_shift_a_preset():
    schedule = make_schedule('step', 0.1, 115, 10, warmup_epochs=5, decay='i3d-rgb@run')
    assert [schedule(t) for t in (1, 51, 970, 971)] == pytest.approx([0.1 / 51, 0.1, 0.1, 0.01])


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
                                    dict(warmup_epochs=9), dict(warmup_epochs=-1), dict(rule='mine')])
def test_a_schedule_that_cannot_be_is_refused(kwargs):
    with pytest.raises(UsageError):
        make_schedule(**{'mode': 'poly', 'lr': 0.1, 'num_epochs': 3, 'iters_per_epoch': 2, **kwargs})


def test_pure_functions_hold_at_the_ends():
    assert [remaining(mode, 0) for mode in ('linear', 'poly', 'cosine')] == [1, 1, 1]
    assert [remaining(mode, 1) for mode in ('linear', 'poly', 'cosine')] == [0, 0, 0]
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


def test_of_two_names_of_a_rate_the_newer_one_counts():
    from gluoncv.utils import LRScheduler as OracleScheduler
    for given in (dict(base_lr=1, baselr=0), dict(baselr=0.5), dict(base_lr=0.3), dict(target_lr=0.2, targetlr=0.4),
                  dict(targetlr=0.4)):
        ours, theirs = (kind('linear', niters=5, **given) for kind in (LRScheduler, OracleScheduler))
        assert [ours(t) for t in range(5)] == pytest.approx([theirs(t) for t in range(5)])


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
