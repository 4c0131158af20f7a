"""Bundles are read whole or refused: every byte counts, and what does not fit together is named."""
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import CLIPS, LABELS, WEIGHTS, make_bundle, make_model

from gluon_action.deploy.bundle import format as bundle_format
from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.deploy.onnx.header import read_header
from gluon_action.errors import BundleError, GluonActionError


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp('bundle') / 'means')


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / 'means'))


def refused(path, *parts):
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert all(part in str(caught.value) for part in parts), caught.value


def spoiled(folder, name, change):
    """A bundle that is sealed over a file that does not fit."""
    def apply(path):
        (path / name).write_text(change(json.loads((path / name).read_text())))
    return make_bundle(folder, change=apply)


def test_a_folder_and_the_model_in_it_are_the_same_bundle(whole):
    bundle = read_bundle(whole)
    assert bundle == read_bundle(whole / 'model.onnx') == read_bundle(str(whole))
    assert (bundle.path, bundle.model, bundle.name) == (whole, whole / 'model.onnx', 'means')
    assert bundle.preprocess == CLIPS and bundle.labels == LABELS and bundle.num_classes == 3


def test_a_model_alone_describes_itself(tmp_path):
    bundle = read_bundle(make_model(tmp_path / 'alone.onnx'))
    assert bundle.preprocess == CLIPS and bundle.labels == LABELS and bundle.name == 'alone' and bundle.manifest == {}


def test_a_model_needs_no_labels(tmp_path):
    assert read_bundle(make_bundle(tmp_path / 'a', labels=None)).labels is None
    assert read_bundle(make_model(tmp_path / 'a.onnx', labels=None)).labels is None


def test_a_header_is_what_onnx_reads(tmp_path):
    path = make_model(tmp_path / 'a.onnx')
    header, model = read_header(path), onnx.load(path)
    assert header.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert header.inputs == {'clip': ['batch', 3, 2, 8, 8]} and header.outputs == {'logits': ['batch', 3]}


@pytest.mark.parametrize('name', [*bundle_format.FILES, bundle_format.MANIFEST])
def test_any_changed_byte_is_refused_and_its_file_named(folder, name):
    whole = (folder / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (folder / name).write_bytes(changed)
        refused(folder, str(folder / name))
    (folder / name).write_bytes(whole)
    assert read_bundle(folder)


@pytest.mark.parametrize('name', [*bundle_format.FILES, bundle_format.MANIFEST])
def test_a_file_that_is_cut_longer_empty_or_missing_is_named(folder, name):
    whole = (folder / name).read_bytes()
    for content in (whole[:-1], whole[:len(whole) // 2], whole + b'\n', b''):
        (folder / name).write_bytes(content)
        refused(folder, str(folder / name))
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize('name', bundle_format.FILES)
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name):
    shutil.move(folder / name, tmp_path / 'elsewhere')
    (folder / name).symlink_to(tmp_path / 'elsewhere')
    refused(folder, str(folder / name), 'a link to', str(tmp_path / 'elsewhere'))


def test_a_link_to_the_folder_is_as_good_as_the_folder(folder, tmp_path):
    (tmp_path / 'link').symlink_to(folder)
    assert read_bundle(tmp_path / 'link').labels == LABELS


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / 'labels.json').unlink()
    (folder / 'labels.json').mkdir()
    refused(folder, 'labels.json: is no file of this folder')


def test_other_files_in_the_folder_do_not_matter(folder):
    (folder / 'overlay.mp4').write_bytes(b'...')
    assert read_bundle(folder).labels == LABELS


def test_what_is_no_bundle_is_said_to_be_none(tmp_path):
    refused(tmp_path, f'{tmp_path}: holds no manifest.json')
    refused(tmp_path / 'nothing', 'there is no bundle', 'gluon-action export')
    (tmp_path / 'manifest.json').write_text('{"format": 1}\n')
    refused(tmp_path, 'of format 1', 'export the model again')


def test_a_format_of_the_future_is_refused(folder):
    manifest = json.loads((folder / 'manifest.json').read_text())
    (folder / 'manifest.json').write_text(bundle_format.seal({**manifest, 'format': 3}))
    refused(folder, 'is of format 3, this program reads 2')


def test_a_file_that_the_manifest_does_not_list_is_refused(folder):
    manifest = json.loads((folder / 'manifest.json').read_text())
    del manifest['files']['reference.npz']
    (folder / 'manifest.json').write_text(bundle_format.seal(manifest))
    refused(folder, 'manifest.json: does not list reference.npz')


@pytest.mark.parametrize('labels, parts', [
    (['a', 'b'], ['names 2 classes, and the model gives 3 scores']),
    (['a', 'b', 'a'], ["classes 0 and 2 have the same name 'a'"]), (['a', 'b', ''], ['a list of names']),
    ({'a': 0}, ['a list of names']), (['a', 1, 'b'], ['a list of names'])])
def test_labels_that_do_not_fit_the_head_are_refused(tmp_path, labels, parts):
    refused(spoiled(tmp_path / 'x', 'labels.json', lambda _: json.dumps(labels)), 'labels.json', *parts)


@pytest.mark.parametrize('name', ['a\nb', '\x1b[31mred', '\ud800', 'a\u2028b'])
def test_labels_that_act_on_a_terminal_or_cannot_be_written_are_refused(tmp_path, name):
    folder = spoiled(tmp_path / 'x', 'labels.json', lambda _: json.dumps(['a', name, 'c']))
    refused(folder, 'class 1 is named', 'one line')


def test_weights_in_another_file_are_refused(tmp_path):
    def move_out(folder):
        onnx.save(onnx.load(folder / 'model.onnx'), folder / 'model.onnx', save_as_external_data=True, location='w.bin',
                  size_threshold=0)
    folder = make_bundle(tmp_path / 'x', change=move_out)
    assert (folder / 'w.bin').exists() and not read_header(folder / 'model.onnx').whole
    refused(folder, 'model.onnx: keeps numbers in another file')


def test_labels_of_a_model_alone_must_fit_too(tmp_path):
    refused(make_model(tmp_path / 'a.onnx', labels=['a']), "a.onnx, metadata 'labels'", 'names 1 classes')


@pytest.mark.parametrize('text, message', [('{"std": ', 'is no JSON'), ('[1]', 'must hold an object'),
                                           ('[' * 100_000, 'is no JSON')])
def test_json_that_is_none_is_refused(tmp_path, text, message):
    refused(spoiled(tmp_path / 'x', 'preprocess.json', lambda _: text), 'preprocess.json', message)


def test_preprocessing_out_of_range_is_refused(tmp_path):
    folder = spoiled(tmp_path / 'x', 'preprocess.json', lambda fields: json.dumps({**fields, 'std': [1, 0, 1]}))
    refused(folder, str(folder / 'preprocess.json'), 'std must be 3 numbers within 1e-6..1e6', '(1.0, 0.0, 1.0)')


def test_preprocessing_of_another_network_is_refused(tmp_path):
    other = replace(CLIPS, offsets=(0, 1, 2))
    folder = spoiled(tmp_path / 'x', 'preprocess.json', lambda _: json.dumps(other.to_json()))
    refused(folder, 'model.onnx: takes input of batch x 3 x 2 x 8 x 8, and its preprocessing makes 1 x 3 x 3 x 8 x 8')


def test_a_model_without_preprocessing_or_scores_is_refused(tmp_path):
    refused(make_model(tmp_path / 'a.onnx', metadata=False), 'does not say how videos are prepared')
    refused(make_model(tmp_path / 'b.onnx', output='features'), "has no output 'logits'", 'features (batch x 3)')


@pytest.mark.parametrize('content', [b'', b'\0', b'\x80' * 40, b'PK\x03\x04' + bytes(100),
                                     b'\x3a\xff\xff\x03' + bytes(9)])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    (tmp_path / 'a.onnx').write_bytes(content)
    refused(tmp_path / 'a.onnx', 'is no ONNX file, or a damaged one')


def test_a_damaged_header_is_an_error_of_this_package_or_none(tmp_path):
    whole = make_model(tmp_path / 'a.onnx').read_bytes()
    rng = np.random.default_rng(0)
    read, told = [], []
    for _ in range(500):
        content = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            content[place] = rng.integers(256)
        (tmp_path / 'b.onnx').write_bytes(content[:rng.integers(1, len(whole) + 1)])
        try:
            read.append(read_bundle(tmp_path / 'b.onnx'))
        except GluonActionError as error:
            told.append(str(error))
    assert all(str(tmp_path / 'b.onnx') in message for message in told)
    assert len(told) > 450  # nearly all are cut short
    for bundle in read:  # what is said to be whole can be used
        assert bundle.preprocess.shape(1) == (1, 3, 2, 8, 8) and bundle.num_classes >= 1


def test_a_model_that_is_cut_short_anywhere_is_refused(tmp_path):
    whole = make_model(tmp_path / 'a.onnx').read_bytes()
    for length in (*range(0, len(whole), 37), len(whole) - 1):
        (tmp_path / 'b.onnx').write_bytes(whole[:length])
        refused(tmp_path / 'b.onnx', str(tmp_path / 'b.onnx'))


def test_the_classes_are_counted_at_the_head(tmp_path):
    weights = np.zeros((5, 3), 'float32')
    assert read_bundle(make_model(tmp_path / 'a.onnx', labels=None, weights=weights)).num_classes == 5
    assert len(WEIGHTS) == 3


def test_a_file_that_may_not_be_read_is_named(folder):
    if os.geteuid() == 0:
        pytest.skip('root reads everything')
    (folder / 'labels.json').chmod(0)
    refused(folder, 'labels.json: cannot be read: Permission denied')


def test_reading_needs_numpy_alone(whole):
    code = """
import sys
for name in ('cv2', 'mxnet', 'gluoncv', 'matplotlib', 'PIL', 'onnx', 'onnxruntime', 'tqdm', 'av'):
    sys.modules[name] = None
from gluon_action.deploy.bundle.format import read_bundle
print(read_bundle(sys.argv[1]).labels)
"""
    answer = subprocess.run([sys.executable, '-c', code, str(whole)], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2])
    assert answer.returncode == 0 and answer.stdout.strip() == str(LABELS), answer.stderr
