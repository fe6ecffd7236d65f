"""Several opinions on one batch of images."""
from .base import BaseCommittee, Member
from .dropout import DropoutCommittee
from .ensemble import EnsembleCommittee

__all__ = ['BaseCommittee', 'DropoutCommittee', 'EnsembleCommittee', 'Member']
