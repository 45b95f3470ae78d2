"""The cause of an error, for the log."""

import logging

from compressor.errors import ModelUnavailableError, StudioError, log_cause


def test_every_error_behind_one_is_named_with_its_place(caplog):
    caplog.set_level(logging.DEBUG)
    try:
        try:
            try:
                {}["lost"]
            except KeyError:
                raise OSError("no\n such file")  # noqa: B904 (as libraries do)
        except OSError as error:
            raise ModelUnavailableError("It cannot be loaded; get another.") from error
    except StudioError as error:
        log_cause("Loading tiny", error)
    (line, trace) = caplog.records
    place = r"test_errors.py:"
    assert line.levelname == "WARNING" and line.exc_info is None
    assert (
        line.getMessage().startswith("Loading tiny: OSError: no such file (") and place in line.getMessage()
    )
    assert "; KeyError: 'lost' (" in line.getMessage()
    assert trace.levelname == "DEBUG" and isinstance(trace.exc_info[1], ModelUnavailableError)


def test_a_cause_can_be_logged_before_its_sentence(caplog):
    log_cause("Making tiny", MemoryError("no room"))
    assert caplog.messages == ["Making tiny: MemoryError: no room"]


def test_an_error_without_a_cause_says_all_itself(caplog):
    log_cause("Loading tiny", ModelUnavailableError("There is no GPU."))
    assert not caplog.records
