"""Mirror the run folder in MLflow, which is never read back.

Only the driver writes to MLflow. ``bench sync`` rebuilds the runs of trials and searches from the run folder; tables,
reports and the chains of a sequence are added only by the command that makes them.
"""

from bench.track.chain_runs import ChainRun as ChainRun
from bench.track.client import tracking_uri as tracking_uri
from bench.track.experiment import Result as Result
from bench.track.mirror import Mirror as Mirror
from bench.track.mirror import sync as sync
from bench.track.moved import ARTIFACTS as ARTIFACTS
from bench.track.searches import mirror_searches as mirror_searches
from bench.track.server import ui as ui
