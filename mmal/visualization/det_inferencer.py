"""mmdet's inferencer, whose json files keep uncertainties."""
from __future__ import annotations

import os.path as osp

from mmdet.apis import DetInferencer as _DetInferencer
from mmdet.structures import DetDataSample
from mmengine.fileio import dump
from torch import Tensor

_OWN = ('labels', 'scores', 'bboxes', 'masks')


class DetInferencer(_DetInferencer):
    """mmdet's ``DetInferencer``, which writes all fields of detections.

    mmdet's writes labels, scores and boxes. Here ``box_std``,
    ``cls_epistemic`` and whatever else a head gives each detection stand
    beside them, in the results and in the json files of ``out_dir``.

    Args:
        *args: See mmdet's.
        **kwargs: See mmdet's.

    Example:
        >>> inferencer = DetInferencer('config.py', 'weights.pth')
        ... # doctest: +SKIP
        >>> inferencer('photos', out_dir='found', no_save_pred=False)
        ... # doctest: +SKIP
    """

    def pred2dict(self,
                  data_sample: DetDataSample,
                  pred_out_dir: str = '') -> dict:
        """What is known of one image, as numbers and lists.

        Args:
            data_sample (DetDataSample): With ``pred_instances`` of n
                detections.
            pred_out_dir (str): Where ``preds/<image>.json`` is written; ''
                for nowhere.

        Returns:
            dict: mmdet's, and a list of n entries for each field more.
        """
        path = data_sample.get('img_path')
        if path is None:  # of an array, where mmdet would look for a name
            data_sample.pop('img_path', None)
            name = str(self.num_predicted_imgs)  # before mmdet counts it
        else:
            name = osp.splitext(osp.basename(path))[0]
        result = super().pred2dict(data_sample, pred_out_dir)
        fields = {
            key: value.detach().cpu().tolist()
            for key, value in data_sample.get('pred_instances', {}).items()
            if key not in _OWN and isinstance(value, Tensor)
        }
        if fields:
            result.update(fields)
            if pred_out_dir:
                dump(result, osp.join(pred_out_dir, 'preds', f'{name}.json'))
        return result
