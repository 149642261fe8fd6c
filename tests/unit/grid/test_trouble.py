"""What an error of the operating system means, by the numbers of POSIX and of Windows."""

from __future__ import annotations

import errno

import pytest

from gridcompute.grid import trouble


def windows_error(number: int, errno_of_python: int = errno.EINVAL) -> OSError:
    """An error as Python has it on Windows: the number that says it stands in `winerror`."""
    exc = OSError(errno_of_python, "as Windows says it")
    exc.winerror = number  # type: ignore[attr-defined]
    return exc


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known(number):
    assert trouble.is_full(OSError(number, "full"))
    assert not trouble.is_away(OSError(number, "full"))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT])
def test_a_share_that_is_away_is_known(number):
    assert trouble.is_away(OSError(number, "away"))
    assert not trouble.is_missing(OSError(number, "away"))


@pytest.mark.parametrize("number", [39, 112])
def test_a_full_disk_is_known_on_windows(number):
    assert trouble.is_full(windows_error(number))


@pytest.mark.parametrize("number", [53, 59, 64, 67, 1231])
def test_a_network_path_not_found_is_no_missing_file(number):
    exc = windows_error(number, errno.ENOENT)

    assert trouble.is_away(exc)
    assert not trouble.is_missing(exc)


def test_a_missing_file_is_known():
    assert trouble.is_missing(FileNotFoundError(errno.ENOENT, "no"))
    assert trouble.is_missing(windows_error(2, errno.ENOENT))
    assert trouble.is_missing(NotADirectoryError(errno.ENOTDIR, "no"))


@pytest.mark.parametrize("number", [5, 32, 33])
def test_a_file_in_use_is_tried_again_and_then_done(number):
    tries, pauses = [], []

    def act() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise windows_error(number, errno.EACCES)
        return "done"

    assert trouble.retried_while_in_use(act, pause=pauses.append) == "done"
    assert pauses == list(trouble.IN_USE_PAUSES[:3])


def test_a_file_in_use_for_ever_is_an_error_after_a_second():
    pauses: list[float] = []

    def act() -> None:
        raise windows_error(32, errno.EACCES)

    with pytest.raises(OSError, match="as Windows"):
        trouble.retried_while_in_use(act, pause=pauses.append)
    assert 0.5 < sum(pauses) < 1.5


def test_another_error_is_not_tried_again():
    def act() -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        trouble.retried_while_in_use(act, pause=lambda seconds: pytest.fail("no pause was due"))
