"""Rows hold what was measured, base and methods in one run."""

import json

import pytest

from compressor import get_method
from compressor.errors import ContextLengthError, InvalidRateError
from compressor.evaluation.efficiency import measure
from compressor.evaluation.workload import Workload

SEAM = {
    *("model", "device", "dtype", "method", "rate", "batch", "image_tokens", "ttft_ms", "total_ms"),
    *("peak_memory_gb", "cache_mb", "tflops", "prompt_tokens", "new_tokens"),
}


@pytest.fixture(scope="module")
def rows(small_llava):
    methods = {name: get_method(name, model=small_llava) for name in ("none", "sample", "fastv")}
    workload = Workload(batch=2, prompt_tokens=8, new_tokens=3, image_size=(70, 50))
    return {row.method: row for row in measure(small_llava, methods, 0.9, workload, repeats=1)}


def test_rows_are_plain_data_with_the_fields_that_tables_read(rows):
    for row in rows.values():
        data = row.as_data()
        assert json.loads(json.dumps(data)) == data and set(data) >= SEAM
    assert (rows["none"].rate, rows["sample"].rate) == (0.0, 0.9)
    assert (rows["none"].image_tokens, rows["sample"].image_tokens) == (64, 6)
    assert rows["sample"].device.startswith("CPU") and rows["sample"].dtype == "float32"


def test_fewer_tokens_cost_less(rows):
    base, fastv, sample = rows["none"], rows["fastv"], rows["sample"]
    for name in ("cache_mb", "tflops", "peak_memory_gb"):
        assert getattr(sample, name) < getattr(fastv, name) < getattr(base, name), name
    parts = ("vision", "projection", "prefill", "decode")
    for row in rows.values():
        assert row.tflops == pytest.approx(sum(getattr(row, f"{part}_tflops") for part in parts))


def test_the_cache_is_counted_to_the_byte(rows):
    entry = 2 * 48 * 4 * 3  # keys and values of a token in three layers
    assert rows["none"].cache_mb == pytest.approx(2 * (64 + 8 + 2) * entry / 1e6)
    assert rows["sample"].cache_mb == pytest.approx(2 * (6 + 8 + 2) * entry / 1e6)


def test_weights_are_part_of_the_peak(rows, small_llava):
    weights = sum(parameter.nbytes for parameter in small_llava.hf.parameters())
    assert rows["sample"].peak_memory_gb > weights / 1e9


def test_what_cannot_be_measured_is_said(small_llava):
    methods = {"sample": get_method("sample")}
    with pytest.raises(ContextLengthError):
        measure(small_llava, methods, 0.9, Workload(prompt_tokens=300), repeats=1)
    with pytest.raises(InvalidRateError):
        measure(small_llava, methods, 1.5, Workload(), repeats=1)


def test_one_token_has_no_time_per_further_token(small_llava):
    workload = Workload(prompt_tokens=4, new_tokens=1)
    (row,) = measure(small_llava, {"sample": get_method("sample")}, 0.9, workload, repeats=1)
    assert row.decode_ms is None and row.decode_tflops == 0
