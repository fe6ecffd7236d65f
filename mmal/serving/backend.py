"""What a request of Label Studio is answered.

The protocol of its ML backends, as Label Studio 1.23 speaks it:

- ``GET /health`` and ``GET /``: that it is up;
- ``GET /versions``: the versions of the model, here the round it is of;
- ``POST /setup``: a project has been connected; ``schema`` is its labeling
  config. The answer is the version of the model, which decides for which
  tasks Label Studio asks;
- ``POST /predict``: ``tasks`` and ``label_config``; the answer has an entry
  for each task in ``results``. An entry without ``result`` makes no
  prediction and leaves those of the other tasks as they are;
- ``POST /webhook`` and the like: something has happened in a project.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.structures import InstanceData

from mmal.pool.formats.exchange import LabelBox, LabelImage
from mmal.pool.formats.label_studio import OUR_NAME, LabelConfig, prediction
from mmal.scoring.detections.predictions import results_of
from mmal.types import ImageId
from .refusal import Refusal
from .run_detector import RunDetector
from .task_images import TaskImages

# what is told to a backend that may train, or keep something of a project
_NOTHING_TO_DO = ('/webhook', '/train', '/delete', '/duplicate_model',
                  '/job_status')


class LabelStudioBackend:
    """Gives the boxes that a run's newest detector finds.

    Args:
        detector (RunDetector): The detector.
        score_thr (float): Boxes below it are not given, in [0, 1].
        say (callable): Takes a line for the log.
    """

    def __init__(self,
                 detector: RunDetector,
                 score_thr: float = 0.3,
                 say: Callable[[str], Any] = print) -> None:
        self.detector = detector
        self.images = TaskImages(detector.pool, detector.folder)
        self.score_thr = score_thr
        self.say = say

    def answer(self, method: str, path: str, body: Mapping) -> dict:
        """Answer a request.

        Args:
            method (str): 'GET' or 'POST'.
            path (str): Without a query; no slash at the end.
            body (dict): The json of a POST.

        Returns:
            dict: To be sent as json.

        Raises:
            Refusal: Says why, and with which status.
        """
        routes = {
            ('GET', '/'): self._health,
            ('GET', '/health'): self._health,
            ('GET', '/versions'): lambda _: dict(versions=[self.version()]),
            ('POST', '/setup'): self._setup,
            ('POST', '/predict'): self._predict,
            **{('POST', p): self._do_nothing for p in _NOTHING_TO_DO},
        }
        if (method, path) in routes:
            return routes[method, path](body)
        allowed = [m for m, p in routes if p == path]
        if allowed:
            raise Refusal(f'{path} is asked with {allowed[0]}.', 405)
        raise Refusal(f'There is no {path[:100]}, but '
                      f'{", ".join(sorted({p for _, p in routes}))}.', 404)

    def version(self) -> str:
        """What the predictions of the newest detector are marked with."""
        return _version(self.detector.newest())

    def _health(self, body: Mapping) -> dict:
        return dict(status='UP', model_class='mmal',
                    model_version=self.version())

    def _do_nothing(self, body: Mapping) -> dict:
        return dict(status='accepted', message='mmal serve does nothing with '
                    'it: rounds are trained by mmal train.')

    def _setup(self, body: Mapping) -> dict:
        config = self._config(body.get('schema'))
        left_out = [c for c in self.detector.classes
                    if c not in config.labels]
        if left_out:
            self.say('the labeling config has no label for '
                     f'{", ".join(left_out)}: boxes of these classes are '
                     'left out')
        return dict(model_version=self.version(), left_out=left_out)

    def _predict(self, body: Mapping) -> dict:
        config, tasks = self._config(body.get('label_config')), body.get(
            'tasks')
        if not isinstance(tasks, list) or not tasks:
            raise Refusal("The request has no list 'tasks'.")
        results: list[dict] = [{} for _ in tasks]
        images: dict[int, ImageId] = {}  # of the tasks that name one
        for row, task in enumerate(tasks):
            try:
                images[row] = self._image(task, config)
            except Refusal as e:
                results[row] = dict(error=str(e))
        pool = self.images.pool.images
        number, found = self.detector.detect([
            (self.images.path(i), (pool[i]['width'], pool[i]['height']))
            for i in images.values()])
        numbers: Counter[str] = Counter()
        for (row, image), detections in zip(images.items(), found):
            if isinstance(detections, str):
                results[row] = dict(error='The image is unreadable: '
                                    f'{detections}.')
                continue
            record = pool[image]
            boxes = self._boxes(detections)
            numbers.update(box.label for box in boxes)
            results[row] = prediction(
                LabelImage(record['file_name'],
                           (record['width'], record['height']), boxes),
                config, _version(number))
        drawn = sum(n for c, n in numbers.items() if c in config.labels)
        left_out = [f'{n} of {c}' for c, n in sorted(numbers.items())
                    if c not in config.labels]
        self.say(f'{_version(number)}: {drawn} boxes on {len(tasks)} images' +
                 (f'; without a label, left out: {", ".join(left_out)}'
                  if left_out else ''))
        errors = [r['error'] for r in results if 'error' in r]
        for error in errors[:10]:
            self.say(f'no prediction: {error}')
        if len(errors) == len(tasks):
            raise Refusal(errors[0])
        return dict(results=results)

    def _config(self, xml: object) -> LabelConfig:
        """The labeling config of a request, with a label of ours."""
        if not isinstance(xml, str):
            raise Refusal('The request has no labeling config.')
        try:
            config = LabelConfig.parse(xml)
        except ValueError as e:
            raise Refusal(str(e)) from e
        if not set(config.labels).intersection(self.detector.classes):
            raise Refusal(
                'none of the labels of the labeling config is a class of the '
                f'detector: {", ".join(self.detector.classes[:20])}.')
        return config

    def _image(self, task: object, config: LabelConfig) -> ImageId:
        """The image of a task, which can be read."""
        data = task.get('data') if isinstance(task, dict) else None
        if not isinstance(data, dict) or config.value not in data:
            raise Refusal(f'a task has no data.{config.value}, which the '
                          'labeling config names.')
        # requests of ours have our name beside the address, which may be the
        # photo itself
        image = self.images.named(data.get(OUR_NAME))
        if image is None:
            image = self.images.find(data[config.value])
        self.images.path(image)
        return image

    def _boxes(self, detections: InstanceData) -> list[LabelBox]:
        """As the file of a round's predictions has them, so that a request
        and the backend give the same boxes."""
        rows = results_of(detections, '', self.detector.classes)
        return [
            LabelBox(row['category_id'], tuple(row['bbox']), row['score'],
                     tuple(row['bbox_std']) if 'bbox_std' in row else None)
            for row in rows
            if row['score'] >= self.score_thr and min(row['bbox'][2:]) > 0
        ]


def _version(number: int) -> str:
    return f'round_{number:02d}'

