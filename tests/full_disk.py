"""What several folders' tests need of a disk that gets full."""

import contextlib
import resource


@contextlib.contextmanager
def files_of_at_most(size):
    """Writing beyond it fails as on a full disk: Python ignores the signal that the system sends as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
