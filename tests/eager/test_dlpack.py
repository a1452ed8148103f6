"""Tensors handed to other libraries by DLPack: what is shared, what is refused, and how."""

import numpy as np
import pytest

import hybrid as hb


@pytest.mark.parametrize(
    "asked, kind, message",
    [
        ({"stream": 1}, TypeError, "no streams"),
        ({"stream": "a"}, TypeError, "stream is 'a'"),
        ({"dl_device": 3}, TypeError, "dl_device is 3.*the type and the number"),
        ({"dl_device": (1.0, 0)}, TypeError, "dl_device is .*two integers"),
        ({"dl_device": (2, 0)}, BufferError, r"goes to DLPack's device \(1, 0\) only"),
        ({"max_version": True}, TypeError, "max_version is True.*the major and the minor"),
        ({"max_version": ("a", 0)}, TypeError, "max_version"),
        ({"max_version": (1, 0, 0)}, TypeError, "max_version"),
        ({"copy": 1}, TypeError, "copy is 1.*None, True or False"),
    ],
)
def test_what_dlpack_cannot_be_asked(asked, kind, message):
    with pytest.raises(kind, match=message) as caught:
        hb.ones(3).__dlpack__(**asked)
    assert isinstance(caught.value, hb.HybridError)


def test_dlpack_shares_what_is_not_to_be_copied():
    x = hb.arange(4.0)
    shared = np.from_dlpack(x, copy=False)
    assert np.shares_memory(shared, x.numpy()) and not shared.flags.writeable
    assert not np.shares_memory(np.from_dlpack(x), x.numpy())

    class Old:  # a consumer that knows of no versions may write, and gets a copy
        def __dlpack__(self, **asked):
            return x.__dlpack__(copy=False)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    assert not np.shares_memory(np.from_dlpack(Old()), x.numpy())
    assert np.from_dlpack(x[::2], copy=False, device="cpu").tolist() == [0.0, 2.0]
    x[0] = 9.0
    assert shared[0] == 0.0  # values do not change: a write makes a new one
    assert np.from_dlpack(hb.ones(2, dtype=hb.complex64), copy=False).dtype == np.complex64
    with pytest.raises(hb.ExchangeError, match="no bfloat16 in DLPack.*astype"):
        hb.ones(2, dtype=hb.bfloat16).__dlpack__(max_version=(1, 0))
