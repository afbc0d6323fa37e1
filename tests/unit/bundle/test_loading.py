from __future__ import annotations

import gc
import sys
import types

from bundle.loading import loading


def test_what_is_loaded_is_frozen_and_what_lay_about_before_is_not_where_nothing_is(monkeypatch):
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not frozen
    with loading():
        monkeypatch.setitem(sys.modules, "tests.no_such_module", types.ModuleType("x"))
    assert frozen == [True]
