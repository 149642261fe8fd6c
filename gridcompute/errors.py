"""The errors of GridCompute, one tree::

  - GridComputeError
    - UsageError             the command or call was used wrongly
    - NoGridError            no shared folder is named
      - FolderMissing        a shared folder is named, but it is not there (yet)
    - SettingsError          settings.txt, Software_Per_Machine.csv or application.txt can't be used
    - AlreadyRunning         the window or an agent runs already for this user
    - InputError             a file of the user's vanished, can't be read or changed while it was read
    - ApplicationError       the application's script is missing, broken or failed
      - ApplicationRefused   the application's code is not what the administrator pinned
    - EnvironmentMissing     an application's own environment can't be made on this computer
    - ArchiveError           an archive is damaged or would leave its folder
    - ShareError             the shared folder refused something
      - ShareAway            the shared folder can't be reached now
      - ArchiveMissing       the shared folder is there, an archive that the database names is not
    - DiskFull               no space is left, on the share or on this computer
    - DatabaseError          the database refused something
      - DatabaseAway         the database can't be reached now
      - DatabaseRefused      wrong user or password, or a right is missing
      - VersionRefused       the database does not allow this version of the program
    - MongodError            the private MongoDB can't be found, started or stopped

A message says what was tried, on what, what happened and what to do next. Mistakes in the program itself are not in
this tree.
"""

from __future__ import annotations


class GridComputeError(Exception):
    """Something that a user, an app author or an administrator can act on."""


class UsageError(GridComputeError):
    """The command or call was used wrongly."""


class NoGridError(GridComputeError):
    """No shared folder is named, or the one named can't be a grid's."""


class FolderMissing(NoGridError):
    """A shared folder is named, but it is not there; whoever starts early may wait for it."""


class SettingsError(GridComputeError):
    """A text file of the administrator's can't be used."""


class AlreadyRunning(GridComputeError):
    """The window or an agent runs already for this user."""


class InputError(GridComputeError):
    """A file of the user's vanished, can't be read, or changed while it was read."""


class ApplicationError(GridComputeError):
    """The application's script is missing, broken or failed.

    `traceback` is the script's own, `output` the end of what it printed; both may be empty.
    """

    def __init__(self, message: str, *, traceback: str = "", output: str = ""):
        super().__init__(message)
        self.traceback = traceback
        self.output = output


class ApplicationRefused(ApplicationError):
    """The application's code is not what the administrator pinned, and is not run."""


class EnvironmentMissing(GridComputeError):
    """The environment that an application declares can't be made on this computer."""


class ArchiveError(GridComputeError):
    """An archive is damaged or would leave its folder."""


class ShareError(GridComputeError):
    """The shared folder refused something."""


class ShareAway(ShareError):
    """The shared folder can't be reached now; it is worth waiting for."""


class ArchiveMissing(ShareError):
    """The shared folder reads well, but an archive that the database names is not there."""


class DiskFull(GridComputeError):
    """No space is left, on the share or on this computer; it is worth waiting for."""


class DatabaseError(GridComputeError):
    """The database refused something."""


class DatabaseAway(DatabaseError):
    """The database can't be reached now; it is worth waiting for."""


class DatabaseRefused(DatabaseError):
    """The user or password is wrong, or the user lacks a right."""


class VersionRefused(DatabaseError):
    """The database does not allow this version of the program."""


class MongodError(GridComputeError):
    """The private MongoDB can't be found, started or stopped."""
