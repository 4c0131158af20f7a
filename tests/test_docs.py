"""Commands that README and pages print are commands: their flags exist, and go together."""
import importlib
import os
import re
import shlex
import string
from pathlib import Path

import pytest

from gluon_action.cli.main import COMMANDS, GROUPS
from gluon_action.evaluate.network import check_test
from gluon_action.evaluate.options.frame_features_config import check_evaluation
from gluon_action.model_zoo import model_card
from gluon_action.train.recipes.clip_estimator import config as estimator_config
from gluon_action.train.recipes.config import check_config
from gluon_action.train.recipes.frame_features.config import check_config as check_features

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
CHECKS = {'train_recognizer': lambda config: check_config(config, model_card(config.model)),
          'video_action_classifier': lambda config: check_config(config, model_card(config.model)),
          'test_recognizer': lambda config: config.model and check_test(config),  # the folder of a run is not here
          'clip_estimator': estimator_config.check_config,
          'train': check_features, 'train_distill': check_features, 'eval': check_evaluation}
# `name="..."` sets a variable that later commands use, and may hold a command itself.
ASSIGNMENT = re.compile(r'^(\w+)="([^"]*)"$', re.MULTILINE)


def shell_blocks(text: str) -> list[str]:
    return re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def commands_in(block: str) -> list[list[str]]:
    """The commands of a block that are this project's, as words, with variables filled in."""
    block = re.sub(r'\\\n', ' ', block)
    variables = {name: ' '.join(value.split()) for name, value in ASSIGNMENT.findall(block)}
    variables = {name: string.Template(value).safe_substitute(variables) for name, value in variables.items()}
    found = []
    for line in ASSIGNMENT.sub('', block).splitlines():
        words = shlex.split(string.Template(line).safe_substitute(variables), comments=True)
        starts = [n for n, word in enumerate(words) if word == 'gluon-action' or word.startswith('scripts/')]
        if starts and '...' not in words:
            words = words[starts[0]:]
            found.append(words[:-1] if words[-1] == '&' else words)
    return found


COMMAND_LINES = [pytest.param(words, id=f'{page.name}-{number}-{words[0]}')
                 for page in PAGES
                 for number, words in enumerate(
                     words for block in shell_blocks(page.read_text()) for words in commands_in(block))]


def test_there_are_commands():
    assert len(COMMAND_LINES) > 20


@pytest.mark.parametrize('words', COMMAND_LINES)
def test_a_printed_command_is_understood(words):
    name, arguments = words[0], words[1:]
    if name.endswith('.sh'):
        assert os.access(ROOT / name, os.X_OK)
        return
    if name == 'gluon-action' and not arguments:  # says what it can do
        return
    if name == 'gluon-action':
        count = 2 if arguments[0] in GROUPS else 1
        name, arguments = ' '.join(arguments[:count]), arguments[count:]
        assert name in COMMANDS
        module = importlib.import_module(f'gluon_action.cli.{COMMANDS[name][0]}')
        args = module.parse_args(arguments)
    else:
        # A script is one line: run(module.parse_args, module.main).
        text = (ROOT / name[name.index('scripts/'):]).read_text()
        module, parse = re.search(r'run\((\w+)\.(\w+),', text).groups()
        package = re.search(rf'from (\S+) import {module}$', text, re.MULTILINE)[1]
        module = importlib.import_module(f'{package}.{module}')
        args = getattr(module, parse)(arguments)
    # Of what is resumed, or read from a file, nothing is here.
    elsewhere = getattr(args, 'config', None) or getattr(args, 'resume', None) not in (None, 'auto')
    if hasattr(module, 'config_from') and not elsewhere:
        CHECKS[module.__name__.rpartition('.')[2]](module.config_from(args))
