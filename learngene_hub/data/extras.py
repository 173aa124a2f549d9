"""Optional libraries: imported only when used, so that inheriting a gene does not need them."""

import importlib
from typing import Any

from learngene_hub.core.errors import DataError


def optional_module(name: str) -> Any:  # noqa: ANN401 - a module has no better static type
    """The imported module `name`, such as `"scipy.special"`, which the extra `evolve` installs.

    Raises:
        DataError: the library is not installed.
    """
    library = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != library:
            raise
        message = f'{library} is not installed: pip install "learngene-hub[evolve]"'
        raise DataError(message) from error
