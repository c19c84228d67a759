"""The catalogue: proposals, runs, acquisitions, jobs and files, in SQLite or PostgreSQL."""

from forebay.store.catalog.catalog import Catalog
from forebay.store.catalog.opening import open_catalog
from forebay.store.catalog.rebuild import Rebuilt
from forebay.store.catalog.values import Acquisition, File, Proposal, Run

__all__ = ["Acquisition", "Catalog", "File", "Proposal", "Rebuilt", "Run", "open_catalog"]
