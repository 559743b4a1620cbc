import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import flowtrain as ft


@pytest.fixture(scope="module")
def trained(load, photos, tmp_path_factory):
    """A few steps of a small model, with all that the script does around them."""
    script = load("colorize", "train")
    train_data = script.get_data(script.files_in(photos / "train"), 32, 4, training=True, workers=2)
    valid_data = script.get_data(script.files_in(photos / "valid"), 32, 4, training=False)
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


def test_the_demo_holds_out_what_it_does_not_train_on(load):
    script = load("colorize", "train")
    trained, held_out = script.demo_files()
    assert (len(trained), len(held_out)) == (31, 5) and not set(trained) & set(held_out)
    places = {path.stem.partition("-")[0] for path in trained if "more" in path.parts}
    assert not places & {path.stem.partition("-")[0] for path in held_out}  # no other view of a place


def test_rare_colours_count_more(load, photos):
    script = load("colorize", "train")
    mean, weights = script.color_statistics(script.files_in(photos / "train"))
    classes = script.color_classes()
    assert mean.shape == (2,) and weights.shape == (len(classes),)
    gray = np.argmin(np.linalg.norm(classes, axis=-1))
    assert weights[gray] == weights.min() and weights.max() > 2 * weights[gray]
    near = script.soft_classes(classes[None], classes).numpy()[0]
    assert near.sum(axis=-1) == pytest.approx(1, abs=1e-5) and list(near.argmax(axis=-1)) == list(range(len(classes)))


def test_scores(load):
    script = load("colorize", "train")
    truth = np.zeros((1, 4, 4, 2), np.float32)
    truth[..., 0] = 22.5 / script.LAB
    gray, right = script.scores(truth, 0), script.scores(truth, truth * np.float32(1.0001))
    assert gray["ab-RMSE"] == pytest.approx(22.5 / np.sqrt(2)) and gray["chroma"] == 0
    assert gray["PSNR"] == pytest.approx(20 * np.log10(220 * np.sqrt(2) / 22.5))
    assert gray["AuC"] == pytest.approx(100 * 128 / 151)  # thresholds from 23 to 150
    assert right["AuC"] == pytest.approx(100 * 150 / 151) and right["chroma"] == pytest.approx(100, abs=0.1)


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
