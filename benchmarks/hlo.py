"""What a compiled program is made of, read from XLA's text of it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

# What is no work on a device: names for values, and their sizes.
_FREE = frozenset(
    {
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
        *("partition-id", "replica-id", "copy-done", "async-done", "optimization-barrier"),
    }
)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "f64": 8, "s64": 8}
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.+)$")
_OPCODE = re.compile(r"^\s*(?P<opcode>[\w\-]+)\(")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+)(?: \(.*)? ?.*\{$")
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      shape: of its result, as text.
      opcode: what it does.
      attributes: everything behind.
    """

    shape: str
    opcode: str
    attributes: str

    @property
    def bytes(self) -> int:
        """Of the result."""
        return sum(
            _BYTES.get(kind, 4) * math.prod(int(size) for size in sizes.split(",") if size)
            for kind, sizes in _ARRAY.findall(self.shape)
        )

    @property
    def scope(self) -> str:
        """Where in the traced program it comes from, `jit(f)/while/body/...`."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def is_fetch(self) -> bool:
        """Whether an array goes into the fast memory of a TPU or back, as whoever reads it must."""
        arrays = re.findall(r"\b\w+\[[\d,]*\]\{[^}]*\}", self.shape)
        to, come_from = [re.sub(r"S\(\d+\)", "", array) for array in [*arrays, "", ""][:2]]
        return self.opcode == "copy-start" and to == come_from

    def named(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found[1] if found else None


@dataclass
class Loop:
    """A loop, or the whole program, with what is done once in each of its iterations.

    Attributes:
      scope: where in the traced program it comes from.
      trips: iterations, where they are known.
      operations: what it does by itself, without the loops inside: launches, on a GPU.
      copied: bytes of whole arrays of a megabyte or more that it copies by itself.
      products: scope and precision of operands of each of its own matrix products.
      loops: those inside.
      branches: what it does only sometimes, as resets of episodes.
    """

    scope: str = ""
    trips: int | None = 1
    operations: list[Instruction] = field(default_factory=list)
    copied: int = 0
    products: list[tuple[str, str]] = field(default_factory=list)
    loops: list["Loop"] = field(default_factory=list)
    branches: list["Loop"] = field(default_factory=list)

    @property
    def fetches(self) -> int:
        """How many of its own operations are fetches, see `Instruction.is_fetch`."""
        return sum(each.is_fetch for each in self.operations)

    def walk(self) -> Iterator["Loop"]:
        """This loop and all inside, branches too."""
        yield self
        for loop in (*self.loops, *self.branches):
            yield from loop.walk()


def read(text: str) -> Loop:
    """The program as nested loops.

    Args:
      text: what `as_text` of a compiled function returns.
    """
    computations, entry = _parse(text)
    return _loop(computations, [entry], Loop())


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            found = _COMPUTATION.match(line)
            if found and not line.startswith("HloModule"):
                current = found["name"]
                computations[current] = []
                entry = current if found["entry"] else entry
            continue
        found = _INSTRUCTION.match(line)
        if not found or not current:
            continue
        rest = found["rest"]
        end = _end_of_shape(rest)
        opcode = _OPCODE.match(rest[end:])
        if opcode:
            attributes = rest[end + opcode.end() :]
            computations[current].append(Instruction(rest[:end], opcode["opcode"], attributes))
    return computations, entry


def _end_of_shape(text: str) -> int:
    """A shape is one word, or, of several arrays, in parentheses."""
    if not text.startswith("("):
        return text.index(" ") if " " in text else len(text)
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return index + 1
    return len(text)


def _loop(computations: dict[str, list[Instruction]], names: list[str], loop: Loop) -> Loop:
    for name in names:
        for instruction in computations.get(name, []):
            _add(computations, instruction, loop)
    return loop


def _add(computations: dict[str, list[Instruction]], new: Instruction, loop: Loop) -> None:
    if new.opcode in _FREE:
        return
    if new.opcode == "while":
        inner = Loop(new.scope, _trips(computations, new))
        bodies = [new.named("condition"), new.named("body")]
        loop.loops.append(_loop(computations, [name for name in bodies if name], inner))
        return
    if new.opcode == "call":
        _loop(computations, [new.named("to_apply") or ""], loop)
        return
    loop.operations.append(new)
    if new.opcode == "conditional":
        loop.branches += [_loop(computations, [name], Loop(new.scope)) for name in _branches(new)]
        return
    inside = computations.get(new.named("calls") or "", []) if new.opcode == "fusion" else [new]
    work = {each.opcode for each in inside} - _FREE
    copies = {"copy", "copy-start", "transpose"}
    if new.bytes >= 1_000_000 and work and work <= copies and not new.is_fetch:
        # What `copy-start` gives has the array and where it came from.
        loop.copied += new.bytes // (2 if new.opcode == "copy-start" else 1)
    for each in inside:
        precision = _precision(each)
        if precision:
            loop.products.append((each.scope or new.scope, precision))


def _trips(computations: dict[str, list[Instruction]], new: Instruction) -> int | None:
    """How often a loop runs, where XLA says so or its condition only counts from zero."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', new.attributes)
    if known:
        return int(known[1])
    condition = computations.get(new.named("condition") or "", [])
    limits = [each.attributes for each in condition if each.opcode == "constant"]
    if {each.opcode for each in condition} - _FREE == {"compare"} and len(limits) == 1:
        limit = re.match(r"(\d+)\)", limits[0])
        return int(limit[1]) if limit else None
    return None


def _branches(new: Instruction) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", new.attributes)
    if listed:
        return [name.strip().lstrip("%") for name in listed[1].split(",")]
    names = [new.named("true_computation"), new.named("false_computation")]
    return [name for name in names if name]


def _precision(new: Instruction) -> str:
    """The precision of a matrix product, empty for anything else."""
    is_product = new.opcode in ("dot", "convolution") or (
        new.opcode == "custom-call" and re.search(r'custom_call_target="[^"]*gemm', new.attributes)
    )
    if not is_product:
        return ""
    found = re.search(r'operand_precision(?:=\{|":\[)"?(\w+)', new.attributes)
    return found[1].lower() if found else "default"
