"""Each study analysed as its site wants it: with the systems, the rules and the destinations of that site alone.

The site of a study is what its row says. One that the settings no longer name gets a report that says so, which is kept
and sent to nobody: whose it is cannot be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from node.core.job import Job
from node.core.settings import Settings
from node.core.site import UnknownSite, of_nobody, of_site
from node.db import intake as study_rows
from node.db.session import Database

Analyser = Callable[[Job], object]


@dataclass(frozen=True)
class BySite:
    """Call it with a claimed job. make: what analyses by the settings of one site, or, where a sentence says why not,
    refuses with it."""

    database: Database
    settings: Settings
    make: Callable[[Settings, str], Analyser]
    _made: dict[str, Analyser] = field(default_factory=dict)

    def __call__(self, job: Job) -> None:
        with self.database.read() as session:
            site = study_rows.site_of(session, job.subject_id)
        if site not in self._made:
            self._made[site] = self._make(site)
        self._made[site](job)

    def _make(self, site: str) -> Analyser:
        try:
            return self.make(of_site(self.settings, site), "")
        except UnknownSite as error:
            return self.make(of_nobody(self.settings), str(error))
