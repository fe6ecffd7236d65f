"""What to do about a training that diverged."""

ADVICE = (
    'Lower optim_wrapper.optimizer.lr, lengthen the warm-up or set '
    'optim_wrapper.clip_grad. Remove the checkpoints in that folder, since a '
    'resumed training takes its learning rate from them, and start again, a '
    'run of active learning by --resume force. Earlier rounds are kept.')
