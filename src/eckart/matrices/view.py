"""What a matrix that is made of another while its products are made has from that other."""

from eckart.arrays import DType
from eckart.matrices.protocol import Matrix
from eckart.namespaces import Namespace


class View:
    """Shape, dtype, namespace, bytes and passes of a source.

    Args:
        source: W, of shape (rows, columns).
    """

    def __init__(self, source: Matrix) -> None:
        self.source = source

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.source.shape

    @property
    def dtype(self) -> DType:
        """That of W."""
        return self.source.dtype

    @property
    def namespace(self) -> Namespace:
        """That of W."""
        return self.source.namespace

    @property
    def nbytes(self) -> int:
        """Bytes of W."""
        return self.source.nbytes

    @property
    def passes(self) -> int:
        """How often W has been read."""
        return self.source.passes
