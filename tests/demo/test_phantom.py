"""Laws of the phantom: same seed, same voxels; anatomy that holds together; a data set that is whole or absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation

from nnunet_iac.demo import phantom
from nnunet_iac.demo.anatomy import LABELS
from nnunet_iac.demo.phantom import Case, Grid, draw_patient, main, write_dataset

RV, MYO, LV = LABELS["RV"], LABELS["MYO"], LABELS["LV"]
IN_PLANE = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Both phases of patients of several seeds."""
    return [case for seed in range(3) for patient in range(1, 9) for case in draw_patient(seed, patient)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "Dataset900_Phantom"
    write_dataset(folder, seed=3, patients=2, test_patients=1)
    return folder


def read(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path))


def test_same_seed_gives_the_same_voxels() -> None:
    for first, second in zip(draw_patient(5, 2), draw_patient(5, 2), strict=True):
        assert first.image.tobytes() == second.image.tobytes()
        assert first.labels.tobytes() == second.labels.tobytes()


@pytest.mark.parametrize(("seed", "patient"), [(6, 2), (5, 3)])
def test_another_seed_or_patient_gives_another_heart(seed: int, patient: int) -> None:
    assert (draw_patient(5, 2)[0].labels != draw_patient(seed, patient)[0].labels).any()


def test_phases_of_one_patient_have_independent_noise() -> None:
    diastole, systole = draw_patient(0, 1)
    corner = (slice(None), slice(0, 8), slice(-8, None))
    difference = diastole.image[corner].astype(float) - systole.image[corner]
    assert difference.std() > 1


def test_labels_are_the_four_classes_and_all_are_in_every_case(cases: list[Case]) -> None:
    for case in cases:
        assert set(np.unique(case.labels)) == {0, RV, MYO, LV}, case.name


def test_the_left_ventricle_is_surrounded_by_myocardium(cases: list[Case]) -> None:
    for case in cases:
        cavity = case.labels == LV
        rim = binary_dilation(cavity, IN_PLANE) & ~cavity
        assert set(np.unique(case.labels[rim])) == {MYO}, case.name


def test_the_heart_lies_inside_the_image(cases: list[Case]) -> None:
    for case in cases:
        edges = [case.labels[:, [0, -1], :], case.labels[:, :, [0, -1]]]
        assert not any(edge.any() for edge in edges), case.name


def test_the_left_ventricle_tapers_towards_the_apex(cases: list[Case]) -> None:
    for case in cases:
        area = (case.labels == LV).sum(axis=(1, 2))
        assert area[0] > area[len(area) // 2] > area[-1], case.name


def test_systole_has_smaller_cavities(cases: list[Case]) -> None:
    for diastole, systole in zip(cases[::2], cases[1::2], strict=True):
        for cavity in (RV, LV):
            assert (systole.labels == cavity).sum() < (diastole.labels == cavity).sum(), diastole.name


def test_patients_differ_in_size_and_place(cases: list[Case]) -> None:
    diastole = [case.labels for case in cases[::2]]
    volumes = [(labels == LV).sum() for labels in diastole]
    middles = [np.argwhere(labels == LV).mean(axis=0)[1:] for labels in diastole]
    assert max(volumes) > 1.3 * min(volumes)
    assert np.ptp(middles, axis=0).min() > 2


def test_blood_is_brighter_than_muscle_and_intensities_differ_between_patients(cases: list[Case]) -> None:
    bright = [np.median(case.image[case.labels == LV]) for case in cases]
    dark = [np.median(case.image[case.labels == MYO]) for case in cases]
    assert all(b > 1.8 * d for b, d in zip(bright, dark, strict=True))
    assert max(bright) > 2 * min(bright)


def test_noise_is_rician_where_there_is_little_signal(cases: list[Case]) -> None:
    """Pure noise would have mean / deviation = 1.91 (Rayleigh), Gaussian noise about zero a mean of zero."""
    air = [case.image[:, 2:10, -10:-2].astype(float) for case in cases]
    assert all(region.min() >= 0 and region.mean() > 1.2 * region.std() for region in air)


def test_a_grid_sets_the_shape() -> None:
    case = draw_patient(0, 1, Grid(size=32, pixel=3.0, slices=5))[0]
    assert case.image.shape == case.labels.shape == (5, 32, 32)


def test_images_and_labels_share_the_grid_of_the_case(written: Path) -> None:
    for part in ("Tr", "Ts"):
        for path in (written / f"labels{part}").iterdir():
            labels, image = read(path), read(written / f"images{part}" / path.name.replace(".nii", "_0000.nii"))
            assert labels.GetSpacing() == image.GetSpacing() == (2.0, 2.0, 10.0)
            assert labels.GetSize() == image.GetSize() == (48, 48, 7)


def test_groups_hold_every_training_case_once(written: Path) -> None:
    groups = json.loads((written / "patient_groups.json").read_text())
    grouped = sorted(case for cases in groups.values() for case in cases)
    assert grouped == sorted(path.name[:-7] for path in (written / "labelsTr").iterdir())
    assert groups["patient001"] == ["patient001_frame01", "patient001_frame02"]


def test_dataset_json_describes_what_was_written(written: Path) -> None:
    record = json.loads((written / "dataset.json").read_text())
    assert record["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    assert record["numTraining"] == len(list((written / "imagesTr").glob(f"*_0000{record['file_ending']}")))


def test_files_hold_what_was_drawn(written: Path) -> None:
    voxels = sitk.GetArrayFromImage(read(written / "imagesTr" / "patient002_frame01_0000.nii.gz"))
    assert voxels.tobytes() == draw_patient(3, 2)[0].image.tobytes()


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_dataset(tmp_path, patients=1)


def test_overwriting_replaces_a_phantom(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset900_Phantom"
    write_dataset(folder, patients=2, test_patients=0)
    write_dataset(folder, patients=1, test_patients=0, overwrite=True)
    assert len(list((folder / "imagesTr").iterdir())) == 2


@pytest.mark.parametrize("content", ["{}", "not JSON", '{"name": "ACDC"}'])
def test_overwriting_spares_everything_else(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(FileExistsError, match="not overwritten"):
        write_dataset(tmp_path, patients=1, overwrite=True)
    assert (tmp_path / "dataset.json").read_text() == content


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(phantom, "write_json", fail)
    with pytest.raises(OSError, match="no space left"):
        write_dataset(tmp_path / "Dataset900_Phantom", patients=1, test_patients=0)
    assert list(tmp_path.iterdir()) == []


def test_all_bad_counts_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seed: .* got -1; patients: expected at least 1, got 0"):
        write_dataset(tmp_path / "x", seed=-1, patients=0)


def test_the_command_writes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "Dataset900_Phantom"), "--patients", "1", "--test-patients", "0"]
    assert main(arguments) == 0
    assert "wrote 2 training" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
