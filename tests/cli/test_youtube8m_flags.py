"""Flags of YouTube-8M's commands mean what they say, in all the spellings that people write."""
import logging

import pytest

from gluon_action.cli.command import make_parser
from gluon_action.cli.youtube8m.flags import ignore, parse
from gluon_action.options import yes_or_no


@pytest.fixture
def parser():
    made = make_parser('Try flags.')
    made.add_argument('--gating', type=yes_or_no, nargs='?', const=True, default=False)
    made.add_argument('--relu', type=yes_or_no, nargs='?', const=True, default=True)
    made.add_argument('--batch_size', type=int, default=1024)
    made.add_argument('--normal', type=int, default=3)
    ignore(made, {'--num_gpu': 'no GPU here', '--loss_lambda': 'of another command', '--vlagd': 'of another command',
                  '--batch_size': 'is known, so this is not said'})
    return made


@pytest.mark.parametrize('words, value', [
    ([], False), (['--gating'], True), (['--gating=True'], True), (['--gating', 'True'], True),
    (['--gating=true'], True), (['--gating', '1'], True), (['--gating=false'], False), (['--gating', 'false'], False),
    (['--gating', 'False'], False), (['--gating', '--nogating'], False), (['--nogating', '--gating'], True),
    (['--gating', '--batch_size=160'], True)])
def test_on_and_off_mean_what_they_say(parser, words, value):
    assert parse(parser, words).gating is value


def test_what_is_on_by_itself_is_turned_off(parser):
    assert [parse(parser, words).relu for words in ([], ['--relu=false'], ['--relu', 'false'], ['--norelu'])] == [
        True, False, False, False]


def test_what_the_command_line_names_is_told_from_defaults(parser):
    args = parse(parser, ['--batch_size', '1024', '--gating=false'])
    assert args.given == {'batch_size': 1024, 'gating': False}
    assert (args.relu, args.normal, args.debug) == (True, 3, False)


@pytest.mark.parametrize('words, told', [
    (['--gating', 'maybe'], "'maybe' is neither true nor false"), (['--batchsize', '3'], 'did you mean --batch_size?'),
    (['--batch'], 'unrecognized arguments: --batch'), (['--nonsense=1', '2'], '--nonsense=1 2'),
    (['--batch_size', 'many'], 'invalid int value'), (['stray'], 'unrecognized arguments: stray'),
    (['--nobatch_size'], 'unrecognized arguments: --nobatch_size')])
def test_what_nobody_knows_is_an_error(parser, words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(parser, words)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and told in said and len(said.splitlines()) == 2


@pytest.mark.parametrize('words', [['--num_gpu', '1', '--loss_lambda=0.5', '--vlagd', '--batch_size=2'],
                                   ['--vlagd=True', '--loss_lambda', '0.5', '--num_gpu=1', '--batch_size', '2']])
def test_flags_without_effect_are_accepted_with_a_note(parser, words, caplog):
    with caplog.at_level(logging.INFO):
        args = parse(parser, words)
    assert args.batch_size == 2 and args.given == {'batch_size': 2}
    assert {(tuple(sorted(flags.split(', '))), why) for flags, why in (line.split(': ') for line in caplog.messages)
            } == {(('--num_gpu',), 'no GPU here.'), (('--loss_lambda', '--vlagd'), 'of another command.')}
    assert '--num_gpu' not in parser.format_help()


def test_without_such_flags_nothing_is_said(parser, caplog):
    with caplog.at_level(logging.INFO):
        parse(parser, ['--gating'])
    assert not caplog.messages
