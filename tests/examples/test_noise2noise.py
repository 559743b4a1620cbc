import pickle

import numpy as np
import pytest

import flowtrain as ft


def count_parameters(model) -> int:
    trainable = ft.ModelGraph(model).store.trainable
    return sum(int(np.prod(variable.shape)) for variable in trainable.values())


def test_the_network_has_the_papers_size(load):
    network = load("noise2noise", "network")
    assert count_parameters(network.Denoise()) == 991_203


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
    assert records.make_tfrecords(photos / "valid", tmp_path / "valid.tfrecords") == 3
    read = list(ft.Noise2NoiseData(tmp_path / "valid.tfrecords"))
    for path, (picture,) in zip(records.pictures(photos / "valid"), read, strict=True):
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
