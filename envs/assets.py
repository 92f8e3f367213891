"""Files of installed packages."""

import importlib.util
from pathlib import Path


def package_file(package: str, *parts: str) -> str:
    """Path of a file of a package, which is not imported: some take seconds for that.

    Raises:
      ModuleNotFoundError: where the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    return str(Path(found.origin).parent.joinpath(*parts))
