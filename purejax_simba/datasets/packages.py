"""The packages of the extra `offline`."""

import importlib
from types import ModuleType

from purejax_simba.config import ConfigError


def require(package: str) -> ModuleType:
    """Imports a package of the extra.

    Raises:
      ConfigError: with the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'purejax_simba[offline]'"
        ) from error
