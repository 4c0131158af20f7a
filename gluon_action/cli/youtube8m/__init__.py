"""``gluon-action youtube8m COMMAND`` and ``scripts/youtube8m/``: from records of features to a submission."""

#: name, which is also the script's -> (module of this package, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    'extract_features': ('extract_features', 'features of your own videos as records'),
    'import_checkpoint': ('import_checkpoint', 'a TensorFlow checkpoint of YouTube-8M as a train_dir'),
    'merge': ('merge', 'join what --shard I/N of several processes made, and prove that nothing is missing'),
}
