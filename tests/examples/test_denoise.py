import numpy as np

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


def test_a_small_denoiser_trains_and_denoises(load, photos, tmp_path):
    denoiser, datasets, noise = (load("denoise", name) for name in ("denoiser", "datasets", "noise"))

    def network(x):
        return denoiser.dncnn(x, depth=4, filters=8)

    data = datasets.clean_patches(photos / "valid", noise.gaussian(25), batch=32)
    made = denoiser.Denoiser(network)
    trainer = made.train(data, ft.TakeData(data, 1), n_epochs=2, n_stages=30, log_dir=str(tmp_path / "run"))
    psnr = [value for _, value in trainer.history["PSNR"]]
    assert psnr[-1] > psnr[0] + 1
    assert len(trainer.history["validation_PSNR"]) == 2
    assert (tmp_path / "run/checkpoints/best").is_dir()

    picture = datasets.read(next((photos / "valid").glob("*.jpg")), 1)[:100, :130]
    clean = made(picture)
    assert clean.shape == picture.shape
    again = denoiser.Denoiser.load(str(tmp_path / "run"), network=network)
    np.testing.assert_allclose(again(picture), clean, atol=1e-6)
