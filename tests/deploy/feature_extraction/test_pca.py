"""Principal components: the equations, the files that people have, and what cannot be."""
import numpy as np
import pytest

from gluon_action.deploy.feature_extraction.pca import Pca, PcaFit, load_pca
from gluon_action.errors import UsageError, WeightsError


def features(count=200, width=7, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, width)) @ rng.standard_normal((width, width)) + 50 * rng.random(width)).astype(
        np.float32)


def fitted(rows, size, step=64):
    fit = PcaFit(rows.shape[1])
    for first in range(0, len(rows), step):
        fit.add(rows[first:first + step])
    return fit.finish(size)


@pytest.mark.parametrize('step', [1, 3, 64, 1000])
def test_a_fit_is_the_eigenvectors_of_the_covariance(step):
    rows = features().astype(float)
    pca = fitted(rows, 4, step)
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    np.testing.assert_allclose(pca.eigenvalues, values[::-1][:4], rtol=1e-5)
    np.testing.assert_allclose(np.abs((pca.eigenvectors * vectors[:, ::-1][:, :4]).sum(0)), 1, atol=1e-5)
    np.testing.assert_allclose(pca.mean, rows.mean(0), rtol=1e-6)


def test_what_it_makes_of_features_is_white():
    rows = features(2000)
    out = fitted(rows, 7).apply(rows).astype(float)
    assert out.shape == (2000, 7) and np.abs(out.mean(0)).max() < 1e-3
    np.testing.assert_allclose(np.cov(out.T, bias=True), np.eye(7), atol=0.01)


def test_features_are_centred_projected_and_divided():
    rng = np.random.default_rng(1)
    rows, mean, vectors, values = (rng.standard_normal(shape) for shape in ((9, 5), 5, (5, 3), 3))
    values = values ** 2 * 1e-4
    expected = ((rows - mean) @ vectors) / np.sqrt(values + 1e-4)
    np.testing.assert_allclose(Pca(mean, vectors, values).apply(rows), expected, rtol=2e-5, atol=2e-5)


def test_fits_repeat_and_the_sign_of_a_component_is_decided():
    rows = features()
    one, other = fitted(rows, 5), fitted(rows, 5, step=13)
    np.testing.assert_allclose(one.eigenvectors, other.eigenvectors, atol=1e-5)
    largest = np.abs(one.eigenvectors).argmax(0)
    assert (one.eigenvectors[largest, range(5)] > 0).all() and one.sha256 == fitted(rows, 5).sha256


def test_the_name_of_a_pca_follows_from_its_numbers_alone(tmp_path):
    pca = fitted(features(), 5)
    pca.save(tmp_path / 'a.npz')
    again = load_pca(tmp_path / 'a.npz')
    assert again.sha256 == pca.sha256 == Pca(pca.mean, pca.eigenvectors, pca.eigenvalues, {'x': 1}).sha256
    assert again.about == {'frames': 200}
    for name in ('mean', 'eigenvectors', 'eigenvalues'):
        changed = {key: getattr(pca, key).copy() for key in ('mean', 'eigenvectors', 'eigenvalues')}
        changed[name].flat[0] += 0.5
        assert Pca(**changed).sha256 != pca.sha256
    assert pca.first(3).sha256 == fitted(features(), 3).sha256 != pca.sha256


def test_the_files_of_the_original_extractor_are_read(tmp_path):
    """Columns for mean and eigenvalues, eigenvectors in rows, and more of them than are used."""
    pca = fitted(features(), 7)
    np.save(tmp_path / 'mean.npy', pca.mean[:, None].astype(float))
    np.save(tmp_path / 'eigenvals.npy', pca.eigenvalues[:, None].astype(float))
    np.save(tmp_path / 'eigenvecs.npy', np.asfortranarray(pca.eigenvectors.T.astype(float)))
    assert load_pca(tmp_path).sha256 == pca.sha256 and load_pca(tmp_path).first(2).sizes == (7, 2)


def spoiled(tmp_path, **changes):
    arrays = {'mean': np.zeros(5), 'eigenvectors': np.zeros((5, 3)), 'eigenvalues': np.zeros(3), **changes}
    np.savez(tmp_path / 'x.npz', **{name: value for name, value in arrays.items() if value is not None})
    return tmp_path / 'x.npz'


@pytest.mark.parametrize('changes, told', [
    (dict(mean=None), 'mean'), (dict(mean=np.zeros(4)), r'got \(4,\), \(5, 3\) and \(3,\)'),
    (dict(eigenvalues=np.zeros(5)), 'eigenvalues'), (dict(eigenvectors=np.zeros(15)), 'holds no PCA'),
    (dict(mean=np.full(5, np.nan)), 'finite'), (dict(eigenvalues=-np.ones(3)), 'not negative'),
    (dict(about=np.array('{')), 'holds no PCA'), (dict(mean=np.array([{}] * 5, object)), 'holds no PCA')])
def test_files_of_something_else_are_refused(tmp_path, changes, told):
    with pytest.raises(WeightsError, match=f'x.npz: holds no PCA.*{told}|{told}'):
        load_pca(spoiled(tmp_path, **changes))


def test_files_that_are_not_there_or_no_archive_are_refused(tmp_path):
    with pytest.raises(UsageError, match='nothing.npz: does not exist'):
        load_pca(tmp_path / 'nothing.npz')
    with pytest.raises(WeightsError, match='holds no PCA.*mean.npy, eigenvals.npy, eigenvecs.npy'):
        load_pca(tmp_path)
    (tmp_path / 'text.npz').write_text('text')
    with pytest.raises(WeightsError, match='text.npz: holds no PCA'):
        load_pca(tmp_path / 'text.npz')


@pytest.mark.parametrize('size', [0, 8])
def test_more_components_than_there_are_cannot_be_had(size):
    with pytest.raises(UsageError, match=f'--pca_size {size}: the PCA has 7 components'):
        fitted(features(), 7).first(size)


def test_too_few_frames_tell_no_components():
    with pytest.raises(UsageError, match='--fit_pca: 4 frames of readable videos cannot tell 4 components'):
        fitted(features(4), 4)
