"""Sixteen numbers at once inside functions that numba compiles: the vector type of LLVM under
readable names.

LLVM turns a lane operation into whatever the machine has (AVX-512, two AVX2 halves, four of NEON);
only `dot4` names an instruction of its own, where the machine has it.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 16
BYTES = ir.VectorType(ir.IntType(8), 4 * WIDTH)
VECTOR = {
    "int32": ir.VectorType(ir.IntType(32), WIDTH),
    "float32": ir.VectorType(ir.FloatType(), WIDTH),
}
VNNI = bool(llvm.get_host_cpu_features().get("avx512vnni", False))


class Lanes(types.Type):  # type: ignore[misc]
    """Sixteen int32 or float32."""

    def __init__(self, dtype: str) -> None:
        super().__init__(f"Lanes({dtype})")
        self.dtype = dtype


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, VECTOR[lanes.dtype])


INTS, FLOATS = Lanes("int32"), Lanes("float32")
# what an intrinsic returns: its signature, and how its code is generated
Typed = tuple[Any, Callable[..., Any]]


def _indices(numbers: range | list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


def _shuffle(builder: Any, a: Any, b: Any, numbers: range | list[int]) -> Any:
    return builder.shuffle_vector(a, b, _indices(numbers))


def _call(builder: Any, name: str, result: Any, *args: Any, **flags: Any) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args, **flags)


def _address(context: Any, builder: Any, kind: Any, array: Any, start: Any, vector: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), vector.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, start: Any) -> Typed:
    """array[start : start + 16] of a contiguous int32 or float32 array."""
    lanes = INTS if array.dtype == types.int32 else FLOATS

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = builder.load(
            _address(context, builder, sig.args[0], args[0], args[1], VECTOR[lanes.dtype])
        )
        loaded.align = 4
        return loaded

    return lanes(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing: Any, array: Any, start: Any) -> Typed:
    """array[start : start + 4] of a contiguous int8 array, as one int32."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = builder.load(
            _address(context, builder, sig.args[0], args[0], args[1], ir.IntType(32))
        )
        word.align = 1
        return word

    return types.int32(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, start: Any, lanes: Any) -> Typed:
    """array[start : start + 16] = lanes."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(
            context, builder, sig.args[0], args[0], args[1], VECTOR[sig.args[2].dtype]
        )
        builder.store(args[2], address).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), code


@intrinsic  # type: ignore[untyped-decorator]
def splat(typing: Any, number: Any) -> Typed:
    """The same int32 or float32 in every lane."""
    lanes = INTS if isinstance(number, types.Integer) else FLOATS

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], VECTOR[lanes.dtype])

    return lanes(types.int32 if lanes is INTS else types.float32), code


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    return _shuffle(
        builder,
        builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0)),
        nothing,
        [0] * WIDTH,
    )


@intrinsic  # type: ignore[untyped-decorator]
def gather_points(typing: Any, points: Any, rows: Any) -> Typed:
    """points (n, 4) float32, flat; rows: 16 int32 in an array -> (x, y, u, v) of those 16 rows, a
    tuple of lanes.
    """

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = context.make_array(sig.args[1])(context, builder, args[1]).data
        parts = []
        for lane in range(WIDTH):
            row = builder.sext(builder.load(builder.gep(whole, [_long(lane)])), ir.IntType(64))
            address = _address(
                context,
                builder,
                sig.args[0],
                args[0],
                builder.mul(row, _long(4)),
                ir.VectorType(ir.FloatType(), 4),
            )
            parts.append(builder.load(address))
            parts[-1].align = 4
        # rows l, l + 4, l + 8 and l + 12 side by side, then the usual transpose of 4 x 4 in each
        # quarter
        halves = [
            _shuffle(builder, parts[k], parts[k + 4], range(8)) for k in (0, 1, 2, 3, 8, 9, 10, 11)
        ]
        whole = [_shuffle(builder, halves[k], halves[k + 4], range(16)) for k in range(4)]
        pairs = [
            _shuffle(builder, whole[k], whole[k + 1], _quarters(at, at + 16, at + 1, at + 17))
            for at in (0, 2)
            for k in (0, 2)
        ]
        columns = [
            _shuffle(builder, pairs[k], pairs[k + 1], _quarters(at, at + 1, at + 16, at + 17))
            for k in (0, 2)
            for at in (0, 2)
        ]
        return context.make_tuple(builder, sig.return_type, columns)

    return types.UniTuple(FLOATS, 4)(points, rows), code


def _long(number: int) -> Any:
    return ir.Constant(ir.IntType(64), number)


def _quarters(*numbers: int) -> list[int]:
    return [number + at for at in range(0, WIDTH, 4) for number in numbers]


@intrinsic  # type: ignore[untyped-decorator]
def dot4(typing: Any, total: Any, unsigned: Any, signed: Any) -> Typed:
    """total + the products of four uint8 with four int8 in each lane, by one instruction where
    there is AVX-512 VNNI.
    """

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (builder.bitcast(arg, BYTES) for arg in args[1:])
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", VECTOR["int32"], args[0], a, b)

    return INTS(INTS, INTS, INTS), code if VNNI else _dot4_anywhere


@intrinsic  # type: ignore[untyped-decorator]
def dot4_anywhere(typing: Any, total: Any, unsigned: Any, signed: Any) -> Typed:
    """`dot4` in operations that every machine has."""
    return INTS(INTS, INTS, INTS), _dot4_anywhere


def _dot4_anywhere(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    wide = ir.VectorType(ir.IntType(32), 4 * WIDTH)
    sums = builder.mul(
        builder.zext(builder.bitcast(args[1], BYTES), wide),
        builder.sext(builder.bitcast(args[2], BYTES), wide),
    )
    for count in (4 * WIDTH, 2 * WIDTH):  # neighbours two by two: LLVM knows this shape as pmaddwd
        sums = builder.add(
            *(_shuffle(builder, sums, sums, list(range(k, count, 2))) for k in (0, 1))
        )
    return builder.add(args[0], sums)


def _shift(name: str) -> Any:
    """A shift of all int32 by the same number of bits."""

    def typed(typing: Any, a: Any, bits: Any) -> Typed:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return getattr(builder, name)(args[0], _splat(builder, args[1], VECTOR["int32"]))

        return INTS(INTS, types.int32), code

    return intrinsic(typed)


def _plain(name: str) -> Any:
    """An operation of two lanes of the same kind that LLVM's builder has under this name (integers,
    floats).
    """

    def typed(typing: Any, a: Any, b: Any) -> Typed:
        ints, floats = name.split()

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return getattr(builder, ints if sig.args[0].dtype == "int32" else floats)(*args)

        return a(a, a), code

    return intrinsic(typed)


add, sub, mul, div = (_plain(name) for name in ("add fadd", "sub fsub", "mul fmul", "sdiv fdiv"))
xor = _plain("xor -")  # of integers alone
shift_left, shift_right = _shift("shl"), _shift("ashr")


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Typed:
    """a * b + c, rounded once where the machine can."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.fmuladd.v16f32", VECTOR["float32"], *args)

    return FLOATS(FLOATS, FLOATS, FLOATS), code


@intrinsic  # type: ignore[untyped-decorator]
def larger(typing: Any, a: Any, b: Any) -> Typed:
    """The larger of two int32, lane by lane."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *args), *args)

    return INTS(INTS, INTS), code


@intrinsic  # type: ignore[untyped-decorator]
def where_more(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Typed:
    """int32 a > b ? yes : no, lane by lane."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed(">", args[0], args[1]), args[2], args[3])

    return yes(INTS, INTS, yes, yes), code


@intrinsic  # type: ignore[untyped-decorator]
def where_within(typing: Any, a: Any, limit: Any, yes: Any, no: Any) -> Typed:
    """float32 a <= limit ? yes : no, lane by lane; NaN is never within."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<=", args[0], args[1]), args[2], args[3])

    return yes(FLOATS, FLOATS, yes, yes), code


@intrinsic  # type: ignore[untyped-decorator]
def count_within(typing: Any, total: Any, a: Any, limit: Any) -> Typed:
    """total + 1 in the lanes where float32 a <= limit."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sub(
            args[0], builder.sext(builder.fcmp_ordered("<=", args[1], args[2]), VECTOR["int32"])
        )

    return INTS(INTS, FLOATS, FLOATS), code


@intrinsic  # type: ignore[untyped-decorator]
def largest(typing: Any, a: Any) -> Typed:
    """The largest int32 of the sixteen."""
    return types.int32(INTS), lambda context, builder, sig, args: _call(
        builder, "llvm.vector.reduce.smax.v16i32", ir.IntType(32), *args
    )


@intrinsic  # type: ignore[untyped-decorator]
def total(typing: Any, a: Any) -> Typed:
    """The sum of sixteen int32, or of sixteen float32 as a tree."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if a.dtype == "int32":
            return _call(builder, "llvm.vector.reduce.add.v16i32", ir.IntType(32), *args)
        return _call(
            builder,
            "llvm.vector.reduce.fadd.v16f32",
            ir.FloatType(),
            ir.Constant(ir.FloatType(), -0.0),
            *args,
            fastmath=("reassoc",),
        )

    return (types.int32 if a.dtype == "int32" else types.float32)(a), code
