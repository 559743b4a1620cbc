import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import flowtrain as ft
from flowtrain import imgaug
from flowtrain.cli.options import pictures_beneath
from flowtrain.monitors import read_jsonl

EXAMPLES = Path(__file__).parents[2] / "examples"


def count_parameters(model) -> int:
    trainable = ft.ModelGraph(model).store.trainable
    return sum(int(np.prod(variable.shape)) for variable in trainable.values())


def test_the_network_has_the_papers_size(load):
    network = load("noise2noise", "network")
    assert count_parameters(network.Denoise()) == 991_203


def test_a_residual_network_begins_with_its_input(load):
    network = load("noise2noise", "network")
    model = network.Denoise(width=4, residual=True)
    noisy = np.random.default_rng(0).random((1, 32, 64, 3), np.float32) - 0.5
    (denoised,) = ft.ModelGraph(model).predictor(["noisy"], ["denoised"])(noisy)
    np.testing.assert_allclose(denoised, noisy, atol=1e-6)


def test_crops_show_shrunk_mirrored_pictures(load):
    n2n = load("noise2noise", "n2n")
    picture = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3))  # grows by 2 a pixel
    augmentor = imgaug.AugmentorList(n2n.crops(32, 0.5))
    rng = np.random.default_rng(0)
    slopes = []
    for _ in range(100):
        crop = augmentor.augment(picture, rng=rng).astype(float)
        assert crop.shape == (32, 32, 3)
        slopes.append(max(abs(crop[-1, 0, 0] - crop[0, 0, 0]), abs(crop[0, -1, 0] - crop[0, 0, 0])) / 31)
    assert min(slopes) == pytest.approx(2, abs=0.2)
    assert max(slopes) == pytest.approx(4, abs=0.2)


def test_two_corruptions_of_one_picture_are_independent(load):
    noise = load("noise2noise", "noise")
    picture = np.zeros((64, 64, 3), np.float32)
    a, b = noise.noise_pair([picture], np.random.default_rng(0), noise.Gaussian((25, 25)), noise2noise=True)
    assert a.dtype == b.dtype == np.float32
    assert a.std() == pytest.approx(25 / 255, rel=0.03)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05


def test_poisson_noise_keeps_the_mean(load):
    noise = load("noise2noise", "noise")
    picture = np.full((256, 256, 1), 0.1, np.float32)
    noisy = noise.Poisson()(picture, np.random.default_rng(0), training=False)
    assert noisy.mean() == pytest.approx(0.1, abs=0.003)
    assert noisy.std() == pytest.approx(np.sqrt(0.6 / 30), rel=0.03)


def test_records_hold_the_pictures(load, photos, tmp_path):
    records = load("noise2noise", "records")
    assert records.make_tfrecords(photos / "valid", tmp_path / "valid.tfrecords") == (3, [])
    read = list(ft.Noise2NoiseData(tmp_path / "valid.tfrecords"))
    for path, (picture,) in zip(pictures_beneath(photos / "valid"), read, strict=True):
        np.testing.assert_array_equal(picture, records.read(path))


def test_pictures_of_any_size_are_padded_and_cut_back(load):
    n2n = load("noise2noise", "n2n")
    seen = []

    def predictor(batch):
        seen.append(batch.shape)
        return [batch]

    picture = np.random.default_rng(0).random((50, 75, 3), np.float32)
    np.testing.assert_array_equal(n2n.denoise(predictor, picture), picture)
    assert seen == [(1, 64, 96, 3)]


def test_a_tenth_of_the_spectrum_is_kept_symmetrically(load):
    mri = load("noise2noise", "mri")
    assert 0.1046 <= mri.keep_probability().mean() <= 0.1049
    rng = np.random.default_rng(0)
    masks = np.stack([mri.sampling_mask(rng) for _ in range(100)])
    np.testing.assert_array_equal(masks, masks[:, ::-1, ::-1])
    assert masks.mean() == pytest.approx(mri.keep_probability().mean(), abs=0.001)
    assert masks[:, 127, 127].all()


def test_the_zero_filled_picture_is_right_on_average(load):
    mri = load("noise2noise", "mri")
    y, x = np.mgrid[:255, :255]
    picture = (0.4 * np.exp(-((y - 127) ** 2 + (x - 127) ** 2) / 5000)).astype(np.float32)
    rng = np.random.default_rng(0)
    mean = np.mean([mri.undersample(picture, rng)[0] for _ in range(50)], axis=0)
    assert np.abs(mean - picture).mean() < 0.02


def test_fspec_puts_the_measured_spectrum_back(load):
    mri = load("noise2noise", "mri")
    picture = np.random.default_rng(1).random((255, 255), np.float32) - 0.5
    filled, spectrum, mask = mri.undersample(picture, np.random.default_rng(2))
    inputs = mri.model_inputs(filled, spectrum, mask, picture)
    everything = np.ones_like(mask)
    whole = np.fft.fft2(picture)
    parts = np.stack([whole.real, whole.imag], -1).astype(np.float32)
    restored = mri.known_spectrum_restored(inputs["noisy"][None], parts[None], everything[None])
    np.testing.assert_allclose(restored[0, ..., 0], picture, atol=1e-4)


def test_pickles_of_anything_but_arrays_are_refused(load, tmp_path):
    mri = load("noise2noise", "mri")
    slices = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    (tmp_path / "good.pkl").write_bytes(pickle.dumps((np.arange(3), slices)))
    np.testing.assert_array_equal(mri.read_slices(tmp_path / "good.pkl"), slices[:, :255, :255])
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps([slices, pytest.fail]))
    with pytest.raises(ft.FlowtrainError, match="only NumPy arrays"):
        mri.read_slices(tmp_path / "bad.pkl")


@pytest.fixture
def call(load):
    """Calls a command of n2n.py or mri.py: `call("n2n", "train", ...)`; returns what it printed."""

    def run(script, *arguments):
        result = CliRunner().invoke(load("noise2noise", script).main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    return run


def test_from_photographs_to_a_frozen_graph(call, photos, tmp_path):
    records, run, pb = tmp_path / "train.tfrecords", tmp_path / "run", tmp_path / "denoise.pb"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((photos / "valid").glob("*.jpg"))[:2]:
        cv2.imwrite(str(pictures / f"{path.stem}.png"), cv2.imread(str(path))[:270, :300])
    assert "2 pictures" in call("n2n", "make-tfrecords", pictures, records)
    size = ["--quick", "--width", 4, "--batch", 2, "--steps", 2, "--log-dir", run]
    call("n2n", "train", "--train-tfrecords", records, *size)
    live = call("n2n", "validate", run, "--dataset-dir", pictures)
    assert "noisy 20." in live
    call("n2n", "freeze", run, pb)
    assert call("n2n", "validate-pb", pb, "--dataset-dir", pictures) == live

    source = next(pictures.glob("*.png"))
    call("n2n", "infer-image", run, source, tmp_path / "a.png")
    call("n2n", "infer-image-pb", pb, source, tmp_path / "b.png")
    made = cv2.imread(str(tmp_path / "a.png"))
    assert made.shape == (270, 300, 3)
    np.testing.assert_array_equal(made, cv2.imread(str(tmp_path / "b.png")))


def test_held_out_slices_are_not_trained_on(load):
    part = load("noise2noise", "mri").part
    kept, held = (part(np.arange(6), 3, training) for training in (True, False))
    assert kept.tolist() == [0, 2, 3, 5]
    assert held.tolist() == [1, 4]


def test_from_slices_to_a_graph_that_puts_the_known_spectrum_back(call, load, tmp_path):
    slices, run, saved = tmp_path / "slices.npz", tmp_path / "run", tmp_path / "saved"
    np.savez(slices, slices=np.random.default_rng(0).integers(0, 255, (4, 255, 255), np.uint8))
    size = ["--quick", "--width", 4, "--batch", 1, "--steps", 2, "--log-dir", run]
    call("mri", "train", slices, *size, "--hold-out", 2)
    assert "zero-filled" in call("mri", "validate", run, slices, "--hold-out", 4)
    call("mri", "export", run, saved)

    mri = load("noise2noise", "mri")
    picture = mri.read_slices(slices)[0].astype(np.float32) / 255 - 0.5
    dp = mri.model_inputs(*mri.undersample(picture, np.random.default_rng(1)), picture)
    (restored,) = ft.load_predictor(saved, *mri.names(True))(*(dp[x][None] for x in ("noisy", "spectrum", "mask")))
    known = dp["mask"] > 0
    np.testing.assert_allclose(np.fft.fft2(restored[0, ..., 0])[known], np.fft.fft2(picture)[known], atol=0.02)


def test_short_mri_trainings_run_through_the_whole_ramps(load):
    mri = load("noise2noise", "mri")
    up, down = mri.ramps(300)
    assert up(10) == 1 and up(0) == pytest.approx(np.exp(-5))
    assert down(270) == 1 and down(290) == pytest.approx(np.exp(-((20 / 2) ** 2) / 30))
    short_up, short_down = mri.ramps(9)
    assert short_up(3) == 1 and short_down(6) == 1 and short_down(9) == pytest.approx(down(300))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three small pictures, one of them upright."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, shape in (("a", (70, 90)), ("b", (90, 70)), ("c", (64, 64))):
        low = rng.integers(0, 256, (shape[0] // 8, shape[1] // 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(low, shape[::-1], interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def records(load, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "train.tfrecords"
    load("noise2noise", "records").make_tfrecords(pictures, path, smallest=64)
    return path


TINY = ["--quick", "--width", 4, "--batch", 2, "--crop", 32, "--smallest-scale", 1, "--noise", "gaussian"]


def fails(load, script, *arguments):
    """The last line that a command prints, which must end with code 2."""
    result = CliRunner().invoke(load("noise2noise", script).main, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output + str(result.exception)
    return result.output.strip().splitlines()[-1]


def test_small_pictures_are_named_and_an_empty_file_is_refused(call, load, pictures, tmp_path):
    said = call("n2n", "make-tfrecords", pictures, tmp_path / "a.tfrecords", "--smallest", 70)
    assert "2 pictures" in said and "1 left out, with a side below 70 pixels: c.png" in said
    assert "pass a smaller --smallest" in fails(load, "n2n", "make-tfrecords", pictures, tmp_path / "b.tfrecords")
    (tmp_path / "empty").mkdir()
    assert "no picture in" in fails(load, "n2n", "make-tfrecords", tmp_path / "empty", tmp_path / "b.tfrecords")
    assert not (tmp_path / "b.tfrecords").exists()
    (tmp_path / "c.tfrecords").touch()
    assert "holds no records" in fails(load, "n2n", "train", "--train-tfrecords", tmp_path / "c.tfrecords")


def test_validation_during_training_and_a_numbered_run(call, records, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = [*TINY, "--train-tfrecords", records, "--epoch-steps", 4, "--desc", "autoencoder-n2n"]
    call("n2n", "train", *run, "--steps", 8, "--dataset-dir", pictures, "--eval-interval", 2)
    folder = tmp_path / "results/00000-autoencoder-n2n"
    assert [step for step, _ in read_jsonl(folder)["validation_psnr"]] == [2, 4, 6, 8]
    final = call("n2n", "validate", folder / "network_final.npz", "--dataset-dir", pictures)
    assert final == call("n2n", "validate", folder, "--dataset-dir", pictures)
    call("n2n", "train", *run, "--steps", 4)
    assert (tmp_path / "results/00001-autoencoder-n2n/network_final.npz").exists()
    call("n2n", "train", *run, "--steps", 12, "--resume")
    assert not (tmp_path / "results/00002-autoencoder-n2n").exists()


@pytest.mark.parametrize("options", [["--precision", "mixed"], ["--precision", "mixed", "--loss-scale"]])
def test_mixed_precision(call, records, pictures, tmp_path, options):
    call("n2n", "train", *TINY, "--train-tfrecords", records, "--steps", 2, "--log-dir", tmp_path / "run", *options)
    assert "denoised" in call("n2n", "validate", tmp_path / "run", "--dataset-dir", pictures)


def test_frozen_graphs_of_fixed_size_and_of_other_names(call, load, records, pictures, tmp_path):
    call("n2n", "train", *TINY, "--train-tfrecords", records, "--steps", 2, "--log-dir", tmp_path / "run")
    names = ["--input-node-name", "input", "--output-node-name", "output"]
    call("n2n", "freeze", tmp_path / "run", tmp_path / "free.pb", *names)
    call("n2n", "freeze", tmp_path / "run", tmp_path / "wide.pb", *names, "--height", 96, "--width", 128)
    call("n2n", "freeze", tmp_path / "run", tmp_path / "small.pb", "--height", 64, "--width", 64)
    given = ["--input-tensor-name", "input", "--output-tensor-name", "output"]
    live = call("n2n", "validate", tmp_path / "run", "--dataset-dir", pictures)
    assert call("n2n", "validate-pb", tmp_path / "free.pb", "--dataset-dir", pictures, *given) == live
    assert "c.png" in call("n2n", "validate-pb", tmp_path / "wide.pb", "--dataset-dir", pictures, *given)
    for name, shape in (("a", (70, 90, 3)), ("b", (90, 70, 3))):
        made = tmp_path / f"{name}.png"
        call("n2n", "infer-image-pb", tmp_path / "wide.pb", pictures / f"{name}.png", made, *given)
        assert cv2.imread(str(made)).shape == shape
    small = ["infer-image-pb", tmp_path / "small.pb", pictures / "a.png", tmp_path / "o.png"]
    assert "the graph is fixed to 64 x 64: freeze it larger" in fails(load, "n2n", *small)


def test_an_upright_picture_is_laid_on_its_side(load):
    n2n = load("noise2noise", "n2n")

    class Fixed:
        specs = [tf.TensorSpec((None, 64, 128, 3))]

        def __call__(self, batch):
            assert batch.shape == (1, 64, 128, 3)
            return [batch * 2]

    picture = np.random.default_rng(0).random((100, 50, 3), np.float32)
    np.testing.assert_array_equal(n2n.denoise(Fixed(), picture), picture * 2)


def test_wrong_options_are_refused_before_the_work(load, records, pictures, tmp_path):
    train = ["train", "--train-tfrecords", records]
    for arguments, said in (
        ([*train, "--loss-scale"], "--loss-scale is for --precision mixed"),
        ([*train, "--crop", 33], "33 is no multiple of 32"),
        ([*train, "--steps", 0], "--steps"),
        (["infer-image", tmp_path, pictures / "a.png", tmp_path / "a.foo"], "ends in none of .png"),
        (["freeze", tmp_path, tmp_path / "a.pb", "--width", 33], "no multiple of 32"),
        (["freeze", tmp_path, tmp_path / "a.onnx"], "ends in none of .pb"),
        (["validate", tmp_path, "--dataset-dir", pictures], "holds no model"),
        ([*train, "--desc", "a/b"], "letters, digits"),
    ):
        assert said in fails(load, "n2n", *arguments)
    assert not (tmp_path / "results").exists()


def test_devices_of_the_cpu():
    """In a process of its own: devices are chosen once."""
    code = "from devices import strategy_of; print(strategy_of(3).num_replicas_in_sync, strategy_of(1))"
    folder = EXAMPLES / "noise2noise"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(folder)])}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=800, check=True
    )
    assert result.stdout.split() == ["3", "None"]


def test_one_flag_trains_on_one_and_on_eight_devices(records, pictures, tmp_path):
    """Logical CPUs, in processes of their own; both end with the same weights, since the batch is the same."""
    script = EXAMPLES / "noise2noise" / "n2n.py"
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    weights = {}
    for devices in (1, 8):
        run = tmp_path / f"run{devices}"
        command = [
            sys.executable,
            script,
            "train",
            "--train-tfrecords",
            records,
            "--width",
            2,
            "--crop",
            32,
            "--steps",
            2,
        ]
        command += ["--devices", devices, "--log-dir", run, *(["--batch", 8] if devices == 1 else [])]
        subprocess.run(list(map(str, command)), env=environment, capture_output=True, timeout=800, check=True)
        weights[devices] = ft.read_weights(run / "network_final.npz")
    assert list(weights[1]) == list(weights[8])
    for name, value in weights[1].items():
        np.testing.assert_allclose(weights[8][name], value, atol=1e-6, err_msg=name)


def test_mri_validates_each_epoch_and_its_frozen_graph_is_one_file(call, load, tmp_path):
    slices, run, pb = tmp_path / "slices.npz", tmp_path / "run", tmp_path / "mri.pb"
    np.savez(slices, slices=np.random.default_rng(0).integers(0, 255, (6, 255, 255), np.uint8))
    size = ["--quick", "--width", 4, "--batch", 2, "--steps", 4, "--log-dir", run, "--hold-out", 3]
    call("mri", "train", slices, *size, "--no-fspec")
    assert [step for step, _ in read_jsonl(run)["test_db_clamped"]] == [2, 4]
    assert {path.suffix for path in (run / "examples").iterdir()} == {".png"}
    live = call("mri", "validate", run, slices, "--hold-out", 3, "--fspec")
    call("mri", "export", run, pb)
    assert pb.is_file()
    assert call("mri", "validate", pb, slices, "--hold-out", 3, "--pictures", tmp_path / "shown").startswith(live)
    assert call("mri", "validate", run / "network_final.npz", slices, "--hold-out", 3) == live
    assert cv2.imread(str(next((tmp_path / "shown").iterdir()))).shape == (255, 3 * 255, 3)
    assert "exists: choose another" in fails(load, "mri", "export", run, pb)
    assert "do not fill one batch of 50" in fails(load, "mri", "train", slices, "--batch", 50)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert "damaged" in fails(load, "mri", "train", tmp_path / "bad.npz")


def test_the_spectrum_is_put_back_in_training_only_where_it_is_asked_for(load):
    mri = load("noise2noise", "mri")
    picture = np.random.default_rng(0).random((255, 255), np.float32) - 0.5
    dp = {k: v[None] for k, v in mri.model_inputs(*mri.undersample(picture, np.random.default_rng(1)), picture).items()}
    costs, outputs = {}, ["square_loss", "denoised", "denoised_fspec"]
    for fspec in (True, False):
        graph = ft.ModelGraph(mri.DenoiseSpectrum(4, fspec=fspec), seed=0)
        cost, plain, restored = graph.predictor(list(dp), outputs)(dp)
        costs[fspec] = cost
        expected = np.square((restored if fspec else plain) - dp["target"]).mean()
        assert cost == pytest.approx(expected, rel=1e-4)
    assert costs[True] != costs[False]
