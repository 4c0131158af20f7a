"""``gluon-action youtube8m COMMAND`` and ``scripts/youtube8m/``: from records of features to a submission."""

#: name, which is also the script's -> (module of this package, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
}
