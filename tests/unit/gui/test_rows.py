"""Lists: filter, sort, selection, without a screen."""

from __future__ import annotations

from gridcompute.gui.columns import MY_CASES
from gridcompute.gui.rows import Column, Rows


def make_rows(*names: str) -> Rows:
    columns = [
        Column("name", "Name", 100, lambda row: row["name"]),
        Column("size", "Size", 50, lambda row: str(row["size"]), lambda row: row["size"]),
    ]
    rows = Rows(columns, kind=lambda row: row.get("kind", ""))
    rows.replace({"id": str(place), "name": name, "size": len(name)} for place, name in enumerate(names))
    return rows


def names(rows: Rows) -> list[str]:
    return [rows[one]["name"] for one in rows.order]


def test_sorted_by_a_column_both_ways_and_as_they_came():
    rows = make_rows("pear", "Apple", "fig")
    rows.sort_by("name")
    assert names(rows) == ["Apple", "fig", "pear"]
    rows.sort_by("name")
    assert names(rows) == ["pear", "fig", "Apple"]
    rows.sort_by("name")
    assert names(rows) == ["pear", "Apple", "fig"]
    rows.sort_by("size")
    assert names(rows) == ["fig", "pear", "Apple"]


def test_rows_with_nothing_in_the_column_come_last_both_ways():
    rows = make_rows("b", "", "a")
    rows.sort_by("name")
    assert names(rows) == ["a", "b", ""]
    rows.sort_by("name")
    assert names(rows) == ["b", "a", ""]


def test_the_filter_finds_rows_with_all_words():
    rows = make_rows("load case 1", "load case 2", "other")
    rows.search("CASE 2")
    assert names(rows) == ["load case 2"] and rows.is_filtered
    rows.search("")
    assert len(rows.order) == 3


def test_only_rows_of_a_kind():
    rows = make_rows("a", "b")
    rows.change("0", kind="error")
    rows.show_only(["error"])
    assert names(rows) == ["a"]


def test_a_selection_by_click_shift_and_ctrl():
    rows = make_rows("a", "b", "c", "d")
    rows.select("1")
    rows.select("3", extend=True)
    assert [row["name"] for row in rows.chosen] == ["b", "c", "d"]
    rows.select("2", toggle=True)
    assert rows.selected == {"1", "3"}
    rows.select("0")
    assert rows.selected == {"0"}


def test_the_selection_stays_with_its_rows_when_they_are_read_anew():
    rows = make_rows("a", "b", "c")
    rows.select_all()
    rows.replace([{"id": "1", "name": "b", "size": 1}, {"id": "9", "name": "new", "size": 3}])
    assert [row["name"] for row in rows.chosen] == ["b"]


def test_what_the_filter_hides_is_not_acted_on():
    rows = make_rows("a", "b")
    rows.select_all()
    rows.search("a")
    assert [row["name"] for row in rows.chosen] == ["a"]


def test_the_cursor_moves_and_stays_in_the_list():
    rows = make_rows("a", "b", "c")
    assert rows.move_cursor(1) == 0
    assert rows.move_cursor(1) == 1
    assert rows.move_cursor(10) == 2
    assert rows.move_cursor(-1, extend=True) == 1 and len(rows.selected) == 2
    assert make_rows().move_cursor(1) == -1


def test_the_version_tells_every_change():
    rows = make_rows("a")
    seen = rows.version
    rows.change("0", name="b")
    assert rows.version > seen
    assert rows.change("gone", name="b") is False


def many_cases() -> Rows:
    rows = Rows(MY_CASES)
    case = {"status": "to process", "processor": "", "attempt": 0, "priority": 50, "submitted": None, "count": 1}
    case |= {"started": None, "returned": None, "progress": None, "application": "Counter"}
    rows.replace({**case, "id": str(n), "position": n, "files": [f"case {n % 7919}.inp"]} for n in range(10_000))
    return rows


def test_a_long_list_is_sorted_and_filtered_by_a_thread_and_stays_as_it_was_until_then():
    rows = many_cases()
    rows.beside = True
    before = rows.order
    assert rows.arranging() is None
    rows.search("case 77")
    rows.sort_by("case")
    assert rows.order == before
    work = rows.arranging()
    assert rows.arranging() is None  # it is under way
    found = work()
    rows.remove("77")
    seen = rows.version
    rows.take_order(found)
    assert rows.version > seen and "77" not in rows.order
    alike = many_cases()
    alike.search("case 77")
    alike.sort_by("case")
    assert rows.order == [one for one in alike.order if one != "77"] and 100 < len(rows.order) < 10_000
    assert len(rows.arranging()()[1]) == len(rows.order)  # asked for anew, since a row went meanwhile


def test_an_order_that_nobody_asks_for_any_more_is_left_aside():
    rows = many_cases()
    rows.beside = True
    rows.search("case 77")
    assert rows.is_filtered and rows.order == []  # nothing was shown before
    work = rows.arranging()
    rows.search("")
    assert len(rows.order) == 10_000
    rows.take_order(work())
    assert len(rows.order) == 10_000
