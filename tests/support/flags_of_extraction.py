"""What shows each flag of youtube8m extract_features."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from flags_world import changes, seen, traceback_row
from sounds import write_sounding_video
from tiny import NAME
from torch_file_writer import write_torch_file
from vggish_files import in_port, random_vggish, write_pca

from gluon_action.cli import main as commands
from gluon_action.cli.youtube8m import extract_features
from gluon_action.data.tfrecords.examples import parse_example, parse_sequence_example
from gluon_action.data.tfrecords.framing import RecordFile
from gluon_action.deploy.feature_extraction import backbone
from gluon_action.deploy.feature_extraction.pca import load_pca


def sources(world):
    """A list of four videos of a second each, and a PCA fitted to them."""
    if 'extraction' not in world.made:
        world.made['extraction'] = folder = world.folder / 'extraction'
        folder.mkdir()
        paths = [str(world.videos / path) for path, _, _ in world.train[:4]]
        (folder / 'list.csv').write_text(''.join(f'{path},{number}\n' for number, path in enumerate(paths)))
        (folder / 'one.csv').write_text(f'{paths[0]},7\n')
        (folder / 'bad.csv').write_text(f'{paths[0]},7\n{folder}/nothing.mp4,1\n')
        world.paths['videos_csv'], world.paths['one_csv'] = str(folder / 'list.csv'), str(folder / 'one.csv')
        world.paths['bad_csv'], world.paths['own_pca'] = str(folder / 'bad.csv'), str(folder / 'pca.npz')
        assert command(world, '--pca', '', '--fit_pca', '{own_pca}', '--fit_pca_only') == 0
        pca = load_pca(world.paths['own_pca'])
        world.paths['model_dir'], world.paths['other_pca'] = str(folder / 'yt8m'), str(folder / 'other.npz')
        (folder / 'yt8m').mkdir()
        np.save(folder / 'yt8m' / 'mean.npy', pca.mean[:, None])
        np.save(folder / 'yt8m' / 'eigenvals.npy', pca.eigenvalues[:, None])
        np.save(folder / 'yt8m' / 'eigenvecs.npy', pca.eigenvectors.T)
        type(pca)(pca.mean, -pca.eigenvectors, pca.eigenvalues, pca.about).save(world.paths['other_pca'])
    return world.made['extraction']


def command(world, *flags, output=None):
    """The exit code."""
    argv = ['--input_videos_csv', '{videos_csv}', '--output_tfrecords_file', str(output or world.new_folder() / 'x'),
            '--backbone', NAME, '--backbone_params', '{weights}', '--frames_per_second', '4', '--pca', '{own_pca}',
            '--pca_size', '4', *flags]
    return commands.main(['youtube8m', 'extract_features', *(item.format(**world.paths) for item in argv)])


def extracted(world, *flags):
    """The file that an extraction leaves."""
    sources(world)
    output = world.new_folder() / 'features.tfrecord'
    assert command(world, *flags, output=output) == 0
    return output


def records(world, *flags):
    file = RecordFile(world.once(extracted, *flags))
    return [file.read(index) for index in range(len(file))]


def count(world, *flags):
    return len(records(world, *flags))


def context(world, *flags):
    return sorted(parse_sequence_example(records(world, *flags)[0])[0])


def lists(world, *flags):
    return sorted(parse_sequence_example(records(world, *flags)[0])[1])


def pictures(world, *flags):
    return bytes(parse_sequence_example(records(world, *flags)[0])[1]['rgb'])


def frames(world, *flags):
    manifest = Path(f'{world.once(extracted, *flags)}.manifest.json')
    return [entry['about']['frames'] for entry in json.loads(manifest.read_text())['inputs']]


def weights_of(world, *flags):
    sources(world)
    path = world.new_folder() / 'pca.npz'
    assert command(world, '--pca', '', '--fit_pca', str(path), '--fit_pca_only', *flags) == 0
    return load_pca(path).about['backbone']['sha256']


@seen('--output_tfrecords_file', '{tmp}/features_here')
def records_are_written_there(world, output, *flags):
    sources(world)
    assert command(world, flags[0], flags[1]) == 0 and (world.folder / 'features_here').is_file()


@seen('--skip_frame_level_features')
def means_are_written(world, output, *flags):
    assert parse_example(records(world, *flags)[0]).keys() == {'id', 'labels', 'mean_rgb', 'mean_audio'}


@seen('--on_error', 'raise')
def a_bad_video_ends_it(world, output, *flags):
    sources(world)
    assert command(world, '--input_videos_csv', '{bad_csv}') == 0
    assert command(world, '--input_videos_csv', '{bad_csv}', *flags) == 1


@seen('--overwrite')
def an_older_output_is_replaced(world, output, *flags):
    path = shutil.copy(world.once(extracted), world.new_folder() / 'old')
    assert command(world, output=path) == 1 and command(world, *flags, output=path) == 0


@seen('--backbone', 'resnet18_v1b_ucf101')
def that_network_gives_the_features(world, output, *flags):
    sources(world)
    assert command(world, *flags) == 1  # the tiny network's weights do not fit it
    told = output.readouterr().err
    assert '{weights}'.format(**world.paths) in told and 'resnet18_v1b_ucf101' in told


@seen('--use_pretrained')
def published_weights_are_taken(world, output, *flags):
    sources(world)
    path = world.new_folder() / 'published.npz'
    assert command(world, '--backbone_params', '', '--pca', '', '--fit_pca', str(path), '--fit_pca_only', *flags) == 0
    assert load_pca(path).about['backbone'] != load_pca(world.paths['own_pca']).about['backbone']


@seen('--batch_size', '3')
def so_many_frames_are_computed_at_a_time(world, output, *flags):
    sources(world)
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        compute = backbone.run
        patch.setattr(backbone, 'run', lambda net, rows: sizes.append(len(rows)) or compute(net, rows))
        assert command(world, '--input_videos_csv', '{one_csv}', *flags) == 0
    assert sizes == [3, 1]


@seen('--num_gpus', '1')
def the_gpu_is_asked_for(world, output, *flags):
    from gluon_action import engine
    asked = []
    sources(world)
    with pytest.MonkeyPatch.context() as patch:
        contexts = engine.contexts
        patch.setattr(engine, 'contexts', lambda number: asked.append(number) or contexts(0))
        assert command(world, *flags) == 0
    assert asked == [1]


@seen('--model_dir', '{model_dir}')
def the_originals_files_are_taken(world, output, *flags):
    assert records(world, '--pca', '', *flags) == records(world)


@seen('--fit_pca', '{tmp}/fitted.npz')
def a_pca_is_fitted(world, output, *flags):
    assert count(world, '--pca', '', *flags) == 4
    assert load_pca(world.folder / 'fitted.npz').sha256 == load_pca(world.paths['own_pca']).sha256


@seen('--fit_pca_videos', '2')
def it_is_fitted_to_so_many(world, output, *flags):
    sources(world)
    path = world.new_folder() / 'of_two.npz'
    assert command(world, '--pca', '', '--fit_pca', str(path), *flags) == 0
    assert load_pca(path).about['frames'] == 8 and load_pca(world.paths['own_pca']).about['frames'] == 16


@seen('--fit_pca_only')
def nothing_is_extracted(world, output, *flags):
    sources(world)
    path = world.new_folder() / 'only'
    assert command(world, '--pca', '', '--fit_pca', '{own_pca}', *flags, output=path) == 0 and not path.exists()
    assert 'continue with --pca' in output.readouterr().out


def sounding(world, *flags):
    """Audio features of a video with sound, by a small VGGish."""
    sources(world)
    folder = world.folder / 'sound'
    if not folder.exists():
        folder.mkdir()
        write_sounding_video(folder / 'a.mkv', seconds=1)
        (folder / 'list.csv').write_text(f'{folder}/a.mkv,1\n')
        for number in (1, 2):
            write_torch_file(folder / f'vggish{number}.pth', in_port(random_vggish(number)))
            write_pca(folder / f'pca{number}.npz', seed=number)
        world.paths['sound'] = str(folder)
    given = ('--input_videos_csv', '{sound}/list.csv', '--audio_params', '{sound}/vggish1.pth', '--audio_pca',
             '{sound}/pca1.npz')
    return bytes(parse_sequence_example(records(world, *given, *flags)[0])[1]['audio'])


@seen('--shard', '2/2')
def a_share_is_worked_on(world, output, *flags):
    sources(world)
    path = world.new_folder() / 'shared'
    assert command(world, *flags, output=path) == 0
    assert '2 inputs done' in output.readouterr().out and not path.exists()


@seen('--ray', 'local')
def ray_is_asked(world, output, *flags):
    sources(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'ray', None)
        assert command(world, *flags) == 2
    assert '--ray local: Ray is not installed' in output.readouterr().err


EXTRACTION_ROWS = {
    '--debug': traceback_row(lambda world: [extract_features, '--input_videos_csv', '/nowhere',
                                            '--output_tfrecords_file', '/nowhere/x', '--fit_pca', '/nowhere/y']),
    '--input_videos_csv': changes(count, '--input_videos_csv', '{one_csv}', to=1),
    '--output_tfrecords_file': records_are_written_there,
    '--frames_per_second': changes(frames, '--frames_per_second', '2', to=[2, 2, 2, 2]),
    '--max_frames': changes(frames, '--max_frames', '3', to=[3, 3, 3, 3]),
    '--skip_frame_level_features': means_are_written,
    '--labels_feature_key': changes(context, '--labels_feature_key', 'tags', to=['id', 'tags']),
    '--image_feature_key': changes(lists, '--image_feature_key', 'sight', to=['audio', 'sight']),
    '--video_file_key_feature_key': changes(context, '--video_file_key_feature_key', 'video_id',
                                            to=['labels', 'video_id']),
    '--insert_zero_audio_features': changes(lists, '--insert_zero_audio_features', 'false', to=['rgb']),
    '--on_error': a_bad_video_ends_it,
    '--overwrite': an_older_output_is_replaced,
    '--backbone': that_network_gives_the_features,
    '--backbone_params': changes(weights_of, '--backbone_params', '{other}'),
    '--use_pretrained': published_weights_are_taken,
    '--batch_size': so_many_frames_are_computed_at_a_time,
    '--num_gpus': the_gpu_is_asked_for,
    '--pca': changes(pictures, '--pca', '{other_pca}'),
    '--model_dir': the_originals_files_are_taken,
    '--fit_pca': a_pca_is_fitted,
    '--fit_pca_videos': it_is_fitted_to_so_many,
    '--pca_size': changes(lambda world, *flags: len(pictures(world, *flags)), '--pca_size', '2'),
    '--fit_pca_only': nothing_is_extracted,
    '--audio_params': changes(sounding, '--audio_params', '{sound}/vggish2.pth'),
    '--audio_pca': changes(sounding, '--audio_pca', '{sound}/pca2.npz'),
    '--shard': a_share_is_worked_on,
    '--ray': ray_is_asked,
}
