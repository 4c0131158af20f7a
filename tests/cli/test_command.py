"""How every command ends: exit codes, what is said, and interruptions that are not lost."""
import argparse
import logging
import os
import signal
import sys
import time

import pytest

from gluon_action.cli.command import make_parser, run
from gluon_action.cli.output import ConsoleLog
from gluon_action.errors import OutputError, UsageError
from gluon_action.options import yes_or_no


def called(main, *argv, prog='train'):
    return run(lambda argv: make_parser('Do something.').parse_args(argv), main, list(argv), prog)


def failing(error):
    def main(args):
        raise error
    return main


@pytest.mark.parametrize('result, code', [(None, 0), (0, 0), (1, 1), (3, 3), (True, 1)])
def test_what_a_command_returns_is_its_exit_code(result, code):
    assert called(lambda args: result) == code


@pytest.mark.parametrize('error, code, told', [
    (OutputError('a.params cannot be written'), 1, 'train: a.params cannot be written\n'),
    (UsageError('--lr is wrong'), 2, 'train: --lr is wrong\n'),
    (KeyError('x'), 1, "train: unexpected KeyError: 'x'\nThis is a fault of the program; --debug shows where it "
                       'happened.\n')])
def test_an_error_is_told_without_a_traceback_unless_asked_for(error, code, told, capsys):
    assert called(failing(error)) == code
    assert capsys.readouterr().err == told
    assert called(failing(error), '--debug') == code
    said = capsys.readouterr().err
    assert said.startswith('Traceback') and said.endswith(told)


def test_a_command_is_called_by_its_file_where_it_has_no_other_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['/somewhere/train_recognizer.py'])
    assert called(failing(OutputError('no')), prog=None) == 1
    assert capsys.readouterr().err == 'train_recognizer.py: no\n'


def test_ctrl_c_ends_a_command_with_130(capsys):
    def main(args):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert called(main) == 130
    assert capsys.readouterr().err == '\ninterrupted\n'
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.filterwarnings('error')  # such as of an exception that Python ignores in a __del__
def test_ctrl_c_that_meets_a_finalizer_is_not_lost():
    class Array:
        def __del__(self):
            self.release()

        def release(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    went_on = []

    def main(args):
        array = Array()
        del array
        went_on.append(True)
        time.sleep(2)
    assert called(main) == 130
    assert went_on


@pytest.mark.parametrize('handler', [signal.SIG_IGN, lambda number, frame: None])
def test_ctrl_c_that_is_ignored_or_somebody_elses_stays_so(handler):
    def main(args):
        assert signal.getsignal(signal.SIGINT) is handler
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert called(main) == 0 and signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def writing(lines, done):
    """A command that prints so many lines, which are written at once, and keeps working."""
    def main(args):
        for number in range(lines):
            print('line', number, flush=True)
        done.append(True)
    return main


def test_a_reader_that_goes_away_ends_no_work_and_nothing_is_said(monkeypatch, capfd):
    """What `... | head` does. What is still to be written, at exit too, goes nowhere."""
    read, write = os.pipe()
    os.close(read)
    done = []
    with os.fdopen(write, 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        assert called(writing(3, done)) == 0 and done
        print('more', flush=True)
    assert capfd.readouterr() == ('', '')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_a_full_disk_under_standard_output_ends_no_work_and_is_said_once(monkeypatch, capfd):
    done = []
    with open('/dev/full', 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        assert called(writing(3, done)) == 0 and done
    assert capfd.readouterr().err == ('standard output cannot be written to (No space left on device): what would '
                                      'follow there is lost, what goes to files is not\n')


@pytest.mark.parametrize('text, shown', [
    ('naïve Ω 洗', 'na\\xefve \\u03a9 \\u6d17'), ('caf\udce9', 'caf\\xe9'), ('plain', 'plain')])
def test_letters_that_standard_output_lacks_are_written_as_escapes(monkeypatch, tmp_path, text, shown):
    with open(tmp_path / 'out', 'w', encoding='ascii') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        assert called(lambda args: print(text)) == 0
    assert (tmp_path / 'out').read_text() == f'{shown}\n'


def test_what_acts_on_a_terminal_is_shown_instead(capsys):
    called(lambda args: print('a\x1b[2J\x07b\x9b1mc\u202ed\ttab'))
    assert capsys.readouterr().out == 'a\\x1b[2J\\x07b\\x9b1mc\\u202ed\ttab\n'
    assert called(failing(OutputError('x\x1b[2J.params: cannot be written'))) == 1
    assert capsys.readouterr().err == 'train: x\\x1b[2J.params: cannot be written\n'


def test_the_log_is_shown_line_by_line_whatever_names_are_in_it(capsys):
    record = logging.LogRecord('gluon_action', logging.INFO, '', 0, 'not scored: %s, %d of %s', (
        'a\nForged: all is well\x1b[1A.mp4', 3, OSError('b\n.mp4')), None)
    handler = ConsoleLog()
    called(lambda args: handler.handle(record))
    assert capsys.readouterr().out == 'not scored: a\\nForged: all is well\\x1b[1A.mp4, 3 of b\\n.mp4\n'
    assert record.args[0].startswith('a\n')  # other handlers have it as it was


@pytest.mark.parametrize('json', ['-', 'file.json', None])
def test_the_log_keeps_off_standard_output_where_json_goes_there(json, capsys):
    logger, handler = logging.getLogger('gluon_action.tried'), ConsoleLog()
    logger.addHandler(handler)
    try:
        run(lambda argv: argparse.Namespace(debug=False, json=json), lambda args: logger.warning('told'), [], 'test')
        logger.warning('afterwards')
    finally:
        logger.removeHandler(handler)
    said = capsys.readouterr()
    assert (said.out, said.err) == (('afterwards\n', 'told\n') if json == '-' else ('told\nafterwards\n', ''))


def test_the_log_does_not_say_where_matplotlib_keeps_its_fonts(capsys):
    root, fonts, handler = logging.getLogger(), logging.getLogger('matplotlib.font_manager'), ConsoleLog()
    level, before = root.level, logging.getLogger('matplotlib').level
    logging.getLogger('matplotlib').setLevel(logging.NOTSET)
    root.addHandler(handler)
    root.setLevel(logging.INFO)  # as a command has it
    try:
        called(lambda args: [fonts.info('generated new fontManager'), fonts.warning('no font')] and 0)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        logging.getLogger('matplotlib').setLevel(before)
    assert capsys.readouterr().out == 'no font\n'


def test_a_command_runs_where_standard_output_is_closed(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', None)
    assert called(lambda args: print('nobody reads this')) == 0


def test_output_is_written_before_a_command_ends(monkeypatch, tmp_path):
    with open(tmp_path / 'out', 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        called(lambda args: print('done'))
        assert (tmp_path / 'out').read_text() == 'done\n'


def test_help_tells_defaults_that_teach_something_and_flags_are_not_abbreviated(capsys):
    parser = make_parser('Do something.', prog='x')
    parser.add_argument('--rate', default=0.5, help='the rate')
    parser.add_argument('--name', default=None, help='the name')
    parser.add_argument('--quiet', action='store_true', help='say less')
    parser.add_argument('--text', default='', help='the text')
    told = parser.format_help()
    assert 'the rate (default: 0.5)' in told and told.count('default') == 1
    with pytest.raises(SystemExit):
        parser.parse_args(['--rat', '1'])
    assert '--rat' in capsys.readouterr().err


@pytest.mark.parametrize('text, value', [('true', True), ('YES', True), ('1', True), ('False', False), ('no', False),
                                         ('0', False)])
def test_yes_and_no_are_understood(text, value):
    assert yes_or_no(text) is value
