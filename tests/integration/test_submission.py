"""A submission that the share or the database cuts short leaves nothing for ever, and says what is not known."""

from __future__ import annotations

import pytest

from gridcompute.errors import ShareAway
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.home import Home
from gridcompute.server import Server
from gridcompute.submission import Submission, recover


@pytest.fixture
def server(make_grid, tmp_path):
    grid = make_grid()
    with Server(folder=str(grid.root), machine="PC-3", home=Home(tmp_path / "home of PC-3")) as made:
        made.connect()
        yield made


def test_what_cannot_be_undone_since_the_share_is_away_is_undone_at_the_next_start(server, tmp_path, monkeypatch):
    """no-orphans of the stress test: the share goes away while the archive is written."""
    share, database, journals = server.share, server.mongodb, server.home.journal
    part = share.root / "Cases" / server.party.user / "PC-3"
    part.mkdir(parents=True)

    def go_away(self, area, user, machine, stem, items, progress=None):
        (part / f"{stem}.part").write_text("half of it")
        raise ShareAway("the share is away")

    def stay_away(self, *_):
        raise ShareAway("the share is away")

    (tmp_path / "a").write_text("content")
    with monkeypatch.context() as away:
        away.setattr(SharedFolder, "prepare", go_away)
        away.setattr(SharedFolder, "remove", stay_away)
        result = Submission(share, database, server.party, journals).submit([[tmp_path / "a"]], "Copy")
    assert result.ids == [None] and list(part.iterdir())

    (sentence,) = recover(share, database, server.party, journals)

    assert "1 were not" in sentence and not list(part.iterdir()) and not list(journals.glob("submission-*"))
    assert not database.cases()


@pytest.fixture
def far_server(make_grid, make_proxy, mongod, tmp_path):
    """A server of which each call to the database goes through a proxy, and the proxy."""
    proxy = make_proxy(mongod.address)
    grid = make_grid(server=proxy.address)
    with Server(folder=str(grid.root), machine="PC-3", home=Home(tmp_path / "home of PC-3")) as made:
        yield made, proxy


def test_one_connection_that_is_cut_does_not_end_a_start(far_server):
    server, proxy = far_server
    cut = proxy.swallow("createIndexes")

    server.connect()

    assert cut.happened.is_set() and server.mongodb.cases() == []


def test_an_insert_without_an_answer_is_neither_called_submitted_nor_not(far_server, tmp_path):
    server, proxy = far_server
    server.connect()
    (tmp_path / "a").write_text("content")
    proxy.swallow("insert", times=1000)
    submission = Submission(server.share, server.mongodb, server.party, server.home.journal)

    result = submission.submit([[tmp_path / "a"]], "Copy", patience=0.5)

    assert result.ids == [None] and result.doubtful == [0]
    ((index, error),) = result.errors
    assert index == 0 and str(error).startswith("It is not known whether this case was submitted")

    (sentence,) = recover(server.share, server.mongodb, server.party, server.home.journal)

    assert sentence.startswith("All 1 cases") and len(server.mongodb.cases()) == 1
