"""MLflow, a projection of the store: written by the driver alone, never read back, rebuilt by ``bench sync``."""

from bench.track.client import tracking_uri as tracking_uri
from bench.track.mirror import Mirror as Mirror
from bench.track.mirror import sync as sync
from bench.track.searches import mirror_searches as mirror_searches
from bench.track.server import ui as ui
