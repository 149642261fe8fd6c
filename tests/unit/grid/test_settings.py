"""settings.txt, Software_Per_Machine.csv and application.txt as people really save them."""

from __future__ import annotations

import codecs
import csv
import io
import pickle

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gridcompute import config
from gridcompute.errors import SettingsError
from gridcompute.grid.passwords import password_of
from gridcompute.grid.settings import (
    ApplicationSettings,
    Settings,
    all_processes,
    decode,
    format_settings,
    parse_application_settings,
    parse_settings,
    parse_software,
    software_of,
)

where = "settings.txt in //srv/grid/Settings"
documented = {
    "mongodb server": "Machine123:888",
    "user group": "ENGINEERING DEPARTMENT",
    "password": "secret",
    "instance": "0",
}


def text_of(**changes: str | None) -> str:
    lines = {**documented, **{name.replace("_", " "): value for name, value in changes.items()}}
    return "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)


def parse(text: str) -> Settings:
    return parse_settings(text, where)


# --- settings.txt ----------------------------------------------------------------------------------------------------


def test_the_documented_file_gives_the_documented_parameters():
    settings = parse(text_of())

    assert settings.documented() == documented
    assert settings.heartbeat_frequency == config.db_heartbeat_frequency
    assert settings.heartbeat_dead == config.db_heartbeat_dead
    assert settings.attempts == config.attempts
    assert settings.retention_days == config.retention_days


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param(lambda text: codecs.BOM_UTF8 + text.encode(), id="byte order mark"),
        pytest.param(lambda text: text.encode("utf-16"), id="Notepad's Unicode"),
        pytest.param(lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"), id="big endian"),
        pytest.param(lambda text: text.encode("cp1252"), id="Windows-1252"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="Windows line ends"),
        pytest.param(lambda text: text.replace("\n", "\r").encode(), id="old Macintosh line ends"),
        pytest.param(lambda text: text.rstrip("\n").encode(), id="no end of the last line"),
        pytest.param(lambda text: text.replace("\n", "\n\n # a comment: yes\n\t\n").encode(), id="blank and comments"),
        pytest.param(lambda text: text.replace(": ", "  :\t ").replace("\n", " \n").encode(), id="spaces"),
        pytest.param(lambda text: text.replace("mongodb server", "MongoDB  Server").encode(), id="letter case"),
        pytest.param(lambda text: text.replace("Zürich", '"Zürich"').encode(), id="quotes"),
    ],
)
def test_a_file_reads_the_same_however_it_was_saved(saved):
    text = text_of(user_group="Zürich")

    assert parse(decode(saved(text), where)) == parse(text)


def test_a_file_that_is_no_text_is_refused():
    with pytest.raises(SettingsError, match="no text file"):
        decode(b"PK\3\4\0\0\0\0", where)


@pytest.mark.parametrize("password", ["a:b", "#a#b", "a # b", "pass word:/@%", '"', 'a"b"', "ä€", "password: x"])
def test_a_password_may_hold_any_sign(password):
    assert parse(text_of(password=password)).password == password


def test_quotes_around_a_whole_value_keep_its_spaces():
    assert parse(text_of(password='" secret "')).password == " secret "
    assert parse(text_of(password='""secret""')).password == '"secret"'


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1:888", "a:1,b:2,c:3", "mongodb://a:1,b:2/?replicaSet=r", "mongodb+srv://grid.example.com/?tls=true"],
)
def test_the_address_of_the_database_is_taken_as_it_stands(address):
    assert parse(text_of(mongodb_server=address)).mongodb_server == address


def test_a_missing_password_comes_from_elsewhere(monkeypatch):
    settings = parse(text_of(password=None))
    assert settings.password == ""
    monkeypatch.setenv("GRIDCOMPUTE_PASSWORD", "from the variable")
    assert password_of(settings) == "from the variable"
    assert password_of(parse(text_of(password="from the file"))) == "from the file"


@pytest.mark.parametrize("name", [name for name in documented if name != "password"])
def test_a_missing_parameter_is_named_with_what_to_write(name):
    with pytest.raises(SettingsError) as caught:
        parse(text_of(**{name: None}))

    assert where in str(caught.value)
    assert f"'{name}': it is missing" in str(caught.value)
    assert f"Write for example '{name}: " in str(caught.value)


def test_an_empty_parameter_is_named_with_its_line():
    with pytest.raises(SettingsError, match="'password' in line 3: it has no value"):
        parse(text_of(password=""))


@pytest.mark.parametrize("line", ["this is no parameter", ": value", "password"])
def test_a_line_that_is_no_parameter_is_named_by_its_number(line):
    with pytest.raises(SettingsError, match=r"line 6 is no parameter.*Write 'parameter name: value'"):
        parse("\n" + text_of() + line + "\n")


def test_a_parameter_that_stands_there_twice_must_say_the_same():
    assert parse(text_of() + "instance: 0\n").instance == "0"
    with pytest.raises(SettingsError, match="'Instance' stands there twice, in the lines 4 and 5"):
        parse(text_of() + "Instance: 1\n")


def test_a_parameter_of_a_newer_version_is_told_and_no_error():
    settings = parse(text_of() + "Shiny New: 1\n")

    assert settings.unknown == ("Shiny New",)


def test_optional_parameters_are_numbers():
    settings = parse(text_of(heartbeat_frequency="2", heartbeat_dead="7,5", attempts="5", retention_days="0.5"))

    assert (settings.heartbeat_frequency, settings.heartbeat_dead) == (2.0, 7.5)
    assert (settings.attempts, settings.retention_days) == (5, 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("heartbeat dead", value) for value in ("soon", "0", "-1", "nan", "inf")),
        *(("attempts", value) for value in ("0", "2.5", "many")),
        ("retention days", "-3"),
    ],
)
def test_an_optional_parameter_out_of_its_bounds_is_named_with_its_line(name, value):
    with pytest.raises(SettingsError, match=rf"'{name}' in line 5: .*'{value}'"):
        parse(text_of(**{name: value}))


def test_the_lease_is_never_longer_than_the_limit():
    assert parse(text_of(heartbeat_dead="100000")).heartbeat_dead == config.db_heartbeat_dead_limit


def test_a_short_lease_shortens_the_heartbeat_with_it():
    assert parse(text_of(heartbeat_dead="3")).heartbeat_frequency == 0.75


def test_a_heartbeat_of_more_than_a_third_of_the_lease_is_refused():
    assert parse(text_of(heartbeat_frequency="20")).heartbeat_frequency == 20
    with pytest.raises(SettingsError, match="more than a third of the 60 s of 'heartbeat dead'"):
        parse(text_of(heartbeat_frequency="20.1"))
    with pytest.raises(SettingsError, match="more than a third of the 120 s"):
        parse(text_of(heartbeat_frequency="50", heartbeat_dead="1000"))


def test_the_password_is_in_no_repr():
    assert "hush" not in repr(parse(text_of(password="hush")))


def test_no_message_tells_the_password():
    with pytest.raises(SettingsError) as caught:
        parse(text_of(password="hush") + "Password: hush2\n")

    assert "hush" not in str(caught.value)


values = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)
numbers = st.floats(min_value=1e-3, max_value=1e6)


@given(
    st.builds(
        Settings,
        mongodb_server=values,
        user_group=values,
        password=values,
        instance=values,
        heartbeat_frequency=st.floats(min_value=0.01, max_value=1),
        heartbeat_dead=st.floats(min_value=4, max_value=config.db_heartbeat_dead_limit),
        attempts=st.integers(min_value=1, max_value=1000),
        retention_days=numbers,
    )
)
def test_what_is_written_reads_back(settings):
    assert parse(decode(format_settings(settings).encode(), where)) == settings


def test_a_new_file_has_the_documented_lines_alone():
    assert format_settings(parse(text_of())) == text_of()


@pytest.mark.parametrize("password", ["", "a\nb", "a\rb", "\0"])
def test_what_no_line_can_hold_is_not_written(password):
    with pytest.raises(SettingsError, match="Cannot write 'password'"):
        format_settings(Settings("a:1", "group", password, "0"))


@given(st.binary() | st.text().map(str.encode))
def test_any_file_gives_settings_or_a_sentence(data):
    try:
        parse(decode(data, where))
    except SettingsError as exc:
        assert where in str(exc)


# --- Software_Per_Machine.csv ----------------------------------------------------------------------------------------

table_text = """Machine name,Software 1,Software 2,Software 3
Machine 1,1,1,1
Machine 2,0,1,0
Machine 3,0,0,0
"""


def software(text: str, machine: str = "Machine 2") -> set[str] | None:
    found = software_of(parse_software(text, "Software_Per_Machine.csv"), machine)
    return None if found is None else set(found)


def test_the_documented_table_says_who_may_process_what():
    assert software(table_text, "Machine 1") == {"Software 1", "Software 2", "Software 3"}
    assert software(table_text, "Machine 2") == {"Software 2"}
    assert software(table_text, "Machine 3") == set()
    assert software(table_text, "Machine 4") is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(table_text.replace(",", ";"), id="Excel's semicolons"),
        pytest.param("sep=;\n" + table_text.replace(",", ";"), id="Excel's own line"),
        pytest.param(table_text.replace(",", "\t"), id="tabs"),
        pytest.param(table_text.replace(",", " , "), id="spaces"),
        pytest.param("\ufeff" + table_text.replace("\n", "\r\n"), id="Windows"),
        pytest.param('\n,,,\n# Who, "has what?\n' + table_text.replace("\n", "\n\n"), id="blank lines and comments"),
        pytest.param(table_text.replace("Machine 2,0,1,0", '"Machine 2","0","1","0"'), id="quotes"),
        pytest.param(table_text.replace("Machine name", "MACHINE  NAME"), id="letter case of the column"),
        pytest.param(table_text.replace("Machine 2", "mACHINE 2"), id="letter case of the machine"),
        pytest.param(table_text.replace("Machine 2,0,1,0", "Machine 2,0,1"), id="short row"),
        pytest.param(table_text.replace("Machine 2,0,1,0", "Machine 2,0,1,0,,,1"), id="long row"),
        pytest.param(table_text.replace("0,1,0", "yes,1,01"), id="only a 1 counts"),
        pytest.param(table_text.replace("0,1,0", "x,1,2"), id="other numbers"),
        pytest.param(table_text.replace("Machine name,", '"Machine\nname",'), id="line break in a heading"),
        pytest.param("Machine name;Software 2;a,b,c\nMachine 2;1;0\n", id="commas in a heading"),
        pytest.param("Software 2,Machine name\n1,Machine 2\n", id="column elsewhere"),
    ],
)
def test_a_table_reads_the_same_however_it_was_saved(text):
    assert software(text) == {"Software 2"}


@pytest.mark.parametrize("text", ["", "\n", "Machine,Software 1\nMachine 1,1\n"])
def test_a_table_without_the_column_says_what_to_write(text):
    with pytest.raises(SettingsError, match=r"no column 'Machine name'. Write a first row"):
        parse_software(text, "the table")


def test_a_machine_that_stands_there_twice_stops_itself_alone():
    for second in ("Machine 1", "MACHINE 1"):
        table = pickle.loads(pickle.dumps(parse_software(f"{table_text}{second},0,0,1\n", "the table")))

        assert software_of(table, "Machine 2") == {"Software 2"}
        with pytest.raises(SettingsError, match=r"the machine 'machine 1' has two rows there. Remove one"):
            software_of(table, "machine 1")


def test_a_quote_that_is_never_closed_is_named_by_its_line():
    with pytest.raises(SettingsError, match="a quote in line 3 is never closed"):
        parse_software(table_text.replace("Machine 2", '"Machine 2'), "the table")


cells = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip)
names = cells.filter(lambda name: name and name[0] != "#" and name.split() == name.split(" "))


@given(
    st.lists(names, min_size=1, max_size=4, unique_by=str.casefold),
    st.lists(names, min_size=1, max_size=4, unique_by=lambda name: name.casefold()),
    st.data(),
    st.sampled_from(",;\t"),
)
def test_a_table_reads_back_as_it_was_meant(applications, machines, data, separator):
    assume("machine name" not in " ".join(applications + machines).casefold())
    assume(len({name.lower() for name in machines}) == len(machines))
    ticked = data.draw(st.lists(st.sets(st.sampled_from(applications)), min_size=len(machines), max_size=len(machines)))
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["Machine name", *applications])
    for machine, mine in zip(machines, ticked, strict=True):
        writer.writerow([machine, *("1" if application in mine else "" for application in applications)])

    table = parse_software(decode(file.getvalue().encode(), "the table"), "the table")

    assert [software_of(table, machine) for machine in machines] == ticked


@given(st.text())
def test_any_table_gives_values_or_a_sentence(text):
    try:
        software_of(parse_software("Machine name,A\n" + text, "the table"), "PC")
    except SettingsError as exc:
        assert "the table" in str(exc)


# --- application.txt -------------------------------------------------------------------------------------------------


def test_settings_of_an_application_are_all_optional():
    assert parse_application_settings("# nothing\n", "application.txt") == ApplicationSettings()
    found = parse_application_settings("Time limit: 3600\nattempts: 1\ndescription: FEM: static\n", "application.txt")
    assert found == ApplicationSettings(time_limit=3600.0, attempts=1, description="FEM: static")


@pytest.mark.parametrize(("said", "number"), [("4", 4), ("All", all_processes), ("", 1)])
def test_an_application_says_how_many_processes_a_case_takes(said, number):
    assert parse_application_settings(f"processes: {said}\n", "application.txt").processes == number


@pytest.mark.parametrize("said", ["0", "-2", "1.5", "every"])
def test_processes_are_a_whole_number_or_all(said):
    with pytest.raises(SettingsError, match="'processes' in line 1: it is neither a whole number from 1 nor 'all'"):
        parse_application_settings(f"processes: {said}\n", "application.txt")


def test_a_time_limit_is_a_number_of_seconds():
    with pytest.raises(SettingsError, match="'time limit' in line 1: it is no number above 0: '1 h'"):
        parse_application_settings("time limit: 1 h\n", "application.txt of CalculiX")
