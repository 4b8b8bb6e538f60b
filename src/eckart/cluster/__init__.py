"""Work on a Dask cluster: its workers, and passes over rows that lie in parts on them."""

from eckart.cluster.connection import Cluster, connected, has_client

__all__ = ["Cluster", "connected", "has_client"]
