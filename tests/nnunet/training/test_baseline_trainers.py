"""The trainers of the baselines on the tiny data set: the control's schedule, stock prediction, resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunet_folders import Folders
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_export import export_pretrained_model
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from tiny_dataset import Killed, command, configure, equal, final_weights, kill_at, log_of, make_trainer, train

from nnunet_iac.cells.genotype import Genotype
from nnunet_iac.nnunet.files.plans import (
    configuration_of,
    genotype_of,
    read_plans,
    with_genotype,
    with_network,
    with_seed,
    write_plans,
)
from nnunet_iac.nnunet.training.trainers import IACTrainer

CLASSES = {
    "nnUNetTrainerAttentionSkips": "nnunet_iac.baselines.attention.AttentionUNet",
    "nnUNetTrainerDenseSkips": "nnunet_iac.baselines.dense.DenseSkipUNet",
}
every_trainer = pytest.mark.parametrize("trainer", CLASSES)


def fold(folders: Folders, trainer: str, plans: str = "tiny") -> Path:
    return folders.results / f"{trainer}__{plans}__2d" / "fold_0"


def predictor(model: Path) -> nnUNetPredictor:
    """nnU-Net's own predictor with the network that the model folder's plans name."""
    made = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    made.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    return made


@every_trainer
def test_stock_prediction_rebuilds_the_network_that_was_trained(tiny: Folders, trainer: str) -> None:
    trained = train(trainer)

    made = predictor(fold(tiny, trainer).parent)

    assert f"{type(made.network).__module__}.{type(made.network).__name__}" == CLASSES[trainer]
    network = trained.cell_network.eval()
    network.decoder.deep_supervision = False
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.network.load_state_dict(made.list_of_parameters[0])
        assert torch.equal(made.network.eval()(x), network(x))
        volume = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
        here = made.predict_logits_from_preprocessed_data(volume)
        made.network, made.list_of_parameters = network, [network.state_dict()]
        assert torch.equal(here, made.predict_logits_from_preprocessed_data(volume))


@every_trainer
def test_an_exported_model_is_the_same_where_it_is_installed(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    train(trainer)
    for name in ("progress.png", "validation/summary.json"):  # the export wants them; nobody reads them here
        path = fold(tiny, trainer) / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    zipped, elsewhere = tiny.base / "model.zip", tiny.base / "elsewhere"
    export_pretrained_model(990, str(zipped), ("2d",), trainer, "tiny", (0,))
    here = predictor(fold(tiny, trainer).parent)

    elsewhere.mkdir()
    monkeypatch.setenv("nnUNet_results", str(elsewhere))
    install_model_from_zip_file(str(zipped))
    there = predictor(elsewhere / fold(tiny, trainer).parent.relative_to(tiny.results.parent))

    assert type(here.network) is type(there.network)
    assert equal(here.list_of_parameters[0], there.list_of_parameters[0])


@every_trainer
def test_plans_name_the_network_and_carry_no_genotype(tiny: Folders, trainer: str) -> None:
    train(trainer)

    folder = fold(tiny, trainer)
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    expected = with_network(with_seed(read_plans(tiny.preprocessed / "tiny.json"), "2d", 0), "2d", CLASSES[trainer])
    assert read_plans(folder.parent / "plans.json") == expected == checkpoint["init_args"]["plans"]
    assert checkpoint["trainer_name"] == trainer
    assert genotype_of(expected, "2d") is None and not (folder.parent / "genotype.json").exists()


@every_trainer
def test_the_schedule_is_that_of_the_control_without_cells(tiny: Folders, trainer: str) -> None:
    configure("uneven", "host.iterations=2", "training.iterations=1", "training.epochs=1")

    courses = {}
    for name in (trainer, "nnUNetTrainerIACIdentity"):
        course: list[tuple[Any, ...]] = []
        with pytest.MonkeyPatch.context() as patch:
            record_batches(patch, course)
            train(name, plans="uneven")
        courses[name] = course

    assert courses[trainer] == courses["nnUNetTrainerIACIdentity"] and len(courses[trainer]) == 2 * 2 + 1


def record_batches(patch: pytest.MonkeyPatch, course: list[tuple[Any, ...]]) -> None:
    """Note for each training step its epoch, learning rates, and images."""
    original = IACTrainer.train_step

    def noting(self: IACTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        rates = {group["lr"] for group in self.optimizer.param_groups}
        course.append((self.current_epoch, rates, self.num_epochs, float(batch["data"].double().sum())))
        return original(self, batch)

    patch.setattr(IACTrainer, "train_step", noting)


@every_trainer
def test_the_first_weights_of_its_host_are_those_of_the_control(tiny: Folders, trainer: str) -> None:
    made = [make_trainer(name) for name in (trainer, "nnUNetTrainerIACIdentity")]
    for each in made:
        each.initialize()
    assert equal(made[0].network.state_dict(), made[1].network.state_dict())


@every_trainer
def test_every_weight_is_trained_whatever_the_setting_for_cells_says(tiny: Folders, trainer: str) -> None:
    configure("frozen", "training.freeze_host=true")

    frozen, free = (train(trainer, plans=plans) for plans in ("frozen", "tiny"))

    assert all(p.requires_grad for p in frozen.cell_network.parameters())
    assert equal(frozen.cell_network.state_dict(), free.cell_network.state_dict())
    logs = [log_of(fold(tiny, trainer, plans)) for plans in ("frozen", "tiny")]
    assert ["WARNING: training.freeze_host is for cells" in log for log in logs] == [True, False]


@every_trainer
@pytest.mark.parametrize("death", [("on_train_epoch_end", 1, False), ("on_epoch_end", 3, True)])
def test_a_run_killed_and_continued_equals_an_uninterrupted_one(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, trainer: str, death: tuple[str, int, bool]
) -> None:
    configure("twin")
    name, call, after = death
    with monkeypatch.context() as patch:
        kill_at(patch, IACTrainer, name, call, after=after)
        with pytest.raises(Killed):
            train(trainer)

    train(trainer, resume=True)
    train(trainer, plans="twin")

    assert equal(final_weights(fold(tiny, trainer)), final_weights(fold(tiny, trainer, "twin")))


@every_trainer
def test_it_starts_from_pretrained_weights_of_a_stock_training(
    tiny: Folders, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    train("nnUNetTrainerIACHost")
    path = fold(tiny, "nnUNetTrainerIACHost") / "checkpoint_final.pth"
    started: dict[str, torch.Tensor] = {}

    def stop(self: IACTrainer) -> None:
        started.update({key: value.clone() for key, value in self.cell_network.state_dict().items()})
        raise Killed

    monkeypatch.setattr(IACTrainer, "on_epoch_start", stop)
    with pytest.raises(Killed):
        train(trainer, pretrained=path)

    given = {key: value for key, value in final_weights(path.parent).items() if ".seg_layers." not in key}
    assert all(torch.equal(started[key], value) for key, value in given.items())
    assert any(key.startswith("cells.") for key in started)
    assert "starting from -pretrained_weights" in log_of(fold(tiny, trainer))


@every_trainer
def test_plans_with_cells_are_refused_before_a_folder_is_made(tiny: Folders, trainer: str) -> None:
    plans = with_genotype(read_plans(tiny.preprocessed / "tiny.json"), "2d", Genotype.random(seed=5))
    write_plans(tiny.preprocessed / "given.json", {**plans, "plans_name": "given"})

    with pytest.raises(ValueError, match=r"expected a stock host in 2d, got .*CellUNet.* derived from with -p"):
        make_trainer(trainer, plans="given")

    assert not fold(tiny, trainer, "given").parent.exists()


@every_trainer
def test_stock_nnunet_trains_the_plans_of_a_baseline(tiny: Folders, trainer: str) -> None:
    plans = with_network(read_plans(tiny.preprocessed / "tiny.json"), "2d", CLASSES[trainer])
    write_plans(tiny.preprocessed / "named.json", {**plans, "plans_name": "named"})
    stock = make_trainer("nnUNetTrainer", plans="named")
    stock.num_epochs = stock.num_iterations_per_epoch = stock.num_val_iterations_per_epoch = 1

    stock.run_training()

    assert any(key.startswith("cells.") for key in final_weights(fold(tiny, "nnUNetTrainer", "named")))


@every_trainer
@pytest.mark.parametrize("configuration", ["2d", "2d_small"])
def test_naming_a_network_keeps_the_host_and_is_done_once(
    stock_plans: dict[str, Any], trainer: str, configuration: str
) -> None:
    once = with_network(stock_plans, configuration, CLASSES[trainer])

    planned, named = (configuration_of(p, configuration)["architecture"] for p in (stock_plans, once))
    assert named["network_class_name"] == CLASSES[trainer]
    assert named["arch_kwargs"] == {**planned["arch_kwargs"], "backbone": planned["network_class_name"]}
    assert with_network(once, configuration, CLASSES[trainer]) == once
    assert genotype_of(once, configuration) is None


@pytest.mark.slow
def test_stock_commands_train_predict_export_install_and_predict_again(tiny: Folders) -> None:
    model = "-d 990 -c 2d -f 0 -tr nnUNetTrainerDenseSkips -p tiny"
    base = tiny.base
    (base / "images").mkdir()
    shutil.copy(tiny.raw / "imagesTr" / "patient0_a_0000.nii.gz", base / "images")

    command(base, "nnUNetv2_train 990 2d 0 -tr nnUNetTrainerDenseSkips -p tiny -device cpu")
    summary = fold(tiny, "nnUNetTrainerDenseSkips") / "validation" / "summary.json"
    assert json.loads(summary.read_text())["metric_per_case"]
    predict = f"nnUNetv2_predict {model} -i {base}/images -device cpu -npp 0 -nps 0 --disable_tta -o {base}"
    command(base, f"{predict}/first")
    command(base, f"nnUNetv2_export_model_to_zip {model} -o {base}/model.zip")
    shutil.rmtree(base / "results")
    (base / "results").mkdir()
    command(base, f"nnUNetv2_install_pretrained_model_from_zip {base}/model.zip")
    command(base, f"{predict}/second")

    masks = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(base / name / "patient0_a.nii.gz"))) for name in ("first", "second")
    ]
    assert masks[0].shape == (8, 24, 24) and np.array_equal(*masks)
