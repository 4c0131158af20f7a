"""What lies in TFRecord files."""
from gluon_action.data.tfrecords.framing import RecordFile


def records_in(path):
    """Content of every record of a file, in order, checked against its checksums."""
    file = RecordFile(path)
    return [file.read(index) for index in range(len(file))]
