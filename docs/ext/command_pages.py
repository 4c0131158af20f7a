"""Writes docs/commands: a page for every command with all its options, made of the parsers themselves."""
import argparse
import importlib
import re
from pathlib import Path

from gluon_action.cli.main import COMMANDS, EXIT_CODES, GROUPS, TASKS, usage


def escaped(text):
    """Return a text of which reStructuredText makes nothing else."""
    return re.sub(r'([*`|\\_])', r'\\\1', text)


def titled(text, line='='):
    """Return lines of a title."""
    return [text, line * len(text), '']


def heading(text):
    """Return lines of a heading that is no section."""
    return [f'.. rubric:: {escaped(text[:1].upper() + text[1:])}', '']


def literal(text, language='text'):
    """Return lines of a block that is shown as it is."""
    return [f'.. code-block:: {language}', '', *(f'   {line}'.rstrip() for line in text.splitlines()), '']


def page_of(name):
    """Return the page of a command."""
    parser = importlib.import_module(f'gluon_action.cli.{COMMANDS[name][0]}').build_parser()
    parser.prog = f'gluon-action {name}'
    return '\n'.join([*titled(parser.prog), *of_parser(parser)])


def of_parser(parser):
    """Return the lines about a parser: usage, description, examples, options by group."""
    lines = literal(' '.join(parser.usage_line().split()), 'sh')
    said = parser.description or ''
    lines += [escaped(said[:1].upper() + said[1:]), '']
    if parser.epilog:
        title, _, examples = (parser.epilog % {'prog': parser.prog}).partition('\n')
        examples = '\n'.join(line.removeprefix('  ') for line in examples.splitlines())
        lines += heading(title.rstrip(':')) + literal(examples, 'sh')
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if shown and not isinstance(shown[0], argparse._SubParsersAction):
            lines += [*heading(group.title), escaped(group.description or ''), '']
        for action in shown:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    lines += [*titled(inner.prog, '-'), *of_parser(inner)]
                continue
            says = ', '.join(f'``{part.replace(",", ", ")}``'
                             for part in formatter._format_action_invocation(action).split(', '))
            lines += [says, f'   {escaped(" ".join(formatter._expand_help(action).split()))}', '']
    return lines


def index():
    """Return the page that leads to the others."""
    lines = ['.. Made by docs/ext/command_pages.py.', '', *titled('Commands')]
    lines += ['``gluon-action`` by itself says what it can do. ``gluon-action COMMAND --help`` shows the usual options '
              'and examples, ``--help-all`` every option, as the pages here do. Names may have dashes or underscores.',
              '', *literal(usage()), *titled('Exit codes', '-'), '.. list-table::', '   :header-rows: 1', '',
              '   * - code', '     - meaning']
    for code, meaning in EXIT_CODES.items():
        lines += [f'   * - {code}', f'     - {escaped(meaning)}']
    lines += ['', 'What is wrong is said in a line on standard error; ``--debug`` prints a traceback with it.', '',
              *titled('Completion', '-'), '``gluon-action completion bash`` (or zsh, tcsh) prints what makes a shell '
              'complete commands, flags, files and names of models:', '',
              *literal('gluon-action completion bash > ~/.local/share/bash-completion/completions/gluon-action', 'sh')]
    for task, rows in TASKS.items():
        lines += ['.. toctree::', '   :maxdepth: 1', f'   :caption: {task[0].upper()}{task[1:]}', '',
                  *(f'   {file_of(name)}' for name in rows), '']
    return '\n'.join(lines)


def file_of(name):
    """Return what a command's page is called."""
    return name.replace(' ', '-')


def write(app):
    """Write the pages; those that say the same stay as they are, so that Sphinx need not read them again."""
    folder = Path(app.srcdir, 'commands')
    folder.mkdir(exist_ok=True)
    pages = {'index': index(), **{file_of(name): page_of(name) for name in COMMANDS}}
    for old in folder.glob('*.rst'):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f'{name}.rst'
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')


def setup(app):
    """Write the pages before any is read."""
    assert all(name.split()[0] in GROUPS for name in COMMANDS if ' ' in name)
    app.connect('builder-inited', write)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
