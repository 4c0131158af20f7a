"""Where the videos of a list lie: the file, the folder of frames or the optical flow that an entry means."""
from __future__ import annotations

import os
import unicodedata
from functools import cached_property

from ....errors import AnnotationError
from ...flow.folder import flow_name, is_video_name
from ..question import Entry, where
from .file_kinds import VIDEO_EXTENSIONS


class Places:
    """Finds the file or folder that an entry means. Lists each folder once instead of asking for every path.

    A path that is not there as it is written is looked for with ``/`` for each backslash, in the other forms of its
    accents (macOS takes letters and accents apart), and with the extension of a video.
    """

    def __init__(self, root: str, video_ext: str, prefer_files: bool, inside: bool):
        self.root = root
        self.extension = '.' + video_ext.lstrip('.')
        self.prefer_files = prefer_files
        self._top = os.path.abspath(root) if inside and root not in ('', '/') else None
        self._below = os.path.join(root, '')
        self._folders: dict[str, _Folder] = {}

    def find(self, entry: Entry, must_exist: bool) -> str:
        """Path of the variant that exists, or else where it ought to be."""
        paths = [os.path.join(self.root, place.rstrip('/')) for place in entry.places or (entry.path,)]
        if '\\' in entry.path:
            paths += [path.replace('\\', '/') for path in paths]
        if self._top is not None:
            for path in dict.fromkeys((paths[0], paths[-1])):
                self._check_inside(entry, path)
        for path in paths:
            found = self._found(path)
            if found is not None:
                return found
        if must_exist:
            raise AnnotationError(f'{where(entry.source, entry.line)}: {paths[0]} does not exist; check --data-dir')
        # GluonCV's rule: only a name without a dot lacks its extension.
        bare = self.prefer_files and '.' not in os.path.basename(paths[0])
        return paths[0] + self.extension if bare else paths[0]

    def num_frames(self, entry: Entry) -> int | None:
        """Frames that may be taken, where the list says so."""
        return entry.num_frames

    def _found(self, path: str) -> str | None:
        """What a path means, as it is written or with an extension; files first where they are preferred."""
        as_written = self._existing(path)
        if as_written is not None and not (self.prefer_files and not path.lower().endswith(VIDEO_EXTENSIONS)):
            return as_written
        return self._with_extension(path) or as_written

    def _with_extension(self, path: str) -> str | None:
        given = self._existing(path + self.extension)
        if given is not None or path.lower().endswith(VIDEO_EXTENSIONS):
            return given
        folder, name = os.path.split(path)
        folder = self._existing_folder(folder)
        videos = folder is not None and self._listed(folder).videos.get(_plain(name))
        return os.path.join(folder, videos[0]) if videos else None

    def _existing(self, path: str) -> str | None:
        folder, name = os.path.split(path)
        if name in self._listed(folder).names:
            return path
        if path.isascii():
            return None
        folder = self._existing_folder(folder)
        name = folder is not None and self._listed(folder).plain.get(_plain(name))
        return os.path.join(folder, name) if name else None

    def _existing_folder(self, folder: str) -> str | None:
        """The folder itself, or the one whose name is the same letters in another form."""
        if folder.isascii() or self._listed(folder).names:
            return folder
        above, name = os.path.split(folder)
        if above == folder:
            return folder
        above = self._existing_folder(above)
        name = above is not None and self._listed(above).plain.get(_plain(name))
        return os.path.join(above, name) if name else None

    def _listed(self, folder: str) -> _Folder:
        if folder not in self._folders:
            self._folders[folder] = _Folder(folder)
        return self._folders[folder]

    def _check_inside(self, entry: Entry, path: str) -> None:
        # As nearly every path is: making it absolute would be half of the time that a list takes.
        name = path.removeprefix(self._below)
        if name != path and name[:1] not in ('', '.', '/') and '..' not in name:
            return
        if not os.path.abspath(path).startswith(self._top + os.sep):
            raise AnnotationError(f'{where(entry.source, entry.line)}: {entry.path} lies outside the data folder '
                                  f'{self.root}; pass another --data-dir, or --data-dir / to allow paths anywhere')


class FlowPlaces(Places):
    """Finds the flow of an entry below `root`: the entry's path without its extension, behind `prefix`."""

    def __init__(self, root: str, prefix: str):
        super().__init__(root, '', prefer_files=False, inside=True)
        self.prefix = prefix

    def find(self, entry: Entry, must_exist: bool) -> str:
        """Path of the folder that exists, or else where it ought to be."""
        places = list(entry.places or (entry.path,))
        if '\\' in entry.path:
            places += [place.replace('\\', '/') for place in places]
        paths = [os.path.join(self.root, flow_name(os.path.join(self.prefix, place))) for place in places]
        if self._top is not None:
            for path in dict.fromkeys((paths[0], paths[-1])):
                self._check_inside(entry, path)
        existing = next((found for path in paths if (found := self._existing(path)) is not None), None)
        if must_exist and not existing:
            raise AnnotationError(f'{where(entry.source, entry.line)}: {paths[0]} does not exist; check --data-dir')
        return existing or paths[0]

    def num_frames(self, entry: Entry) -> int | None:
        """Files are read whole, whatever the list counted."""
        return None if is_video_name(entry.path) else entry.num_frames


class _Folder:
    """Names in a folder, and how to find them by what is close."""

    def __init__(self, path: str):
        try:
            self.names = frozenset(os.listdir(path or '.'))
        except (OSError, ValueError):  # ValueError: a name with a zero byte
            self.names = frozenset()

    @cached_property
    def plain(self) -> dict[str, str]:
        """Names by their composed form."""
        return {_plain(name): name for name in sorted(self.names)}

    @cached_property
    def videos(self) -> dict[str, list[str]]:
        """Names of videos by what stands before their extension, in the order of `VIDEO_EXTENSIONS`."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.names):
            stem, extension = os.path.splitext(name)
            if extension.lower() in VIDEO_EXTENSIONS:
                found.setdefault(_plain(stem), []).append(name)
        for names in found.values():
            names.sort(key=lambda name: VIDEO_EXTENSIONS.index(os.path.splitext(name)[1].lower()))
        return found


def _plain(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize('NFC', name)
