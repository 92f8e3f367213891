"""Devices that are not here, for which programs can be compiled all the same.

XLA needs a description of a device, no device. What a compiled program tells is how much memory it
takes and what it is made of; not how fast it is, nor what it computes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.experimental import topologies

from purejax_simba.config import ConfigError

DESCRIPTIONS = {"h100": Path(__file__).with_name("h100.txtpb")}


def prepare() -> None:
    """Tells XLA that there is nothing to try out; call this before anything else touches JAX."""
    jax.config.update("jax_platforms", "cpu")
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    os.environ["XLA_FLAGS"] = f"--xla_gpu_autotune_level=0 {os.environ.get('XLA_FLAGS', '')}"


def devices_of(target: str) -> Sequence[jax.Device]:
    """The devices of a target.

    Args:
      target: `h100`; a file that describes another GPU in the same way; or chips of a TPU and how
        they are arranged, as `v5e:2x4`, `v6e:2x2` or `v4:2x2x1`.

    Raises:
      ConfigError: for an unknown target, or one whose compiler is not installed.
    """
    file = DESCRIPTIONS.get(target, Path(target))
    is_gpu = file.suffix == ".txtpb"
    try:
        if is_gpu:
            topology = topologies.get_topology_desc(
                platform="cuda",
                topology_name=file.stem,
                topology="1x1x1",
                target_config=file.read_text(),
            )
        else:
            topology = topologies.get_topology_desc(platform="tpu", topology_name=target)
    except OSError as error:
        raise ConfigError(f"no target {target}: {error.strerror}") from error
    except (RuntimeError, NotImplementedError, ValueError) as error:
        extra = "cuda" if is_gpu else "tpu"
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot compile for {target} ({reason}): give one of {', '.join(DESCRIPTIONS)}, a "
            f"file as theirs, or TPU chips as v5e:2x4, with pip install 'purejax_simba[{extra}]'"
        ) from error
    return topology.devices
