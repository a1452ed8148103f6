"""Rows every supported CPython shares: opcode name -> name of its effect in effects.EFFECTS, and
opcode name -> what it does to values read at the end of a call, in host_reads.

Invariant: an opcode that is in no table, or whose effect is "defer", makes the function run
eagerly, and one without a row in HOST_COMMON makes a host read run Python; nothing is ever assumed
about an unknown opcode.
"""

from __future__ import annotations

__all__ = ["COMMON", "HOST_COMMON"]


def _rows(effect: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), effect)


COMMON: dict[str, str] = {
    **_rows(
        "nothing",
        "RESUME NOP CACHE EXTENDED_ARG MAKE_CELL COPY_FREE_VARS SETUP_ANNOTATIONS DELETE_FAST",
    ),
    **_rows("drop", "POP_TOP POP_EXCEPT"),
    **_rows("leave", "RETURN_VALUE RERAISE RAISE_VARARGS"),
    **_rows("unseen", "LOAD_ASSERTION_ERROR LOAD_BUILD_CLASS RETURN_GENERATOR WITH_EXCEPT_START"),
    **_rows("look_inside", "GET_LEN MATCH_MAPPING MATCH_SEQUENCE"),
    **_rows("test", "CHECK_EXC_MATCH YIELD_VALUE GET_YIELD_FROM_ITER"),
    **_rows("jump", "JUMP_FORWARD JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT"),
    **_rows("unary", "UNARY_NEGATIVE UNARY_NOT UNARY_INVERT"),
    **_rows("load_name", "LOAD_NAME LOAD_GLOBAL"),
    **_rows("store_name", "STORE_NAME STORE_GLOBAL"),
    **_rows("delete_name", "DELETE_NAME DELETE_GLOBAL"),
    **_rows("load_deref", "LOAD_DEREF LOAD_CLOSURE"),
    **_rows(
        "build",
        "BUILD_TUPLE BUILD_LIST BUILD_SET BUILD_STRING BUILD_SLICE BUILD_MAP BUILD_CONST_KEY_MAP",
    ),
    **_rows("gather", "LIST_APPEND SET_ADD"),
    **_rows("gather_all", "LIST_EXTEND SET_UPDATE DICT_UPDATE DICT_MERGE"),
    **_rows(
        "defer",
        "BEFORE_ASYNC_WITH CHECK_EG_MATCH END_ASYNC_FOR GET_AITER GET_ANEXT GET_AWAITABLE "
        "MATCH_CLASS",
    ),
    "PUSH_NULL": "push_null",
    "PUSH_EXC_INFO": "push_exc",
    "LOAD_CONST": "load_const",
    "LOAD_FAST": "load_fast",
    "STORE_FAST": "store_fast",
    "STORE_DEREF": "store_deref",
    "DELETE_DEREF": "delete_deref",
    "LOAD_ATTR": "load_attr",
    "STORE_ATTR": "store_attr",
    "DELETE_ATTR": "delete_attr",
    "BINARY_SUBSCR": "subscr",
    "STORE_SUBSCR": "store_subscr",
    "DELETE_SUBSCR": "delete_subscr",
    "CONTAINS_OP": "contains",
    "IS_OP": "is_",
    "BINARY_OP": "binary",
    "COMPARE_OP": "compare",
    "GET_ITER": "get_iter",
    "FOR_ITER": "for_iter",
    "UNPACK_SEQUENCE": "unpack",
    "UNPACK_EX": "unpack_ex",
    "MAP_ADD": "map_add",
    "MATCH_KEYS": "match_keys",
    "MAKE_FUNCTION": "make_function",
    "CALL": "call",
    "CALL_FUNCTION_EX": "call_ex",
    "BEFORE_WITH": "before_with",
    "SEND": "send",
    "IMPORT_NAME": "import_name",
    "IMPORT_FROM": "import_from",
    "COPY": "copy",
    "SWAP": "swap",
}

# what an instruction does to host reads on the stack: where they go, or that Python looks at them
HOST_COMMON: dict[str, str] = {
    **_rows("nothing", "CACHE EXTENDED_ARG NOP"),
    **_rows("push", "LOAD_CONST PUSH_NULL LOAD_DEREF"),
    **_rows("collect", "BUILD_TUPLE BUILD_LIST"),
    **_rows("look_at_two", "BINARY_SUBSCR BINARY_OP COMPARE_OP"),
    "LOAD_FAST": "load_local",
    "STORE_FAST": "store_local",
    "LOAD_GLOBAL": "load_global",
    "BUILD_MAP": "collect_pairs",
    "BUILD_CONST_KEY_MAP": "collect_keyed",
    "BUILD_SLICE": "look_at_parts",
    "UNARY_NEGATIVE": "look_at_one",
    "POP_TOP": "throw_away",
    "CALL": "call",
    "RETURN_VALUE": "leave",
}
