"""GUI: the root window, the polling of the event queue, what the buttons do, and closing.

Only the main thread touches Tk. Every call on the `Server` runs in one of two lanes beside it; what comes back, and
what the daemons tell, are events that `refresh` takes from one queue, a bounded batch at a time.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import tkinter as tk
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tkinter import filedialog
from tkinter import font as tkfont
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import clock, config
from gridcompute.errors import (
    AlreadyRunning,
    DatabaseAway,
    FolderMissing,
    GridComputeError,
    NoGridError,
    ShareAway,
    UsageError,
    VersionRefused,
)
from gridcompute.gui import help_texts, state, texts
from gridcompute.gui.dialogs import (
    ProgressWindow,
    Question,
    Reading,
    bind_mnemonic,
    mnemonic_button,
    split_mnemonic,
)
from gridcompute.gui.first_run import MakeGrid, NewGrid, OwnServer, demo_grid
from gridcompute.gui.grid_tab import GridTab
from gridcompute.gui.log_pane import LogPane
from gridcompute.gui.my_cases import MyCases, set_text
from gridcompute.gui.my_processes import Lending, MyProcesses
from gridcompute.gui.rules import RulesWindow
from gridcompute.gui.send_cases import SendCases
from gridcompute.gui.splash import Splash
from gridcompute.gui.state import State
from gridcompute.gui.table import linespace, scaled
from gridcompute.gui.worker import Lane
from gridcompute.machine.home import Home
from gridcompute.machine.lending import Rules

if TYPE_CHECKING:
    from gridcompute.server import Server

log = logging.getLogger(__name__)

events_at_once = 400
seconds_at_once = 0.02
"""Bounds of what `refresh` handles before it lets the window draw."""

look_pause, look_share, look_interval = 0.4, 6.0, 10.0
"""Seconds between two looks at my cases at least; times the duration of the last look; at most."""


def _cannot_make_grid(*_: Any, **__: Any) -> None:
    raise UsageError("This program cannot make a grid: use the command gridcompute init.")


class Shared:
    """A number that the main thread sets and any thread reads."""

    def __init__(self, value: int = 0):
        self.value = value

    def get(self) -> int:
        return self.value


class GUI:
    """The interface. At creation it displays a progress bar; `start` connects beside it.

    `new_server` makes the `Server`; it is called in a worker thread, so that what it imports delays nothing here.
    """

    def __init__(
        self,
        home: Home,
        new_server: Callable[..., Server],
        *,
        machine: str = "",
        make_grid: MakeGrid = _cannot_make_grid,
        fixed_grid: bool = False,
    ):
        self.home = home
        self._make_grid, self._fixed_grid = make_grid, fixed_grid
        self.own_server = OwnServer(home)
        self._new_server = new_server
        self.preferences = home.preferences.load()
        self.event_queue: queue.Queue[dict[str, Any]] = queue.Queue()
        self.state = State(machine)
        self.server: Server | None = None
        self.drops = False
        self.most_processes = config.max_number_process
        self.exit_code = 0
        self._calls: dict[int, tuple[Callable[[Any], Any], Callable[[Exception], Any]]] = {}
        self.long, self.short = Lane("long", self.event_queue), Lane("short", self.event_queue)
        self._lent = Shared()
        self._looking = self._looking_at_grid = False
        self._next_look = 0.0
        self._look_seconds = 0.0
        self._keep_running = True
        self.rules = Rules.of(self.preferences.get("rules"))
        self._retries = clock.Backoff(1.0, 15.0)
        self._after: str | None = None
        self._icons: list[tk.PhotoImage] = []
        self._gone = False
        self._question: Question | None = None
        self.progress_window: ProgressWindow | None = None
        self.close_asked: Callable[[], bool] = lambda: False
        self.root = self._make_root()
        self.application = tk.StringVar(self.root, self.preferences.get("application", ""))
        self.priority = tk.StringVar(self.root, str(config.default_priority))
        self.dedicated_process = tk.StringVar(self.root, "0")
        self._make_frame()
        self.views: list[Any] = []
        self.root.update()

    # Names of the documentation for what stands in the views.

    @property
    def app_combobox(self) -> ttk.Combobox:
        """The widget associated with `application`."""
        return self.send_cases.app_combobox

    @property
    def tree_cases(self) -> ttk.Treeview:
        """The widget with the cases to submit."""
        return self.send_cases.table.tree

    @property
    def tree_my_cases(self) -> ttk.Treeview:
        """The widget with *my cases*."""
        return self.my_cases.table.tree

    @property
    def tree_my_process(self) -> ttk.Treeview:
        """The widget with *my processes*."""
        return self.my_processes.table.tree

    @property
    def cases_refresh_label(self) -> ttk.Label:
        """The label with the time of the last refresh of *my cases*."""
        return self.my_cases.cases_refresh_label

    @property
    def cases_status_label(self) -> ttk.Label:
        """The label with the status of the last refresh of *my cases*."""
        return self.my_cases.cases_status_label

    @property
    def cases_dict(self) -> dict[str, list[str]]:
        """Id of a row of the cases to submit -> the input files of its case."""
        return {row["id"]: row["files"] for row in self.state.sends.values()}

    @property
    def my_process_pid_id(self) -> dict[int, str]:
        """Process id -> id of its row in *my processes*."""
        return {row["pid"]: row["id"] for row in self.state.processes.values() if row.get("pid")}

    @property
    def progress_bar(self) -> ttk.Progressbar | None:
        """The bar of the progress window, None while there is none."""
        return self.progress_window.progress_bar if self.progress_window is not None else None

    @property
    def progress_label(self) -> ttk.Label | None:
        """The text of the progress window, None while there is none."""
        return self.progress_window.progress_label if self.progress_window is not None else None

    # Making the window.

    def _make_root(self) -> ttk.App:
        scaling = self.preferences.get("scaling")
        root = ttk.App(
            title=config.title_windows,
            theme="bootstrap-light",
            light_theme="bootstrap-light",
            dark_theme="bootstrap-dark",
            iconphoto=None,
            scaling=float(scaling) / 100 * 4 / 3 if scaling else None,
        )
        root.withdraw()
        self._set_icon(root)
        root.report_callback_exception = self._callback_failed
        self._make_fonts(root)
        self._quiet_file_dialogs(root)
        self._place(root)
        self.set_theme(self.preferences.get("theme", "system"), root)
        root.protocol("WM_DELETE_WINDOW", self.exit_program)
        root.bind("<FocusIn>", lambda event: self._came_to_front())
        root.bind("<FocusOut>", lambda event: self._left_front(event))
        root.deiconify()
        return root

    def _set_icon(self, root: tk.Tk) -> None:
        """Our own picture for the window and those that come from it."""
        folder = Path(__file__).parent
        with contextlib.suppress(tk.TclError, OSError):  # an installation without its pictures still works
            if str(root.tk.call("tk", "windowingsystem")) == "win32":
                root.iconbitmap(default=str(folder / "icon.ico"))
            else:
                whole = tk.PhotoImage(master=root, file=str(folder / "icon.png"))
                self._icons = [whole, whole.subsample(4), whole.subsample(8)]
                root.iconphoto(True, *self._icons)

    def _make_fonts(self, root: tk.Misc) -> None:
        base = tkfont.nametofont("TkDefaultFont", root=root)
        family, size = base.actual("family"), int(base.actual("size"))
        self._fonts = [
            tkfont.Font(root, name="GridHeading", family=family, size=size, weight="bold"),
            tkfont.Font(root, name="GridNumber", family=family, size=round(size * 1.9), weight="bold"),
            tkfont.Font(root, name="GridSmall", family=family, size=max(7, round(size * 0.85))),
            tkfont.Font(root, name="GridTitle", family=family, size=round(size * 1.7), weight="bold"),
        ]

    def _quiet_file_dialogs(self, root: tk.Tk) -> None:
        """Tk's own file dialog, on X11, hides hidden files and offers a box to show them."""
        with contextlib.suppress(tk.TclError):
            root.tk.call("catch", "tk_getOpenFile -neither")  # loads the variables; the wrong option shows nothing
            root.tk.call("set", "::tk::dialog::file::showHiddenBtn", 1)
            root.tk.call("set", "::tk::dialog::file::showHiddenVar", 0)

    def _place(self, root: tk.Tk) -> None:
        width, height = scaled(root, 1024), scaled(root, 700)
        width, height = min(width, root.winfo_screenwidth()), min(height, root.winfo_screenheight() - 40)
        root.minsize(min(width, scaled(root, 960)), min(height, scaled(root, 600)))
        wanted = str(self.preferences.get("geometry", ""))
        root.geometry(wanted if _fits_screen(wanted, root) else f"{width}x{height}")

    def _style(self) -> None:
        style = ttk.Style.get_instance()
        style.configure("Treeview", rowheight=round(linespace(self.root) * 1.65))
        style.configure("TNotebook.Tab", padding=(scaled(self.root, 14), scaled(self.root, 7)))

    def _make_frame(self) -> None:
        """The parts that stand before the grid is connected: the splash with its progress bar."""
        self._style()
        self.frame = ttk.Frame(self.root, name="main")
        self.frame.pack(fill="both", expand=True)
        self.splash = Splash(self.frame, self)
        self.splash.pack(fill="both", expand=True)

    def populate(self) -> None:
        """Fill the window: the grid is connected."""
        self.state.phase = "ready"
        if not self.views:
            self._make_views()
        self.splash.pack_forget()
        self.content.pack(fill="both", expand=True)
        self._show_everything()

    def _make_views(self) -> None:
        gap = scaled(self.root, 12)
        self.content = ttk.Frame(self.frame, name="content")
        head = ttk.Frame(self.content, name="head", padding=(gap, gap, gap, 0))
        head.pack(side="top", fill="x")
        self.lending = Lending(head, self)
        self.lending.pack(side="right")  # before the name, which may be long
        self._make_name(head)
        self._make_banner()
        self._make_foot(gap)
        self.log = LogPane(self.content, self)
        self.log.pack(side="bottom", fill="x")
        self.book = ttk.Notebook(self.content, name="book")
        self.book.pack(side="top", fill="both", expand=True, padx=gap, pady=(gap, 0))
        self.send_cases = SendCases(self.book, self)
        self.my_cases = MyCases(self.book, self)
        self.my_processes = MyProcesses(self.book, self)
        self.grid_tab = GridTab(self.book, self)
        self.tabs: list[tuple[Any, str]] = [
            (self.send_cases, "Send cases"),
            (self.my_cases, "My cases"),
            (self.my_processes, "My processes"),
            (self.grid_tab, "Grid"),
        ]
        for number, (view, title) in enumerate(self.tabs, start=1):
            self.book.add(view, text=title)
            self.root.bind(f"<Alt-Key-{number}>", partial(self._tab_key, view))
            self.root.bind(f"<Control-Key-{number}>", partial(self._tab_key, view))
        self.book.enable_traversal()
        self.book.bind("<<NotebookTabChanged>>", lambda event: self._show_everything())
        self.views = [self.send_cases, self.my_cases, self.my_processes, self.grid_tab, self.lending, self.log]
        self._make_menu()
        self._bind_keys()

    def _make_name(self, head: ttk.Frame) -> None:
        if self._icons:
            factor = max(1, 256 // scaled(self.root, 42))
            self._head_icon = self._icons[0].subsample(factor)
            ttk.Label(head, image=self._head_icon).pack(side="left", padx=(0, scaled(self.root, 10)))
        box = ttk.Frame(head)
        box.pack(side="left")
        ttk.Label(box, text=config.program_name, font="GridTitle").pack(anchor="w")
        self.grid_label = ttk.Label(box, name="grid", bootstyle="secondary")
        self.grid_label.pack(anchor="w")

    def _make_banner(self) -> None:
        """Two strips that stand only while there is something to say: what is away, and the last error."""
        gap = scaled(self.root, 8)
        holder = ttk.Frame(self.content, name="strips")
        holder.pack(side="top", fill="x")
        self.strips = holder
        ttk.Frame(holder, height=1).pack()  # lets the holder shrink when both strips are gone
        self.banner = ttk.Label(
            holder, name="banner", bootstyle="inverse-warning", padding=(2 * gap, gap), justify="left", anchor="w"
        )
        self.notice = ttk.Frame(holder, name="notice")
        self.notice_label = ttk.Label(self.notice, name="text", padding=(2 * gap, gap), justify="left", anchor="w")
        self.notice_label.pack(side="left", fill="x", expand=True)
        close = ttk.Button(
            self.notice, name="dismiss", text="Dismiss", bootstyle="secondary-link", command=self.dismiss_notice
        )
        close.pack(side="right", padx=gap)

    def _make_foot(self, gap: int) -> None:
        foot = ttk.Frame(self.content, name="foot", padding=(gap, gap // 3))
        foot.pack(side="bottom", fill="x")
        self.allowed_label = ttk.Label(foot, name="allowed", bootstyle="secondary")
        self.allowed_label.pack(side="left")
        self.counters = ttk.Label(foot, name="counters", bootstyle="secondary")
        self.counters.pack(side="right")

    def button(self, master: tk.Misc, text: str, command: Callable[[], Any], **options: Any) -> ttk.Button:
        """A button with a mnemonic in the main window."""
        options.setdefault("bootstyle", "secondary-outline")
        made = mnemonic_button(master, text, command, **options)
        bind_mnemonic(self.root, text, made)
        return made

    def _make_menu(self) -> None:
        bar = ttk.Menu(self.root, tearoff=False)
        self.root.configure(menu=bar)
        self._menu(
            bar,
            "&File",
            ("&Add cases …", "Ctrl+O", self.add_cases),
            ("Add f&older …", "", self.add_folder),
            ("&Submit list to server", "Ctrl+Return", self.submit_to_server),
            None,
            ("&Report …", "Ctrl+R", self.create_report),
            ("Another &grid …", "", self.choose_grid),
            None,
            ("&Quit", "Ctrl+Q", self.exit_program),
        )
        self._menu(
            bar,
            "&Cases",
            ("&Refresh now", "F5", self.refresh_my_cases),
            ("&Cancel", "Del", self.cancel_selected),
            ("R&etry", "", self.retry_selected),
            ("&Output and traceback", "", self.show_output),
            ("Show the &input", "", self.show_input),
            ("Open the results' &folder", "", self.open_results),
        )
        view = self._menu(bar, "&View", ("&Log", "Ctrl+L", self.toggle_log))
        self.theme = tk.StringVar(self.root, self.preferences.get("theme", "system"))
        view.add_separator()
        for label, value in (("As the &system", "system"), ("L&ight", "light"), ("&Dark", "dark")):
            text, place = split_mnemonic(label)
            view.add_radiobutton(
                label=text, underline=place, variable=self.theme, value=value, command=self._choose_theme
            )
        view.add_separator()
        self.size = tk.StringVar(self.root, str(self.preferences.get("scaling") or "automatic"))
        sizes = ttk.Menu(view, tearoff=False)
        for value in ("automatic", "100", "125", "150", "200"):
            label = "As the screen says" if value == "automatic" else f"{value} %"
            sizes.add_radiobutton(label=label, variable=self.size, value=value, command=self._choose_size)
        view.add_cascade(label="Size", underline=0, menu=sizes)
        self._menu(
            bar,
            "&Help",
            ("&Help", "F1", self.open_help),
            ("&Licence", "", self.open_license),
            ("&About", "", self.open_about),
        )

    def _menu(self, bar: tk.Menu, title: str, *entries: tuple[str, str, Callable[[], Any]] | None) -> tk.Menu:
        text, place = split_mnemonic(title)
        menu = ttk.Menu(bar, tearoff=False)
        bar.add_cascade(label=text, underline=place, menu=menu)
        for entry in entries:
            if entry is None:
                menu.add_separator()
                continue
            label, mark = split_mnemonic(entry[0])
            menu.add_command(label=label, underline=mark, accelerator=entry[1], command=entry[2])
        return menu

    def _bind_keys(self) -> None:
        for keys, command in (
            ("<Control-o>", self.add_cases),
            ("<Control-Return>", self.submit_to_server),
            ("<Control-r>", self.create_report),
            ("<Control-l>", self.toggle_log),
            ("<Control-q>", self.exit_program),
            ("<F5>", self.refresh_my_cases),
            ("<F1>", self.open_help),
            ("<Escape>", self.dismiss_notice),
        ):
            self.root.bind(keys, partial(self._key, command))

    def _key(self, command: Callable[[], Any], event: tk.Event) -> str:
        command()
        return "break"

    def _tab_key(self, view: tk.Misc, event: tk.Event) -> str:
        return self.show_tab(view)

    def show_tab(self, view: tk.Misc) -> str:
        self.book.select(view)
        return "break"

    # The event loop.

    def run(self) -> int:
        """Show the window until it is closed; the program's exit code."""
        self.start()
        self.refresh()
        self.root.mainloop()
        return self.exit_code

    def call(
        self,
        lane: Lane,
        function: Callable[..., Any],
        *arguments: Any,
        then: Callable[[Any], Any] = lambda value: None,
        failed: Callable[[Exception], Any] | None = None,
        **options: Any,
    ) -> None:
        """Call `function` beside the event loop; `then` or `failed` is called here with what came of it."""
        number = lane.do(function, *arguments, **options)
        self._calls[number] = (then, failed or self._show_failure)

    def refresh(self) -> None:
        """Refresh the window at regular intervals: take a bounded batch of events, then draw what changed."""
        if self.close_asked():
            self.close_asked = lambda: False
            self.close_now()
        more = False
        try:
            more = self._handle_batch()
            if self._gone:
                return
            self._answer_asks()
            self._look_if_due()
            self._draw()
        except Exception:  # one mistake must not leave a window that is deaf
            log.exception("A refresh of the window failed; it goes on")
        if not self._gone:
            self._after = self.root.after(10 if more else config.gui_refresh_interval, self.refresh)

    def _handle_batch(self) -> bool:
        """Whether there are more events than may be handled at once."""
        deadline = clock.monotonic() + seconds_at_once
        for _ in range(events_at_once):
            try:
                self.handle_next_event()
            except queue.Empty:
                return False
            if clock.monotonic() > deadline or self._gone:
                break
        return True

    def handle_next_event(self) -> None:
        """Handle the next event of the queue; raises `queue.Empty` if there is none."""
        event = self.event_queue.get_nowait()
        if event.get("type") == "call done":
            then, failed = self._calls.pop(event["call"], (lambda value: None, self._log_failure))
            if event["error"] is None:
                then(event["value"])
            else:
                failed(event["error"])
        else:
            self.state.handle(event)

    def _answer_asks(self) -> None:
        asks, self.state.asks = self.state.asks, []
        for ask in asks:
            getattr(self, f"_asked_{ask[0]}")(*ask[1:])

    def _asked_populate(self) -> None:
        self.populate()

    def _asked_exit(self) -> None:
        self.close_now()

    def _asked_box(self, message: str) -> None:
        Question(self.root, "News", message, [("&OK", True, "primary")], lambda value: None, icon="info-circle")

    def _asked_critical(self, message: str) -> None:
        self.exit_code = 2
        self.splash.work(False)
        Question(
            self.root,
            "The program ends",
            message,
            [("&Quit", True, "danger")],
            lambda value: self.close_now(),
            icon="exclamation-octagon",
            name="critical",
        )

    def _asked_news(self) -> None:
        from gridcompute.machine import desktop

        self.root.bell()
        words = self.state.news.words()
        self.short.do(desktop.notify, config.program_name, words)

    def _asked_terminate(self, count: int) -> None:
        if self._question is not None and self._question.winfo_exists():
            return
        runs = "runs" if count == 1 else "run"
        self._question = Question(
            self.root,
            "Terminate?",
            f"No process is lent any more, but {texts.number(count, 'case')} still {runs} here, paused.\n\n"
            "Terminate them? The grid gives them to other machines. If you keep them they stay paused and go on when "
            "you raise the number again.",
            [("&Terminate", True, "danger"), ("&Keep paused", False, "primary")],
            lambda yes: self._with_server("answer", bool(yes)),
            name="terminate",
        )

    def _draw(self) -> None:
        if self.root.title() != self.state.title:
            self.root.title(self.state.title)
        if self.state.phase != "ready" or not self.views:
            self.splash.show()
            return
        self._draw_frame()
        current = self.book.nametowidget(self.book.select())
        current.show()
        self.lending.show()
        self.log.show()
        if self.progress_window is not None and self.state.progress is not None:
            told = self.state.progress
            fraction = told.value / told.maximum if told.maximum else None
            self.progress_window.update_to(told.text, fraction, told.detail)

    def _show_everything(self) -> None:
        self.state.stale = True
        self._draw()

    def _draw_frame(self) -> None:
        current = self.state
        set_text(self.grid_label, texts.short(current.grid_name, 58))
        allowed = ", ".join(current.allowed) or "no application"
        set_text(self.allowed_label, f"This computer ({current.machine}) may process: {allowed}")
        set_text(self.counters, f"My cases: {current.to_process:,} to process, {current.to_receive:,} to receive")
        _strip(self.banner, self.banner, current.banner)
        notice = current.notice
        _strip(self.notice, self.notice_label, notice.text if notice else "")
        if notice:
            quiet = "inverse-dark" if self.root.theme_mode == "dark" else "inverse-light"
            self.notice_label.configure(bootstyle="inverse-danger" if notice.level == "error" else quiet)
        width = max(300, self.strips.winfo_width() - scaled(self.root, 130))
        for label in (self.banner, self.notice_label):
            if int(str(label.cget("wraplength") or 0)) != width:
                label.configure(wraplength=width)
        for view, title in self.tabs:
            number = self._count_for(view)
            text = f"{title} ({number:,})" if number else title
            if self.book.tab(view, "text") != text:
                self.book.tab(view, text=text)

    def _count_for(self, view: Any) -> int:
        if view is self.my_cases:
            return len(self.state.my_cases)
        if view is self.my_processes:
            return len(self.state.processes)
        if view is self.send_cases:
            return len(self.state.of_kind(state.READY))
        return 0

    # Connecting.

    def start(self) -> None:
        """Connect beside the event loop; the splash says what is tried."""
        self.state.phase = "connecting"
        self.state.progress = None
        self.splash.begin("Connecting to the grid …")
        self.call(self.long, self._connect, then=self._connected, failed=self._not_connected)

    def _connect(self) -> dict[str, Any]:
        """In the lane: make a Server, connect it, start its daemons."""
        if self.server is None:
            self.link_server(self._new_server(self.event_queue, self._lent))
        server = self.server
        assert server is not None
        server.open()
        self.own_server.start_for(server.server_path, server.settings)
        server.connect()
        server.watched = True
        server.lending_rules = self.rules.document()
        server.create_daemons()
        server.create_doorbell()
        return self._read_applications()

    def _read_applications(self) -> dict[str, Any]:
        """In the lane: what the grid offers."""
        server = self.server
        assert server is not None
        with_send = server.applications_with_send()
        return {
            "grid": f"{server.server_path}  ·  {server.settings['user group']}, instance {server.settings['instance']}",
            "machine": server.machine,
            "user": server.party.user,
            "applications": {name: server.description(name) for name in sorted(with_send)},
            "allowed": sorted(server.software_allowed_to_run & set(server.applications_with_process())),
        }

    def link_server(self, server: Server) -> None:
        """Associate the window with a Server."""
        self.server = server

    def _connected(self, offered: dict[str, Any]) -> None:
        self._take_offer(offered)
        self.state.leave_trouble("window")
        self.event_queue.put({"type": "populate"})
        self.state.say("info", f"Connected to {offered['grid']}.")
        self._restore_lending()

    def _take_offer(self, offered: dict[str, Any]) -> None:
        current = self.state
        current.grid_name, current.machine, current.user = offered["grid"], offered["machine"], offered["user"]
        current.applications, current.allowed = offered["applications"], offered["allowed"]
        if self.application.get() not in current.applications:
            self.application.set(next(iter(current.applications), ""))

    def _restore_lending(self) -> None:
        """The number of the last time; 0 at the first start."""
        number = self.preferences.get("processes", 0)
        self.dedicated_process.set(str(number if isinstance(number, int) else 0))
        self.lend()

    def _not_connected(self, error: Exception) -> None:
        if isinstance(error, NoGridError) and not isinstance(error, FolderMissing):
            self.state.phase = "choosing"
            self.splash.choose()
        elif isinstance(error, VersionRefused | AlreadyRunning):
            self.event_queue.put({"type": "critical", "message": str(error)})
        else:
            self._log_failure(error)
            passing = isinstance(error, DatabaseAway | ShareAway | FolderMissing)
            pause = self._retries.next() if passing else 15.0
            self.splash.trouble(str(error), pause)

    def try_again(self) -> None:
        self.start()

    # Choosing a grid.

    def choose_grid(self) -> None:
        """Let the user choose another grid; the present one stays until that."""
        if self._fixed_grid:
            self.warning("The grid was named when the program was started: start it without that to choose another.")
            return
        self.content.pack_forget()
        self.splash.pack(fill="both", expand=True)
        self.state.phase = "choosing"
        self.splash.choose(back=True)

    def back_to_grid(self) -> None:
        if self.server is not None:
            self.populate()

    def join_grid(self, folder: Path) -> None:
        """Use the grid with this shared folder, and remember it."""
        self._change_grid("Looking at the shared folder …", self._remember_grid, folder)

    def create_grid(self, wanted: NewGrid) -> None:
        """Make a grid, start its server where this computer is it, and use it."""
        self._change_grid("Making the grid …", self._make_new_grid, wanted, False)

    def try_demo(self) -> None:
        """Use a small grid on this computer alone, made at the first time."""
        self._change_grid("Starting the demo grid …", self._make_demo)

    def _change_grid(self, text: str, function: Callable[..., None], *arguments: Any) -> None:
        self.splash.begin(text)
        self.call(
            self.long,
            self._leave_grid_for,
            function,
            *arguments,
            then=lambda value: self.start(),
            failed=self._grid_refused,
        )

    def _leave_grid_for(self, function: Callable[..., None], *arguments: Any) -> None:
        """In the lane: only when the new grid is there is the present one left."""
        function(*arguments)
        if self.server is not None:
            self.server.close()
            self.server = None

    def _grid_refused(self, error: Exception) -> None:
        self._log_failure(error)
        self.splash.choose(_plain(error), back=self.server is not None)

    def _remember_grid(self, folder: Path) -> None:
        from gridcompute.server import check_grid

        check_grid(folder)
        self.preferences = self.home.preferences.update(**{"shared folder": str(folder)})

    def _make_new_grid(self, wanted: NewGrid, alone: bool) -> None:
        machine = self.state.machine or self._machine_name()
        if alone or not wanted.address:
            self.own_server.make(wanted, self._make_grid, machine, alone=alone)
        else:
            self._make_grid(
                wanted.folder,
                mongodb_server=wanted.address,
                user_group=wanted.user_group,
                password=wanted.password,
                machine=machine,
            )
        self._remember_grid(wanted.folder)

    def _make_demo(self) -> None:
        wanted = demo_grid(self.home)
        if wanted.folder.is_dir():
            self._remember_grid(wanted.folder)
        else:
            self._make_new_grid(wanted, True)

    @staticmethod
    def _machine_name() -> str:
        from gridcompute.server import machine_name

        return machine_name()

    # What the buttons do: sending.

    def choose_application(self) -> None:
        self._remember(application=self.application.get())
        self.send_cases.show()

    def _ask_files(self) -> Sequence[str]:
        """The file dialog, alone here so that a test can answer it."""
        return self.root.tk.splitlist(
            filedialog.askopenfilename(
                parent=self.root,
                title="Add cases",
                multiple=True,  # type: ignore[call-arg]
                initialdir=self.preferences.get("folder") or str(Path.home()),
            )
        )

    def _ask_folder(self) -> str:
        return filedialog.askdirectory(parent=self.root, title="Add a folder", mustexist=True)

    def add_cases(self) -> None:
        """Let the user select files, and add the cases that the application makes of them."""
        if not self._may_add():
            return
        files = self._ask_files()
        if files:
            self._remember(folder=str(Path(files[0]).parent))
            self.add_files(files)

    def add_folder(self) -> None:
        """As `add_cases` with a folder as the file selected."""
        if self._may_add():
            folder = self._ask_folder()
            if folder:
                self.add_files([folder])

    def _may_add(self) -> bool:
        if self.state.phase != "ready" or not self.application.get():
            return False
        self.show_tab(self.send_cases)
        return self.progress_window is None

    def add_files(self, files: Sequence[str]) -> None:
        """Run send.py on each file beside the event loop; one that fails stands in the list with the reason."""
        if not self._may_add() or self.server is None:
            return
        application = self.application.get()
        self.create_progress_window("determinate", f"Making cases of {application} …", len(files), unit="files")
        self.call(self.long, self._add, list(files), application, then=self._added, failed=self._long_failed)

    def _add(self, files: list[str], application: str) -> list[tuple[str, Exception]]:
        """In the lane: the cases come as events, the files that failed are returned."""
        assert self.server is not None
        self.server.scan_applications()
        failed: list[tuple[str, Exception]] = []
        for number, file in enumerate(files):
            if not self._keep_running:
                break
            self.event_queue.put({"type": "change progress", "value": number, "text": file})
            _, errors = self.server.select_cases([file], application, self.is_wanted)
            failed += [(file, error) for error in errors]
        return failed

    def _added(self, failed: list[tuple[str, Exception]]) -> None:
        self.close_progress()
        for file, error in failed:
            said = _plain(error)
            self.state.add_failed(self.application.get(), file, said.partition(f"{file}: ")[2] or said)
            self._log_failure(error)

    def remove_selected(self) -> None:
        """Remove the selected cases from the list."""
        self.state.remove_sends([row["id"] for row in self.state.sends.chosen])

    def remove_submitted(self) -> None:
        self.state.remove_sends([row["id"] for row in self.state.of_kind(state.SUBMITTED, state.FAILED)])

    def submit_to_server(self) -> None:
        """Send all cases of the list that are not submitted yet, after a question."""
        ready = self.state.of_kind(state.READY)
        if not ready or self.progress_window is not None or self.state.phase != "ready":
            return
        size = texts.size(sum(row["size"] for row in ready))
        names = sorted({row["application"] for row in ready})
        Question(
            self.root,
            "Submit",
            f"Submit {texts.number(len(ready), 'case')} of {' and '.join(names)} ({size}) to the grid?",
            [("&Cancel", None, "secondary"), ("&Submit", True, "success")],
            lambda yes: self._submit(names) if yes else None,
            icon="send",
            name="confirm",
        )

    def _submit(self, applications: list[str]) -> None:
        application = applications[0]
        cases = self.state.begin_submit(application)
        self.create_progress_window("determinate", f"Submitting {texts.number(len(cases), 'case')} …")
        self.call(
            self.long,
            self._send,
            cases,
            application,
            self._priority(),
            then=lambda result: self._submitted(result, applications[1:]),
            failed=self._submit_failed,
        )

    def _send(self, cases: list[list[str]], application: str, priority: int) -> Any:
        assert self.server is not None
        return self.server.submit_to_server(cases, application, self.is_wanted, priority=priority)

    def _priority(self) -> int:
        try:
            return max(0, min(100, int(self.priority.get())))
        except ValueError:
            return config.default_priority

    def _submitted(self, result: Any, others: list[str]) -> None:
        self.close_progress()
        number = self.state.end_submit(result.errors, stopped=result.stopped)
        self.state.say("info", f"{texts.number(number, 'case')} submitted.")
        if result.errors:
            self.state.say("error", f"{texts.number(len(result.errors), 'case')} not submitted: {result.errors[0][1]}")
        self.state.stale = True
        if others and not result.stopped:
            self._submit(others)

    def _submit_failed(self, error: Exception) -> None:
        self.close_progress()
        self.state.end_submit([], stopped=False)
        self._show_failure(error)

    def _long_failed(self, error: Exception) -> None:
        self.close_progress()
        self._show_failure(error)

    # The progress window.

    def is_wanted(self) -> bool:
        """Whether the user still wants what the progress window shows. Any thread may ask."""
        return self._keep_running

    def create_progress_window(
        self, progress_mode: str, progress_text: str, progress_max: float = 0, *, unit: str = ""
    ) -> None:
        """Show how far something is, with a way to stop it; events change it afterwards."""
        self._keep_running = True
        self.state.progress = state.Progress(
            progress_text, progress_max if progress_mode == "determinate" else 0, unit=unit
        )
        self.progress_window = ProgressWindow(self.root, progress_text, self._stop_work)

    def _stop_work(self) -> None:
        self._keep_running = False

    def close_progress(self) -> None:
        self.state.progress = None
        if self.progress_window is not None:
            self.progress_window.finish()
            self.progress_window = None

    # What the buttons do: my cases.

    def _look_if_due(self) -> None:
        """Read my cases anew when something changed, and now and then anyway."""
        now = clock.monotonic()
        if self.server is None or self.state.phase != "ready" or self._looking:
            return
        due = self._next_look if self.state.stale else self._next_look + look_interval
        if now >= due:
            self._look()

    def _look(self) -> None:
        assert self.server is not None
        self._looking, self.state.stale = True, False
        began = clock.monotonic()
        self.call(
            self.short,
            self.server.look,
            then=lambda look: self._looked(began, lambda: self.state.take_look(look)),
            failed=lambda error: self._looked(began, lambda: self._look_failed(error)),
        )

    def _looked(self, began: float, take: Callable[[], None]) -> None:
        now = clock.monotonic()
        self._looking = False
        self.state.leave_trouble("look")
        self._next_look = now + max(look_pause, min(look_share * (now - began), look_interval))
        take()

    def _look_failed(self, error: Exception) -> None:
        self.state.look_failed(str(error))
        if isinstance(error, DatabaseAway):
            self.state.enter_trouble("look", "database away", str(error))
        else:
            self._log_failure(error)

    def look_at_grid(self) -> None:
        """Read who is there and what they finished, for the tab *Grid*."""
        if self.server is not None and not self._looking_at_grid:
            self._looking_at_grid = True
            self.call(self.short, self.server.look_at_grid, then=self._looked_at_grid, failed=self._grid_not_read)

    def _looked_at_grid(self, look: dict[str, Any]) -> None:
        self._looking_at_grid = False
        self.state.grid.take(look)

    def _grid_not_read(self, error: Exception) -> None:
        self._looking_at_grid = False
        self._look_failed(error)

    def refresh_my_cases(self) -> None:
        """Read my cases now."""
        if self.state.phase == "ready":
            self.state.refresh_state = "refreshing …"
            self._next_look, self.state.stale = 0.0, True

    def cancel_selected(self) -> None:
        """Cancel the selected cases, after a question."""
        rows = [
            row
            for row in self.state.my_cases.chosen
            if texts.kind(row["status"]) in ("to process", "processing", "processed", "error")
        ]
        if rows:
            Question(
                self.root,
                "Cancel cases",
                f"Cancel {texts.number(len(rows), 'case')}? What runs of them is ended. They can be retried later.",
                [("&Keep", None, "secondary"), ("&Cancel them", True, "danger")],
                lambda yes: self._on_each("cancel", rows) if yes else None,
                name="confirm",
            )

    def retry_selected(self) -> None:
        """Try the selected failed or cancelled cases again."""
        self._on_each(
            "retry", [r for r in self.state.my_cases.chosen if texts.kind(r["status"]) in ("error", "cancelled")]
        )

    def give_up_selected(self) -> None:
        """Remove the archives of the selected failed or cancelled cases."""
        self._on_each(
            "remove", [r for r in self.state.my_cases.chosen if texts.kind(r["status"]) in ("error", "cancelled")]
        )

    def _on_each(self, what: str, rows: Sequence[dict[str, Any]]) -> None:
        ids = [row["id"] for row in rows]
        if ids and self.server is not None:
            self.call(self.short, self._do_each, what, ids, then=self._done_each)

    def _do_each(self, what: str, ids: list[str]) -> list[str]:
        """In the lane: what could not be done, in words."""
        complaints = []
        for case_id in ids:
            try:
                getattr(self.server, what)(case_id)
            except DatabaseAway:
                raise
            except GridComputeError as exc:
                complaints.append(str(exc))
        return complaints

    def _done_each(self, complaints: list[str]) -> None:
        self.refresh_my_cases()
        if complaints:
            more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
            self.state.say("error", complaints[0] + more)

    def _one_chosen(self) -> dict[str, Any] | None:
        rows = self.state.my_cases.chosen
        return rows[0] if rows else None

    def show_output(self) -> None:
        """What the application of the selected case printed, and its traceback."""
        row = self._one_chosen()
        if row is not None and self.server is not None:
            self.call(self.short, self.server.case_log, row["id"], then=self._show_case)

    def _show_case(self, case: Any) -> None:
        pages = help_texts.case_pages(case)
        Reading(self.root, f"Case {str(case.id)[-8:]} of {case.application}", pages, fixed=True, name="output")

    def show_input(self) -> None:
        """Open the folder on the share where the input of my cases lies."""
        if self.server is not None:
            self.call(self.short, self.server.own_folder, "Cases", then=self._open_folder)

    def open_results(self) -> None:
        """Open the folder on the share where results wait to be received."""
        if self.server is not None:
            self.call(self.short, self.server.own_folder, "Results", then=self._open_folder)

    def _open_folder(self, folder: Path) -> None:
        from gridcompute.machine import desktop

        self.call(self.short, desktop.open_folder, folder)

    # What the buttons do: my processes.

    def wanted_processes(self) -> int:
        try:
            return max(0, min(self.most_processes, int(self.dedicated_process.get())))
        except ValueError:
            return self.state.lent

    def lend(self) -> None:
        """Tell the process daemon the number of processes: raised it starts or resumes, lowered it pauses."""
        number = self.wanted_processes()
        self.dedicated_process.set(str(number))
        self.state.lent = self._lent.value = number
        if self.preferences.get("processes") != number:
            self._remember(processes=number)
        self._with_server("notify_number_process_daemon")

    def act_on_processes(self, what: str) -> None:
        """`what` is pause, resume or terminate: the selected running cases."""
        for row in self.state.processes.chosen:
            self._with_server("act_on_process", what, row["id"])

    def stop_processes(self) -> None:
        """Give the selected running cases back to the grid, after a question."""
        number = len(self.state.processes.chosen)
        if number:
            Question(
                self.root,
                "Stop cases",
                f"Stop {texts.number(number, 'case')} on this computer? The grid gives them to another machine.",
                [("&Keep running", None, "secondary"), ("&Stop", True, "danger")],
                lambda yes: self.act_on_processes("terminate") if yes else None,
                name="confirm",
            )

    def open_rules(self) -> None:
        """Let the user set when this computer lends."""
        RulesWindow(self.root, self.rules, self._set_rules)

    def _set_rules(self, rules: Rules) -> None:
        self.rules = rules
        self._remember(rules=rules.document())
        self._with_server("set_lending_rules", rules.document())

    def rules_in_words(self) -> str:
        words = self.rules.words()
        return f"Lends only: {words}" if words else ""

    def _with_server(self, what: str, *arguments: Any) -> None:
        if self.server is not None and self.state.phase in ("ready", "connecting"):
            self.call(self.short, getattr(self.server, what), *arguments)

    # Report, log, help.

    def _ask_report(self) -> str:
        return filedialog.asksaveasfilename(
            parent=self.root,
            title="Report of all cases of the group",
            defaultextension=".xlsx",
            initialfile="GridCompute report.xlsx",
            filetypes=[("Excel workbook", ".xlsx"), ("CSV", ".csv"), ("Text with tabs", ".txt")],
        )

    def create_report(self) -> None:
        """Write one row for each case of the group to a file that the user names."""
        if self.state.phase != "ready" or self.progress_window is not None or self.server is None:
            return
        file = self._ask_report()
        if file:
            self.create_progress_window("indeterminate", f"Writing the report {Path(file).name} …")
            self.call(
                self.long,
                self.server.create_report,
                file,
                self.is_wanted,
                then=lambda number: self._reported(file, number),
                failed=self._long_failed,
            )

    def _reported(self, file: str, number: int) -> None:
        self.close_progress()
        self.info(f"{texts.number(number, 'case')} written to {file}")

    def toggle_log(self) -> None:
        self.log.toggle()

    def open_help(self) -> None:
        """Say how the program is used."""
        Reading(self.root, "Help", help_texts.help_pages(self.home.log_path), name="help")

    def open_license(self) -> None:
        """Show the licences of the program and of all that it ships with."""
        self.call(
            self.short,
            help_texts.licence_pages,
            then=lambda pages: Reading(self.root, "Licence", pages, name="licence"),
        )

    def open_about(self) -> None:
        """Say which program this is."""
        Reading(
            self.root,
            "About",
            [("About", help_texts.about(self.state.grid_name, self.home.path))],
            name="about",
            size=(70, 14),
        )

    def info(self, msg: str) -> None:
        """Say something in the window."""
        self.state.say("info", msg)

    def warning(self, msg: str) -> None:
        """Warn in the window."""
        self.state.say("warning", msg)

    def error(self, msg: str) -> None:
        """Tell an error in the window."""
        log.error("%s", msg)
        self.state.say("error", msg)

    def askokcancel(self, msg: str) -> bool:
        """Ask a question and wait for the answer; the window goes on drawing meanwhile."""
        answer = tk.BooleanVar(self.root, False)
        asked = Question(
            self.root,
            "Question",
            msg,
            [("&Cancel", False, "secondary"), ("&OK", True, "primary")],
            lambda yes: answer.set(bool(yes)),
        )
        self.root.wait_window(asked)
        return answer.get()

    def dismiss_notice(self) -> None:
        self.state.notice = None

    def _show_failure(self, error: Exception) -> None:
        self._log_failure(error)
        if isinstance(error, GridComputeError):
            self.state.say("error", str(error))
        else:
            self.state.say(
                "error", f"An error of the program itself: {_plain(error)}. The log has it: {self.home.log_path}"
            )

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, GridComputeError):
            log.error("%s", error)
            if getattr(error, "traceback", ""):
                log.error("%s", error.traceback)  # type: ignore[attr-defined]
        else:
            log.error("A call of the window failed", exc_info=error)

    def _callback_failed(self, kind: Any, exc: BaseException, trace: Any) -> None:
        log.error("A callback of the window failed", exc_info=(kind, exc, trace))
        self.state.say("error", f"An error of the program itself: {exc}. The log has it: {self.home.log_path}")

    # Preferences and looks.

    def _remember(self, **changes: Any) -> None:
        self.preferences.update(changes)
        self.short.do(self.home.preferences.update, **changes)

    def _choose_theme(self) -> None:
        self._remember(theme=self.theme.get())
        self.set_theme(self.theme.get())

    def _choose_size(self) -> None:
        chosen = self.size.get()
        self._remember(scaling=None if chosen == "automatic" else int(chosen), geometry="")
        self.info("The size changes when the window is opened the next time.")

    def set_theme(self, wanted: str, root: ttk.App | None = None) -> None:
        """`wanted` is light, dark or system."""
        if wanted == "system":
            (root or self.root).after(0, self._follow_system)
        else:
            self._use_mode(wanted, root)

    def _follow_system(self) -> None:
        """Take the desktop's choice, now and when it changes."""
        if self._gone or self.preferences.get("theme", "system") != "system":
            return
        from gridcompute.machine import desktop

        self.root.after(30_000, self._follow_system)
        self.call(self.short, desktop.prefers_dark, then=lambda dark: self._use_mode("dark" if dark else "light"))

    def _use_mode(self, mode: str, root: ttk.App | None = None) -> None:
        window = root or self.root
        if window.theme_mode != mode:
            window.theme_mode = mode
            if root is None:
                self._style()
                for view in self.views:
                    for part in (view, getattr(view, "table", None)):
                        getattr(part, "restyle", lambda: None)()

    # Front and back.

    def _came_to_front(self) -> None:
        self.state.come_to_front()

    def _left_front(self, event: tk.Event) -> None:
        if not str(self.root.tk.call("focus", "-displayof", ".")):
            self.state.in_front = False

    def raise_window(self) -> None:
        """Bring the window to the front: the program was started a second time."""
        self.root.deiconify()
        self.root.lift()
        self.root.attributes("-topmost", True)
        self.root.after(300, lambda: self.root.attributes("-topmost", False))
        self.root.focus_force()

    def watch_for_second_start(self, note: Path) -> None:
        """A second start leaves this file; taking it away is the answer."""
        if note.exists():
            with contextlib.suppress(OSError):
                note.unlink()
            self.raise_window()
        self.root.after(250, lambda: self.watch_for_second_start(note))

    # Closing.

    def what_runs(self) -> str:
        """What closing would end, in words; empty if nothing."""
        parts = []
        if len(self.state.processes):
            parts.append(f"{texts.number(len(self.state.processes), 'case')} of the grid running on this computer")
        if self.state.of_kind(state.SENDING):
            parts.append("a submission")
        if self.own_server.running and "demo" not in self.state.grid_name:
            parts.append("the database of the grid, which this computer serves")
        return " and ".join(parts)

    def exit_program(self) -> None:
        """Close the window; asks first while something runs."""
        running = self.what_runs()
        if not running or self.state.phase == "closing":
            self.close_now()
            return
        Question(
            self.root,
            "Quit",
            f"Quit and end {running}? Unfinished cases go back to the grid, nothing is lost.",
            [("&Stay", None, "secondary"), ("&Quit", True, "danger")],
            lambda yes: self.close_now() if yes else None,
            name="quit",
        )

    def close_now(self) -> None:
        """Close without asking: daemons give back what they hold, then the window goes."""
        if self.state.phase == "closing":
            return
        self.state.phase = "closing"
        self._keep_running = False
        self._remember_geometry()
        self.close_progress()
        if self.views:
            self.content.pack_forget()
            self.splash.pack(fill="both", expand=True)
            self.root.tk.call(str(self.root), "configure", "-menu", "")
        self.splash.begin("Closing: unfinished cases go back to the grid …")
        closing = Lane("closing", self.event_queue)  # a lane may be waiting for a database that is away
        self.call(closing, self._close_server, then=lambda value: self._destroy(), failed=lambda exc: self._destroy())

    def _close_server(self) -> None:
        if self.server is not None:
            self.server.close()
        self.own_server.stop()

    def _remember_geometry(self) -> None:
        with contextlib.suppress(tk.TclError, OSError):
            if self.root.state() == "normal":
                self.home.preferences.update(geometry=self.root.geometry())

    def _destroy(self) -> None:
        self._gone = True
        for pending in self.root.tk.splitlist(self.root.tk.call("after", "info")):
            self.root.tk.call("after", "cancel", pending)
        self.root.quit()
        self.root.destroy()


def _strip(frame: tk.Widget, label: ttk.Label, text: str) -> None:
    """Show a strip with this text, or nothing for none."""
    set_text(label, text)
    if text and not frame.winfo_manager():
        frame.pack(fill="x", pady=(6, 0))
    elif not text and frame.winfo_manager():
        frame.pack_forget()


def _plain(error: Exception) -> str:
    return str(error) if isinstance(error, GridComputeError) else f"{type(error).__name__}: {error}"


def _fits_screen(geometry: str, root: tk.Tk) -> bool:
    """Whether a remembered ``WxH+X+Y`` lies on the present screen."""
    try:
        size, left, top = geometry.replace("-", "+-").split("+", 2)[0], *geometry.split("+")[1:3]
        width, height = (int(part) for part in size.split("x"))
        x, y = int(left), int(top)
    except (ValueError, IndexError):
        return False
    return x >= 0 and y >= 0 and x + width <= root.winfo_screenwidth() and y + height <= root.winfo_screenheight()
