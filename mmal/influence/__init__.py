r"""Influence of an image on a loss, over the parameters of chosen layers.

The influence of a new image z on the loss of a reference set R is
:math:`-s_{test} \cdot \nabla l(z)` with :math:`s_{test} = (H + \lambda I)^{-1}
\nabla l(R)` (ISAL, eq. 2). Plain torch; knows nothing of detectors.

1. :class:`LayerRecorder` captures the chosen layers' inputs and outputs while
   a batch passes through the model in eval mode, once.
2. The caller computes one loss per image from the model's outputs, each as
   the image has it alone.
3. :func:`mean_gradient` sums up v over the reference set.
4. :class:`GaussNewton` or :class:`ExactHessian` stands for H over the labelled
   images, a solver of :mod:`.solvers` gives s_test.
5. :func:`image_products` gives :math:`s_{test} \cdot \nabla l_i` for each
   image of each batch of the pool.

Costs, for N images, d chosen parameters, P positions (over all levels) an
image, and layers of c_in inputs, C outputs and k x k kernels, F = P c_in C k^2
(one application of a layer to an image):

===========================  =======================  =======================
step                         time                     memory beyond the model
===========================  =======================  =======================
forward, losses              once an image            graph of losses, a batch
image_products               1 loss backward a        P (c_in + C) an image
                             batch, F an image        of one batch
... of a fallback layer      1 loss backward an       d
                             image
per_image_gradients          F an image               B d
GradientProjection           F / C a row of the       B K a row of the smaller
                             smaller matrix,          matrix (K = c_in k k + 1)
                             an image
... in a metric               C k K^2 more an image    B d, and the blocks
GaussNewton, building        2 to 2 + sum of block    P (c_in + C) an image;
                             sizes double backwards   C k numbers at positions
                             a layer and batch        with k x k blocks
... at few positions         as above                 c_in k^2 a position
                                                      with curvature
GaussNewton, product         2 N F                    as above
ExactHessian, product        N double backwards of    graph of the gradients
                             losses and layers
Identity                     0                        d
ConjugateGradient            a product a step         4 d
MINRES                       a product a step         6 d
BlockCholesky                N P K^2 k a channel,     k K^2 a channel, twice
                             k^2 K^3 to factorise     (K = c_in k k + 1)
DefaultSolver                as BlockCholesky, or, where blocks are too large,
                             as ConjugateGradient
LiSSA                        a product a pass         3 d
===========================  =======================  =======================

:class:`CachedBatches` bounds the memory of an operator; batches beyond its
limit are made again, which costs a forward pass each time.

Example:
    >>> import torch
    >>> model = torch.nn.Linear(2, 1).eval()
    >>> recorder = LayerRecorder(model, '*')
    >>> def losses_of(x, target):
    ...     with recorder:
    ...         return (model(x)[:, 0] - target).square()
    >>> x, target = torch.randn(8, 2), torch.randn(8)
    >>> hessian = GaussNewton.from_batch(losses_of(x, target), recorder)
    >>> v = mean_gradient(losses_of(x, target), recorder)
    >>> s_test = ConjugateGradient().solve(hessian, v).x
    >>> new = losses_of(torch.randn(3, 2), torch.zeros(3))
    >>> influence = -image_products(new, recorder, s_test)
    >>> influence.shape
    torch.Size([3])
"""
from .layers import LayerRecorder, find_layers, is_affine, register_affine
from .operators import (
                        BatchedOperator,
                        CachedBatches,
                        ExactHessian,
                        ExactHessianBatch,
                        GaussNewton,
                        GaussNewtonBatch,
)
from .products import image_products, mean_gradient, per_image_gradients
from .projection import GradientProjection, product_variance
from .solvers import (
                        MINRES,
                        BaseSolver,
                        BlockCholesky,
                        ConjugateGradient,
                        DefaultSolver,
                        Identity,
                        LiSSA,
                        Solution,
                        SolverError,
)
from .step_metric import StepMetric

__all__ = [
    'BaseSolver', 'BatchedOperator', 'BlockCholesky', 'CachedBatches',
    'ConjugateGradient', 'DefaultSolver', 'ExactHessian',
    'ExactHessianBatch', 'GaussNewton', 'GaussNewtonBatch',
    'GradientProjection', 'Identity', 'LayerRecorder', 'LiSSA', 'MINRES',
    'Solution', 'SolverError', 'StepMetric', 'find_layers', 'image_products',
    'is_affine', 'mean_gradient', 'per_image_gradients', 'product_variance',
    'register_affine'
]
