"""The only place that knows of versions of other packages."""
from . import versions


def setup() -> None:
    """Check versions and register what is missing.

    Nothing is done where no package of OpenMMLab is installed: the rooms
    ``uncertainty``, ``influence`` and ``selection`` work without them.

    Raises:
        ImportError: a package is missing or of a version mmal does not
            work with.
    """
    if not versions.any_installed('mmengine', 'mmcv', 'mmdet'):
        return
    versions.check()
    # Below the check, which must speak first where torch or mmcv is missing.
    from . import checkpoints, configs, ops, resources
    resources.register()
    ops.register()
    checkpoints.register()
    configs.register()
