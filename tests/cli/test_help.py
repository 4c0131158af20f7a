"""What commands say of themselves: by task, shortly or in full, and in one line where the command line is wrong."""
import importlib
import re
import shlex
import shutil
import subprocess

import pytest

from gluon_action.cli import completion
from gluon_action.cli import main as commands
from gluon_action.cli.parser import Parser
from gluon_action.options import Option


def parser_of(command):
    return importlib.import_module(f'gluon_action.cli.{commands.COMMANDS[command][0]}').build_parser()


@pytest.fixture
def parser():
    made = Parser(prog='gluon-action do', description='Do something.', epilog='examples:\n  %(prog)s a --rate 1')
    made.add_argument('videos', nargs='+', metavar='VIDEO', help='videos')
    group = made.add_argument_group('work')
    Option('the rate', ('--rate',), name='rate', type=float, default=0.5, common=True).add_to(group)
    Option('where', ('--out_dir',), name='out_dir', required=True, type=str, metavar='FOLDER').add_to(group)
    Option('the size', ('--batch_size',), name='batch_size', type=int, default=1).add_to(
        made.add_argument_group('speed', 'How fast.'))
    return made


def helped(parser, flag, capsys):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([flag])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_lists_what_is_common_or_needed_and_help_all_the_rest(parser, capsys):
    short, full = helped(parser, '--help', capsys), helped(parser, '--help-all', capsys)
    assert short.startswith('usage: gluon-action do VIDEO [VIDEO ...] --out_dir FOLDER [OPTION ...]\n')
    assert '--rate' in short and '--out_dir' in short and '--batch_size' not in short and 'How fast.' not in short
    assert 'gluon-action do a --rate 1' in short
    assert short.endswith('\ngluon-action do --help-all shows 1 more options.\n')
    assert '--rate' in full and '--batch_size' in full and 'How fast.' in full and '--help-all' not in full


def test_help_is_whole_where_nothing_is_rare(capsys):
    parser = Parser(prog='x')
    parser.add_argument('--rate')
    assert helped(parser, '--help', capsys) == helped(parser, '--help-all', capsys)


@pytest.mark.parametrize('words, told', [
    (['a', '--out_dir', 'x', '--rate', 'fast'], "argument --rate: invalid float value: 'fast'"),
    (['--out_dir', 'x'], 'the following arguments are required: VIDEO'),
    (['a', '--out_dir', 'x', '--batchsize', '3'], 'unrecognized arguments: --batchsize 3; did you mean --batch_size?'),
    (['a', '--out_dir', 'x', '--save-dir', 'y'], 'unrecognized arguments: --save-dir y; did you mean --out_dir?'),
    (['a', '--out_dir', 'x', '--bach', '3'], 'unrecognized arguments: --bach 3; did you mean --batch_size?'),
    (['a', '--out_dir', 'x', '--learning-rate', '3'], 'unrecognized arguments: --learning-rate 3'),  # is not --rate
    (['a', '--out_dir', 'x', '--xyz\x1b[2J'], r'unrecognized arguments: --xyz\x1b[2J')])
def test_a_wrong_command_line_is_told_in_a_line_and_where_help_is(parser, words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f'gluon-action do: {told}\ngluon-action do --help shows what it takes\n'


@pytest.mark.parametrize('word, value', [('--batch-size=3', 3), ('--batch_size=4', 4)])
def test_names_may_have_dashes_or_underscores(parser, word, value):
    args = parser.parse_args(['a_b', '--out-dir', 'c_d', word])
    assert (args.batch_size, args.out_dir, args.videos) == (value, 'c_d', ['a_b'])


@pytest.mark.parametrize('command', commands.COMMANDS)
def test_the_help_of_a_command_fits_a_glance(command):
    options, *_ = parser_of(command).format_help().split('\nexamples:')
    listed = re.findall(r'^  (--?\w[\w-]*)', options, re.MULTILINE)
    assert len(listed) <= 30, listed


@pytest.mark.parametrize('command, flags', [
    ('train', '--model --dataset --train-list --val-list --lr --num-epochs --batch-size --save-dir --resume'),
    ('test', '--model --val-list --num-segments --ten-crop --save-dir'),
    ('estimator', '--mode --model_dir --checkpoint_path --learning_rate --num_classes'),
    ('video-action-classifier', '--data_path --checkpoint --max_epochs --batch_size'),
    ('youtube8m train', '--train_data_pattern --model --feature_names --num_epochs --base_learning_rate'),
    ('youtube8m extract_features', '--input_videos_csv --output_tfrecords_file --pca --backbone')])
def test_what_everybody_needs_is_in_the_short_help_with_examples(command, flags):
    told = parser_of(command).format_help()
    assert not [flag for flag in flags.split() if not re.search(rf'^  (-\w \w+, )?{flag}\b', told, re.MULTILINE)]
    assert 'example' in told or 'the three phases' in told


@pytest.mark.parametrize('flag, commands_with', [
    ('--class-names', 'train test predict export import-weights make-clip-records'),
    ('--num-data-workers', 'train test estimator extract-flow make-clip-records prepare-something-something'),
    ('--decode-timeout', 'train test extract-flow make-clip-records prepare-something-something'),
    ('--overwrite', 'train test predict export quantize extract-flow make-clip-records fuse-scores estimator'),
    ('--use-pretrained', 'train test predict export')])
def test_what_means_the_same_is_called_the_same(flag, commands_with):
    for command in commands_with.split():
        known = {name.replace('_', '-') for name in parser_of(command)._option_string_actions}
        assert flag in known, command


def test_without_arguments_one_is_told_what_can_be_done_by_task(capsys):
    assert commands.main([]) == 0
    told = capsys.readouterr().out
    for task, rows in commands.TASKS.items():
        part = told.split(f'\n{task}:\n')[1].split('\n\n')[0]
        assert re.findall(r'^  (\S+)', part, re.MULTILINE) == list(dict.fromkeys(name.split()[0] for name in rows))
    assert '143 ended by SIGTERM' in told and '--help-all' in told


def test_an_unknown_command_is_told_in_two_lines(capsys):
    assert commands.main(['tran']) == 2
    assert capsys.readouterr().err.splitlines() == [
        "gluon-action: no command 'tran'; did you mean train?", 'gluon-action --help lists the commands']


@pytest.fixture(scope='module')
def bash_script(tmp_path_factory):
    shtab = pytest.importorskip('shtab')
    if not shutil.which('bash'):
        pytest.skip('needs bash')
    path = tmp_path_factory.mktemp('completion') / 'gluon-action'
    path.write_text(shtab.complete(completion.whole_parser(shtab), 'bash'))
    return path


@pytest.mark.parametrize('line, offered', [
    ('gluon-action pre', {'predict', 'prepare-something-something', 'prepare-videos'}),
    ('gluon-action youtube8m weights', {'weights_average'}),
    ('gluon-action models pub', {'publish'}),
    ('gluon-action train --save-d', {'--save-dir'}),
    ('gluon-action train --data-aug v', {'v1', 'v2', 'v3', 'v4'}),
    ('gluon-action test --model s3dg_small', {'s3dg_small_demo_motion'})])
def test_the_shell_completes_commands_flags_choices_and_models(bash_script, line, offered):
    words = line.split()
    code = (f'source {shlex.quote(str(bash_script))}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; '
            f'f=$(complete -p gluon-action | sed "s/.*-F \\(\\S*\\).*/\\1/"); '
            f'$f gluon-action {words[-1]} {words[-2]} 2>/dev/null; printf "%s\\n" "${{COMPREPLY[@]}}"')
    found = subprocess.run(['bash', '-c', code], capture_output=True, text=True, check=True)
    assert {word.strip() for word in found.stdout.split()} == offered
