"""Whether scorer, selector, committee and embedder suit each other and the
model, before any training."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from torch import nn

from mmal.models.committees import BaseCommittee
from mmal.pool import build_budget
from mmal.scoring import BaseScorer, ScoringData
from mmal.scoring.detections.predict import check_detections
from mmal.scoring.embeddings import BaseEmbedder
from mmal.scoring.embeddings.base import backbone_of
from mmal.selection import BaseSelector, Spacing
from .mmdet_schema import MmdetConfig
from .round_config import classes_of
from .schema import clip, nearest, short
from .settings import Settings

# who gives embeddings that are not of whole images
_SOURCES = {
    'detections': "set active_learning.scorer to dict(type='mmal."
                  "DifficultyCalibratedScorer') or dict(type='mmal."
                  "EntropyNMSScorer'), and no embedder.",
    'class distributions': "set active_learning.embedder to dict(type='mmal."
                           "ClassDistributionEmbedder')."}
# a message with one of them says what to change
_KEYS = ('active_learning', *MmdetConfig.model_fields)


@contextmanager
def _trying(key: str, component: Any, model: nn.Module) -> Iterator[None]:
    """Say what did not work when something is tried on the detector.

    Wrong values in ``model``, e.g. channels that do not fit, show only when a
    blank image passes through it, as any error of torch.
    """
    try:
        yield
    except ValueError as e:
        text = str(e)
        if type(e) is not ValueError or any(k in text for k in _KEYS):
            raise
        # of torch, or of a class that does not know where it stands
        raise ValueError(f'{key}: {clip(text, 800)}') from e
    except (OSError, FloatingPointError):
        raise  # names a file
    except Exception as e:
        raise ValueError(
            f'{key}, a {_name(component)}, cannot be tried on the model, a '
            f'{_name(model)}: {type(e).__name__}: {clip(str(e), 500)}. Does '
            'this model detect anything without active learning?') from e


def check_query(settings: Settings, scorer: BaseScorer,
                selector: BaseSelector, embedder: Optional[BaseEmbedder],
                model: nn.Module, data: ScoringData,
                spacing: Optional[Spacing] = None,
                expects_boxes: bool = False) -> None:
    """Check all but the committee.

    Args:
        settings (Settings): The ``active_learning`` block.
        scorer (BaseScorer): Gives scores.
        selector (BaseSelector): Reads them; learns the names of the classes.
        embedder (BaseEmbedder, optional): Gives embeddings.
        model (nn.Module): The detector, with any weights.
        data (ScoringData): The images; none are read.
        spacing (Spacing, optional): The distance that images keep.
        expects_boxes (bool): Whether the detector is asked how many boxes an
            image will have.

    Raises:
        ValueError: Naming the key.
    """
    budget = settings.budget
    if budget.targets or budget.per_class:
        names = classes_of(data.splits['unlabelled'].dataset)
        for key in ('targets', 'per_class'):
            for name in getattr(budget, key) or ():
                if name not in names:
                    raise ValueError(
                        f'active_learning.budget.{key} has {short(name)}, '
                        'which is no class of the training data. '
                        f'{nearest(name, names)}')
    if expects_boxes:
        with _trying('active_learning.budget', budget, model):
            try:
                check_detections(model)
            except ValueError as e:
                raise ValueError(
                    'active_learning.budget asks for the boxes that are '
                    f'expected on an image, but a {_name(model)} detects none '
                    f"({e}). Set budget.unit='images', and leave "
                    'budget.targets out.') from e
    with _trying('active_learning.scorer', scorer, model):
        scorer.check(model, data)
    with _trying('active_learning.selector', selector, model):
        _check_scores(settings, scorer, selector, data)
    if settings.reselects and selector.needs_labelled:
        raise ValueError(
            "active_learning.candidates is 'all', but a "
            f'{_name(selector)} that starts from the labelled images '
            'takes none of them again: their distance is 0. Set '
            "active_learning.selector.start to 'random' or 'best', or "
            "candidates to 'unlabelled'.")
    _check_embeddings(scorer, selector, embedder, model, spacing)


def _check_scores(settings: Settings, scorer: BaseScorer,
                  selector: BaseSelector, data: ScoringData) -> None:
    """Whether the scorer gives what the selector reads."""
    if selector.needs_weights and scorer.may_be_negative:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which takes '
            f'scores for weights, but those of a {_name(scorer)} may be '
            'negative: set active_learning.selector.weighted=False where it '
            'has this key, or use another scorer or selector.')
    if selector.needs_draws and build_budget(
            settings.budget.to_dict()).needs_counts and \
            'labelled' not in data.splits:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which needs to '
            'know about how many images will be drawn, but the budget is in '
            f'{settings.budget.unit} and there are no labelled images to '
            "estimate it by: name these, set budget.unit='images', or give "
            'the selector a number of images (keep_images of mmal.TwoStage, '
            'clusters of mmal.TypiClust).')
    missing = [] if scorer.gives_columns is None else [
        name for name in selector.needs_columns
        if name not in scorer.gives_columns]
    if missing:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which reads '
            f'{", ".join(missing)}, but a {_name(scorer)} gives '
            f'{", ".join(scorer.gives_columns) or "no such values"}: name '
            'parts of a mmal.CombinedScorer.')
    if selector.needs_gradients and not scorer.gives_gradients:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which reads '
            'gradients of images and their products with the gradient to '
            f'follow, but a {_name(scorer)} gives none: set '
            "active_learning.scorer to dict(type='mmal."
            "GradientEmbeddingScorer', reference='val').")
    if selector.needs_class_weights and not scorer.gives_class_weights:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which weighs '
            f'classes, but a {_name(scorer)} gives no weights of classes: set '
            "active_learning.scorer to dict(type='mmal."
            "LogisticUncertaintyScorer').")
    if not selector.needs_class_scores:
        return
    if not scorer.gives_class_scores:
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which ranks '
            f'images for each class, but a {_name(scorer)} gives one value '
            'for all classes of this detector: set active_learning.scorer to '
            'mmal.EntropyScorer or another that keeps the values of each '
            'class.')
    selector.check_classes(classes_of(data.splits['unlabelled'].dataset))


def _check_embeddings(scorer: BaseScorer, selector: BaseSelector,
                      embedder: Optional[BaseEmbedder], model: nn.Module,
                      spacing: Optional[Spacing]) -> None:
    """Whether somebody gives the embeddings that the selector reads, and
    nobody gives any that are not read."""
    compares = spacing is not None and spacing.needs_embeddings
    needed = selector.needs_embeddings or compares
    if embedder is not None:
        if not needed:
            raise ValueError(
                'active_learning.embedder is set, but a '
                f'{_name(selector)} needs no embeddings: set '
                'embedder to None, or active_learning.selector to one that '
                'does (mmal.CoreSet, mmal.KMeansPlusPlus).')
        if scorer.needs_embeddings:
            raise ValueError(
                f'active_learning.embedder is set, but {_name(scorer)} gives '
                'embeddings of its own kind: set embedder to None.')
        with _trying('active_learning.embedder', embedder, model):
            embedder.check(model)
    elif not scorer.needs_embeddings:
        if needed:
            backbone_of(model)
    source = scorer if scorer.needs_embeddings else embedder
    given = getattr(source, 'embeds', None)
    if selector.needs_embedded not in (None, given):
        raise ValueError(
            f'active_learning.selector is a {_name(selector)}, which reads '
            f'embeddings of {selector.needs_embedded}, but those of '
            f'{"the backbone" if source is None else f"a {_name(source)}"} '
            'are others: ' + _SOURCES.get(
                selector.needs_embedded,
                'name a scorer or an embedder that gives them.'))
    # distances of lists of detections mean nothing, nobody would notice
    if given == 'detections' and (
            compares or needed and selector.needs_embedded is None):
        key = 'spacing.min_distance' if compares else 'selector'
        advice = 'use max_per_group there' if compares else \
            'use one that reads these (mmal.CategoryMatching)'
        raise ValueError(
            f'active_learning.{key} compares embeddings of whole images, but '
            f'those of a {_name(source)} are lists of detections: {advice}, '
            'or another scorer.')


def check_committee(scorer: BaseScorer,
                    committee: Optional[BaseCommittee],
                    model: nn.Module,
                    in_run: bool = True) -> None:
    """Check that there is a committee if need be, and that it can work.

    Args:
        scorer (BaseScorer): Who asks the committee.
        committee (BaseCommittee, optional): The committee.
        model (nn.Module): The detector, with any weights.
        in_run (bool): Whether a run trains the members.

    Raises:
        ValueError: If it is missing, useless, or does not suit the model.
    """
    if committee is None:
        if scorer.needs_committee:
            raise ValueError(
                f'active_learning.scorer is a {_name(scorer)}, which compares '
                'several opinions, but active_learning.committee is not set: '
                "give dict(type='mmal.EnsembleCommittee', size=3) or "
                "dict(type='mmal.DropoutCommittee', passes=25).")
        return
    if not (scorer.needs_committee or scorer.uses_committee):
        raise ValueError(
            f'active_learning.committee is set, but the {_name(scorer)} never '
            'asks it: set active_learning.committee to None, or '
            'active_learning.scorer to one that does (mmal.EntropyScorer, '
            'mmal.MutualInformationScorer).')
    with _trying('active_learning.committee', committee, model):
        committee.check(model, in_run)


def _name(part) -> str:
    return type(part).__name__
