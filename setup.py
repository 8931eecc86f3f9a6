"""Install nnunet-iac: ``pip install .`` (add ``[test]`` for the test suite)."""

from pathlib import Path

from setuptools import find_packages, setup

CLUSTER = ["dask", "distributed"]

setup(
    name="nnunet-iac",
    version="0.1.0",
    description="Implantable Adaptive Cells for nnU-Net v2: upgrade a trained nnU-Net with searched skip connections",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # The thin trainers live at the top of the repository and are installed inside the package, so that
    # nnU-Net's `nnUNet_extTrainer` can point at one folder that holds trainers and nothing else.
    packages=[*find_packages(include=["nnunet_iac", "nnunet_iac.*"]), "nnunet_iac.trainers"],
    package_dir={"nnunet_iac.trainers": "trainers"},
    package_data={"nnunet_iac": ["py.typed"]},
    install_requires=[
        "nnunetv2>=2.8,<2.9",
        "torch>=2.4",
        "monai",
        "scipy",
        "SimpleITK",
        "batchgenerators",
        "POT>=0.9.6",
        "filelock",
        "graphviz",
        "matplotlib",
        "nibabel",
        "pillow",
        "safetensors",
        "timm",
        "torchvision",
        "tqdm",
    ],
    extras_require={
        "cluster": CLUSTER,
        "test": ["pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "setuptools", "wheel", *CLUSTER],
    },
    entry_points={"console_scripts": ["nnunet-iac = nnunet_iac.cli.main:main"]},
)
