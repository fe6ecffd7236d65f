"""The only place that knows of versions of other packages."""
from . import after_import, find_loader, resources, versions


def setup() -> None:
    """Check versions, and supply what is missing when it is needed.

    A stand-in for mmcv's operators needs torch, and the rules for checkpoints
    and configs need mmengine, whose imports take seconds. Whoever asks the
    command ``mmal`` for help does not need them, so each is supplied right
    after the package is imported that it completes: as long as ``mmal`` is
    imported before ``mmcv.ops`` (and so before mmdet's models), the order
    does not matter. What is imported already is completed at once.

    Nothing is done where no package of OpenMMLab is installed: the rooms
    ``uncertainty``, ``influence`` and ``selection`` work without them.

    Raises:
        ImportError: a package is missing or of a version mmal does not
            work with.
    """
    if not versions.any_installed('mmengine', 'mmcv', 'mmdet'):
        return
    versions.check()
    resources.register()
    find_loader.register()
    after_import.call('mmcv', _complete_mmcv)
    after_import.call('mmengine', _complete_mmengine)
    after_import.call('torch', _let_torch_load_checkpoints)


def _complete_mmcv() -> None:
    from . import ops
    ops.register()


def _complete_mmengine() -> None:
    from . import checkpoint_sources, checkpoints, configs
    checkpoints.register()
    checkpoint_sources.register()
    configs.register()


def _let_torch_load_checkpoints() -> None:
    # ``import mmal`` has always let torch.load read mmengine's checkpoints,
    # whether or not anybody else imports mmengine.
    import mmengine
