"""What shows each flag of serve."""
import json

import pytest
from flags_of_predict import prepared
from flags_world import NO_PYTORCH, changes, import_row, seen, traceback_row, without_pytorch

from gluon_action.cli import predict_flags, serve
from gluon_action.cli.command import run
from gluon_action.errors import DeviceError, UsageError


def app_of(world, *flags):
    """The app that is served, its socket's address, and the predictor; nothing is served."""
    pytest.importorskip('starlette')
    uvicorn = pytest.importorskip('uvicorn')
    from gluon_action.deploy.serve import app
    prepared(world)
    made, make_app = [], app.make_app

    def watched(predictor, limits):
        made.append((predictor, limits))
        return make_app(predictor, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, 'make_app', watched)
        patch.setattr(uvicorn.Server, 'run', lambda self, sockets: made.append(sockets[0].getsockname()))
        argv = ['{bundle}', *([] if '--port' in flags else ['--port', '0']), *flags]
        assert run(serve.parse_args, serve.main, [str(item).format(**world.paths) for item in argv]) == 0
    return made


def limit(name):
    return lambda world, *flags: getattr(app_of(world, *flags)[0][1], name)


@seen('bundle')
def the_named_model_is_served(world, output, *flags):
    assert str(app_of(world)[0][0].bundle.path) == world.paths['bundle']


@seen('--port', '{free}')
def it_listens_at_that_port(world, output, *flags):
    from gluon_action.deploy.serve.server import listen
    with listen('127.0.0.1', 0) as made:
        port = made.getsockname()[1]
    assert app_of(world, flags[0], str(port))[1][1] == port


@seen('--host', '127.0.0.2')
def it_listens_at_that_address(world, output, *flags):
    assert app_of(world)[1][0] == '127.0.0.1' and app_of(world, *flags)[1][0] == '127.0.0.2'


@seen('--allow-network')
def other_machines_are_let_in_only_when_that_is_meant(world, output, *flags):
    prepared(world)
    argv = [world.paths['bundle'], '--host', '0.0.0.0', '--port', '0']
    assert run(serve.parse_args, serve.main, argv) == 2
    assert '--allow-network' in output.readouterr().err and app_of(world, *argv[1:], *flags)[0][1].network


@seen('--json', '{tmp}/served.json')
def where_it_listens_is_written(world, output, *flags):
    path = world.folder / 'served.json'
    port = app_of(world, '--json', str(path), '--overwrite')[1][1]
    assert json.loads(path.read_text())['url'] == f'http://127.0.0.1:{port}/'


@seen('--overwrite')
def what_was_written_is_replaced(world, output, *flags):
    path = world.folder / 'served.json'
    path.write_text('x')
    argv = [world.paths['bundle'], '--json', str(path)]
    assert run(serve.parse_args, serve.main, argv) == 2 and '--overwrite' in output.readouterr().err
    app_of(world, '--json', str(path), *flags)


def opened(world, *flags):
    """The predictor that the flags open."""
    prepared(world)
    argv = [item.format(**world.paths) for item in flags]
    return predict_flags.opened(serve.parse_args(argv))


def best_of_zoo(world, *flags):
    return opened(world, 'tiny_ucf101', '--use-pretrained', *flags)(world.paths['video']).score


@seen('--model', 'tiny_ucf101')
def served_parameters_need_the_name_of_their_network(world, output, *flags):
    prepared(world)
    assert run(serve.parse_args, serve.main, [world.paths['weights'], '--port', '0']) == 2
    assert '--model' in output.readouterr().err and opened(world, '{weights}', *flags).model


@seen('--use-pretrained')
def published_weights_are_served(world, output, *flags):
    prepared(world)
    assert run(serve.parse_args, serve.main, ['tiny_ucf101', '--port', '0']) == 2
    assert '--use-pretrained' in output.readouterr().err and opened(world, 'tiny_ucf101', *flags).model


def opened_bundle(look):
    return lambda world, *flags: look(opened(world, '{bundle}', *flags))


@seen('--engine', 'torch')
def the_other_engine_is_for_networks(world, output, *flags):
    prepared(world)
    with without_pytorch(), pytest.raises(UsageError, match=NO_PYTORCH):
        opened(world, 'tiny_ucf101', '--use-pretrained', *flags)
    with pytest.raises(UsageError, match='--engine: .* is run by ONNX Runtime'):
        opened(world, '{bundle}', *flags)


@seen('--num-gpus', '99')
def gpus_that_are_not_there_serve_nobody(world, output, *flags):
    with pytest.raises(DeviceError, match='--num-gpus 99'):
        opened(world, 'tiny_ucf101', '--use-pretrained', *flags)


SERVE_ROWS = {
    'bundle': the_named_model_is_served,
    '--debug': traceback_row(lambda world: [serve, '/nowhere/x', '--port', '0']),
    '--import': import_row(lambda world: [serve, '/nowhere/x', '--port', '0']),
    '--port': it_listens_at_that_port,
    '--host': it_listens_at_that_address,
    '--allow-network': other_machines_are_let_in_only_when_that_is_meant,
    '--max-mb': changes(limit('megabytes'), '--max-mb', '7', to=7),
    '--max-seconds': changes(limit('seconds'), '--max-seconds', '7', to=7),
    '--top-k': changes(limit('top_k'), '--top-k', '7', to=7),
    '--json': where_it_listens_is_written,
    '--overwrite': what_was_written_is_replaced,
    '--model': served_parameters_need_the_name_of_their_network,
    '--use-pretrained': published_weights_are_served,
    '--hashtag': changes(best_of_zoo, '--hashtag', '{tag}'),
    '--index': changes(best_of_zoo, '--index', '{own_index}'),
    '--trust-first-use': changes(best_of_zoo, '--trust-first-use', given=('--index', '{open_serve}')),
    '--class-names': changes(opened_bundle(lambda made: made.labels), '--class-names', '{three_names}',
                             to=['x', 'y', 'z']),
    '--stride': changes(opened_bundle(lambda made: made.plan.stride), '--stride', '2', to=2),
    '--vote': changes(opened_bundle(lambda made: made.vote), '--vote', 'majority', to='majority'),
    '--rolling': changes(opened_bundle(lambda made: made.rolling), '--rolling', '0.5', to=0.5),
    '--threshold': changes(opened_bundle(lambda made: made.threshold), '--threshold', '0.5', to=0.5),
    '--flow-method': changes(opened_bundle(lambda made: made.flow_method), '--flow-method', 'farneback',
                             to='farneback'),
    '--on-damage': changes(opened_bundle(lambda made: made.on_damage), '--on-damage', 'raise', to='raise'),
    '--threads': changes(opened_bundle(lambda made: made.model.threads), '--threads', '3', to=3),
    '--batch-size': changes(opened_bundle(lambda made: made.batch_size), '--batch-size', '3', to=3),
    '--engine': the_other_engine_is_for_networks,
    '--num-gpus': gpus_that_are_not_there_serve_nobody,
}
