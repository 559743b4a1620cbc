import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import flowtrain as ft
from flowtrain.cli.options import pictures_beneath


def test_dncnn_has_the_papers_size(load):
    network = load("denoise", "network")
    trainable = ft.ModelGraph(network.DenoiseModel()).store.trainable
    assert sum(int(np.prod(variable.shape)) for variable in trainable.values()) == 556_096


def test_the_eight_ways_to_turn_a_square_are_distinct(load):
    sources = load("denoise", "sources")
    patch = np.arange(16).reshape(4, 4, 1)
    assert len({sources.eighth(patch, which).tobytes() for which in range(8)}) == 8


def test_grid_patches_cover_the_picture_once(load):
    sources = load("denoise", "sources")
    picture = np.arange(85 * 120).reshape(85, 120, 1)
    patches = sources.grid_patches(picture, 40)
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
    denoiser, sources, noise = (load("denoise", name) for name in ("denoiser", "sources", "noise"))

    def network(x):
        return denoiser.dncnn(x, depth=4, filters=8)

    data = sources.clean_patches(photos / "valid", noise.gaussian(25), batch=32)
    made = denoiser.Denoiser(network)
    trainer = made.train(data, ft.TakeData(data, 1), n_epochs=2, n_stages=30, log_dir=str(tmp_path / "run"))
    psnr = [value for _, value in trainer.history["PSNR"]]
    assert psnr[-1] > psnr[0] + 1
    for metric in denoiser.METRICS:
        assert len(trainer.history[f"validation_{metric}"]) == 2
    assert (tmp_path / "run/checkpoints/best").is_dir()

    picture = sources.read(next((photos / "valid").glob("*.jpg")), 1)[:100, :130]
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

    size = ["--quick", "--depth", 3, "--filters", 4, "--batch", 4, "--epochs", 1, "--stages", 2]
    call("train", small, "--dataset", "full", "--valid", small, *size, "--log-dir", run)
    assert "PSNR, uint8" in call("evaluate", run, small, "--dataset", "full")
    call("apply", f"{run}/checkpoints/best", small / "in", made)
    call("show", run, small, tmp_path / "sheet.png", "--dataset", "full")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] > 3 * 320
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


class TestSources:
    def test_augmentation_can_be_off_or_repeated(self, load, photos):
        sources, noise = load("denoise", "sources"), load("denoise", "noise")
        options = {"noise": noise.gaussian(0), "batch": 10}
        plain, once, twice = (sources.clean_patches(photos / "valid", aug_times=n, **options) for n in (0, 1, 2))
        assert len(plain) == len(once) and len(twice) - len(plain) * 2 in (0, 1)
        clean = sources.grid_patches(sources.read(pictures_beneath(photos / "valid")[0], 1))
        known = {patch.tobytes() for path in pictures_beneath(photos / "valid")
                 for patch in sources.grid_patches(sources.read(path, 1))}  # fmt: skip
        assert clean.dtype == np.float32
        for batches, as_it_is in ((plain, True), (once, False)):
            found = [patch.tobytes() in known for patch in next(iter(batches))[1]]
            assert all(found) is as_it_is

    def test_pictures_are_cut_at_several_sizes(self, load, photos):
        sources, noise = load("denoise", "sources"), load("denoise", "noise")
        picture = sources.read_levels(pictures_beneath(photos / "valid")[0], 3)
        sizes = [sources.shrunk(picture, scale).shape[:2] for scale in sources.DNCNN_SCALES]
        assert sizes == [tuple(round(n * scale) for n in picture.shape[:2]) for scale in sources.DNCNN_SCALES]
        many = sources.clean_patches(photos / "valid", noise.gaussian(25), batch=1, scales=sources.DNCNN_SCALES)
        expected = sum(
            (height // 40) * (width // 40)
            for path in pictures_beneath(photos / "valid")
            for scale in sources.DNCNN_SCALES
            for height, width in [sources.shrunk(sources.read_levels(path, 1), scale).shape[:2]]
        )
        assert len(many) == expected

    def test_pictures_of_one_size_in_batches(self, load, small):
        sources, noise = load("denoise", "sources"), load("denoise", "noise")
        (batch,) = sources.clean_pictures(small / "ref", noise.gaussian(25), batch=2)
        assert [side.shape for side in batch] == [(2, 80, 90, 1)] * 2

    def test_several_noises_in_turn_or_one_of_them(self, load):
        noise = load("denoise", "noise")
        clean = np.full((64, 64, 1), 0.5, np.float32)
        both = noise.made_noise(["gaussian", "salt-and-pepper"], [10, 0.2])(clean, np.random.default_rng(0))
        assert 0.05 < np.isin(both, [0, 1]).mean() < 0.3 and (both[(both > 0) & (both < 1)] - 0.5).std() > 0.03
        drawn = noise.made_noise(["gaussian", "salt-and-pepper"], [10, 0.2], choose=True)
        kinds = {bool(np.isin(drawn(clean, np.random.default_rng(seed)), [0, 0.5, 1]).all()) for seed in range(20)}
        assert kinds == {True, False}

    def test_what_makes_no_sense_is_refused(self, load, small, tmp_path):
        sources, noise, network = (load("denoise", name) for name in ("sources", "noise", "network"))
        for make, match in (
            (lambda: noise.gaussian(-5), "sigma is -5; it is from 0 to 255"),
            (lambda: noise.made_noise(["gaussian"], [1, 2]), "1 noises have 2 levels"),
            (lambda: sources.clean_pictures(small, noise.gaussian(), channels=2).get(0), "channels is 2"),
            (lambda: network.DenoiseModel(channels=2), "channels is 2; it is 1"),
            (lambda: network.DnCNN(data_format="channels_first"), "transpose the pictures"),
            (lambda: network.DenoiseModel(optimizer="AdamOptimizer"), "is called 'adam' in Keras"),
            (lambda: network.DenoiseModel(optimizer="adm"), "Keras has .*adam, adamax"),
            (lambda: network.DenoiseModel(loss="l2"), "there are mse, mae, or give a function"),
        ):
            with pytest.raises(ft.FlowtrainError, match=match):
                make()


def test_functions_objects_and_callbacks_for_training(load, small, tmp_path):
    denoiser, sources, noise = (load("denoise", name) for name in ("denoiser", "sources", "noise"))

    def huber(clean, denoised):
        return tf.reduce_mean(tf.keras.losses.huber(clean, denoised, 0.01))

    def worst(clean, shown):
        return tf.reduce_max(tf.abs(clean - shown))

    seen = []
    made = denoiser.Denoiser(denoiser.DnCNN(3, 4, from_zero=True), name="tiny")
    trainer = made.train(
        sources.clean_patches(small / "ref", noise.gaussian(25), batch=4),
        sources.clean_pictures(small / "ref", noise.gaussian(25), batch=2),
        n_epochs=2, n_stages=1, loss=huber, metrics=[worst, "MSE"], mode="min", average=True,
        optimizer=tf.keras.optimizers.SGD(momentum=0.9), log_dir=str(tmp_path / "run"),
        callbacks=[ft.CallbackFactory(trigger_epoch=lambda self: seen.append(self.epoch_num))],
    )  # fmt: skip
    assert seen == [1, 2] and str(made) == "tiny, gray"
    best = min(value for _, value in trainer.history["validation_worst"])
    assert best < 1 and len(trainer.history["validation_MSE"]) == 2
    assert (tmp_path / "run/checkpoints/best").is_dir()
    events = next((tmp_path / "run").rglob("*tfevents*")).read_bytes()
    assert b"validation/0" in events
    with pytest.raises(ft.FlowtrainError, match="monitor is 'PSNR'; there are loss, MSE"):
        made.train(None, [[]], metrics=["MSE"], monitor="PSNR")


def test_errors_are_one_line(load, small, tmp_path):
    script = load("denoise", "denoise")
    (tmp_path / "empty").mkdir()

    def fails(*arguments):
        result = CliRunner().invoke(script.main, [str(argument) for argument in arguments])
        assert result.exit_code == 2, result.output
        return result.output.strip().splitlines()[-1]

    assert fails("train", tmp_path / "empty").startswith("Error: no picture in")
    assert "--epochs" in fails("train", small, "--epochs", 0)
    assert "--level" in fails("train", small, "--level", -5)
    assert "there is no" in fails("evaluate", tmp_path / "nothing", small)
    assert "ends in none of .png, .html" in fails("show", tmp_path, small, tmp_path / "sheet.foo")
    assert "told its sigma" in fails("evaluate", tmp_path, small, "--noise", "jpeg", "--baseline")


def test_bsds_as_folders_of_gray_pictures(load, tmp_path, monkeypatch):
    sources = load("denoise", "sources")
    for split in ("train", "val"):
        (tmp_path / "bsds/images" / split).mkdir(parents=True)
        picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "bsds/images" / split / "1.jpg"), picture)

    class Source(list):
        pass

    monkeypatch.setattr(ft, "BSDS500", lambda split, **_: Source([[np.zeros((20, 30, 3), np.uint8)]] * 2))
    counts = sources.bsds_grayscale(tmp_path / "gray")
    assert counts == {"Train": 2, "Valid": 2}
    assert cv2.imread(str(tmp_path / "gray/Valid/001.png"), cv2.IMREAD_UNCHANGED).shape == (20, 30)


def test_a_model_with_channels_first_gets_its_pictures_transposed(load, tmp_path):
    denoiser = load("denoise", "denoiser")
    inputs = keras.Input((1, None, None), name="noisy")
    last = keras.layers.Permute((2, 3, 1))(inputs)
    made = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="ones")(last)
    keras.Model(inputs, keras.layers.Permute((3, 1, 2), name="denoised")(made)).save(tmp_path / "first.keras")
    picture = np.random.default_rng(0).random((6, 9, 1), np.float32) / 9
    made = denoiser.Denoiser.load(tmp_path / "first.keras")(picture)
    padded = np.pad(picture[..., 0], 1)
    sums = sum(padded[y : y + 6, x : x + 9] for y in range(3) for x in range(3))
    np.testing.assert_allclose(made[..., 0], np.clip(sums, 0, 1), atol=1e-6)


def test_validation_pictures_of_several_sizes_are_batched_by_size(load, tmp_path):
    sources, noise = load("denoise", "sources"), load("denoise", "noise")
    for name, shape in (("a", (40, 48)), ("b", (48, 40)), ("c", (40, 48)), ("d", (40, 48))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(shape, ord(name), np.uint8))
    batches = list(sources.clean_pictures(tmp_path, noise.gaussian(1), batch=2))
    assert sorted(clean.shape for _, clean in batches) == [(1, 40, 48, 1), (1, 48, 40, 1), (2, 40, 48, 1)]
    one_by_one = {clean.tobytes(): noisy for noisy, clean in sources.clean_pictures(tmp_path, noise.gaussian(1))}
    for noisy, clean in batches:
        for each, of in zip(noisy, clean, strict=True):
            np.testing.assert_array_equal(one_by_one[of[None].tobytes()][0], each)


def test_non_local_means_keeps_the_shape_of_gray_and_coloured_pictures(load):
    denoise = load("denoise", "denoise")
    for channels in (1, 3):
        picture = np.random.default_rng(0).random((12, 14, channels)).astype(np.float32)
        assert denoise.non_local_means(picture, 25).shape == picture.shape
