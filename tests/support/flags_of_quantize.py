"""What shows each flag of the command that makes int8 bundles."""
import json

import mxnet as mx
import numpy as np
import pytest
from flags_world import NAME, seen, traceback_row

from gluon_action import model_zoo
from gluon_action.cli import quantize_model
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.deploy.bundle.write import write_bundle
from gluon_action.deploy.int8 import bundle as int8_bundle
from gluon_action.deploy.int8 import quantize as int8_quantize

PREPROCESS = Preprocess(layout='NCHW', offsets=(0,), stride=4, resize={'short_side': 40}, crop=(32, 32),
                        mean=(0.5,) * 3, std=(0.25,) * 3)


def float_bundle(world):
    """The tiny network with weights that tell videos apart, as a bundle."""
    if 'float_bundle' not in world.paths:
        net = model_zoo.get_model(NAME, nclass=8, pretrained_base=False, input_size=32)
        net.load_parameters(world.paths['weights'], ctx=mx.cpu())
        world.paths['float_bundle'] = str(write_bundle(net, world.new_folder() / 'float', preprocess=PREPROCESS))
        world.paths['one_video'] = f'{world.videos}/{world.train[0][0]}'
    return world.paths['float_bundle']


def quantize(world, *flags, out=None, videos=('{val}', '--data-dir', '{videos}'), code=0):
    """Run the command; returns the bundle's folder and the report."""
    out = out or world.new_folder() / 'int8'
    argv = [float_bundle(world), *videos, '--out', str(out), '--min-agreement', '0', '--clips', '6', *flags]
    assert run(quantize_model.parse_args, quantize_model.main, [item.format(**world.paths) for item in argv]) == code
    report = out.with_name(f'{out.name}.report.json')
    return out, json.loads(report.read_text()) if report.exists() else None


def row(look, *flags, given=(), to):
    @seen(*flags)
    def check(world, output, *flags):
        before, after = (look(quantize(world, *given, *extra)[1]) for extra in ((), flags))
        assert before != after == to
    return check


def chosen(name, *flags, to):
    """The library is asked for another choice."""
    @seen(*flags)
    def check(world, output, *flags):
        asked = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(int8_bundle, 'quantize_bundle', lambda *a, choices, **k: asked.append(choices) or 1 / 0)
            for extra in ((), flags):
                quantize(world, *extra, code=1)
        before, after = (getattr(choices, name) for choices in asked)
        assert before != after == to
    return check


@seen('bundle')
def int8_is_made_of_the_bundle(world, output, *flags):
    out, report = quantize(world)
    assert read_bundle(out).manifest['precision'] == 'int8' and report['bundle'] == float_bundle(world)
    assert NAME in output.readouterr().out
    argv = [str(out), world.paths['one_video'], '--out', str(out) + '2']
    assert run(quantize_model.parse_args, quantize_model.main, argv) == 2
    assert 'is int8 already' in output.readouterr().err


@seen('videos')
def labels_come_from_a_list(world, output, *flags):
    assert 'top1' in quantize(world)[1]
    assert 'top1' not in quantize(world, videos=('{one_video}',))[1]


@seen('--out', '{tmp}/int8_here')
def the_int8_bundle_is_where_told(world, output, *flags):
    quantize(world, out=world.folder / 'int8_here')
    assert read_bundle(world.folder / 'int8_here').num_classes == 8


@seen('--overwrite')
def an_int8_bundle_is_replaced(world, output, *flags):
    out, _ = quantize(world)
    quantize(world, out=out, code=2)
    quantize(world, *flags, out=out)


@seen('--report', '{tmp}/of_int8.json')
def the_report_is_where_told(world, output, *flags):
    out, report = quantize(world, *flags)
    assert report is None and json.loads((world.folder / 'of_int8.json').read_text())['model'] == NAME
    assert 'processor' in (world.folder / 'of_int8.txt').read_text()


@seen('--data-dir', '{videos}')
def paths_of_the_list_start_there(world, output, *flags):
    quantize(world, videos=('{val}', '--data-dir', '/nowhere'), code=2)
    assert 'no video could be read' in output.readouterr().err
    assert quantize(world, videos=('{val}', *flags))[1]


@seen('--label-base', '1')
def labels_start_where_told(world, output, *flags):
    labels = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_bundle, 'quantize_bundle',
                      lambda *a, calibration, **k: labels.append(min(c.label for c in calibration)) or 1 / 0)
        quantize(world, '--clips', '30', videos=('{from1}', '--data-dir', '{videos}', '--label-base', '1'), code=1)
    assert labels == [0]


@seen('--list-format', 'multi_label')
def lists_are_read_as_told(world, output, *flags):
    assert 'top1' in quantize(world)[1]
    quantize(world, videos=('{one_video}', *flags), code=2)
    assert '--list-format: is about a list' in output.readouterr().err


@seen('--list-encoding', 'utf-32')
def lists_are_decoded_as_told(world, output, *flags):
    quantize(world, videos=('{val}', '--data-dir', '{videos}', *flags), code=1)
    assert 'is not --list-encoding utf-32' in output.readouterr().err


@seen('--reduce-range')
def weights_have_7_bits(world, output, *flags):
    """On a processor with instructions for int8: others get 7 bits by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_quantize, 'has_int8_products', lambda: True)
        bits = [quantize(world, *extra)[1]['calibration']['weight_bits'] for extra in ((), flags)]
    assert bits == [8, 7]


@seen('--calib-mode', 'entropy')
def ranges_are_found_in_another_way(world, output, *flags):
    scales = []
    for extra in ((), flags):
        import onnx
        model = onnx.load(quantize(world, *extra)[0] / 'model.onnx')
        scales.append([onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
                       if tensor.name.endswith('_scale') and not tensor.dims])
    assert len(scales[0]) == len(scales[1]) and not np.allclose(scales[0], scales[1])


QUANTIZE_ROWS = {
    '--debug': traceback_row(lambda world: [quantize_model, 'no_such_bundle', 'x.mp4', '--out', 'never']),
    'bundle': int8_is_made_of_the_bundle,
    'videos': labels_come_from_a_list,
    '--out': the_int8_bundle_is_where_told,
    '--overwrite': an_int8_bundle_is_replaced,
    '--report': the_report_is_where_told,
    '--clips': row(lambda report: report['calibration']['clips'], '--clips', '4', to=2),
    '--held-out': row(lambda report: report['held_out']['clips'], '--held-out', '0.2', to=1),
    '--data-dir': paths_of_the_list_start_there,
    '--list-format': lists_are_read_as_told,
    '--list-encoding': lists_are_decoded_as_told,
    '--label-base': labels_start_where_told,
    '--calib-mode': ranges_are_found_in_another_way,
    '--activations': row(lambda report: report['calibration']['activations'], '--activations', 'int8', to='int8'),
    '--reduce-range': weights_have_7_bits,
    '--min-agreement': chosen('min_agreement', '--min-agreement', '0.5', to=0.5),
    '--max-float': chosen('max_float', '--max-float', '0.1', to=0.1),
    '--keep-slow': chosen('keep_slow', '--keep-slow', to=True),
    '--threads': chosen('threads', '--threads', '1', to=1),
}
