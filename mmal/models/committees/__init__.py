"""Several opinions on one batch of images."""
from .base import BaseCommittee, BatchLike, Member
from .dropout import DropoutCommittee
from .ensemble import EnsembleCommittee

__all__ = [
    'BaseCommittee', 'BatchLike', 'DropoutCommittee', 'EnsembleCommittee',
    'Member'
]
