"""The model card of a bundle: what the model is, what it takes, and how to use it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...data.feature_input import FeatureInput
from ...data.preprocess import Preprocess

if TYPE_CHECKING:
    from ...model_zoo.registry import ModelCard

_MOST_NAMES = 10  # labels in the page; the rest are in labels.json


def card_text(card: ModelCard | None, preprocess: Preprocess | FeatureInput, labels: Sequence[str] | None,
              about: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> str:
    """Return the model card of a bundle, in Markdown.

    Parameters
    ----------
    card : ModelCard or None
        What the zoo knows of the network.
    preprocess : Preprocess or FeatureInput
    labels : sequence of str or None
    about : mapping
        What goes into the manifest: ``model``, ``opset``, ``precision``, ``input``, ``outputs`` and ``checked``, and
        where it is known ``published`` or ``trained_from``.
    notes : mapping of str to str, optional
        Heading of a line -> what it says: where the weights come from, how well they do.
    """
    facts = {'Network': _network(card, about['model'])}
    facts |= _origin(about)
    facts |= {'Classes': _classes(about, labels)} | dict(notes or {})
    checked = about.get('checked', {})
    shapes = '; '.join(' x '.join(map(str, shape)) for shape in checked.get('input_shapes', ()))
    proof = f'- Compared with the network at inputs of {shapes}: largest difference {checked["difference"]:.1e} of ' \
            'the largest score.' if shapes else ''
    takes, gives, use = (
        _input(preprocess, about), f'`logits`, scores of a video; {preprocess.activation} makes probabilities of them.',
        _USE) if isinstance(preprocess, Preprocess) else (
        _features(preprocess, about), '`probabilities` of the tags of a video.',
        _USE_OF_FEATURES % ('uint8 (n, D), as records hold the frames of a video' if preprocess.of_frames else
                            'float32 (1, D), as records of videos hold them'))
    parts = [f'# {about["model"]}', _list(facts), '## Input', _list(takes), '## Output',
             f'{gives} ONNX opset {about["opset"]}, {about["precision"]}.', proof, '## Use', use]
    return '\n\n'.join(filter(None, parts)) + '\n'


_USE = """    gluon-action predict THIS_FOLDER video.mp4
    gluon-action verify THIS_FOLDER

or in Python, with numpy, onnxruntime and a decoder (`pip install 'gluon_action[runtime]'`):

    from gluon_action.deploy.predict.predictor import Predictor
    print(Predictor('THIS_FOLDER')('video.mp4').label)"""


_USE_OF_FEATURES = """    gluon-action verify THIS_FOLDER

or in Python, with numpy and onnxruntime (`pip install 'gluon_action[runtime]'`):

    from gluon_action.deploy.bundle.format import read_bundle
    from gluon_action.deploy.onnx.model import OnnxModel
    bundle = read_bundle('THIS_FOLDER', features=True)
    model = OnnxModel(bundle.model, output='probabilities')
    print(model.run(bundle.preprocess.apply(stored)))  # %s"""


def _network(card: ModelCard | None, name: str) -> str:
    if card is None:
        return name
    return f'{card.name} ({card.family}' + (f', {card.source})' if card.source else ')')


def _origin(about: Mapping[str, Any]) -> dict[str, str]:
    """Say whose weights these are, or were trained from."""
    for name, heading in (('published', 'Published weights'), ('trained_from', 'Trained from')):
        row = about.get(name)
        if row:
            score = ' / '.join(f'{row[top]:g} %' for top in ('top1', 'top5') if row.get(top) is not None)
            of = 'top-1 / top-5' if '/' in score else 'top-1'
            measured = f', published {of} {score} ({row.get("protocol")})' if score else ''
            return {heading: f'{row.get("model")} {row.get("tag")} of {row.get("publisher")}{measured}',
                    'Licence of these weights': str(row.get('licence'))}
    return {}


def _classes(about: Mapping[str, Any], labels: Sequence[str] | None) -> str:
    count = about['outputs'][0]['shape'][-1]
    if not labels:
        return f'{count}, without names'
    shown = ', '.join(labels[:_MOST_NAMES])
    return f'{count}: {shown}' + (', ... (labels.json)' if len(labels) > _MOST_NAMES else '')


def _input(preprocess: Preprocess, about: Mapping[str, Any]) -> dict[str, str]:
    value = about['input']
    what = 'RGB' if preprocess.modality == 'rgb' else \
        f'optical flow, x and y, {preprocess.flow_bound:g} pixels of motion stored as 255'
    low, high = preprocess.value_range
    return {f'`{value["name"]}`': f'float32 {" x ".join(map(str, value["shape"]))} ({preprocess.layout}, {what})',
            'Frames': _frames(preprocess), 'Size': _size(preprocess),
            'Values': f'0..255 to {low:g}..{high:g}, minus {_numbers(preprocess.mean)}, divided by '
                      f'{_numbers(preprocess.std)}'}


def _features(record: FeatureInput, about: Mapping[str, Any]) -> dict[str, str]:
    value, names = about['input'], ', then '.join(f'{name} ({size})' for name, size in record.features)
    facts = {f'`{value["name"]}`': f'float32 {" x ".join(map(str, value["shape"]))} ({record.layout})',
             'Numbers of a frame' if record.of_frames else 'Numbers of a video': names}
    if not record.of_frames:
        return facts | {'Values': 'as records of videos hold them, not normalised'}
    return facts | {'Frames': f'one a second, at most {record.frames}; zeros behind the last one',
                    'Values': '8 bits q as q * 4 / 255 + 4 / 512 - 2, not normalised'}


def _frames(preprocess: Preprocess) -> str:
    offsets = preprocess.offsets
    if len(offsets) == 1:
        text = 'single frames'
    elif len(offsets) > 1 and list(offsets) == list(range(offsets[0], offsets[-1] + 1, offsets[1] - offsets[0])):
        text = f'clips of {len(offsets)} frames, {offsets[1] - offsets[0]} apart'
    else:
        text = f'clips of the frames {", ".join(map(str, offsets))}'
    rows = f', {preprocess.rows} of them for a score' if preprocess.rows > 1 else ''
    return f'{text}{rows}; one every {preprocess.stride} frames of the video'


def _size(preprocess: Preprocess) -> str:
    resize, (height, width) = preprocess.resize, preprocess.crop
    first = f'short side to {resize["short_side"]}, ' if 'short_side' in resize else \
        f'to {resize["width"]}x{resize["height"]}, ' if resize else ''
    crops = {1: 'the centre' if preprocess.corner is None else 'the window at {1}, {0} (x, y)'.format(
        *preprocess.corner), 3: 'both ends and the middle', 10: 'centre and corners, and their mirror images'}
    return f'{first}then {crops[preprocess.crops]} of {width}x{height}'


def _numbers(values: Sequence[float]) -> str:
    return ', '.join(f'{value:g}' for value in values)


def _list(facts: Mapping[str, str]) -> str:
    return '\n'.join(f'- {name}: {text}' for name, text in facts.items())
