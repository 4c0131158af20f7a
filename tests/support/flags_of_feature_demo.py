"""What shows each flag of make-demo-data that is about features."""
from flags_world import changes

from gluon_action.cli import main as commands
from gluon_action.data.tfrecords.examples import parse_sequence_example
from gluon_action.data.tfrecords.framing import RecordFile

MADE = ('demo_features', '--videos', '40', '--classes', '5', '--max-frames', '6', '--feature-sizes', '4,2')


def records(world, *flags):
    """(context, lists) of the training records."""
    root = world.new_folder()
    assert commands.main(['make-demo-data', *MADE, '--root', str(root), *flags]) == 0
    files = map(RecordFile, sorted((root / 'demo_features' / 'frame').glob('train*.tfrecord')))
    return [parse_sequence_example(file.read(index)) for file in files for index in range(len(file))]


def labels(world, *flags):
    return [context['labels'].tolist() if len(context['labels']) else []
            for context, _ in world.once(records, *flags)]


def count(world, *flags):
    return len(labels(world, *flags))


def largest_label(world, *flags):
    return max(map(max, labels(world, *flags)))


def num_labels(world, *flags):
    return sum(map(len, labels(world, *flags)))


def names(world, *flags):
    return sorted(world.once(records, *flags)[0][1])


def list_bytes(world, *flags):
    return sorted({name: len(value) for name, value in world.once(records, *flags)[1][1].items()}.values())


def all_bytes(world, *flags):
    return [bytes(lists['rgb']) for _, lists in world.once(records, *flags)]


FEATURE_DEMO_ROWS = {
    '--videos': changes(count, '--videos', '50', to=50),
    '--classes': changes(largest_label, '--classes', '9', to=8),
    '--order-classes': changes(labels, '--order-classes', '4'),
    '--feature-names': changes(names, '--feature-names', 'sound, picture', to=['picture', 'sound']),
    '--feature-sizes': changes(list_bytes, '--feature-sizes', '7,3'),
    '--max-frames': changes(all_bytes, '--max-frames', '9'),
    '--noise': changes(all_bytes, '--noise', '0.5'),
    '--drop-labels': changes(num_labels, '--drop-labels', '0.5'),
}
