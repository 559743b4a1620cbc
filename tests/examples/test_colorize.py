import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import flowtrain as ft


@pytest.fixture(scope="module")
def trained(load, photos, tmp_path_factory):
    """A few steps of a small model, with all that the script does around them."""
    script = load("colorize", "train")
    train_data = script.get_data(photos / "train", 32, 4, training=True, workers=2)
    valid_data = script.get_data(photos / "valid", 32, 4, training=False)
    trainer = ft.train(
        ft.TrainConfig(
            model=script.Colorize(size=32, nf=4, levels=3),
            dataflow=train_data,
            callbacks=[
                ft.ModelSaver(),
                script.OnlineExport(valid_data),
                ft.InferenceRunner(valid_data, [ft.ScalarStats("l2_loss")]),
            ],
            steps_per_epoch=2,
            max_epoch=2,
            log_dir=tmp_path_factory.mktemp("colorize") / "run",
        )
    )
    return script, trainer, train_data, valid_data


def test_the_run_leaves_pictures_curves_and_checkpoints(trained):
    _, trainer, _, _ = trained
    picture = cv2.imread(str(trainer.log_dir / "export0002.jpg"))
    assert picture.shape == (3 * 32, 3 * 32, 3)
    assert (trainer.log_dir / "curves.png").exists()
    assert len(list((trainer.log_dir / "checkpoints").iterdir())) == 2
    assert [step for step, _ in trainer.history["validation_l2_loss"]] == [2, 4]


def test_exports_hold_the_truth_in_true_colours(trained, photos):
    _, trainer, _, _ = trained
    picture = cv2.imread(str(trainer.log_dir / "export0001.jpg")).astype(np.float32)
    first = cv2.resize(cv2.imread(str(sorted((photos / "valid").glob("*.jpg"))[0])), (32, 32))
    assert np.abs(picture[:32, 64:] - first).mean() < 12  # JPEG blurs colours a little
    assert np.abs(picture[:32, 64:, ::-1] - first).mean() > 2 * np.abs(picture[:32, 64:] - first).mean()


def test_baselines_do_not_look_at_the_picture(trained):
    script, _, train_data, valid_data = trained
    found = script.baselines(ft.TakeData(train_data, 3), valid_data)
    truth = np.concatenate([ab for _, ab in valid_data]) * 110
    assert found["gray"] == pytest.approx(np.sqrt((truth**2).mean()), rel=1e-4)


def test_colours_are_added_and_lightness_is_kept(trained, load, photos, tmp_path):
    _, trainer, _, _ = trained
    predict = load("colorize", "predict")
    picture = cv2.imread(str(sorted((photos / "valid").glob("*.jpg"))[0]))[:301, :203, ::-1]
    predictor = trainer.get_predictor(["luminance"], ["prediction/output"])
    coloured = predict.colorize(np.ascontiguousarray(picture), predictor, 32)
    assert coloured.shape == picture.shape
    before, after = (cv2.cvtColor(np.float32(p) / 255, cv2.COLOR_RGB2LAB)[..., 0] for p in (picture, coloured))
    assert np.abs(before - after).max() < 0.8  # of 100; eight bits alone give 0.3


def test_a_folder_without_images_is_one_clear_error(load, tmp_path):
    script = load("colorize", "train")
    result = CliRunner().invoke(script.main, ["--data", str(tmp_path), "--log-dir", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "ImageFromFile" in result.output and "Traceback" not in result.output
