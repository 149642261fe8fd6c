"""Runs process.py in an application's own environment: a program for whatever Python that has, without GridCompute.

Of GridCompute process.py finds there `gridcompute.progress`, and `gridcompute.softgrid`, which needs the standard
library alone and is read from the program's own files.

    python in_environment.py REQUEST

REQUEST is a JSON file: ``application_path``, ``files``, ``answer`` and ``progress`` (files to write). The answer is
``{"value"}``, the paths that process_case returned; ``{"wrong"}``, a description of what is no path or list of them; or
``{"error", "traceback"}``. Written for old versions of Python too; read as a file, never imported by the program.
"""

# ruff: noqa: PTH100, PTH105, PTH112, PTH113, PTH118, PTH119, PTH120, PTH123, BLE001, UP036
# mypy: ignore-errors

import importlib.util
import json
import os
import sys
import traceback
import types


def main(request_path):
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    sys.dont_write_bytecode = True
    application = request["application_path"]
    sys.path[0] = application  # in place of this file's folder
    sys.path.append(os.path.dirname(application))
    offer_gridcompute(request["progress"])
    sys.argv = [os.path.join(application, "process.py")]
    try:
        answer = answer_of(load(application)(request["files"]))
    except BaseException as exc:
        error = f"process.py failed with {type(exc).__name__}: {exc}".rstrip(": ")
        answer = {"error": error, "traceback": text_of(exc, application)}
    aside = request["answer"] + ".part"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(aside, request["answer"])


def load(application):
    """process_case; its module stands in sys.modules as APPLICATION.process, as without an environment."""
    name = os.path.basename(application)
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [application]
        sys.modules[name] = package
    spec = importlib.util.spec_from_file_location(name + ".process", os.path.join(application, "process.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "process_case", None)):
        raise AttributeError("process.py does not define the function 'process_case'")
    return module.process_case


def offer_gridcompute(path):
    """`gridcompute.progress`, which a plugin may call; the last line of the file is the newest. And the softgrid."""

    def progress(fraction, text=""):
        line = json.dumps([min(max(float(fraction), 0.0), 1.0), str(text)[:100]]) + "\n"
        with open(path, "ab", buffering=0) as file:
            file.write(line.encode("utf-8"))

    module = types.ModuleType("gridcompute")
    module.progress = progress
    module.__path__ = []
    sys.modules.setdefault("gridcompute", module)
    sys.meta_path.insert(0, Softgrid())  # before what the environment may have of the same name


class Softgrid:
    """Finds `gridcompute.softgrid` and the errors that it uses, and nothing else of the program."""

    def __init__(self):
        self.package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        sources = os.path.join(self.package, "softgrid", "sources")  # of an executable, whose modules are compiled
        if os.path.isdir(sources):
            self.package = sources

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("gridcompute."):
            return None
        if name != "gridcompute.errors" and not (name + ".").startswith("gridcompute.softgrid."):
            raise ModuleNotFoundError(f"{name} is not there in an application's own environment", name=name)
        if sys.version_info < (3, 10):
            raise ImportError(
                "gridcompute.softgrid needs Python 3.10 or newer, and the application's environment has "
                '{}.{}. Write requires-python = ">=3.10" at the head of process.py.'.format(*sys.version_info[:2]),
                name=name,
            )
        place = os.path.join(self.package, *name.split(".")[1:])
        for file, folders in ((place + ".py", None), (os.path.join(place, "__init__.py"), [place])):
            if os.path.isfile(file):
                return importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
        return None


def answer_of(value):
    if value is None:
        return {"value": None}
    if not isinstance(value, (list, tuple)):
        return {"wrong": type(value).__name__}
    try:
        return {"value": [os.fsdecode(os.fspath(item)) for item in value]}
    except TypeError:
        return {"wrong": "a list with " + ", ".join(sorted({type(item).__name__ for item in value}))}


def text_of(exc, application):
    frame = exc.__traceback__
    while frame is not None and not frame.tb_frame.f_code.co_filename.startswith(application):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(exc), exc, frame))[-16000:]


if __name__ == "__main__":
    main(sys.argv[1])
