"""Statistics of learning curves."""
from .learning_curve import area_under_curve, cost_needed

__all__ = ['area_under_curve', 'cost_needed']
