"""Containers that hold themselves: refused where a call has to take them apart, never an error of
the interpreter's stack; legal as what a decorated function returns."""

import io

import pytest

import hybrid as hb


def endless():
    holds = [hb.ones(2)]
    holds.append(holds)
    return holds


@pytest.mark.parametrize(
    "call",
    [
        lambda x: hb.asarray(x),
        lambda x: hb.concat(x),
        lambda x: hb.ones(3)[x],
        lambda x: hb.compare(lambda y: y, x),
        lambda x: hb.grad(lambda y: y[0].sum())(x),
        lambda x: hb.jvp(lambda y: y, (x,), (x,)),
        lambda x: hb.vmap(lambda y: y)(x),
        lambda x: hb.scan(lambda c, y: (c, y), x, hb.ones(3)),
        lambda x: hb.cond(True, lambda: x, lambda: x),
        lambda x: hb.checkpoint(lambda y: y)(x),
    ],
)
def test_containers_without_an_end_are_refused(call):
    with pytest.raises(ValueError, match="holds itself or is nested") as caught:
        call(endless())
    assert isinstance(caught.value, hb.HybridError)


def test_a_decorated_function_returns_what_holds_itself():
    weight = hb.ones(2, requires_grad=True)

    class Model(hb.nn.Module):
        def forward(self, x):
            for _ in range(40):
                x = x * weight
            made = [x]
            made.append(made)
            return made

    model = Model()

    @hb.function
    def call(x, log):
        log.write("")
        return model(x)

    for _ in range(6):
        made = call(hb.ones(2), io.StringIO())
        assert made[1] is made and made[0].tolist() == [1.0, 1.0]
