"""The benchmark measures every method at both sizes."""

from compressor import list_methods, load_model
from compressor.evaluation import speed


def test_every_method_and_the_prefill_have_a_time() -> None:
    times = speed.method_times(load_model("tiny"), 576, 0.9, repeats=1)
    assert list(times) == ["prefill", *[info.name for info in list_methods()]]
    assert all(seconds > 0 for seconds in times.values())
