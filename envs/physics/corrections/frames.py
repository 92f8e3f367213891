"""Frames of geoms, sites and inertias as the C engine has them."""

import copy

import mujoco
import numpy as np

_SAME = mujoco.mjtSameFrame
_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def frames_of_c(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy in which frames are exactly those that the C engine takes.

    Where a frame differs from that of its body, or of the body's inertia, by less than 1e-6, the C
    engine takes the other (`mjtSameFrame`). MJX computes the frame, so that geoms of the dog, which
    are fitted to bones, are up to 2e-7 m away from where they are in C.
    """
    model = copy.copy(model)
    bodies = np.arange(model.nbody)
    # Those of inertias first, because others may be the same as these.
    for kind, owners, positions, rotations in (
        (model.body_sameframe, bodies, model.body_ipos, model.body_iquat),
        (model.geom_sameframe, model.geom_bodyid, model.geom_pos, model.geom_quat),
        (model.site_sameframe, model.site_bodyid, model.site_pos, model.site_quat),
    ):
        positions[kind == _SAME.mjSAMEFRAME_BODY] = 0
        rotations[np.isin(kind, (_SAME.mjSAMEFRAME_BODY, _SAME.mjSAMEFRAME_BODYROT))] = _IDENTITY
        inertial = kind == _SAME.mjSAMEFRAME_INERTIA
        positions[inertial] = model.body_ipos[owners[inertial]]
        inertial |= kind == _SAME.mjSAMEFRAME_INERTIAROT
        rotations[inertial] = model.body_iquat[owners[inertial]]
    return model
