"""GUI: the root window, the polling of the event queue, what the buttons do, and closing.

Only the main thread touches Tk. Every call on the `Server` runs in one of two lanes beside it; what comes back, and
what the daemons tell, are events that `refresh` takes from one queue, a bounded batch at a time.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import queue
import tkinter as tk
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import clock, config
from gridcompute.errors import (
    UsageError,
)
from gridcompute.gui import state, texts
from gridcompute.gui.acting import Acting
from gridcompute.gui.connecting import Connecting
from gridcompute.gui.dialogs import (
    ProgressWindow,
    Question,
    bind_mnemonic,
    mnemonic_button,
    split_mnemonic,
)
from gridcompute.gui.environments import EnvironmentsWindow
from gridcompute.gui.face import Shared
from gridcompute.gui.first_run import MakeGrid, OwnServer
from gridcompute.gui.grid_tab import GridTab
from gridcompute.gui.log_pane import LogPane
from gridcompute.gui.looks import Looks
from gridcompute.gui.my_cases import MyCases, enable_entries, set_text
from gridcompute.gui.my_processes import Lending, MyProcesses
from gridcompute.gui.send_cases import SendCases
from gridcompute.gui.sending import Sending
from gridcompute.gui.splash import Splash
from gridcompute.gui.state import State
from gridcompute.gui.table import scaled
from gridcompute.gui.telling import Telling
from gridcompute.gui.worker import Lane
from gridcompute.machine.home import Home
from gridcompute.machine.lending import Rules

if TYPE_CHECKING:
    from gridcompute.server import Server

log = logging.getLogger(__name__)

events_at_once = 400
seconds_at_once = 0.02
"""Bounds of what `refresh` handles before it lets the window draw."""


def _cannot_make_grid(*_: Any, **__: Any) -> None:
    raise UsageError("This program cannot make a grid: use the command gridcompute init.")


class GUI(Connecting, Sending, Acting, Telling, Looks):
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
        self._lists = Lane("lists", self.event_queue)  # never waits for a database, as the others may
        for rows in (self.state.sends, self.state.my_cases):
            rows.beside = True
        self._lent = Shared()
        self._looking = self._looking_at_grid = False
        self._next_look = self._next_offer = 0.0
        self._look_seconds = 0.0
        self._keep_running = True
        self.rules = Rules.of(self.preferences.get("rules"))
        self._retries = clock.Backoff(1.0, 15.0)
        self._after: str | None = None
        self._icons: list[tk.PhotoImage] = []
        self._shown_icons: dict[int, tk.PhotoImage] = {}
        self._gone = False
        self._question: Question | None = None
        self.progress_window: ProgressWindow | None = None
        self.environments_window: EnvironmentsWindow | None = None
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
            gc.collect()
            gc.freeze()  # what stands here stays: a collection need not walk through it while somebody scrolls
        self.splash.work(False)  # a bar that nobody sees would wake the computer 70 times a second, all day
        self.splash.pack_forget()
        self.content.pack(fill="both", expand=True)
        self._show_everything()
        self.send_cases.app_combobox.focus_set()  # what had the keyboard is gone with the first screen

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
        icon = self.icon(42)
        if icon is not None:
            ttk.Label(head, image=icon).pack(side="left", padx=(0, scaled(self.root, 10)))
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
        self._notice_style = ""
        self.notice_label = ttk.Label(self.notice, name="text", padding=(2 * gap, gap), justify="left", anchor="w")
        self.notice_label.pack(side="left", fill="x", expand=True)
        self.dismiss = ttk.Label(self.notice, name="dismiss", text="Dismiss  ✕", padding=(2 * gap, gap), cursor="hand2")
        self.dismiss.bind("<Button-1>", lambda event: self.dismiss_notice())
        self.dismiss.pack(side="right", fill="y", before=self.notice_label)

    def _make_foot(self, gap: int) -> None:
        foot = ttk.Frame(self.content, name="foot", padding=(gap, gap // 3))
        foot.pack(side="bottom", fill="x")
        self.counters = ttk.Label(foot, name="counters", bootstyle="secondary")
        self.counters.pack(side="right")  # before the names, which may be long
        self.allowed_label = ttk.Label(foot, name="allowed", bootstyle="secondary")
        self.allowed_label.pack(side="left")

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
            ("Remove s&ubmitted and failed ones", "", self.remove_submitted),
            None,
            ("&Report …", "Ctrl+R", self.create_report),
            ("Another &grid …", "", self.choose_grid),
            None,
            ("&Quit", "Ctrl+Q", self.exit_program),
            possible=self.send_cases.possible,
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
            ("Re&move from the grid", "", self.give_up_selected),
            possible=self.my_cases.possible,
        )
        self._menu(
            bar,
            "&Processes",
            ("&Pause", "", partial(self.act_on_processes, "pause")),
            ("&Resume", "", partial(self.act_on_processes, "resume")),
            ("&Stop", "Del", self.stop_processes),
            None,
            ("&Lending rules …", "", self.open_rules),
            ("&Environments …", "", self.open_environments),
            possible=self.my_processes.possible,
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

    def _menu(
        self,
        bar: tk.Menu,
        title: str,
        *entries: tuple[str, str, Callable[[], Any]] | None,
        possible: Callable[[], dict[str, bool]] = dict,
    ) -> tk.Menu:
        """`possible` tells, when the menu is opened, which of its entries can be done."""
        text, place = split_mnemonic(title)
        menu = ttk.Menu(bar, tearoff=False, postcommand=lambda: enable_entries(menu, possible()))
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
            ("<Escape>", self.escape),
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

    def shown_tab(self) -> str:
        """The title of the tab in front, empty before the window is filled."""
        front = self.book.select() if self.views else ""
        return next((title for view, title in getattr(self, "tabs", ()) if str(view) == front), "")

    def toggle_log(self) -> None:
        self.log.toggle()

    def escape(self) -> None:
        """Put the notice away, or leave the choice of another grid."""
        if self.state.phase == "choosing":
            self.back_to_grid()
        else:
            self.dismiss_notice()

    # The event loop.

    def run(self) -> int:
        """Show the window until it is closed; the program's exit code."""
        self.start()
        self.refresh()
        self.root.mainloop()
        return self.exit_code

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
            self._tell_news()
            self._look_if_due()
            self._read_offer_if_due()
            self._read_environments_if_due()
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

    def _tell_news(self) -> None:
        words = self.state.news_to_tell(clock.monotonic())
        if words:
            from gridcompute.machine import desktop

            self.root.bell()
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
        self._arrange_lists()
        self.lending.show()
        self.log.show()
        if self.environments_window is not None and self.environments_window.winfo_exists():
            self.environments_window.draw()
        if self.progress_window is not None and self.state.progress is not None:
            told = self.state.progress
            fraction = told.value / told.maximum if told.maximum else None
            self.progress_window.update_to(told.text, fraction, told.detail)

    def _arrange_lists(self) -> None:
        """Let long lists be sorted and filtered beside the event loop."""
        for rows in (self.state.sends, self.state.my_cases):
            work = rows.arranging()
            if work is not None:
                self.call(self._lists, work, then=rows.take_order)

    def _show_everything(self) -> None:
        self.state.stale = True
        self._draw()

    def _draw_frame(self) -> None:
        current = self.state
        set_text(self.grid_label, texts.short(current.grid_name, 52))
        allowed = texts.some_of(current.allowed) or "no application"
        set_text(self.allowed_label, f"This computer ({texts.short(current.machine, 30)}) may process: {allowed}")
        set_text(self.counters, f"My cases: {current.to_process:,} to process, {current.to_receive:,} to receive")
        _strip(self.banner, self.banner, current.banner)
        notice = current.notice
        _strip(self.notice, self.notice_label, texts.first_sentence(notice.text, 300) if notice else "")
        if notice:
            quiet = "inverse-dark" if self.root.theme_mode == "dark" else "inverse-light"
            style = "inverse-danger" if notice.level == "error" else quiet
            if style != self._notice_style:
                self._notice_style = style
                for label in (self.notice_label, self.dismiss):
                    label.configure(bootstyle=style)
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
            return self.state.unreceived
        if view is self.my_processes:
            return len(self.state.processes)
        if view is self.send_cases:
            return len(self.state.of_kind(state.READY))
        return 0

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

    def exit_program(self) -> None:
        """Close the window; asks first while something runs, or would be lost."""
        serves = self.own_server.running and not self.state.grid_path.startswith(str(self.home.path))
        question = self.state.quit_question(serves)
        if not question or self.state.phase == "closing":
            self.close_now()
            return
        Question(
            self.root,
            "Quit",
            question,
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
