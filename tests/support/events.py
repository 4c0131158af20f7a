"""What a file of TensorBoard's events says."""
import os

from tensorboardX.proto.event_pb2 import Event


def events_of(folder):
    """Read TensorBoard's files: framed by length, two checksums, protocol buffers inside."""
    for path in sorted(folder.glob('events.out.tfevents.*'), key=os.path.getmtime):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], 'little')
            yield Event.FromString(data[12:12 + length])
            data = data[16 + length:]


def scalars_of(folder):
    return [(value.tag, event.step, value.simple_value) for event in events_of(folder) for value in event.summary.value]
