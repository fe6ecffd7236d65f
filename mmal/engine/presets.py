"""Short names of scorers and selectors for a single query.

Every preset works with a config that has no ``active_learning`` block. The
tables of docs/getting_started.md are those below.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .schema import nearest


@dataclass(frozen=True)
class Preset:
    """What a short name stands for.

    Args:
        config (dict): The config of the scorer or selector.
        says (str): What it takes first, and what it needs.
        unlabelled (dict): Keys that replace others of ``config`` where no
            labelled images are named.
        scorer (str, optional): For selectors: the scorer that goes with it
            if none is named; :data:`DEFAULT_SCORER` when None.
    """
    config: dict
    says: str
    unlabelled: dict = field(default_factory=dict)
    scorer: Optional[str] = None

    def build(self, labelled: bool) -> dict:
        """The config to use.

        Args:
            labelled (bool): Whether labelled images are named.
        """
        return {**self.config, **({} if labelled else self.unlabelled)}


# Works with one- and two-stage detectors and needs no labels: all it reads
# are detections.
DEFAULT_SCORER = 'detection-entropy'
DEFAULT_SELECTOR = 'top'

SCORERS = {
    'detection-entropy': Preset(
        dict(type='mmal.DetectionEntropyScorer'),
        'uncertain detections, summed: any detector'),
    'entropy': Preset(
        dict(type='mmal.EntropyScorer'),
        'high entropy of the classes, averaged over all anchors'),
    'margin': Preset(
        dict(type='mmal.MarginScorer'),
        'two classes about as probable, averaged over all anchors'),
    'least-confidence': Preset(
        dict(type='mmal.LeastConfidenceScorer'),
        'improbable best class, averaged over all anchors'),
    'gradient': Preset(
        dict(type='mmal.GradScorer'),
        'large gradients if predictions were labels'),
    'localization-stability': Preset(
        dict(type='mmal.LocalizationStabilityScorer'),
        'boxes that move under noise; six more passes over each image'),
    # the config of a detector need not have validation data on this machine:
    # the labelled images stand for it
    'isal': Preset(
        dict(type='mmal.InfluenceScorer', reference='labelled'),
        'images that would lower the loss of the labelled ones most; needs '
        '`--labelled`'),
    'random': Preset(
        dict(type='mmal.RandomScorer'), 'any image, drawn at random'),
}

SELECTORS = {
    'top': Preset(dict(type='mmal.TopN'), 'the highest scores'),
    'core-set': Preset(
        dict(type='mmal.CoreSet'),
        'images unlike all labelled ones and each other; scores do not count',
        unlabelled=dict(start='random'),
        scorer='random'),
    'k-means': Preset(
        dict(type='mmal.KMeansPlusPlus'),
        'k-means++: high scores, unlike each other'),
}


def preset(kind: str, name: str, labelled: bool) -> dict:
    """The config of a scorer or selector by its short name.

    Args:
        kind (str): 'scorer' or 'selector'.
        name (str): A short name, or the registered name of a class, such as
            ``mmal.GradScorer``.
        labelled (bool): Whether labelled images are named.

    Returns:
        dict: The config.

    Raises:
        ValueError: If there is none of this name.
    """
    table = dict(scorer=SCORERS, selector=SELECTORS)[kind]
    if name in table:
        return table[name].build(labelled)
    if '.' in name:
        return dict(type=name)
    raise ValueError(f'--{kind} {name} is no short name. '
                     f'{nearest(name, table)} The name of a class begins '
                     "with its scope, e.g. 'mmal.'.")
