"""Linear operators that are means over images."""
from typing import Callable, List, Optional, Protocol, Sequence

from ..vectors import ParamVector, ParamVectors, as_vectors, axpy


class OperatorBatch(Protocol):
    """What an operator keeps of one batch of images.

    Attributes:
        num_images (int): B.
        nbytes (int | None): Memory it holds; None if it holds a graph, which
            is measured. Others have ``map_tensors(function)``, which gives a
            copy with the function's values for the tensors.
    """
    num_images: int
    nbytes: Optional[int]

    def product(self, vectors: List[ParamVector]) -> List[ParamVector]:
        """The products **summed** over the images of the batch."""


class BatchedOperator:
    r"""A symmetric operator :math:`\frac1N \sum_i H_i` over N images.

    Args:
        batches (Sequence[OperatorBatch]): The images' parts by batch, a list
            or a :class:`CachedBatches`.

    Attributes:
        keep_blocks (bool): Whether an operator that forms blocks keeps them,
            for systems with other right-hand sides. Default: False.

    Raises:
        ValueError: There is no batch.
    """

    keep_blocks = False

    def __init__(self, batches: Sequence[OperatorBatch]) -> None:
        if len(batches) == 0:
            raise ValueError('an operator needs at least one batch of images; '
                             'is the labelled set empty?')
        self.batches = batches
        self._num_images: Optional[int] = None

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return len(self.batches)

    @property
    def num_images(self) -> int:
        """N; the first use passes through all batches, unless product did."""
        if self._num_images is None:
            self._num_images = sum(self.batches[i].num_images
                                   for i in range(self.num_batches))
        return self._num_images

    def batch_product(self, index: int, vectors: ParamVectors) -> ParamVectors:
        """Product of one batch, summed over its images.

        Args:
            index (int): The batch.
            vectors (ParamVectors): One parameter vector or a list of M.

        Returns:
            ParamVectors: As many vectors as given.
        """
        vectors, single = as_vectors(vectors)
        sums = self.batches[index].product(vectors)
        return sums[0] if single else sums

    def product(self, vectors: ParamVectors) -> ParamVectors:
        """Product with the mean over all images, one pass over the batches.

        Args:
            vectors (ParamVectors): One parameter vector or a list of M.

        Returns:
            ParamVectors: As many vectors as given.
        """
        vectors, single = as_vectors(vectors)
        means = self.mean(lambda batch: batch.product(vectors))
        return means[0] if single else means

    def diagonal(self) -> Optional[ParamVector]:
        """The diagonal of the mean, None where an operator has none."""
        return None

    def mean(
        self, sums_of: Callable[[OperatorBatch], List[ParamVector]]
    ) -> List[ParamVector]:
        """A mean over all images, from sums over those of each batch.

        Args:
            sums_of (Callable): Gives a batch's sums, as many for each batch.

        Returns:
            list[ParamVector]: The sums of all batches, divided by N.
        """
        totals, images = None, 0
        for index in range(self.num_batches):
            batch = self.batches[index]
            images += batch.num_images
            sums = sums_of(batch)
            totals = sums if totals is None else [
                axpy(1., s, t) for s, t in zip(sums, totals)
            ]
        # A batch may take a forward pass to make: its images are counted
        # while it is there.
        self._num_images = images
        return [[t / images for t in v] for v in totals]
