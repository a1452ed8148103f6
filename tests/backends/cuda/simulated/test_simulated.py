"""The PTX interpreter: single instructions, warps, barriers and memory faults, on written PTX."""

import ctypes
import struct

import numpy as np
import pytest
from gpu import Deadlock, MemoryFault, Race, SimulatedDriver, Trap

HEAD = """.version 7.8
.target sm_90
.address_size 64
.extern .shared .align 16 .b8 room[];
.visible .entry k(.param .align 8 .b8 args[64])
{
    .reg .pred %p<16>; .reg .b16 %rs<16>; .reg .b32 %r<32>; .reg .b64 %rd<32>;
    .reg .f32 %f<16>; .reg .f64 %fd<16>;
    ld.param.b64 %rd0, [args];
    ld.param.b64 %rd1, [args+8];
    ld.param.b64 %rd2, [args+16];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mad.lo.s32 %r3, %r1, %r2, %r0;
"""


def run_text(body, arrays, threads=32, blocks=1, order=0, shared=0, races=False, head=HEAD):
    """Run a body over arrays in place; slots 0, 1, 2 are %rd0, %rd1, %rd2."""
    card = SimulatedDriver(8 << 20, order=order)
    card.races = races
    addresses = [card.allocate(a.nbytes) for a in arrays]
    for array, address in zip(arrays, addresses):
        card.to_device(address, array.ctypes.data, array.nbytes)
    function = card.function(card.load((head + body + "\nret;\n}\n").encode()), "k", shared)
    words = (ctypes.c_uint64 * 8)(*addresses)
    card.launch(function, blocks, threads, shared, 0, words)
    for array, address in zip(arrays, addresses):
        card.to_host(array.ctypes.data, address, array.nbytes)
    return card


def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def unary(text, values, kind, out_kind, registers=("%rd8", "%rd9")):
    """text with {0} (result) and {1} (operand), for every value."""
    given = np.array(values, kind)
    out = np.zeros(len(given), out_kind)
    size, out_size = given.itemsize, out.itemsize
    names = {1: "%rs", 2: "%rs", 4: "%r1", 8: "%rd1"}
    source, target = f"{names[size]}5", f"{names[out_size]}6"
    body = f"""
    mul.wide.u32 %rd3, %r3, {size}; add.s64 %rd3, %rd0, %rd3;
    mul.wide.u32 %rd4, %r3, {out_size}; add.s64 %rd4, %rd1, %rd4;
    ld.global.b{8 * size} {source}, [%rd3];
    {text.format(target, source)}
    st.global.b{8 * out_size} [%rd4], {target};
    """
    run_text(body, [given, out], threads=len(given))
    return out


SPECIAL = [0.0, -0.0, 1.5, 2.5, -2.5, 0.49999997, 3e9, -3e9, 1e20, np.inf, -np.inf, np.nan, 1e-40]


@pytest.mark.parametrize(
    "text,expected",
    [
        ("cvt.rni.f32.f32", np.rint),
        ("cvt.rzi.f32.f32", np.trunc),
        ("cvt.rmi.f32.f32", np.floor),
        ("cvt.rpi.f32.f32", np.ceil),
        ("sqrt.rn.f32", np.sqrt),
        ("rcp.rn.f32", np.reciprocal),
        ("neg.f32", np.negative),
        ("abs.f32", np.abs),
    ],
)
def test_float_to_float(text, expected):
    values = np.array(SPECIAL, "f4")
    with np.errstate(all="ignore"):
        wanted = expected(values)
    got = unary(f"{text} {{0}}, {{1}};", values, "f4", "f4")
    same = (got.view("u4") == wanted.view("u4")) | (np.isnan(got) & np.isnan(wanted))
    assert same.all()


def test_float_to_integer_saturates():
    got = unary("cvt.rzi.s32.f32 {0}, {1};", SPECIAL, "f4", "i4")
    top, least = 2**31 - 1, -(2**31)
    assert got.tolist() == [0, 0, 1, 2, -2, 0, top, least, top, top, least, 0, 0]
    got = unary("cvt.rni.u32.f32 {0}, {1};", SPECIAL, "f4", "u4")
    assert got.tolist() == [0, 0, 2, 2, 0, 0, 3000000000, 0, 2**32 - 1, 2**32 - 1, 0, 0, 0]
    got = unary("cvt.rzi.s64.f64 {0}, {1};", [1e300, -1e300, np.nan, -1.9], "f8", "i8")
    assert got.tolist() == [2**63 - 1, -(2**63), -(2**63), -1]


def test_narrowing_in_every_rounding_mode():
    values = np.array([1 + 2**-25, -1 - 2**-25, 1 + 2**-24, 1e300, 1e-300, 2.0], "f8")
    one_up = float(np.nextafter(np.float32(1), np.float32(2)))
    small = float(np.finfo("f4").smallest_subnormal)
    most = float(np.finfo("f4").max)
    wanted = {
        "rn": [1, -1, 1, np.inf, 0, 2],
        "rz": [1, -1, 1, most, 0, 2],
        "rp": [one_up, -1, one_up, np.inf, small, 2],
        "rm": [1, -one_up, 1, most, 0, 2],
    }
    for mode, expected in wanted.items():
        got = unary(f"cvt.{mode}.f32.f64 {{0}}, {{1}};", values, "f8", "f4")
        assert got.tolist() == expected, mode


def test_half_types():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, np.inf], "f4")
    got = unary("cvt.rn.bf16.f32 {0}, {1};", values, "f4", "u2")
    assert got.tolist() == [0x3F80, 0x3F80, 0x3F82, 0x7F80, 0x7F80]
    got = unary("cvt.f32.bf16 {0}, {1};", got, "u2", "f4")
    assert got.tolist() == [1.0, 1.0, 1 + 2**-6, np.inf, np.inf]
    halves = np.array([1.0, 65504, 6e-8, -2.5], "f2")
    assert (unary("cvt.f32.f16 {0}, {1};", halves, "f2", "f4") == halves.astype("f4")).all()


def test_bits():
    words = np.array([0, 1, 0x80000000, 0x12345678, 0xFFFFFFFF], "u4")
    count = unary("clz.b32 {0}, {1};", words, "u4", "u4")
    assert count.tolist() == [32, 31, 0, 3, 0]
    assert unary("popc.b32 {0}, {1};", words, "u4", "u4").tolist() == [0, 1, 1, 13, 32]
    assert unary("brev.b32 {0}, {1};", words, "u4", "u4")[3] == 0x1E6A2C48
    assert unary("bfe.u32 {0}, {1}, 4, 8;", words, "u4", "u4")[3] == 0x67
    assert unary("bfe.s32 {0}, {1}, 24, 8;", words, "u4", "i4").tolist() == [0, 0, -128, 18, -1]
    assert unary("bfi.b32 {0}, 255, {1}, 8, 4;", words, "u4", "u4")[3] == 0x12345F78
    assert unary("prmt.b32 {0}, {1}, 0, 0x0123;", words, "u4", "u4")[3] == 0x78563412
    assert unary("prmt.b32 {0}, {1}, 0, 0x8888;", [0x80], "u4", "u4")[0] == 0xFFFFFFFF
    assert unary("shf.l.wrap.b32 {0}, {1}, {1}, 8;", words, "u4", "u4")[3] == 0x34567812
    assert unary("lop3.b32 {0}, {1}, 255, 0, 0xC0;", words, "u4", "u4")[3] == 0x78
    assert unary("bfind.u32 {0}, {1};", words, "u4", "u4").tolist() == [2**32 - 1, 0, 31, 28, 31]
    shifted = unary("shl.b32 {0}, {1}, 40;", words, "u4", "u4")
    assert not shifted.any()
    assert unary("shr.s32 {0}, {1}, 40;", words, "u4", "i4").tolist() == [0, 0, -1, 0, -1]


def test_wide_products_and_carries():
    rng = np.random.default_rng(0)
    values = rng.integers(-(2**63), 2**63 - 1, 16)
    got = unary("mul.hi.s64 {0}, {1}, -7777777777777;", values, "i8", "i8")
    assert got.tolist() == [(int(v) * -7777777777777) >> 64 for v in values]
    got = unary("mul.hi.u64 {0}, {1}, 0xFFFFFFFFFFFFFFF1;", values.view("u8"), "u8", "u8")
    assert got.tolist() == [(int(v) * 0xFFFFFFFFFFFFFFF1) >> 64 for v in values.view("u8")]
    got = unary("add.cc.u64 {0}, {1}, {1}; addc.u64 {0}, 0, 0;", values.view("u8"), "u8", "u8")
    assert got.tolist() == [int(v) >> 63 for v in values.view("u8")]


def test_fma_rounds_once():
    rng = np.random.default_rng(1)
    x = (1 + rng.integers(0, 2**23, 1024) * 2.0**-23).astype("f4")
    out = np.zeros(1024, "f4")
    body = f"""
    mul.wide.u32 %rd3, %r3, 4; add.s64 %rd4, %rd0, %rd3; add.s64 %rd5, %rd1, %rd3;
    ld.global.f32 %f1, [%rd4];
    fma.rn.f32 %f2, %f1, %f1, 0f{bits(-1.0):08X};
    st.global.f32 [%rd5], %f2;
    """
    run_text(body, [x, out], threads=256, blocks=4)
    wide = x.astype("f8") * x.astype("f8") - 1  # exact
    assert (out == wide.astype("f4")).all()


def test_an_infinite_addend_stands_where_the_product_overflows():
    text = "fma.rn.f64 {0}, {1}, {1}, 0dFFF0000000000000;"
    assert unary(text, [1e200, -1e300, 2.0], "f8", "f8").tolist() == [-np.inf] * 3


@pytest.mark.parametrize("order", [0, 1, 2])
def test_shuffles_votes_and_lanes(order):
    out = np.zeros((64, 6), "u4")
    body = """
    and.b32 %r10, %r0, 31;
    shfl.sync.bfly.b32 %r11, %r0, 5, 31, -1;
    shfl.sync.down.b32 %r12|%p1, %r0, 3, 31, -1;
    shfl.sync.up.b32 %r13, %r0, 1, 0, -1;
    shfl.sync.idx.b32 %r14, %r0, 2, 0x181f, -1;
    setp.lt.u32 %p2, %r10, 5;
    vote.sync.ballot.b32 %r15, %p2, -1;
    selp.b32 %r16, 1, 0, %p1;
    mad.lo.s32 %r17, %r0, 24, 0; cvt.u64.u32 %rd5, %r17; add.s64 %rd5, %rd0, %rd5;
    st.global.v2.b32 [%rd5], {%r11, %r12};
    st.global.v2.b32 [%rd5+8], {%r13, %r14};
    st.global.v2.b32 [%rd5+16], {%r15, %r16};
    """
    run_text(body, [out], threads=64, order=order)
    lane = np.arange(64)
    inside = lane % 32 + 3 < 32
    assert (out[:, 0] == lane ^ 5).all()
    assert (out[:, 1] == np.where(inside, lane + 3, lane)).all()
    assert (out[:, 2] == np.where(lane % 32 == 0, lane, lane - 1)).all()
    assert (out[:, 3] == lane // 8 * 8 + 2).all()
    assert (out[:, 4] == 31).all() and (out[:, 5] == inside).all()


def test_a_shuffle_meets_in_spite_of_branches():
    out = np.zeros(32, "u4")
    body = """
    and.b32 %r10, %r0, 1; setp.eq.s32 %p1, %r10, 0; mov.b32 %r11, 0;
    @%p1 bra EVEN;
    mov.b32 %r11, 100;
    bra JOIN;
EVEN:
    add.s32 %r11, %r0, 7;
JOIN:
    shfl.sync.bfly.b32 %r12, %r11, 1, 31, -1;
    mul.wide.u32 %rd3, %r0, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], %r12;
    """
    run_text(body, [out])
    lane = np.arange(32)
    assert (out == np.where(lane % 2 == 0, 100, lane - 1 + 7)).all()


REVERSE = """
    mov.b32 %r10, room; shl.b32 %r11, %r0, 2; add.s32 %r12, %r10, %r11;
    st.shared.b32 [%r12], %r3;
    {barrier}
    xor.b32 %r13, %r11, 1020; add.s32 %r14, %r10, %r13;
    ld.shared.b32 %r15, [%r14];
    mul.wide.u32 %rd3, %r3, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], %r15;
"""


def test_a_missing_barrier_shows():
    outs = {}
    for barrier in ("bar.sync 0;", ""):
        for order in (0, 1):
            out = np.zeros(1024, "u4")
            run_text(REVERSE.format(barrier=barrier), [out], 256, 4, order, shared=1024)
            outs[barrier, order] = out
    wanted = np.arange(1024).reshape(4, 256)[:, ::-1].ravel()
    assert (outs["bar.sync 0;", 0] == wanted).all() and (outs["bar.sync 0;", 1] == wanted).all()
    assert (outs["", 1] != wanted).any()


@pytest.mark.parametrize("order", [0, 1])
def test_races_in_shared_memory(order):
    out = np.zeros(1024, "u4")
    run_text(REVERSE.format(barrier="bar.sync 0;"), [out], 256, 4, order, 1024, races=True)
    with pytest.raises(Race, match="shared memory"):
        run_text(REVERSE.format(barrier=""), [out], 256, 4, order, 1024, races=True)


WARP = """
    mov.b32 %r10, room; shl.b32 %r11, %r0, 2; add.s32 %r12, %r10, %r11;
    st.shared.b32 [%r12], %r3;
    {first}
    xor.b32 %r13, %r11, 4; add.s32 %r14, %r10, %r13;
    ld.shared.b32 %r15, [%r14];
    {second}
    st.shared.b32 [%r12], %r15;
"""


@pytest.mark.parametrize("order", [0, 1])
def test_races_in_a_warp(order):
    out, sync = np.zeros(8, "u4"), "bar.warp.sync -1;"
    shuffle = "shfl.sync.bfly.b32 %r16, %r0, 1, 31, -1;"
    for first, second in ((sync, sync), (sync, shuffle), ("bar.sync 0;", "bar.sync 0;")):
        body = WARP.format(first=first, second=second)
        run_text(body, [out], 64, 2, order, 1024, races=True)
    for first, second in ((sync, ""), ("", sync), ("", "")):
        with pytest.raises(Race):
            body = WARP.format(first=first, second=second)
            run_text(body, [out], 64, 2, order, 1024, races=True)


@pytest.mark.parametrize(
    "body,races",
    [
        ("st.global.b32 [%rd0], 7;", False),  # all write the same
        ("st.global.b32 [%rd0], %r0;", True),
        ("setp.eq.s32 %p1, %r0, 0; @%p1 st.global.b32 [%rd0], %r1;", True),  # each block
        ("setp.eq.s32 %p1, %r3, 0; @%p1 st.global.b32 [%rd0], 1; ld.global.b32 %r5, [%rd0];", True),
        (
            "ld.global.b32 %r5, [%rd0]; setp.eq.s32 %p1, %r3, 99; @%p1 st.global.b32 [%rd0], 1;",
            True,
        ),
        ("ld.global.b32 %r5, [%rd0]; red.global.add.u32 [%rd0], %r3;", False),
        (
            "mul.wide.u32 %rd3, %r3, 4; add.s64 %rd3, %rd0, %rd3; ld.global.b32 %r5, [%rd3];"
            "st.global.b32 [%rd3], %r3; ld.global.b32 %r5, [%rd3];",
            False,
        ),
    ],
)
def test_races_in_global_memory(body, races):
    out = np.zeros(256, "u4")
    for order in (0, 1):
        if races:
            with pytest.raises(Race, match="nothing orders"):
                run_text(body, [out], 64, 4, order, races=True)
        else:
            run_text(body, [out], 64, 4, order, races=True)


def test_threads_that_have_ended_do_not_hold_a_barrier():
    out = np.zeros(64, "u4")
    body = """
    setp.gt.u32 %p1, %r0, 39; @%p1 ret;
    bar.sync 0;
    mul.wide.u32 %rd3, %r0, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], 1;
    """
    run_text(body, [out], threads=64)
    assert out.sum() == 40


def test_a_loop_of_different_lengths():
    out = np.zeros(512, "u4")
    body = """
    mov.b32 %r10, 0; mov.b32 %r11, 0;
LOOP:
    setp.ge.u32 %p1, %r10, %r3;
    @%p1 bra DONE;
    add.s32 %r11, %r11, %r10; add.s32 %r10, %r10, 1;
    bra LOOP;
DONE:
    mul.wide.u32 %rd3, %r3, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], %r11;
    """
    run_text(body, [out], threads=128, blocks=4)
    assert (out == np.arange(512) * (np.arange(512) - 1) // 2).all()


@pytest.mark.parametrize("order", [0, 1])
def test_atomics(order):
    out = np.zeros(4, "u8")
    body = """
    red.global.add.u64 [%rd0], 3;
    cvt.u64.u32 %rd3, %r3; red.global.max.u64 [%rd0+8], %rd3;
    add.s64 %rd3, %rd3, 1; atom.global.cas.b64 %rd4, [%rd0+16], 0, %rd3;
    atom.global.inc.u32 %r10, [%rd0+24], 1000;
    """
    run_text(body, [out], threads=96, blocks=5, order=order)
    assert out[0] == 3 * 480 and out[1] == 479 and out[3] == 480
    assert out[2] == (480 if order else 1)


def test_asynchronous_copies_come_when_waited_for():
    given, out = np.arange(128, dtype="u4"), np.zeros(64, "u4")
    body = """
    mov.b32 %r10, room; shl.b32 %r11, %r0, 4; add.s32 %r10, %r10, %r11;
    mul.wide.u32 %rd3, %r0, 16; add.s64 %rd3, %rd0, %rd3;
    cp.async.cg.shared.global [%r10], [%rd3], 16;
    cp.async.commit_group;
    cp.async.ca.shared.global [%r10+512], [%rd3], 16, 8;
    cp.async.commit_group;
    ld.shared.b32 %r12, [%r10+4];
    cp.async.wait_group 1;
    ld.shared.b32 %r13, [%r10+4];
    ld.shared.b32 %r14, [%r10+516];
    cp.async.wait_all;
    ld.shared.v4.b32 {%r15, %r16, %r17, %r18}, [%r10+512];
    setp.eq.s32 %p1, %r12, %r13; @%p1 trap;
    setp.eq.s32 %p1, %r14, %r16; @%p1 trap;
    setp.ne.s32 %p1, %r17, 0; @%p1 trap;
    mul.wide.u32 %rd4, %r0, 8; add.s64 %rd4, %rd1, %rd4;
    st.global.v2.b32 [%rd4], {%r13, %r16};
    """
    run_text(body, [given, out], shared=1024)
    assert (out.reshape(32, 2) == given.reshape(32, 4)[:, 1:2]).all()


def test_generic_addresses_and_local_memory():
    out = np.zeros(64, "u4")
    body = """
    .local .align 8 .b8 depot[16];
    mov.b64 %rd5, depot; cvta.local.u64 %rd6, %rd5;
    mov.b64 %rd7, room; cvta.shared.u64 %rd8, %rd7;
    shl.b32 %r10, %r0, 2; cvt.u64.u32 %rd9, %r10; add.s64 %rd8, %rd8, %rd9;
    and.b32 %r11, %r0, 1; setp.eq.s32 %p1, %r11, 0;
    selp.b64 %rd10, %rd6, %rd8, %p1;
    st.b32 [%rd10], %r0;
    ld.local.b32 %r12, [%rd5];
    ld.b32 %r13, [%rd10];
    isspacep.shared %p2, %rd10; selp.b32 %r14, 1000, 0, %p2;
    add.s32 %r13, %r13, %r14;
    mul.wide.u32 %rd3, %r0, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], %r13;
    """
    run_text(body, [out], threads=64, shared=256)
    lane = np.arange(64)
    assert (out == lane + 1000 * (lane % 2)).all()


def test_tables_of_branches_and_scopes():
    out = np.zeros(32, "u4")
    body = """
    and.b32 %r10, %r0, 3;
TABLE: .branchtargets ZERO, ONE, TWO, ZERO;
    brx.idx %r10, TABLE;
ZERO: mov.b32 %r11, 10; bra JOIN;
ONE: mov.b32 %r11, 11; bra JOIN;
TWO: { .reg .b32 %r11x; mov.b32 %r11x, 12; mov.b32 %r11, %r11x; }
JOIN:
    mul.wide.u32 %rd3, %r0, 4; add.s64 %rd3, %rd0, %rd3; st.global.b32 [%rd3], %r11;
    """
    run_text(body, [out])
    assert out[:4].tolist() == [10, 11, 12, 10]


@pytest.mark.parametrize(
    "body,error,words",
    [
        ("st.global.b32 [%rd0+64], %r0;", MemoryFault, "past the end"),
        ("st.global.b32 [%rd0+2], %r0;", MemoryFault, "not a multiple of 4"),
        ("mov.b32 %r9, room; ld.shared.b32 %r8, [%r9+16];", MemoryFault, "of shared memory"),
        ("setp.gt.u32 %p1, %r0, 3; @%p1 bar.sync 1, 32; bar.sync 0;", Deadlock, "waits"),
        (
            "setp.gt.u32 %p1, %r0, 3; @%p1 ret; shfl.sync.bfly.b32 %r4, %r0, 1, 31, -1;",
            Deadlock,
            "w",
        ),
        ("trap;", Trap, "thread 0"),
        ("ex2.approx.f32 %f1, %f2;", NotImplementedError, "ex2.approx.f32"),
        ("div.full.f32 %f1, %f2, %f3;", NotImplementedError, "div.full.f32"),
    ],
)
def test_faults_name_what_is_wrong(body, error, words):
    with pytest.raises(error, match=words):
        run_text(body, [np.zeros(16, "u4")], shared=16)
