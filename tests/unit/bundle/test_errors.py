from __future__ import annotations

import pickle

import pytest

from bundle import errors


def every_error(root: type[Exception] = errors.TrainyardError) -> list[type[errors.TrainyardError]]:
    return [root, *(found for child in root.__subclasses__() for found in every_error(child))]


ALL = [error for error in every_error() if error.__module__ == "bundle.errors"]


@pytest.mark.parametrize("kind", ALL)
def test_error_carries_field_and_remedy_when_pickled_between_processes(kind):
    error = kind("devices=8 is too many", field="devices", remedy="use 2")

    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.field, copy.remedy) == ("devices=8 is too many", "devices", "use 2")


@pytest.mark.parametrize("kind", ALL)
def test_error_exit_code_tells_whose_fault_it_was(kind):
    assert kind.exit_code == (2 if issubclass(kind, errors.RequestError) else 1)


@pytest.mark.parametrize("kind", ALL)
def test_error_is_named_in_the_tree_of_the_docstring(kind):
    assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize("kind", [errors.Stopped, errors.Interrupted])
def test_stop_is_not_caught_by_who_catches_every_exception(kind):
    assert not issubclass(kind, Exception)
    assert kind.__name__ in errors.__doc__
    assert str(pickle.loads(pickle.dumps(kind("stopped at step 3")))) == "stopped at step 3"
