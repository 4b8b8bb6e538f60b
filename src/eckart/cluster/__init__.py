"""Work on a Dask cluster: its workers, and passes over rows that lie in parts on them."""

from eckart.cluster.connection import Cluster, connected, has_client
from eckart.cluster.plan import Plan, Spent
from eckart.cluster.work import each

__all__ = ["Cluster", "Plan", "Spent", "connected", "each", "has_client"]
