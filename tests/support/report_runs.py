"""Folders as trainings and tests leave them, of made-up numbers, and pages looked at as a browser would."""
import json
from html.parser import HTMLParser

import numpy as np

from gluon_action.evaluate.reports import write_report, write_scores
from gluon_action.evaluate.scores.files import VALIDATION_SCORES

VOID = {'meta', 'img', 'br', 'line', 'path', 'circle', 'rect'}


def logits_of(labels, classes, seed=0, noise=1.):
    """Scores of which most are right: float32 (N, K)."""
    rng = np.random.default_rng(seed)
    return (2 * np.eye(classes)[labels] + noise * rng.normal(size=(len(labels), classes))).astype(np.float32)


def write_test(folder, classes, labels, scores, keys=None, scored=None, failures=(), **results):
    """The folder of a test, without its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f'v{n}.mp4' for n in range(len(labels))] if keys is None else keys
    scored = np.ones(len(labels), bool) if scored is None else scored
    protocol = {'model': 'net', 'dataset': 'custom', 'average': 'scores', 'list_sha256': 'ab' * 32}
    write_report(folder, {'top1': 0.5, 'protocol': protocol, 'config': {'num_workers': 2}, **results}, keys=keys,
                 labels=labels, scores=scores, scored=scored, failures=list(failures), classes=classes, meter=None)
    return folder


def write_training(folder, epochs=4, classes=('a', 'b', 'c'), labels=None, scores=None, **config):
    """The folder of a training: configuration, records, and scores of its validation where they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {'config': {'model': 'net', 'dataset': 'custom', 'num_epochs': epochs, 'lr': 0.1, **config},
             'num_classes': len(classes), 'classes': list(classes), 'command': 'gluon-action train --model net',
             'lists': {'train': {'file': 'train.txt', 'sha256': '12' * 32, 'videos': 9},
                       'val': {'file': 'val.txt', 'sha256': '34' * 32, 'videos': 6}}, 'versions': {'numpy': '1'}}
    (folder / 'config.json').write_text(json.dumps(about))
    records = [{'kind': 'epoch', 'epoch': n, 'step': 9 * n + 9, 'accuracy': n / epochs, 'loss': 1 / (n + 1), 'lr': 0.1,
                'seconds': 10., 'data_seconds': 8., 'device_seconds': 0.2, 'validation_seconds': 2., 'speed': 3.,
                'val_top1': n / epochs, 'val_top5': 1., 'val_loss': 1., 'best': True} for n in range(epochs)]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(record) + '\n' for record in records))
    if scores is not None:
        write_scores(folder / VALIDATION_SCORES, [f'v{n}.mp4' for n in range(len(labels))], labels, scores,
                     np.ones(len(labels), bool), classes)
    return folder


class Page(HTMLParser):
    """A page as it is parsed: its elements, where it would fetch things from, its text.

    Attributes
    ----------
    elements : list of (str, dict)
    fetched : list of str
        Addresses that a browser would load.
    text : str
        Without scripts and styles.
    scripts : list of str
    """

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.elements, self.fetched, self.scripts, self._open, self._texts = [], [], [], [], []
        self.source = path.read_text('utf-8')
        self.feed(self.source)
        self.close()
        assert self._open == [], f'{self._open} are not closed'
        self.text = ' '.join(' '.join(self._texts).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        assert not [name for name in attrs if name.startswith('on')], attrs
        self.fetched += [attrs[name] for name in ('src', 'href', 'srcset', 'data', 'action', 'xlink:href', 'poster')
                         if name in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open and self._open.pop() == tag, f'</{tag}> closes nothing'

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ''
        if inside == 'script':
            self.scripts.append(data)
        elif inside != 'style':
            self._texts.append(data)

    def of(self, tag, **attrs):
        """Attributes of the elements of this kind that have these."""
        return [found for name, found in self.elements if name == tag and attrs.items() <= found.items()]

    def has(self, section):
        """Whether there is a section of this name."""
        return bool(self.of('section', id=section))
