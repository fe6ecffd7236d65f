import torch

from mmal.pool.layout import RoundDir, WorkDir


def save(folder, name):
    torch.save(dict(state_dict=dict(a=torch.ones(2))), folder / name)


def test_latest_whole_checkpoint(tmp_path):
    folder = RoundDir(str(tmp_path))
    assert folder.latest_checkpoint() is None
    save(tmp_path, 'epoch_2.pth')
    save(tmp_path, 'epoch_10.pth')
    save(tmp_path, 'best_coco_bbox_mAP_epoch_99.pth')
    (tmp_path / 'last_checkpoint').write_text('')
    assert folder.latest_checkpoint().endswith('epoch_10.pth')
    whole = (tmp_path / 'epoch_10.pth').read_bytes()
    (tmp_path / 'epoch_10.pth').write_bytes(whole[:len(whole) // 2])
    assert folder.latest_checkpoint().endswith('epoch_2.pth')


def test_a_training_that_was_asked_to_stop_goes_on_from_there(tmp_path):
    folder = RoundDir(str(tmp_path))
    save(tmp_path, 'epoch_2.pth')
    save(tmp_path, 'interrupted.pth')
    assert folder.latest_checkpoint() == folder.interrupted
    (tmp_path / 'interrupted.pth').write_bytes(b'')
    assert folder.latest_checkpoint().endswith('epoch_2.pth')


def test_logs_of_a_training_are_sorted_by_age(tmp_path):
    for name in ('20260102_000000', '20260101_235959'):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data' / 'scalars.json').touch()
    logs = RoundDir(str(tmp_path)).scalar_logs()
    assert [log.split('/')[-3] for log in logs] == [
        '20260102_000000', '20260101_235959']


def test_names_with_wildcards(tmp_path):
    folder = tmp_path / 'run[1]*'
    folder.mkdir()
    save(folder, 'iter_3.pth')
    assert RoundDir(str(folder)).latest_checkpoint().endswith('iter_3.pth')


def test_rounds_sort_by_name():
    work = WorkDir('/w')
    names = [work.round(i).path for i in (0, 2, 10)]
    assert names == sorted(names) and names[0] == '/w/round_00'


def test_members_of_a_round():
    folder = WorkDir('/w').round(1)
    member = folder.member(2)
    assert member.weights == '/w/round_01/member_02/weights.pth'
    assert member.labelled == folder.labelled
    assert member.metrics != folder.metrics


def test_weights_of_a_member_are_no_checkpoint_to_resume(tmp_path):
    member = RoundDir(str(tmp_path)).member(1)
    (tmp_path / 'member_01').mkdir()
    save(tmp_path / 'member_01', 'weights.pth')
    assert member.latest_checkpoint() is None


def test_rounds_that_are_there(tmp_path):
    work = WorkDir(str(tmp_path / 'run[1]'))
    assert work.round_numbers() == []
    for name in ('round_100', 'round_00', 'round_09', 'round_x', 'member_01'):
        (tmp_path / 'run[1]' / name).mkdir(parents=True)
    assert work.round_numbers() == [0, 9, 100]
