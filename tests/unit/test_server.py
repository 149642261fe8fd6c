"""The parts of `Server` that need no grid."""

from __future__ import annotations

from gridcompute.server import is_running


def test_what_keeps_a_method_running_may_be_a_value_a_function_or_a_variable_of_tk():
    class Variable:
        def get(self) -> int:
            return 0

    assert is_running(True) and is_running(lambda: 1)
    assert not is_running(Variable()) and not is_running(lambda: False)
