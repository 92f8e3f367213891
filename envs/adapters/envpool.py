"""Adapter for EnvPool's environments, in worker processes: ids `envpool/<id>`."""

import importlib
from typing import Any

from envs.adapters.hosted import register_hosted
from envs.registry import advice_on_missing_packages, unknown_task


def find_source(task_id: str) -> dict[str, Any]:
    """Covers every environment that EnvPool knows.

    Raises:
      TaskError: for an id that it does not know.
    """
    with advice_on_missing_packages("pip install 'purejax_simba[envpool]'"):
        envpool = importlib.import_module("envpool")
    name = task_id.removeprefix("envpool/")
    known = envpool.list_all_envs()
    if name not in known:
        raise unknown_task(task_id, [f"envpool/{known}" for known in known])
    return {"id": name}


register_hosted("envpool", find_source)
