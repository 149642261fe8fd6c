"""Help for other libraries on a grid: pyrep repositories sent to other executors, where pyrep is installed."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

from .Collections import SoftgridStatus
from .Core.transfer_base import transfer_template
from .errors import SoftgridError


class RepositoryTransfer:
    """Sends files of a pyrep repository; the other side needs pyrep too."""

    @staticmethod
    def get_repository_transfer_kwargs(
        localRepo: Any,
        paths: Any,
        remoteRepo: Any,
        remoteRepoInfo: Any = None,
        remoteRepoReplace: bool = False,
        remoteRepoReplaceFiles: bool = True,
    ) -> dict[str, Any]:
        """A template for `transfer` that writes files of a repository to one on another machine.

        `localRepo` is a pyrep Repository or the path of one; `paths` are files relative to it, one or a list.
        `remoteRepo` is a path there, or ('temporary' or 'permanent', path below that directory of the executor). A
        repository that is not there is made with `remoteRepoInfo`, None being the local one's. The transfer's result
        is a status. Raises SoftgridError without pyrep, ValueError for what is no repository or not in it.
        """
        repository = _opened(localRepo)
        wanted = [paths] if isinstance(paths, str) else list(paths)
        files: dict[str, dict[str, Any]] = {}
        for path in wanted:
            info, error = repository.get_file_info(path)
            if not isinstance(info, dict):
                raise ValueError(f"The repository {repository.path} has no file {path!r}. {error or ''}".strip())
            data = repository.pull_file(path)
            files[path] = {
                "pull": info.get("pull"),
                "dump": info.get("dump"),
                "description": info.get("description"),
                "data": pickle.dumps(data),
            }
        # A name and no function, so that managers and routers, which run no functions of users, take it.
        return transfer_template(
            "dump_repository",
            kwargs={
                "repoPath": remoteRepo,
                "repoInfo": repository.info if remoteRepoInfo is None else remoteRepoInfo,
                "repoReplace": remoteRepoReplace,
                "files": files,
                "replaceFiles": remoteRepoReplaceFiles,
            },
            priority=None,
        )

    @staticmethod
    def dump(
        executor: Any, repoPath: Any, repoInfo: Any, repoReplace: bool, files: dict[str, Any], replaceFiles: bool
    ) -> SoftgridStatus:
        """Writes files to a repository of the machine this runs on, which is made where there is none.

        With `repoReplace` a repository that is there is made anew, without its files. `files` is
        {relative path: {'data': pickled value, 'pull', 'dump', 'description'}}.
        """
        name = "dump_repository"
        try:
            place = _place(executor, repoPath)
            repository = _repository_at(place, repoInfo, repoReplace)
            for path, file in files.items():
                if not replaceFiles and repository.is_repository_file(path)[0]:
                    return SoftgridStatus(
                        False, f"{path!r} is in {place} already and is not to be replaced.", name=name
                    )
                success, error = repository.dump_file(
                    pickle.loads(file["data"]),
                    path,
                    description=file.get("description") or None,
                    dump=file.get("dump"),
                    pull=file.get("pull"),
                    replace=True,
                    raiseError=False,
                )
                if not success:
                    return SoftgridStatus(False, f"{path!r} can't be written to {place}: {error}", name=name)
        except (SoftgridError, ValueError) as exc:
            return SoftgridStatus(False, str(exc), name=name)
        except Exception as exc:  # noqa: BLE001
            # pyrep raises plain Exceptions, and reading a value may raise anything.
            return SoftgridStatus(False, f"{type(exc).__name__}: {exc}", name=name)
        return SoftgridStatus(True, data=str(place), name=name)


def _repository_class() -> Any:
    try:
        with warnings.catch_warnings():  # pyrep has every warning of the program shown when it is imported
            from pyrep import Repository  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as exc:
        raise SoftgridError("pyrep is not installed here; install it with 'pip install pyrep'.") from exc
    return Repository


def _opened(repository: Any) -> Any:
    kind = _repository_class()
    if isinstance(repository, kind):
        if not repository.path:
            raise ValueError("The repository has no place on disk yet.")
        return repository
    fresh = kind()
    if not fresh.is_repository(str(repository)):
        raise ValueError(f"There is no pyrep repository at {repository}.")
    return fresh.load_repository(str(repository))


def _repository_at(place: Path, info: Any, replace: bool) -> Any:
    repository = _repository_class()()
    if repository.is_repository(str(place)) and not replace:
        return repository.load_repository(str(place))
    if place.exists() and any(place.iterdir()) and not repository.is_repository(str(place)):
        raise ValueError(f"{place} is there and is no pyrep repository.")
    repository.create_repository(str(place), info=info, replace=replace)
    return repository


def _place(executor: Any, path: Any) -> Path:
    if isinstance(path, str):
        return Path(path).expanduser().resolve()
    keyword, relative = path
    folders = {"temporary": executor.temporaryDir, "permanent": executor.permanentDir}
    if keyword not in folders:
        raise ValueError(f"A repository's place is 'temporary' or 'permanent', not {keyword!r}.")
    base = Path(folders[keyword]).resolve()
    place = (base / relative).resolve()
    if not place.is_relative_to(base) or place == base:
        raise ValueError(f"The path {relative!r} leaves the {keyword} directory.")
    return place
