"""An error that nobody foresaw: one sentence with a remedy for the visitor, the cause for the log."""

import logging

import pytest
import torch

from app.failures import as_user_error
from compressor.errors import ImageError, InternalError, OutOfMemoryError

MEMORY = {
    "card": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "machine": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "Windows": RuntimeError("not enough memory: you tried to allocate 1073741824 bytes."),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("where", MEMORY)
def test_out_of_memory_names_its_remedies(where, caplog):
    text = as_user_error(MEMORY[where])
    assert isinstance(text, OutOfMemoryError)
    assert "raise the compression rate or choose a smaller model" in str(text)
    assert caplog.records[0].exc_info[1] is MEMORY[where]


def test_anything_else_says_where_the_details_are(caplog):
    error = KeyError("head")
    text = as_user_error(error)
    assert isinstance(text, InternalError) and "server's log" in str(text)
    assert "head" not in str(text)
    assert [record.exc_info[1] for record in caplog.records] == [error]
    assert caplog.records[0].levelno == logging.ERROR


def test_what_has_a_sentence_keeps_it_and_is_not_logged(caplog):
    error = ImageError("It is cut off.")
    assert as_user_error(error) is error and not caplog.records
