import bleep.pipeline


def test_the_package_imports_under_the_shape_checker() -> None:
    assert bleep.pipeline.fit
