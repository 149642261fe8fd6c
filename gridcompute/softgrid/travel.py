"""Values to bytes and back: what a function, its arguments and its result look like on their way.

Values go by pickle protocol 5 with their big buffers beside it. Functions and classes of the user's own files go by
value, as code objects to the same minor version of Python and as source text to another, since bytecode means
something else there.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import linecache
import pickle
import sys
import sysconfig
import textwrap
import traceback
import types
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .carried import cloudpickle
from .wire import Pieces, Segment, joined

MINOR = [sys.version_info[0], sys.version_info[1]]

_OUT_OF_BAND_FROM = 4096
_IN_PIECES_FROM = 64 * 1024
_SCALARS = (int, float, complex, str, bytes, bool, type(None))


class TravelError(Exception):
    """A value can't be sent to that executor; the message says what and why."""


def dumps(value: Any, minor: list[int] | None = None) -> list[Segment]:
    """The pickle of a value, then its out-of-band buffers. Raises TravelError.

    `minor` is the receiver's Python version, [3, 11]; None is this one's.
    """
    _register_user_modules()
    buffers: list[pickle.PickleBuffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:
            return True
        if view.nbytes < _OUT_OF_BAND_FROM:
            return True
        buffers.append(buffer)
        return False

    stream = Pieces()
    pickler = cloudpickle.Pickler(stream, protocol=5, buffer_callback=keep_in_band)
    if minor is not None and list(minor) != MINOR:
        pickler = _SourcePickler(stream, protocol=5, buffer_callback=keep_in_band)
        pickler.minor = list(minor)
    try:
        pickler.dump(value)
    except TravelError:
        raise
    except RecursionError as exc:
        raise TravelError("The value is nested too deeply to be sent.") from exc
    except Exception as exc:
        raise TravelError(f"The value can't be sent: {type(exc).__name__}: {exc}") from exc
    data = stream.joined() if stream.nbytes < _IN_PIECES_FROM else stream
    return [data, *(buffer.raw() for buffer in buffers)]


def loads(segments: Sequence[Segment]) -> Any:
    """The value; raises whatever its unpickling raises."""
    return pickle.loads(joined(segments[0]), buffers=segments[1:])


# --- which modules are the user's own --------------------------------------------------------------------

_known_modules: set[str] = set()
_known_count = 0


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots.update(str(Path(root).resolve()) for root in list(roots))
    return tuple(root.rstrip("/\\") + ("\\" if "\\" in root else "/") for root in roots)


def is_users_module(module: types.ModuleType) -> bool:
    """Whether the far side can't be expected to have a module: a file outside of every installed place."""
    name = getattr(module, "__name__", "")
    if name.partition(".")[0] in ("gridcompute", "__main__", "__mp_main__") or name in sys.builtin_module_names:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    if "site-packages" in file or "dist-packages" in file or getattr(module, "__softgrid_package__", False):
        return False
    return not file.startswith(_installed_roots())


def _register_user_modules() -> None:
    """Tells cloudpickle of modules that have been imported since the last time."""
    global _known_count
    if len(sys.modules) == _known_count:
        return
    for name, module in list(sys.modules.items()):
        if name in _known_modules or not isinstance(module, types.ModuleType):
            continue
        _known_modules.add(name)
        if module.__name__ == name and is_users_module(module):
            cloudpickle.register_pickle_by_value(module)
    _known_count = len(sys.modules)


def needs_to_travel(function: Any) -> bool:
    """Whether the far side can't find a function or class under its name."""
    name = getattr(function, "__module__", None)
    if name is None or name in ("__main__", "__mp_main__"):
        return True
    module = sys.modules.get(name)
    if module is None or is_users_module(module):
        return True
    found: Any = module
    for part in getattr(function, "__qualname__", "<>").split("."):
        found = getattr(found, part, None)
    return found is not function


# --- functions, with a memory of the last ones -----------------------------------------------------------


class FunctionMemory:
    """Pickles of functions that say the same as before: nothing they refer to has been changed or may be."""

    LIMIT = 64

    def __init__(self) -> None:
        self._known: dict[tuple[int, Any], tuple[Any, tuple[Any, ...], bytes]] = {}

    def dumps(self, function: Callable[..., Any], minor: list[int] | None) -> list[Segment]:
        state = _unchanging_state(function)
        key = (id(function), tuple(minor) if minor else None)
        if state is not None:
            known = self._known.get(key)
            if known is not None and known[0] is function and _same(known[1], state):
                return [known[2]]
        segments = dumps(function, minor)
        if state is not None and len(segments) == 1:
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            self._known[key] = (function, state, bytes(joined(segments[0])))
        return segments


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _unchanging_state(function: Any) -> tuple[Any, ...] | None:
    """All that a simple function's pickle depends on; None for one that is not simple."""
    if not isinstance(function, types.FunctionType) or function.__closure__ or function.__dict__:
        return None
    if function.__kwdefaults__ or not all(isinstance(item, _SCALARS) for item in function.__defaults__ or ()):
        return None
    state: list[Any] = [function.__code__, function.__defaults__, function.__name__, function.__doc__]
    for name in _global_names(function.__code__):
        value = function.__globals__.get(name, _known_builtin)
        if isinstance(value, types.ModuleType):
            if is_users_module(value):
                return None  # it travels by value, and that may change
        elif not isinstance(value, (*_SCALARS, types.BuiltinFunctionType)) and value is not _known_builtin:
            return None
        state.append(value)
    return tuple(state)


_known_builtin = object()


@functools.lru_cache(maxsize=256)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_global_names(constant))
    return tuple(sorted(names))


class LoadedFunctions:
    """The far side's half: a simple function that comes again need not be built again."""

    LIMIT = 64

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def loads(self, data: bytes) -> Any:
        known = self._known.get(data)
        if known is not None:
            now = _unchanging_state(known[0])  # a call may have set a global of its own
            if now is not None and _same(known[1], now):
                return known[0]
        function = pickle.loads(data)
        state = _unchanging_state(function) if len(data) < 16 * 1024 else None
        if state is not None:
            if len(self._known) >= self.LIMIT:
                self._known.clear()
            self._known[data] = (function, state)
        return function


# --- functions as source text ----------------------------------------------------------------------------


class _SourcePickler(cloudpickle.Pickler):
    """Functions and classes that must travel go as source, with closure values and the globals they name."""

    minor: list[int]

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType) and needs_to_travel(obj):
            return self._function(obj)
        if isinstance(obj, type) and needs_to_travel(obj) and obj.__module__ != "builtins":
            return self._class(obj)
        if isinstance(obj, types.CodeType):
            raise TravelError(self._versions("A code object"))
        return super().reducer_override(obj)

    def _function(self, function: types.FunctionType) -> Any:
        text = function_source(function)
        if text is None:
            raise TravelError(self._versions(f"The function {function.__name__!r}, whose source is not known,"))
        names = function.__code__.co_freevars
        closure = {name: _cell_value(cell) for name, cell in zip(names, function.__closure__ or (), strict=True)}
        shell = (text, function.__code__.co_name, tuple(names), function.__module__)
        state = {
            "closure": {name: value for name, value in closure.items() if value is not function},
            "own": [name for name, value in closure.items() if value is function],
            "globals": {
                name: value
                for name in _global_names(function.__code__)
                if (value := function.__globals__.get(name, _known_builtin)) is not _known_builtin
                and value is not function
            },
            "self": [n for n in _global_names(function.__code__) if function.__globals__.get(n) is function],
            "defaults": function.__defaults__,
            "kwdefaults": function.__kwdefaults__,
            "names": (function.__name__, function.__qualname__, function.__doc__),
            "dict": dict(function.__dict__),
        }
        return _function_shell, shell, state, None, None, _fill_function

    def _class(self, kind: type) -> Any:
        known = _travelled_classes.get(kind)
        if known is None:
            try:
                text = textwrap.dedent(inspect.getsource(kind))
            except (OSError, TypeError) as exc:
                raise TravelError(self._versions(f"The class {kind.__name__!r}, whose source is not known,")) from exc
            scope = vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}
            needed = {name: scope[name] for name in _names_in(text) if name in scope and scope[name] is not kind}
            known = _remember_class(kind, uuid.uuid4().hex, text, needed)
        number, text, needed = known
        return class_from_source, (number, text, kind.__name__, kind.__module__, needed)

    def _versions(self, what: str) -> str:
        ours, theirs = ".".join(map(str, MINOR)), ".".join(map(str, self.minor))
        return f"{what} can't go from Python {ours} to Python {theirs}: functions travel there as source text."


def _cell_value(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def function_source(function: types.FunctionType) -> str | None:
    """The text that defines a function, undecorated and at the margin; None where there is none."""
    try:
        text = textwrap.dedent(inspect.getsource(function.__code__))
    except (OSError, TypeError):
        return None
    tree = _parsed(text)
    if tree is None:
        return None
    wanted: list[str] = []
    name = function.__code__.co_name  # a decorator may have given it another one
    for node in ast.walk(tree):
        if name == "<lambda>" and isinstance(node, ast.Lambda):
            wanted.append(ast.unparse(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            node.decorator_list = []
            _plain_arguments(node.args)
            node.returns = None
            return ast.unparse(node)
    matching = [source for source in wanted if _same_shape(source, function.__code__)]
    return matching[0] if len(set(matching)) == 1 else None


def _parsed(text: str) -> ast.AST | None:
    """A lambda's line may be the middle of a call; what stands around it is cut off bit by bit."""
    starts = [0]
    if "lambda" in text:
        starts += [at for at in range(len(text)) if text.startswith("lambda", at)]
    for start in starts:
        for end in [len(text), *(range(len(text) - 1, start + 6, -1) if start or "lambda" in text else ())]:
            try:
                return ast.parse(text[start:end].strip())
            except (SyntaxError, ValueError):
                continue
    return None


def _same_shape(source: str, code: types.CodeType) -> bool:
    found = compile(source, "<lambda>", "eval").co_consts[0]
    return all(
        (
            {*found.co_names, *found.co_freevars} == {*code.co_names, *code.co_freevars},
            found.co_varnames == code.co_varnames,
            _plain_constants(found) == _plain_constants(code),
        )
    )


def _plain_constants(code: types.CodeType) -> list[Any]:
    return [item for item in code.co_consts if not isinstance(item, types.CodeType)]


def _plain_arguments(arguments: ast.arguments) -> None:
    """Annotations and defaults stay behind: what they name may not exist there; the values travel."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for argument in every:
        if argument is not None:
            argument.annotation = None
    none = ast.Constant(value=None)
    arguments.defaults = [none for _ in arguments.defaults]
    arguments.kw_defaults = [None if item is None else none for item in arguments.kw_defaults]


def _names_in(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _function_shell(text: str, name: str, free: tuple[str, ...], module: str) -> types.FunctionType:
    """A function whose globals and closure are still to be filled; so it may refer to itself."""
    scope: dict[str, Any] = {"__builtins__": builtins, "__name__": module}
    if name == "<lambda>":
        body = f"return ({text})"
    else:
        body = f"{text}\nreturn {name}"
    cells = "".join(f"    {item} = None\n" for item in free)
    source = f"def __outer__():\n{cells}{textwrap.indent(body, '    ')}\n"
    exec(compile(source, _remember_source(source, name), "exec"), scope)
    function: types.FunctionType = scope.pop("__outer__")()
    return function


def _fill_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    scope = function.__globals__
    scope.update(state["globals"])
    scope.update(dict.fromkeys(state["self"], function))
    values = {**state["closure"], **dict.fromkeys(state["own"], function)}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name in values:
            cell.cell_contents = values[name]
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["kwdefaults"]
    function.__name__, function.__qualname__, function.__doc__ = state["names"]
    function.__dict__.update(state["dict"])


_travelled_classes: weakref.WeakKeyDictionary[type, tuple[str, str, dict[str, Any]]] = weakref.WeakKeyDictionary()
_classes_by_number: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()


def _remember_class(kind: type, number: str, text: str, needed: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A class that comes back is the one that went."""
    _classes_by_number[number] = kind
    return _travelled_classes.setdefault(kind, (number, text, needed))


def class_from_source(number: str, text: str, name: str, module: str, needed: dict[str, Any]) -> type:
    known = _classes_by_number.get(number)
    if known is not None:
        return known
    scope: dict[str, Any] = {"__builtins__": builtins, "__name__": module, **needed}
    exec(compile(text, _remember_source(text, name), "exec"), scope)
    kind: type = scope[name]
    _remember_class(kind, number, text, needed)
    return kind


def function_from_source(text: str, name: str | None = None) -> Callable[..., Any]:
    """The function that a piece of source defines: the one called `name`, or its only one, or its last.

    Raises TravelError where there is none.
    """
    text = textwrap.dedent(text)
    scope: dict[str, Any] = {"__builtins__": builtins, "__name__": "__softgrid__"}
    try:
        tree = ast.parse(text)
        defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        if not defined and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
            value = eval(compile(text.strip(), _remember_source(text, "<lambda>"), "eval"), scope)
        else:
            exec(compile(text, _remember_source(text, name or "source"), "exec"), scope)
            value = scope.get(name or (defined[-1] if defined else ""))
    except SyntaxError as exc:
        raise TravelError(f"The function's source cannot be compiled: {exc}") from exc
    if not callable(value):
        raise TravelError(f"The source defines no function {name or ''!r}.")
    return value


_source_count = 0


def _remember_source(text: str, name: str) -> str:
    """A file name under which tracebacks find the text."""
    global _source_count
    _source_count = (_source_count + 1) % 1000
    file = f"<softgrid {name} {_source_count}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return file


# --- serializers by name, for objects --------------------------------------------------------------------

SERIALIZERS = ("cPickle", "pickle", "cloudpickle", "dill")


def serializer(name: str) -> Any:
    """The module of a serializer; cPickle is another name of pickle. Raises TravelError where it is missing."""
    if name in ("cPickle", "pickle"):
        return pickle
    if name == "cloudpickle":
        return cloudpickle
    if name == "dill":
        try:
            return importlib.import_module("dill")
        except ImportError as exc:
            raise TravelError("The serializer 'dill' is not installed here.") from exc
    raise TravelError(f"There is no serializer {name!r}; there are {', '.join(SERIALIZERS)}.")


def serialize_object(value: Any, dumps_name: str | None) -> dict[str, Any]:
    """A value as {'object': bytes, 'loads': serializer}, by the first serializer that can. Raises TravelError."""
    names: Iterable[str] = (dumps_name,) if dumps_name is not None else ("pickle", "cloudpickle", "dill")
    failures = []
    _register_user_modules()
    for name in names:
        module = None
        try:
            module = serializer(name)
            if module is pickle and dumps_name is None and _names_users_own(value):
                continue  # pickle would write a name that the far side does not know
            return {"object": module.dumps(value), "loads": name}
        except TravelError as exc:
            failures.append(str(exc))
        except Exception as exc:  # noqa: BLE001
            failures.append(f"{name}: {type(exc).__name__}: {exc}")
    raise TravelError("The object can't be serialized: " + "; ".join(failures))


def _names_users_own(value: Any) -> bool:
    kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
    return needs_to_travel(kind)


def exception_text(exc: BaseException) -> str:
    """Type, words and traceback of an exception, without the frames of this package below the user's own."""
    return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
