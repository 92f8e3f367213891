"""Keeping compiled programs from one process to the next."""

import hashlib
import os
import platform
from pathlib import Path

import jax

# What compiles faster is not worth a file.
_SECONDS_WORTH_KEEPING = 0.5


def use_compilation_cache() -> None:
    """Lets JAX keep its compiled programs below `$XDG_CACHE_HOME` (or `~/.cache`).

    A directory that the user has chosen (`JAX_COMPILATION_CACHE_DIR`) is left as it is. JAX never
    keeps programs with host callbacks, such as those that train in C MuJoCo.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if chosen is not None:
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(home / "purejax_simba" / _machine()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)


def _machine() -> str:
    """A name for this kind of processor: home directories are shared, instruction sets are not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    digest = hashlib.sha256("\n".join(features or lines).encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"
