import cv2
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import flowtrain as ft


def test_dncnn_has_the_papers_size(load):
    network = load("denoise", "network")
    trainable = ft.ModelGraph(network.DenoiseModel()).store.trainable
    assert sum(int(np.prod(variable.shape)) for variable in trainable.values()) == 556_096


def test_the_eight_ways_to_turn_a_square_are_distinct(load):
    datasets = load("denoise", "datasets")
    patch = np.arange(16).reshape(4, 4, 1)
    assert len({datasets.eighth(patch, which).tobytes() for which in range(8)}) == 8


def test_grid_patches_cover_the_picture_once(load):
    datasets = load("denoise", "datasets")
    picture = np.arange(85 * 120).reshape(85, 120, 1)
    patches = datasets.grid_patches(picture, 40)
    assert patches.shape == (6, 40, 40, 1)
    assert sorted(patches.ravel().tolist()) == sorted(picture[:80, :120].ravel().tolist())


def test_each_noise_spoils_as_it_says(load):
    noise = load("denoise", "noise")
    clean = np.full((128, 128, 1), 0.5, np.float32)
    spoilt = {name: make()(clean, np.random.default_rng(0)) for name, make in noise.NOISES.items()}
    assert all(x.dtype == np.float32 and x.shape == clean.shape for x in spoilt.values())
    assert spoilt["gaussian"].std() == pytest.approx(25 / 255, rel=0.03)
    assert spoilt["speckle"].std() == pytest.approx(0.5 * 25 / 255, rel=0.03)
    assert spoilt["poisson"].std() == pytest.approx(np.sqrt(0.5 / 30), rel=0.03)
    assert np.isin(spoilt["salt-and-pepper"], [0, 0.5, 1]).all()
    assert np.mean(spoilt["salt-and-pepper"] != 0.5) == pytest.approx(0.1, abs=0.01)
    edge = np.where(np.arange(128) < 61, 0.1, 0.9).astype(np.float32)[:, None, None] * np.ones_like(clean)
    assert 0.001 < np.abs(noise.jpeg(20)(edge, None) - edge).mean() < 0.1


def test_a_small_denoiser_trains_and_denoises(load, photos, tmp_path):
    denoiser, datasets, noise = (load("denoise", name) for name in ("denoiser", "datasets", "noise"))

    def network(x):
        return denoiser.dncnn(x, depth=4, filters=8)

    data = datasets.clean_patches(photos / "valid", noise.gaussian(25), batch=32)
    made = denoiser.Denoiser(network)
    trainer = made.train(data, ft.TakeData(data, 1), n_epochs=2, n_stages=30, log_dir=str(tmp_path / "run"))
    psnr = [value for _, value in trainer.history["PSNR"]]
    assert psnr[-1] > psnr[0] + 1
    for metric in denoiser.METRICS:
        assert len(trainer.history[f"validation_{metric}"]) == 2
    assert (tmp_path / "run/checkpoints/best").is_dir()

    picture = datasets.read(next((photos / "valid").glob("*.jpg")), 1)[:100, :130]
    clean = made(picture)
    assert clean.shape == picture.shape
    again = denoiser.Denoiser.load(str(tmp_path / "run"), network=network)
    np.testing.assert_allclose(again(picture), clean, atol=1e-6)


@pytest.fixture
def small(tmp_path):
    """A folder with `in` and `ref`: two small pictures, noisy and clean."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        clean = cv2.resize(rng.integers(0, 255, (8, 8), np.uint8), (90, 80), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
        for folder, picture in (("in", noisy), ("ref", clean)):
            (tmp_path / "small" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "small" / folder / name), picture)
    return tmp_path / "small"


def test_the_command_line_trains_on_pairs_evaluates_applies_and_exports(load, small, tmp_path):
    script = load("denoise", "denoise")
    run, saved, made = (str(tmp_path / name) for name in ("run", "saved", "made"))

    def call(*arguments):
        result = CliRunner().invoke(script.main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    size = ["--shallow", "--depth", 3, "--filters", 4, "--batch", 4, "--epochs", 1, "--stages", 2]
    call("train", small, "--dataset", "full", "--valid", small, *size, "--log-dir", run)
    assert "PSNR, uint8" in call("evaluate", run, small, "--dataset", "full")
    call("apply", f"{run}/checkpoints/best", small / "in", made)
    assert cv2.imread(f"{made}/a.png", cv2.IMREAD_GRAYSCALE).shape == (80, 90)
    call("export", run, saved)

    picture = np.random.default_rng(0).random((40, 50, 1), np.float32)
    np.testing.assert_allclose(script.load(saved)(picture), script.load(run)(picture), atol=1e-6)


def test_a_graph_of_tensorflow_1_is_a_denoiser_too(load, tmp_path):
    denoiser = load("denoise", "denoiser")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        noisy = tf.compat.v1.placeholder(tf.float32, (None, None, None, 1), "input")
        training = tf.compat.v1.placeholder(tf.bool, (), "is_training")
        kernel = tf.compat.v1.get_variable("kernel", initializer=np.full((3, 3, 1, 1), 1 / 9, np.float32))
        tf.identity(tf.nn.conv2d(noisy, kernel, 1, "SAME") + tf.where(training, 1.0, 0.0), name="output")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model"))
    blur = denoiser.Denoiser.load(str(tmp_path / "model.meta"), "input", "output", is_training=False)
    picture = np.random.default_rng(0).random((20, 30, 1), np.float32)
    expected = cv2.blur(picture[..., 0], (3, 3), borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(blur(picture)[1:-1, 1:-1, 0], expected[1:-1, 1:-1], atol=1e-5)
