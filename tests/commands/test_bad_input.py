"""Bad input: a row says what is typed, and what one line has to say about it.

Each row is one more thing that users have tried. Nothing may be compiled, written or lost. Rows
that need files have a finished run and a dataset beside them, see `tests/helpers/bad_input.py`.
"""

import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envs.__main__ import main as envs_main
from purejax_simba import export
from purejax_simba.commands import sweep, train
from purejax_simba.datasets import __main__ as datasets
from purejax_simba.datasets.loading import load
from purejax_simba.report import __main__ as report
from tests.helpers import bad_input, in_process
from tests.helpers.bad_input import (
    DATA,
    RUN,
    TASK,
    attributes,
    change,
    cut,
    damage,
    fifo,
    link,
    read_only,
    remove,
    row,
    write,
)

MAINS = {
    "train.py": train.main,
    "sweep.py": sweep.main,
    "envs": envs_main,
    "report": lambda: report.main(sys.argv[1:]),
    "datasets": datasets.main,
    "export": export.main,
}
# What is wrong, in our words, in those of argparse, or under the title of tyro's frames.
TITLES = "Value error|Missing argument|Unrecognized options|Invalid choice|Required options"
ERROR = re.compile(rf"^(error: |[\w .-]+: error: |\W*({TITLES})[^\w:]*$)")

HUGE = "9" * 30
TINY = (
    f"--task {TASK} --num-seeds 1 --total-env-steps 200 --episode-length 50 --experiment mine "
    "--agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 --replay.batch-size 16"
)
STATE, POLICY, CONFIG = (
    f"{RUN}/checkpoints/state",
    f"{RUN}/checkpoints/policy",
    f"{RUN}/config.json",
)
RUN_ALREADY = "runs/tiny/gymnax/Pendulum-v1 already holds a run: give another --output or --exp"

VALUES = [
    row("train.py --num-seeds two", "--num-seeds: invalid literal for int() with base 10: 'two'"),
    row("train.py --task ''", "--task is empty: give a value or drop it"),
    row("train.py --output=", "--output is empty: give a value or drop it"),
    row("sweep.py --task dmc/dog-run ''", "a word is empty: give a value or drop it"),
    row("train.py --num-seeds", "Missing value for argument '--num-seeds'"),
    row("train.py --tusk dmc/dog-run", "Unrecognized options: --tusk, dmc/dog-run"),
    row("train.py dmc/dog-run", "Unrecognized options: dmc/dog-run"),
    row("train.py --recipe papers", "invalid choice 'papers'...'shared', 'paper'"),
    row("train.py --normalize-rewards maybe", "Unrecognized options: maybe"),
    row("train.py --start.parts legs", "'legs'...'actor', 'critic', 'temperature'"),
    row("train.py --agent.name sack", "--agent.name is 'sack': choose from simba_v2, simba, sac"),
    row(
        "train.py --agent.name sac --agent.num-bins 3", "num-bins 3 is of no use to --agent.name s"
    ),
    row("train.py --task dmc/cheeta-run", "task 'dmc/cheeta-run': did you mean dmc/cheetah-run"),
    row(
        "train.py --task nothing-like-it", "unknown task 'nothing-like-it': envs.tasks() lists the"
    ),
    row("train.py --task gymnax/Pendulum", "unknown task...did you mean gymnax/Pendulum-v1"),
    row("train.py --task nowhere:mine/ball", "nowhere:mine/ball: no module 'nowhere' here"),
    row("train.py --task json:mine/ball", "unknown task 'mine/ball'"),
    row("train.py --physics havok", "dmc/cheetah-run has no physics 'havok': choose from auto, m"),
    row("train.py --physics warp:0", "physics is 'warp:0': give warp, or warp:2 for twice"),
    row("train.py --physics mjx:2", "dmc/cheetah-run has no physics 'mjx:2': choose from auto, m"),
    row(f"train.py --task {TASK} --physics warp", "brings its own physics: drop"),
    row(f"train.py --task {TASK} --physics mjx", "brings its own physics: drop"),
    row("train.py --num-seeds 0", "--num-seeds is 0: give a finite number above 0"),
    row(f"train.py --num-seeds {HUGE}", "--num-seeds is 999"),
    row("train.py --num-seeds 5000000000", "--num-seeds is 5000000000: there are 4294967296"),
    row("train.py --learning-starts 2000000", "2000000 is more than --replay.capacity 1000000"),
    row("train.py --replay.n-step 501", "500 interactions, fewer than --replay.n-step 501"),
    row("train.py --episode-length 99999999999", "episode_length is 99999999999...at most"),
    row("train.py --num-environments 100000000", "GiB...give a smaller --num-environments"),
    row("train.py --seed -1", "--seed is -1: give one from 0 to 4294967295"),
    row("train.py --seed 4294967293", "--seed is 4294967293...with the 3 that follow it"),
    row("train.py --seed 4294967290 --num-seeds 8", "4294967290...with the 7 that follow it"),
    row(f"train.py --seed {HUGE}", "--seed is 999"),
    row("train.py --total-env-steps 0", "--total-env-steps is 0: give"),
    row("train.py --total-env-steps -5", "--total-env-steps is -5: give"),
    row(f"train.py --total-env-steps {HUGE}", "--total-env-steps is 999...: give a number that a"),
    row("train.py --total-env-steps 1000000000000", "--total-env-steps makes more than 2,147,48"),
    row("train.py --total-env-steps 5001", "--total-env-steps 5001 is no multiple of 2: give 5000"),
    row(f"train.py --task {TASK} --total-env-steps 1000003", "1000003 cannot be divided...1000000"),
    row("train.py --evaluation-interval 0", "--evaluation-interval is 0: give"),
    row("train.py --evaluation-interval 1501", "--evaluation-interval 1501 is no multiple of 2"),
    row("train.py --total-env-steps 5000 --evaluation-interval 2000", "5000...give 4000"),
    row("train.py --total-env-steps 8000 --learning-starts 5000", "5000 leaves no update...4000"),
    row(
        "train.py --total-env-steps 1000 --learning-starts 499 --replay.n-step 3",
        "--learning-starts 499 leaves no update in the 500...--replay.n-step 3",
    ),
    row(
        "train.py --total-env-steps 1000 --learning-starts 451 --update-to-data-ratio 0.01",
        "--learning-starts 451 leaves no update...--update-to-data-ratio 0.01",
    ),
    row(f"train.py --learning-starts {HUGE}", "--learning-starts is 999...: give a number that a"),
    row("train.py --learning-starts 300 --replay.capacity 256", "300...would never come"),
    row("train.py --replay.batch-size 300 --replay.capacity 200", "300 is larger than...200"),
    row(f"train.py --replay.batch-size {HUGE}", "--replay.batch-size is 999"),
    row("train.py --replay.capacity 1000000 --num-environments 3", "no multiple of --num-envi"),
    row(f"train.py --replay.n-step {HUGE}", "--replay.n-step is 999"),
    row("train.py --episode-length 4 --replay.n-step 3", "has 2 interactions...n-step smaller"),
    row("train.py --replay.truncation-interval 0", "--replay.truncation-interval is 0: give"),
    row("train.py --replay.priority-exponent 0.5", "0.5 is of no use without --replay.prior"),
    row("train.py --replay.prioritized --replay.importance-exponent 1.5", "is 1.5: give...[0, 1]"),
    row("train.py --replay.prioritized --devices-per-run 2", "--replay.prioritized is for runs on"),
    row("train.py --num-environments 0", "--num-environments is 0: give"),
    row(f"train.py --num-environments {HUGE}", "--num-environments is 999"),
    row(f"train.py --num-evaluation-episodes {HUGE}", "--num-evaluation-episodes"),
    row("train.py --num-evaluation-episodes 0", "--num-evaluation-episodes is 0: give"),
    row(f"train.py --devices-per-run {HUGE}", "--devices-per-run"),
    row("train.py --update-to-data-ratio 0", "--update-to-data-ratio is 0.0: give a finite number"),
    row("train.py --update-to-data-ratio inf", "--update-to-data-ratio is inf: give a finite n"),
    row("train.py --update-to-data-ratio nan", "--update-to-data-ratio is nan: give a finite n"),
    row("train.py --update-to-data-ratio 0.00001", "is 1e-05: give at least 0.0001"),
    row(
        "train.py --update-to-data-ratio 0.00001 --num-environments 3",
        "is 1e-05: give at least 3.33333e-05, an update in 10,000 interactions",
    ),
    row("train.py --update-to-data-ratio 1e9", "makes more than 2,147,483,647 interactions or upd"),
    row("train.py --action-repeat 0", "action_repeat is 0: give 1 or more"),
    row(f"train.py --action-repeat {HUGE}", "--action-repeat is 999"),
    row("train.py --episode-length 0", "episode_length is 0: give 1 or more"),
    row(f"train.py --episode-length {HUGE}", "--episode-length is 999"),
    row("train.py --discount 1.0", "--discount is 1.0: give a number in [0, 1)"),
    row("train.py --discount nan", "--discount is nan: give a number in [0, 1)"),
    row("train.py --temperature.initial 0", "--temperature.initial is 0.0: give"),
    row("train.py --agent.tau 0", "--agent.tau is 0.0: give a number in (0, 1]"),
    row("train.py --agent.tau x", "--agent.tau: could not convert string to float: 'x'"),
    row("train.py --agent.learning-rate -1", "--agent.learning-rate is -1.0: give"),
    row("train.py --agent.learning-rate nan", "--agent.learning-rate is nan: give"),
    row("train.py --agent.num-bins 1", "--agent.num-bins is 1: give 2 or more"),
    row("train.py --agent.reset-env-steps 0", "--agent.reset-env-steps is 0: give 1 or more"),
    row("train.py --agent.reset-env-steps 15001", "15001 is no multiple of 2: give 15000"),
    row("train.py --agent.critic-hidden-dim 0", "--agent.critic-hidden-dim is 0: give"),
    row(
        "train.py --agent.critic-hidden-dim 100000000",
        "most of it networks...smaller --agent.critic-hidden-dim",
    ),
    row("train.py --agent.actor-hidden-dim 100000000", "GiB...smaller --agent.actor-hidden-dim"),
    row(f"train.py --agent.critic-hidden-dim {HUGE}", "--agent.critic-hidden-dim is 999"),
    row(f"train.py --agent.num-critics {HUGE}", "--agent.num-critics is 999"),
    row(f"train.py --agent.num-bins {HUGE}", "--agent.num-bins is 999"),
    row("train.py --agent.num-critics 1000000000", "GiB...smaller --agent.num-critics"),
    row("train.py --checkpoint.keep 0", "--checkpoint.keep is 0: give 1 or more"),
    row("train.py --checkpoint.interval -2", "--checkpoint.interval is -2: give"),
    row("train.py --checkpoint.interval 7", "--checkpoint.interval 7 is no multiple of 2"),
    row("train.py --host-time-limit 0", "--host-time-limit is 0.0: give"),
    row("train.py --host-time-limit nan", "--host-time-limit is nan: give"),
    row("train.py --host-python /bin/ls", "no processes that another Python interpreter could run"),
    row("train.py --task gymnasium/Pendulum-v1 --host-python /bin/ls", "/bin/ls is no Python in"),
    row("train.py --task gymnasium/Pendulum-v1 --host-python nowhere", "nowhere"),
    row(
        "train.py --task gymnasium/Pendulum-v1 --agent.name flash_sac --privileged-observations a",
        "has observations that are no dictionary: there is no 'a' to keep from actors",
    ),
    row(
        "train.py --task gymnasium/Pendulum-v1 --stagger-episodes",
        "--stagger-episodes: those of gymnasium/Pendulum-v1 live in worker processes",
    ),
    row("train.py --privileged-observations a", "cheetah-run has no dictionary of observations"),
    row("train.py --task gymnasium/Nothing-v0", "gymnasium/Nothing-v0"),
    row("train.py --loggers tensorbored", "no logger 'tensorbored'...tensorboard, wandb"),
    row("train.py --loggers nowhere:Logger", "nowhere"),
    row("train.py --loggers json:Logger", "json"),
    row("train.py --reset actor", "--reset is of no use without --resume"),
    row("train.py --process-id 0", "--coordinator-address and the like need --distributed"),
    row("train.py --distributed --process-id 0", "give all of --coordinator-address, --num-proc"),
    *(
        row(
            f"train.py --distributed --num-processes 2 --process-id 0 --coordinator-address {it}",
            f"--coordinator-address is '{it}': give <host>:<port>",
        )
        for it in ("here", ":1", "here:", "here:x", "here:0", "here:65536")
    ),
    *(
        row(
            f"train.py --distributed --coordinator-address here:1 --num-processes {count} "
            f"--process-id {own}",
            f"--process-id is {own} and --num-processes {count}: give how many there are",
        )
        for count, own in ((2, 2), (0, 0), (2, -1), (HUGE, 0))
    ),
    row("train.py --compile-for h100 --distributed", "--distributed is of no use with --compile-f"),
    row("train.py --compile-for h100 --reset actor", "--reset is of no use with --compile-for"),
    row("train.py --compile-for h100 --list-tasks", "--list-tasks and --compile-for exclude each"),
]

FULL = "cannot write to standard output: No space left on device"
OUTPUTS = [
    row("train.py --list-tasks", FULL, status=1, stdout="/dev/full"),
    row(f"sweep.py --task {TASK} --dry-run", FULL, status=1, stdout="/dev/full"),
    row("report index runs", FULL, status=1, stdout="/dev/full", writes=("runs",)),
    row(f"train.py {TINY} --output {DATA}", f"cannot write to {DATA}/mine/{TASK}...another --out"),
    row(f"train.py {TINY} --output {DATA}/x", "Not a directory): give another --output"),
    row(f"train.py {TINY} --output /dev/null", "Not a directory): give another --output"),
    row(f"train.py {TINY} --output /proc/x", "cannot write to /proc/x"),
    row(f"train.py {TINY} --output locked", "Permission denied...--output", read_only("locked")),
    row(f"train.py {TINY} --output locked/in", "Permission denied", read_only("locked")),
    row(
        f"train.py {TINY} --output 'mit Ümlaut 日本'",
        "cannot write to mit Ümlaut 日本/mine...Permission denied",
        read_only("mit Ümlaut 日本"),
    ),
    row(f"train.py {TINY} --output runs --experiment tiny", RUN_ALREADY),
    row(
        f"train.py {TINY} --output 'mit Ümlaut 日本'",
        "mit Ümlaut 日本/mine/gymnax/Pendulum-v1 already holds a run",
        write(f"mit Ümlaut 日本/mine/{TASK}/metrics.csv", "precious"),
    ),
    row(f"train.py {TINY} --output {'x' * 300}", "File name too long"),
    row(f"train.py {TINY} --output . --experiment {'x' * 300}", "File name too long"),
]

OFFLINE = [
    *(
        row(f"train.py --task {TASK} {given}", f"{name} is of no use without {needed}: give both")
        for given, name, needed in (
            ("--offline.epochs 50", "--offline.epochs", "--offline"),
            ("--offline.evaluation-interval 5", "--offline.evaluation-interval", "--offline"),
            ("--offline.random-return 0", "--offline.random-return", "--offline"),
            ("--start.parts actor", "--start.parts", "--start.run"),
            ("--start.optimizers", "--start.optimizers", "--start.run"),
            ("--start.no-normalizers", "--start.normalizers", "--start.run"),
        )
    ),
    row(f"train.py --config {CONFIG} --offline.epochs 9", "--offline.epochs is of no use without"),
    row(f"sweep.py --task {TASK} --offline.epochs 9 --dry-run", "--offline.epochs is of no use w"),
    row(f"sweep.py --task {TASK} --grid offline.epochs=9,8 --dry-run", "--offline.epochs is of no"),
    row(f"train.py --offline {DATA} --task dmc/cheetah-run", "held: give --action-repeat 1, or 2"),
    row(
        f"train.py --offline {DATA} --task dmc/cheetah-run --action-repeat 1",
        "3 numbers...17 and 6: give the --t",
    ),
    row(f"train.py --offline {DATA} --total-env-steps 100", "of no use...give --offline.epochs"),
    row(f"train.py --offline {DATA} --evaluation-interval 10", "--offline.evaluation-interval"),
    row(f"train.py --offline {DATA} --offline.epochs 0", "--offline.epochs is 0: give"),
    row(f"train.py --offline {DATA} --offline.epochs {HUGE}", "--offline.epochs is 999"),
    row(
        f"train.py --offline {DATA} --offline.epochs 5 --offline.evaluation-interval 2",
        "--offline.epochs 5 is no multiple of 2",
    ),
    row(f"train.py --offline {DATA} --offline.transitions 3", "has 40 transitions and had 3"),
    row(
        f"train.py --offline {DATA} --offline.random-return 1 --offline.expert-return 1",
        "are both 1.0: give two different returns",
    ),
    row(f"train.py --offline {DATA} --recipe paper", "--recipe is of no use with --offline: dr"),
    row(f"train.py --offline {DATA} --replay.n-step 3", "--replay.n-step is of no use"),
    row(f"train.py --offline {DATA} --update-to-data-ratio 8", "--update-to-data-ratio is of no u"),
    row(f"sweep.py --offline {DATA} --preset utd-scaling", "--update-to-data-ratio is of no use"),
    row(f"sweep.py --offline {DATA} --preset resets", "learning in an environment: drop --off"),
    row(f"train.py --offline {DATA} --replay.prioritized", "--replay.prioritized is of no use"),
    row(f"train.py --offline {DATA} --agent.name random", "random learns nothing from a dataset"),
    row(
        f"train.py --offline {DATA}",
        "not name its environment: give --task",
        attributes(DATA, task=None),
    ),
    *(
        row(
            f"train.py --offline {DATA}",
            f"{DATA} cannot be read",
            attributes(DATA, **{name: value}),
        )
        for name, value in {
            "task": 3,
            "action_repeat": "two",
            "episode_length": [1, 2],
            "random_return": "low",
            "observations": b"\xff",
        }.items()
    ),
    row("train.py --offline nowhere.hdf5", "nowhere.hdf5 cannot be read (No such file"),
    row("train.py --offline nowhere", "unknown dataset 'nowhere': give minari/<id>, or a file"),
    row(
        "train.py --offline text.hdf5",
        "hdf5 cannot be read...: give a HDF5 file in D4RL's layout",
        write("text.hdf5", "words"),
    ),
    row(
        "train.py --offline empty.hdf5",
        "hdf5 cannot be read...: give a HDF5 file in D4RL's layout",
        write("empty.hdf5", ""),
    ),
    row(
        f"train.py --offline {DATA}",
        "hdf5 cannot be read...: give a HDF5 file in D4RL's layout",
        cut(DATA, 2000),
    ),
    row("train.py --offline runs.hdf5", "runs.hdf5", read_only("runs.hdf5")),
    row("train.py --offline 'minari/a b'", "is no id of Minari's"),
    row("train.py --offline minari/no/such-v0", "minari/no/such-v0", writes=("minari",)),
]

RUNS = [
    row("train.py --resume nowhere", "nowhere holds no run: there is no config.json in it"),
    row("train.py --evaluate nowhere", "nowhere holds no run"),
    row(f"train.py --evaluate {RUN} --seed 3", "--seed is of no use with --evaluate: drop it"),
    row(f"train.py --evaluate {RUN} --agent.tau 0.1", "--agent.tau is of no use with --evaluate"),
    row(f"train.py --evaluate {RUN} --resume {RUN}", "--resume is of no use with --evaluate"),
    row(f"train.py --evaluate {RUN} --distributed", "--distributed is of no use with --evalu"),
    row(f"train.py --evaluate {RUN} --num-evaluation-episodes 0", "episodes is 0: give"),
    row(f"train.py --video {RUN} --num-evaluation-episodes 3", "is of no use with --video: drop"),
    row("train.py --video nowhere", "nowhere holds no run"),
    row(f"train.py --video {RUN} --evaluate {RUN}", "--evaluate and --video exclude each other"),
    row(f"train.py --evaluate {DATA}", f"{DATA} holds no run"),
    row("train.py --config nowhere.json", "nowhere.json cannot be read (No such file"),
    row("train.py --config runs", "runs cannot be read (it is no regular file)"),
    row(f"train.py --config {CONFIG} --recipe paper", "--recipe fills in nothing beside --config"),
    row(f"train.py --config {CONFIG} --agent.name td3", "--agent.name fills in nothing"),
    row(f"train.py --config {CONFIG} --offline {DATA}", "--offline fills in nothing...drop one"),
    row("train.py --experiment .mine", "--experiment is '.mine'...not hidden ones"),
    row("train.py --agent.name td3 --agent.target-noise-clip -0.5", "clip is -0.5: give 0 or more"),
    row("train.py --start.run nowhere", "nowhere/checkpoints/state holds nothing to go on from"),
    row(f"train.py --task {TASK} --start.run {RUN}", "made with --normalize-observations False, "),
    row(
        f"train.py --task {TASK} --start.run {RUN} --agent.critic-hidden-dim 16 "
        "--no-normalize-observations --no-normalize-rewards",
        "fewer --start",
    ),
    row(f"train.py --resume {RUN} --agent.tau 0.01", "--agent.tau was 0.005 and is 0.01"),
    row(f"train.py --resume {RUN} --total-env-steps 20", "was 40 and is 20: give as many or more"),
    row(f"train.py --resume {RUN} --total-env-steps 50", "50 is no multiple of 20"),
    row(f"train.py --resume {RUN} --reset actor", "is trained to its end: with --reset give more"),
    row(f"train.py --resume {RUN} --output locked", "Permission denied", read_only("locked")),
    row(f"train.py --evaluate {RUN}", "config.json cannot be read", write(CONFIG, "words")),
    row(f"train.py --evaluate {RUN}", "config.json cannot be read", write(CONFIG, "")),
    row(f"train.py --evaluate {RUN}", "config.json cannot be read", write(CONFIG, b"\xff\xfe\x00")),
    row(
        f"train.py --evaluate {RUN}",
        "unknown name 'tusk': did you mean task",
        change(CONFIG, tusk=1),
    ),
    row(f"train.py --resume {RUN}", "unknown task 'a/b'", change(CONFIG, task="a/b")),
    row(f"train.py --resume {RUN}", "holds no run: there is no config.json in it", remove(CONFIG)),
    row(f"train.py --resume {RUN}", "to go on from: no checkpoint was written", remove(STATE)),
    row(
        f"train.py --resume {RUN}",
        "is damaged (arrays/...is not as it was written)",
        remove(f"{STATE}/20"),
        damage(f"{STATE}/40/arrays/**/*"),
    ),
    row(
        f"train.py --resume {RUN}",
        "is damaged",
        remove(f"{STATE}/20"),
        remove(f"{STATE}/40/notes.json"),
    ),
    row(
        f"train.py --resume {RUN}",
        "is damaged",
        remove(f"{STATE}/20"),
        remove(f"{STATE}/40/checksums.json"),
    ),
    row(
        f"train.py --resume {RUN}",
        "is damaged",
        remove(f"{STATE}/20"),
        remove(f"{STATE}/40/arrays/manifest*"),
    ),
    row(
        f"train.py --evaluate {RUN}", "holds no trained policy: its run did not fin", remove(POLICY)
    ),
    row(f"train.py --video {RUN}", "holds no trained policy: its run did not fin", remove(POLICY)),
    row(f"train.py --evaluate {RUN}", "does not fit...config.json", change(CONFIG, num_seeds=2)),
]

DEEP = "[" * 100_000
RUNS += [
    *(
        row(f"train.py --evaluate {RUN}", "config.json cannot be read", write(CONFIG, text))
        for text in ("null", "7", '"two"', DEEP, '{"seed": NaN', '{"task": "\\u0000"}')
    ),
    *(
        row(f"train.py --resume {RUN}", f"{name} is", change(CONFIG, **{name: value}))
        for name, value in {"seed": "two", "num_seeds": [3], "total_env_steps": 1.5}.items()
    ),
    row(f"train.py --resume {RUN}", "experiment is", change(CONFIG, experiment="/elsewhere")),
    row(f"train.py --resume {RUN}", "unknown task '3'", change(CONFIG, task=3)),
    row(f"train.py --resume {RUN}", "unknown name 'agent'", change(CONFIG, agent=None)),
    row(f"train.py --resume {RUN}", "unknown name 'loggers.a'", change(CONFIG, loggers={"a": 1})),
    row(
        f"train.py --resume {RUN}",
        "capacity is 'x': give",
        change(CONFIG, replay={"capacity": "x"}),
    ),
    row(
        f"train.py --resume {RUN} --output x", "experiment is", change(CONFIG, experiment="../../x")
    ),
    row(f"train.py {TINY} --experiment ../../x", "--experiment is '../../x': give one or more na"),
    row(f"train.py {TINY} --experiment /elsewhere", "--experiment is '/elsewhere': give one or"),
    row(f"train.py {TINY} --experiment 'a\nb'", "--experiment is...give letters that can be pri"),
    row(
        f"train.py --resume {RUN}",
        "notes.json",
        remove(f"{STATE}/20"),
        write(f"{STATE}/40/notes.json", "[]"),
    ),
    row(
        f"train.py --resume {RUN}",
        "checksums.json",
        remove(f"{STATE}/20"),
        write(f"{STATE}/40/checksums.json", "3"),
    ),
    row(f"train.py --evaluate {RUN}", "is not as it was written", damage(f"{POLICY}/**/*")),
    row(f"train.py --evaluate {RUN}", "policy", remove(f"{POLICY}/**/manifest*")),
    row(f"train.py --evaluate {RUN}", "policy", remove(f"{POLICY}/**/_METADATA")),
    row(f"train.py --evaluate {RUN}", "it is no regular file", fifo(CONFIG)),
    row("train.py --config pipe", "pipe cannot be read (it is no regular file)", fifo("pipe")),
    row("train.py --offline pipe.hdf5", "it is no regular file", fifo("pipe.hdf5")),
    row("sweep.py --file pipe.yaml", "it is no regular file", fifo("pipe.yaml")),
    row("sweep.py --file pipe.py", "it is no regular file", fifo("pipe.py")),
    row(
        f"train.py --evaluate {RUN}", "policy is a symbolic link out of", link(POLICY, "elsewhere")
    ),
    row(f"train.py --resume {RUN}", "state is a symbolic link out of", link(STATE, "elsewhere")),
    row(
        f"train.py --resume {RUN}",
        "is a symbolic link out of",
        link(f"{STATE}/40/arrays/_METADATA", "else/where"),
    ),
    row(
        f"train.py --resume {RUN}",
        "metrics.csv is a symbolic link out",
        link(f"{RUN}/metrics.csv", "elsewhere"),
    ),
]

# Files that name code: none of it runs.
EVIL = write("evil.py", "open('ran', 'w').close()")
NOTHING = "nothing is run because a file says so"
CODE = {
    "task": ("evil:mine/x", "evil"),
    "host_python": ("/bin/ls", "the interpreter /bin/ls"),
    "loggers": (["evil:Logger"], "evil"),
}
TRUST = [
    *(
        row(f"{command} {RUN}", f"{what}...{NOTHING}", EVIL, change(CONFIG, **{name: value}))
        for command in (
            "train.py --resume",
            "train.py --evaluate",
            "train.py --video",
            "datasets --output x.hdf5",
        )
        for name, (value, what) in CODE.items()
        if name != "loggers" or "--resume" in command
    ),
    *(
        row("train.py --config x.json", f"{what}...{NOTHING}", EVIL, write("x.json", {name: value}))
        for name, (value, what) in CODE.items()
    ),
    row(
        f"envs render {TASK} --output x.png --policy {RUN}",
        f"the interpreter /bin/ls...{NOTHING}",
        change(CONFIG, host_python="/bin/ls"),
    ),
    row(f"train.py --offline {DATA}", f"evil...{NOTHING}", EVIL, attributes(DATA, task="evil:a/b")),
    row("sweep.py --file x.yaml", f"evil...{NOTHING}", EVIL, write("x.yaml", "task: evil:mine/x")),
    row(
        "sweep.py --file x.yaml",
        f"the interpreter /bin/ls...{NOTHING}",
        write("x.yaml", "config: {host_python: /bin/ls}"),
    ),
]

SWEEPS = [
    row("sweep.py --grid agent.learnin-rate=1", "unknown name...agent.learning_rate"),
    row("sweep.py --grid xyz=1", "unknown name 'xyz': choose from task"),
    row("sweep.py --grid agent.learning-rate", "'agent.learning-rate' is no axis: write <name>=va"),
    row("sweep.py --grid agent.learning-rate=fast", "is 'fast': give a number"),
    row("sweep.py --grid agent.num-bins=1e2", "is '1e2': give a whole number"),
    row("sweep.py --grid normalize-rewards=1", "is '1': give true or false"),
    row("sweep.py --grid agent.critic-loss=all", "'all': choose from cross_entropy, squared_err"),
    row("sweep.py --grid agent.tau=0.1,0.10", "has a value twice"),
    row("sweep.py --grid task=dmc/dog-run", "give the tasks as --task <id>"),
    row("sweep.py --grid num-seeds=1,2", "no hyperparameter, give --num-seeds"),
    row("sweep.py --uniform agent.num-bins=11,101 --samples 2", "static...--grid agent.num-bins="),
    row("sweep.py --log-uniform agent.critic-hidden-dim=8,16 --samples 2", "static...compiled an"),
    row("sweep.py --uniform agent.shift=1 --samples 2", "give the lowest and the highest"),
    row("sweep.py --uniform agent.shift=1,inf --samples 2", "give the lowest and the highest"),
    row("sweep.py --uniform discount=none,0.9 --samples 2", "give the lowest and the highest"),
    row("sweep.py --uniform agent.shift=5,1 --samples 2", "the first value must be lower"),
    row("sweep.py --log-uniform agent.shift=0,1 --samples 2", "must be above 0"),
    row("sweep.py --uniform agent.shift=1,5", "--samples is 0: say how many"),
    row("sweep.py --samples 4", "--samples is of no use"),
    row("sweep.py --grid agent.tau=0.1 --grid agent.tau=0.2", "agent.tau is on two axes"),
    row("sweep.py --grid agent.tau=0.1,2", "--agent.tau is 2.0: give a number in (0, 1]"),
    row("sweep.py --task dmc/dog-run dmc/dog-run", "dmc/dog-run is given twice"),
    row("sweep.py --task dmc/dug-run", "unknown task...dmc/dog-run"),
    row("sweep.py --suite dmc_heard", "unknown suite...dmc_hard"),
    row("sweep.py --suite ''", "--suite is empty: give a value or drop it"),
    row("sweep.py --suite dmc_hard --task dmc/dog-run", "exclude each other: drop one"),
    row("sweep.py --halving 1", "--halving is 1.0: give a finite number above 1"),
    row("sweep.py --rungs 100", "--rungs is of no use without --halving"),
    row("sweep.py --halving 2 --rungs 200 100", "each must be later"),
    row(f"sweep.py --halving 2 --task {TASK} brax/ant", "on one task: give one --task"),
    row(f"sweep.py --task {TASK} --halving 2 --rungs 150000", "--evaluation-interval 100000"),
    row(f"sweep.py --task {TASK} --halving 2 --rungs 1000000", "--rungs 1000000...below"),
    row(f"sweep.py --task {TASK} --halving 2 --checkpoint.interval 0", "goes on from checkpoints"),
    row("sweep.py --halving 2 --storage sqlite:///x.db", "--storage is of no use"),
    row("sweep.py --pbt", "--pbt needs two configurations or more"),
    row("sweep.py --pbt --grid agent.tau=0.1", "--pbt needs two configurations or more"),
    row("sweep.py --pbt --grid agent.num-bins=11,13", "num_bins cannot change while simba_v2"),
    row("sweep.py --pbt --grid discount=none,0.9", "--pbt needs numbers, and --grid discount="),
    row("sweep.py --pbt --grid temperature.initial=0.1,1", "cannot change later: training begins"),
    row("sweep.py --pbt --grid agent.tau=0.1,0.2 --halving 2", "--pbt and --halving exclude"),
    row("sweep.py --pbt --grid agent.tau=0.1,0.2 --schedule a", "--pbt and --schedule exclude"),
    row("sweep.py --pbt --uniform agent.tau=0.1,1 --samples 4 --sampler tpe", "--sampler tpe excl"),
    row(f"sweep.py --pbt --grid agent.tau=0.1,1 --task {TASK} brax/ant", "on one task: give one"),
    row("sweep.py --pbt --grid agent.tau=0.1,1 --pbt-replaced 0.6", "give a number in (0, 0.5]"),
    row("sweep.py --pbt --grid agent.tau=0.1,1 --pbt-resampled 2", "give a number in [0, 1]"),
    row(f"sweep.py --task {TASK} --pbt --grid agent.tau=0.1,1 --pbt-interval 7", "give a multiple"),
    row("sweep.py --pbt-replay", "--pbt-interval and the like are of no use without --pbt"),
    row(f"train.py --task {TASK} --schedule none.json", "none.json cannot be read (No such file"),
    row(f"sweep.py --task {TASK} --schedule none.json", "none.json cannot be read (No such file"),
    row(f"sweep.py --task {TASK} --grid schedule=,b.json", "b.json cannot be read (No such file"),
    row(f"sweep.py --task {TASK} --start.run none", "--start.run none holds nothing to go on from"),
    row("sweep.py --sampler sobol", "--sampler sobol is of no use without --uniform"),
    row("sweep.py --trials-per-batch 5", "--trials-per-batch is of no use without --sampler tpe"),
    row("sweep.py --sampler tpe", "--sampler tpe is of no use without --uniform"),
    row("sweep.py --sampler tpe --uniform agent.shift=1,5", "--samples is 0"),
    row("sweep.py --sampler tpe --grid agent.num-bins=11,13 --samples 2", "tpe is of no use"),
    row("sweep.py --sampler tpe --uniform agent.tau=0.1,2 --samples 2", "2.0: give...(0, 1]"),
    row(
        f"sweep.py --sampler tpe --grid agent.tau=0.1,0.2 --samples 2 --task {TASK} brax/ant",
        "--sampler tpe looks for the best on one task",
    ),
    row(
        "sweep.py --sampler tpe --grid agent.tau=0.1,0.2 --samples 2 --trials-per-batch 0",
        "--trials-per-batch is 0",
    ),
    row(
        "sweep.py --sampler tpe --uniform agent.shift=1,5 --samples 2 "
        "--storage mysql://me:pw@localhost:1/x",
        "--storage mysql://me:***@localhost:1/x does not answer...refused",
    ),
    row(
        "sweep.py --sampler tpe --uniform agent.shift=1,5 --samples 2 "
        "--storage sqlite:////missing/x.db",
        "--storage sqlite:////missing/x.db does not answer: unable to open database file",
    ),
    row(
        "sweep.py --sampler tpe --uniform agent.shift=1,5 --samples 2 --storage x",
        "--storage x does not answer",
    ),
    row(
        "sweep.py --sampler tpe --uniform agent.shift=1,5 --samples 2 "
        "--storage oracle://me@localhost/x",
        "needs a driver: pip install",
    ),
    row("sweep.py --uniform agent.shift=1,5 --samples 2 --sampler-seed -1", "sampler-seed is -1"),
    row("sweep.py --num-seeds 0", "--num-seeds is 0"),
    row("sweep.py --seed 4294967296", "--seed is 4294967296...the same again"),
    row("sweep.py --launcher ray --gpus -1", "--gpus is -1: give 0 or more"),
    row("sweep.py --launcher ray --cpus 0", "--cpus is 0: give 1 or more"),
    row("sweep.py --launcher slurm --slurm-minutes 0", "--slurm-minutes is 0: give 1 or more"),
    row("sweep.py --launcher slurm --slurm-options long", "--slurm-options long...qos=long"),
    row("sweep.py --launcher slurm --slurm-options =x", "--slurm-options =x: give names and val"),
    row("sweep.py --launcher ray --distributed", "--launcher and --distributed exclude each oth"),
    row("sweep.py --batches-at-a-time 2", "of no use without --launcher ray or slurm"),
    row("sweep.py --launcher ray --batches-at-a-time 2", "of no use without --sampler tpe"),
    row("sweep.py --dry-run --gpus 2", "--gpus is of no use without --launcher ray or slurm"),
    row("sweep.py --compile-for h100 --launcher ray", "--launcher is of no use with --compile-for"),
    row("sweep.py --compile-for h100 --gpus 2", "--gpus is of no use with --compile-for: drop it"),
    row("sweep.py --compile-for h100 --distributed", "--distributed is of no use with --compile"),
    row("sweep.py --compile-for h100 --dry-run", "--dry-run is of no use with --compile-for"),
    row("sweep.py --gpus 2", "--gpus is of no use without --launcher ray or slurm"),
    row("sweep.py --launcher slurm --ray-address x:1", "of no use without --launcher ray"),
    row("sweep.py --launcher ray --slurm-minutes 9", "of no use without --launcher slurm"),
    row(f"sweep.py --uniform agent.shift=1,5 --samples {10**9}", "1,000,000,000...10,000 at mo"),
    row(f"sweep.py --uniform agent.tau=0.1,1 --sampler tpe --samples {10**9}", "10,000 at most"),
    row("sweep.py --preset paper", "invalid choice 'paper'...'design-study'"),
    row(f"sweep.py --task {TASK} --output locked", "Permission denied", read_only("locked")),
    row(f"sweep.py --task {TASK} --output {DATA}", "cannot write"),
    row(f"sweep.py --task {TASK} --output /proc/x", "cannot write to /proc/x...another --output"),
]
for text, line in {
    "sweep = {": "sweep.py fails: SyntaxError: '{' was never closed (x.py, line 1)",
    "import math\nmath.sqrt(-1)": "x.py, line 2 fails: ValueError: math domain error",
    "def sweep():\n  return 1 / 0": "x.py, line 2 fails: ZeroDivisionError",
    "\nexit(7)": "x.py, line 2 fails: SystemExit: 7",
    "def sweep():\n  raise SystemExit": "x.py, line 2 fails: SystemExit",
    "sweep = {'grid': {'agent.tau': range(10**9)}}": "agent.tau",
    "swep = {}": "defines no sweep: write `sweep = {",
    "sweep = 3": "is no mapping",
    "sweep = {'gird': {}}": "did you mean grid",
    "sweep = {'configurations': []}": "configurations is empty",
    "sweep = {'configurations': [3]}": "configurations is 3: write a mapping",
    "sweep = {'configurations': [{'agent.tua': 1}]}": "agent.tau",
    "sweep = {'configurations': [{'num_seeds': 1}]}": "no hyperparameter, give --num-seeds",
    "sweep = {'configurations': [{'agent.tau': 1}, {'agent.tau': 1.0}]}": "is there twice",
    "sweep = {'configurations': [{'agent.tau': 1}], 'grid': {'agent.tau': [1, 0.5]}}": "two axes",
}.items():
    SWEEPS.append(
        row(
            f"sweep.py --file x.py --task {TASK}",
            line.replace("sweep.py", "x.py"),
            write("x.py", text),
        )
    )
for text, line in {
    "grid: [": "x.yaml cannot be read (while parsing...give a file of YAML",
    "- 1": "is no mapping",
    "": "is no mapping",
    "gird: {}": "did you mean grid",
    "config: {agent: {tua: 1}}": "agent.tau",
    "config: {num_seeds: many}": "give a whole number",
    "config: {task: dmc/dog-run}": "task stands beside config",
    "config: 3": "config is 3: write a mapping",
    "grid: 3": "grid is 3: write a mapping",
    "samples: many": "samples is 'many'",
    "sampler: dice": "choose from random, latin-hypercube, sobol, tpe",
}.items():
    SWEEPS.append(row("sweep.py --file x.yaml", line, write("x.yaml", text)))
SWEEPS += [
    row("sweep.py --file nowhere.yaml", "nowhere.yaml cannot be read (No such file"),
    row("sweep.py --file runs", "runs cannot be read (it is no regular file)"),
    row(
        "sweep.py --file x.yaml",
        "x.yaml cannot be read...invalid start byte",
        write("x.yaml", b"\xff\xfe\x00"),
    ),
]

BOMB = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "grid: {agent.tau: *i}\n"
)
# Nine lines that stand for a billion names.
MERGED_BOMB = "a: &a {agent.tau: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
RENDER = "envs render dmc/cheetah-run --output"
SWEEPS += [
    row("sweep.py --file x.yaml", "it is nested too deeply, or too long", write("x.yaml", BOMB)),
    row("sweep.py --file x.yaml", "nested too deeply, or too long", write("x.yaml", MERGED_BOMB)),
    row(
        "sweep.py --file x.yaml",
        "it is nested too deeply",
        write("x.yaml", f"grid: {{a: {'[' * 5000}"),
    ),
    row(f"sweep.py --task {TASK} --experiment ../x", "--experiment is '../x': give one or more"),
    *(
        row(
            f"sweep.py --task {TASK} --experiment x --output .",
            "x/sweep.json",
            write("x/sweep.json", text),
        )
        for text in ("[]", "null", "3", "{", DEEP, '{"axes": 3}', '{"tasks": [1]}')
    ),
]
ENVS = [
    row("envs", "cannot write to standard output: No space", status=1, stdout="/dev/full"),
    row("envs mujoko", "unknown suite 'mujoko': choose from"),
    row("envs --host-python /bin/ls", "/bin/ls is no Python interpreter: give the path of one"),
    row("envs myosuite --host-python nowhere", "nowhere cannot be run: give the path of a Python"),
    row("envs --steps 3", "unrecognized arguments: --steps"),
    row("envs render dmc/cheetah-run", "the following arguments are required: --output"),
    row("envs render dmc/cheetah-rum --output x.png", "did you mean dmc/cheetah-run"),
    row(f"{RENDER} x.avi", "choose from .mp4, .gif, .png"),
    row(f"{RENDER} nowhere/x.gif", "nowhere is no directory: make it first"),
    row(f"{RENDER} locked/x.gif", "locked/x.gif cannot be written", read_only("locked")),
    row(f"{RENDER} x.png --policy nowhere", "nowhere holds no run"),
    row(f"{RENDER} x.png --policy {RUN}", "was trained on gymnax/Pendulum-v1"),
    row(f"{RENDER} x.png --host-python python", "--host-python is of no use with --policy random"),
    row(f"{RENDER} x.png --agent.name sac", "--agent.name is of no use with --policy random"),
    row(f"{RENDER} x.png --camera moon", "no camera moon"),
    row(f"{RENDER} x.png --seed -1", "--seed is -1"),
    row(f"{RENDER} x.png --seed two", "argument --seed: invalid int value: 'two'"),
    row(f"{RENDER} x.png --steps -3", "--steps is -3: give 1 or more"),
    row(f"{RENDER} x.png --width 0", "--width is 0: give 1 to 4096"),
    row(f"{RENDER} x.png --height 99999", "--height is 99999: give 1 to 4096"),
    row(f"{RENDER} x.png", "MUJOCO_GL is bogus: set it to egl, osmesa", MUJOCO_GL="bogus"),
    row("train.py --task dmc/dog-run", "MUJOCO_GL is bogus: set it to", MUJOCO_GL="bogus"),
    row(f"envs render {TASK} --output x.gif", "no MuJoCo model to draw: give --output x.png"),
    row(f"{RENDER} x.png", "x.png is there and no file: give another --output", read_only("x.png")),
]

REPORTS = [
    row("report", "the following arguments are required: directory"),
    row("report nowhere", "nowhere does not exist: give run directories or what is above them"),
    row("report runs --output nowhere/x/page.html --page", "unrecognized arguments: --page"),
    row("report runs --output locked/page.html", "Permission denied", read_only("locked")),
    row("report runs --output runs", "runs is there and no file: give another --output"),
    row(f"report runs --output {DATA}/page.html", f"cannot write to {DATA} (Not a directory)"),
    row(f"report figures runs --output {DATA}", f"cannot write to {DATA}"),
    row("report figures runs --output locked", "Permission denied", read_only("locked")),
    row("report runs --output /dev/full", "/dev/full is there and no file"),
    row("report runs/pipe.csv --output x.html", "pipe", fifo("runs/pipe.csv")),
    # What is damaged is left out, and the rest is there.
    *(
        row(
            "report runs --output page.html",
            "page.html: 1 run, 1 thing left out",
            write(f"{RUN}/{name}", text),
            status=0,
            writes=("page.html",),
        )
        for name, text in {
            "run.json": "[{",
            "diverged.json": "[1]",
            "config.json": '{"seed": [1, 2]}',
            "other.json": "3",
        }.items()
    ),
    row(
        "report runs --output page.html",
        "page.html: 1 run, 1 thing left out",
        cut(f"{RUN}/metrics.csv", 3),
        status=0,
        writes=("page.html",),
    ),
    row(
        "report 'a b/日本' --output 'a b/Bericht ü.html'",
        "a b/Bericht ü.html: 1 run",
        link("runs", "a b/日本"),
        status=0,
        writes=("a b",),
    ),
    row(
        "report runs --output page.html",
        "page.html: 1 run,",
        status=0,
        writes=("page.html",),
        HOME=None,
    ),
    row(
        "report runs --output page.html",
        "page.html: 1 run,",
        status=0,
        writes=("page.html",),
        HOME="/proc",
    ),
    row("report runs --watch --interval 0", "--interval is 0.0: give seconds above 0"),
    row("report runs --watch --interval nan", "--interval is nan: give seconds above 0"),
    row("report runs --watch --interval inf", "--interval is inf: give seconds...86400 at most"),
    row("report runs --interval 5", "--interval is of no use without --watch"),
    row(
        "report runs --agent.name sack", "--agent.name is 'sack': choose from simba_v2, simba, sac"
    ),
    row("report figures nowhere --output x", "nowhere does not exist"),
    row("report figures runs", "the following arguments are required: --output"),
    row("report figures home --output x", "no results in home", read_only("home")),
    row("report figures s --output x", "no results in s", write("s/sweep.json", {})),
    row("report index home", "no results in home", read_only("home")),
    row("report index nowhere", "nowhere does not exist"),
    row(
        "report index locked",
        "Permission denied",
        lambda here: (here / "runs").rename(here / "locked"),
        read_only("locked"),
    ),
]

RECORD = f"datasets {RUN} --output"
DATASETS = [
    row("datasets", "Missing from...--output"),
    row("datasets nowhere --output x.hdf5", "nowhere holds no run"),
    row(f"{RECORD} x.txt", "--output x.txt: give minari/<id>, or a file that ends in .hdf5"),
    row(f"{RECORD} {DATA}", f"{DATA} exists already: give another --output, or remove it"),
    row(f"{RECORD} {DATA}/x.hdf5", f"cannot write to {DATA} (Not a directory)"),
    row(f"{RECORD} locked/x.hdf5", "Permission denied", read_only("locked")),
    row(f"{RECORD} x.hdf5 --episodes {HUGE}", "GiB are free: give a smaller dataset"),
    row(
        f"{RECORD} minari/mine",
        "cannot write to...locked/minari: set MINARI_DATASETS_PATH",
        read_only("locked"),
        MINARI_DATASETS_PATH="locked/minari",
    ),
    row(
        f"{RECORD} minari/mine",
        "cannot write to /proc/home/.minari/datasets: set MINARI_DATASETS_PATH",
        HOME="/proc/home",
        MINARI_DATASETS_PATH=None,
    ),
    row(f"{RECORD} 'minari/a b'", "is no id of Minari's"),
    row(f"{RECORD} x.hdf5 --episodes 0", "--episodes is 0: give 1 or more"),
    row(f"{RECORD} x.hdf5 --noise nan", "--noise is nan: give a number of at least 0"),
    row(f"{RECORD} x.hdf5 --noise -1", "--noise is -1.0: give a number of at least 0"),
    row(f"{RECORD} x.hdf5 --seed -1", "--seed is -1"),
    row(f"{RECORD} x.hdf5 --run-seed 7", "seed 7"),
    row(f"{RECORD} x.hdf5", "holds no trained policy", remove(POLICY)),
]

EXPORTS = [
    row("export", "Missing from...--output"),
    row("export nowhere --output x.onnx", "nowhere holds no run"),
    row(f"export {RUN} --output /dev/full", "/dev/full is there and no file"),
    row(f"export {RUN} --output locked/x.onnx", "Permission denied", read_only("locked")),
    row(f"export {RUN} --output x.onnx --seed 7", "seed 7"),
    row(f"export {RUN} --output x.onnx", "holds no trained policy", remove(POLICY)),
]

ROWS = [*VALUES, *OUTPUTS, *OFFLINE, *RUNS, *TRUST, *SWEEPS, *ENVS, *REPORTS, *DATASETS, *EXPORTS]


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Path:
    """A directory with a finished run and a dataset, made once."""
    place = tmp_path_factory.mktemp("examples")
    bad_input.make_examples(place)
    return place


@pytest.fixture
def here(row, examples, tmp_path, monkeypatch) -> Path:
    """The directory in which a command is given; with a copy of the examples, if it needs them."""
    place = tmp_path / "here"
    if row.before or any(name in row.command for name in ("runs", DATA)):
        shutil.copytree(examples, place, symlinks=True)
    else:
        place.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "home" / "minari"))
    monkeypatch.setenv("MUJOCO_GL", "egl")
    # A third of the time would be spent on help that nobody reads.
    monkeypatch.setattr("tyro._docstrings.get_field_docstring", lambda *_: None, raising=False)
    return place


def _status(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as ended:  # of parsers
        return ended.code if isinstance(ended.code, int) else 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.command[:100])
def test_bad_input_is_one_line_and_nothing_is_lost(row, here, monkeypatch, capsys):
    for step in row.before:
        step(here)
    for name, value in row.environment:
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    before = bad_input.snapshot(here.parent)
    name, *words = shlex.split(row.command)
    load.cache_clear()
    in_process.refuse_compilation(monkeypatch)
    run = in_process.runner(name, lambda: _status(MAINS[name]), monkeypatch, capsys)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bad_input.no_longer_than(60))
        stack.enter_context(bad_input.without_power_over_files())
        if row.stdout:
            monkeypatch.setattr(sys, "stdout", stack.enter_context(open(row.stdout, "w")))
        status, out, error = run(*words)
    said = (out + error).splitlines()
    wrong = [number for number, line in enumerate(said) if ERROR.match(line)]
    assert "Traceback" not in out + error
    assert status == row.status, (out, error)
    if status:
        assert len(wrong) == 1, (out, error)
        (number,) = wrong
        # A frame has several lines.
        text = said[number] if "error: " in said[number] else " ".join(said[number:])
    else:
        assert not wrong
        text = out + error
    text = " ".join(text.replace("│", " ").split())
    if not row.pattern.search(text):
        pytest.fail(f"it says {text!r} in place of {row.line!r}")
    after = bad_input.snapshot(here.parent)
    new = {path for path in after if path not in before}
    assert {path.split("/")[1] for path in new} <= set(row.writes)
    assert {path: after.get(path) for path in before} == before
