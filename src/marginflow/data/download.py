"""Files of published data sets: found below the data root, or downloaded there and checked."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


def data_root() -> Path:
    """Where data files live: MARGINFLOW_DATA, or the user's cache.

    Returns:
        The folder that the environment variable names, else that of marginflow in the cache of the user.

    Examples:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, MARGINFLOW_DATA="/data"):
        ...     data_root().as_posix()
        '/data'
    """
    if given := os.environ.get("MARGINFLOW_DATA"):
        return Path(given)
    import pooch

    return Path(pooch.os_cache("marginflow"))


@dataclass(frozen=True)
class Published:
    """A file on the net.

    Args:
        url: its address.
        md5: its checksum.
        member: where it is an archive, the path in there of what is wanted.
    """

    url: str
    md5: str
    member: str | None = None

    @property
    def name(self) -> str:
        """The name of what is downloaded."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """The files of a data set.

    Args:
        name: of the data set.
        folders: below the data root, where the files may lie; downloads go to the first.
        files: name -> where it is published. A file whose name ends in .gz may also lie there unpacked.
    """

    name: str
    folders: tuple[str, ...]
    files: Mapping[str, Published]

    def find(self, file: str) -> Path | None:
        """Where a file lies; None where it does not."""
        for folder in self.folders:
            for name in (file, file.removesuffix(".gz")):
                path = data_root() / folder / name
                if path.is_file():
                    return path
        return None

    def missing(self) -> list[str]:
        """The files that are not there."""
        return [file for file in self.files if self.find(file) is None]

    def path(self) -> Path:
        """The folder of the files.

        Raises:
            FileNotFoundError: where any is missing.
        """
        found = [self.find(file) for file in self.files]
        if None in found:
            raise FileNotFoundError(
                f"{self.name}: {', '.join(self.missing())} not found below {data_root()}: "
                f"marginflow data fetch {self.name}"
            )
        return Path(os.path.commonpath([path.parent for path in found if path]))

    def get(self, file: str) -> Path:
        """A file, downloaded where it is not there."""
        if self.find(file) is None:
            self.fetch()
        path = self.find(file)
        assert path is not None
        return path

    def fetch(self) -> Path:
        """Download what is missing.

        Returns:
            The folder of the files.

        Raises:
            ValueError: where a download is not the published file.
            FileNotFoundError: where there is no network.
        """
        target = data_root() / self.folders[0]
        missing = {file: self.files[file] for file in self.missing()}
        archives: dict[Path, dict[str, Path]] = {}
        for file, published in missing.items():
            if published.member is None:
                self._download(published, target)
            else:
                archive = self._download(published, data_root() / "archives")
                archives.setdefault(archive, {})[published.member] = target / file
        for archive, members in archives.items():
            _unpack(archive, members)
        return self.path()

    def _download(self, published: Published, folder: Path) -> Path:
        """A download, checked; one that is there already is not repeated."""
        import pooch

        pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
        try:
            path = pooch.retrieve(published.url, f"md5:{published.md5}", published.name, folder, progressbar=True)
        except ValueError as error:  # pooch's word for a wrong checksum
            raise ValueError(f"{published.url} is not the published file: {error}") from error
        except OSError as error:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            raise FileNotFoundError(
                f"{self.name}: {', '.join(self.missing())} not found below {data_root()}, and {published.url} could "
                f"not be downloaded ({type(error).__name__}): put {', '.join(self.files)} into "
                f"{data_root() / self.folders[0]}, or point MARGINFLOW_DATA at the folder that holds {self.folders[0]}/"
            ) from error
        return Path(path)


def _unpack(archive: Path, members: Mapping[str, Path]) -> None:
    """Write some members of a tar archive where they belong, each whole or not at all."""
    left = dict(members)
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                path = left.pop(entry.name.removeprefix("./"), None)
                content = None if path is None else tar.extractfile(entry)
                if path is None or content is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(path.name + ".part")
                with part.open("wb") as file:
                    shutil.copyfileobj(content, file)
                part.replace(path)
                if not left:
                    return
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}): delete it, it will be downloaded again") from error
    raise ValueError(f"{archive} does not hold {', '.join(left)}: delete it, it will be downloaded again")
