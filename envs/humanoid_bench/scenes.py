"""What stands around the robot. Lengths are metres, sizes half lengths."""

import mujoco
import numpy as np

from envs.humanoid_bench.models import COLLISION_GROUP, MESH, add_box, add_contact_sensor

HURDLES, HURDLE_DISTANCE = 10, 7.0
STAIRCASES, STAIRCASE_DISTANCE, FIRST_STAIRCASE = 4, 6.0, 3.2
STEPS, STEP_DEPTH, STEP_HEIGHT = 5, 0.6, 0.18  # up, and as many down
HILLS, HILL_LENGTH, HILL_HEIGHT = 9, 10.0, 1.75
FIRST_HILL = 0.3
POLE_ROWS = 41  # a metre apart
POLES_IN_ODD_ROWS, POLES_IN_EVEN_ROWS = (2.25, 0.75, -0.75, -2.25), (1.5, 0.0, -1.5)
MAZE = ("#######", "#.....#", "###.#.#", "#.....#", "#.#.###", "#.....#", "#######")
MAZE_CORNER, MAZE_BLOCK = -2.25, 0.75
CHAIR = (-0.25, 0.0, 0.0)
BOARD, BALL, BALL_RADIUS = (0.0, 0.0, 0.37), (0.0, 0.0, 0.17), 0.17
ON_BOARD = (-0.1, 0.0, 1.38)  # the robot's place at the start


def add_hurdles(spec: mujoco.MjSpec) -> None:
    """Ten hurdles 37.5 cm high between barriers, whose contacts are counted."""
    world = spec.worldbody
    add_box(world, (35, -4.725, 1), (35.5, 0.275, 1), "right_barrier")
    add_box(world, (35, 4.725, 1), (35.5, 0.275, 1), "left_barrier")
    add_box(world, (-0.525, 0, 1), (0.05, 5, 1), "rear_barrier")
    for side in ("right", "left", "rear"):
        add_contact_sensor(spec, f"{side}_barrier", "geom", f"{side}_barrier", "")
    for number in range(1, HURDLES + 1):
        add_box(world, (HURDLE_DISTANCE * number, 0, 0.1875), (0.03, 5, 0.1875))


def add_tunnel(spec: mujoco.MjSpec) -> None:
    """A tunnel 16 m long and 1.15 m high."""
    for side in (-1, 1):
        add_box(spec.worldbody, (10.2, 1.35 * side, 0.775), (8, 0.2, 0.775))
    add_box(spec.worldbody, (10.2, 0, 1.35), (8, 1.15, 0.2))


def add_stairs(spec: mujoco.MjSpec) -> None:
    """Staircases up and down, one after the other, between walls."""
    world = spec.worldbody
    for staircase in range(STAIRCASES):
        x = FIRST_STAIRCASE + STAIRCASE_DISTANCE * staircase
        for step in range(STEPS):
            depth, z = STEP_DEPTH * (STEPS - 0.5 - step), STEP_HEIGHT * (step + 0.5)
            add_box(world, (x, 0, z), (depth, 5, STEP_HEIGHT / 2))
    for side in (-1, 1):
        add_box(world, (13.5, 5.05 * side, 2), (15.5, 0.1, 2))
    add_box(world, (-2.1, 0, 2), (0.1, 7.25, 2))


def add_slides(spec: mujoco.MjSpec) -> None:
    """Hills of two planes each, one after the other, between walls."""
    world = spec.worldbody
    outline = ((0, 0), (HILL_LENGTH / 2, HILL_HEIGHT), (HILL_LENGTH, 0))
    vertices = [(FIRST_HILL + x, y, z) for x, z in outline for y in (-5, 5)]
    spec.add_mesh(name="hill", uservert=np.ravel(vertices))
    for number in range(HILLS):
        world.add_geom(type=MESH, meshname="hill", pos=(HILL_LENGTH * number, 0, 0))
    for side in (-1, 1):
        add_box(world, (48.85, 5.15 * side, 4), (53, 0.15, 4))
    add_box(world, (-4, 0, 4), (0.15, 5.15, 4))


def add_poles(spec: mujoco.MjSpec) -> None:
    """Rows of poles between walls; contacts with poles are counted."""
    poles = spec.worldbody.add_body(name="poles")
    for row in range(1, POLE_ROWS + 1):
        for y in POLES_IN_ODD_ROWS if row % 2 else POLES_IN_EVEN_ROWS:
            cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
            poles.add_geom(type=cylinder, pos=(row, y, 1), size=(0.05, 1, 0))
    add_contact_sensor(spec, "poles", "body", "poles", "")
    for side in (-1, 1):
        add_box(spec.worldbody, (20, 3.15 * side, 1), (20.75, 0.15, 1))
    add_box(spec.worldbody, (-0.6, 0, 1), (0.15, 3, 1))


def add_maze(spec: mujoco.MjSpec) -> None:
    """Blocks 1.2 m high, whose contacts are counted."""
    maze = spec.worldbody.add_body(name="maze")
    for row, blocks in enumerate(reversed(MAZE)):
        for column, block in enumerate(blocks):
            if block == "#":
                x, y = (MAZE_CORNER + MAZE_BLOCK * (2 * n + 1) for n in (column, row))
                add_box(maze, (x, y, 0.6), (MAZE_BLOCK, MAZE_BLOCK, 0.6))
    add_contact_sensor(spec, "maze", "body", "maze", "")


def add_chair(spec: mujoco.MjSpec, loose: bool) -> None:
    """A chair, fixed or loose. Its pieces give it looks and mass; two boxes are what touches."""
    chair = spec.worldbody.add_body(name="chair", pos=CHAIR)
    if loose:
        chair.add_freejoint(name="chair")
        spec.keys[0].qpos = [*spec.keys[0].qpos, *CHAIR, 1, 0, 0, 0]
    corners = [(x, y) for x in (-0.19, 0.19) for y in (-0.19, 0.19)]
    pieces = [((x, y, 0.225), (0.02, 0.02, 0.225)) for x, y in corners]
    pieces.append(((0, 0, 0.45), (0.21, 0.21, 0.025)))
    pieces += [((-0.23, y, 0.6375), (0.02, 0.02, 0.2125)) for y in (-0.19, 0.19)]
    pieces.append(((-0.23, 0, 0.77), (0.02, 0.21, 0.08)))
    box = mujoco.mjtGeom.mjGEOM_BOX
    for place, size in pieces:
        chair.add_geom(type=box, pos=place, size=size, contype=0, conaffinity=0)
    solids = (((-0.23, 0, 0.65), (0.02, 0.21, 0.2)), ((0, 0, 0.2375), (0.21, 0.21, 0.2375)))
    for place, size in solids:
        chair.add_geom(type=box, pos=place, size=size, mass=0, group=COLLISION_GROUP)


def add_board(spec: mujoco.MjSpec, rolling: bool) -> None:
    """A board on a ball, which may roll or not; the robot starts on it.

    Contacts of ball and floor are counted, with each other, with the board and in all.
    """
    board = spec.worldbody.add_body(name="board", pos=BOARD)
    board.add_freejoint(name="board")
    add_box(board, (0, 0, 0), (0.15, 0.55, 0.03), "board")
    ball = spec.worldbody.add_body(name="ball", pos=BALL)
    ball.add_geom(name="ball", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(BALL_RADIUS, 0, 0))
    start = spec.keys[0]
    start.qpos = [*ON_BOARD, *list(start.qpos)[3:], *BOARD, 1, 0, 0, 0]
    if rolling:
        ball.add_freejoint(name="ball")
        start.qpos = [*start.qpos, *BALL, 1, 0, 0, 0]
    for first, second in (("ball", ""), ("ball", "floor"), ("ball", "board"), ("floor", "")):
        add_contact_sensor(spec, f"{first}_{second or 'anything'}", "geom", first, second)
