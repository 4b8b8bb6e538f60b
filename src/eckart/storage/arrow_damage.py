"""What Arrow says of a broken file, as one sentence."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa

from eckart.errors import EckartError
from eckart.storage.whole import damaged

BROKEN: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError)
"""Bytes that make no sense, kinds of data that only such bytes name, and names that are no text."""


@contextmanager
def arrow_reading(path: Path) -> Generator[None, None, None]:
    """Turn what Arrow says while `path` is read into one sentence.

    Arrow raises OSError for pages and headers that it cannot unpack; where the system refused it
    has a number.

    Raises:
        FormatError: If the file is damaged.
        OSError: If the system refuses to read it.
    """
    try:
        yield
    except EckartError:  # of a refusal, which is an OSError without a number too
        raise
    except BROKEN as error:
        raise damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(path, error) from error
