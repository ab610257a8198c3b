import bleep.workflows


def test_the_package_imports_under_the_shape_checker() -> None:
    assert bleep.workflows.fit
