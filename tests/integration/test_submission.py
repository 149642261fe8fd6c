"""A submission that the share cuts short leaves nothing for ever."""

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
