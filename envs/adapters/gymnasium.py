"""Adapter for Gymnasium's environments, in worker processes: ids `gymnasium/<id>`."""

import importlib
import os
import pickle
import sys
from typing import Any

from envs.adapters.hosted import register_hosted
from envs.registry import TaskError, advice_on_missing_packages, import_for, split_id, unknown_task


def find_source(task_id: str) -> dict[str, Any]:
    """Covers every environment that gymnasium knows, and `<module>:<id>`.

    Raises:
      TaskError: for an id that it does not know, or one that workers cannot make.
    """
    with advice_on_missing_packages("pip install gymnasium"):
        gymnasium = importlib.import_module("gymnasium")
    module, own_id = split_id(task_id)
    if module:
        import_for(task_id, module)
    name = own_id.removeprefix("gymnasium/")
    try:
        known = gymnasium.spec(name)
    except gymnasium.error.Error:
        ids = [f"gymnasium/{known}" for known in gymnasium.registry]
        raise unknown_task(task_id, ids) from None
    try:
        pickled = pickle.dumps(known)
    except (pickle.PicklingError, AttributeError, TypeError):
        raise TaskError(
            f"{task_id} cannot be sent to worker processes: register it with an entry point "
            "'<module>:<class>' and arguments that can be pickled"
        ) from None
    return {"id": name, "spec": pickled, "path": [os.path.abspath(entry) for entry in sys.path]}


register_hosted("gymnasium", find_source)
