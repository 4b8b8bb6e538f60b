"""Work on a Dask cluster: its workers, and passes over rows that lie in parts on them."""

from eckart.cluster.connection import Cluster, client_of, connected, has_client
from eckart.cluster.plan import Plan, Spent
from eckart.cluster.tree import spread
from eckart.cluster.watcher import there
from eckart.cluster.work import Held, each, mapped, retried

__all__ = [
    "Cluster",
    "Held",
    "Plan",
    "Spent",
    "client_of",
    "connected",
    "each",
    "has_client",
    "mapped",
    "retried",
    "spread",
    "there",
]
