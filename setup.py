"""Install nnunet-iac: ``pip install .`` (add ``[test]`` for the test suite)."""

from pathlib import Path

from setuptools import find_packages, setup

CLUSTER = ["dask>=2024.1", "distributed>=2024.1"]

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
    # .ci/oldest.txt pins each of these lower bounds, and .ci/compatibility tests that set. Before torch 2.6,
    # torch.load(weights_only=True) could run code from a file (CVE-2025-32434).
    install_requires=[
        "nnunetv2>=2.8,<2.9",
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26.4",
        "dynamic-network-architectures>=0.4.4,<0.5",
        "monai>=1.3.2",
        "scipy>=1.11.4",
        "SimpleITK>=2.2.1",
        "batchgenerators>=0.25.1",
        "POT>=0.9.6",
        "filelock>=3.12",
        "graphviz>=0.20",
        "matplotlib>=3.8",
        "nibabel>=5.2",
        "pillow>=10.1",
        "safetensors>=0.4.3",
        "timm>=0.9.16",
        "tqdm>=4.65",
    ],
    extras_require={
        "cluster": CLUSTER,
        "test": ["pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "setuptools", "wheel", *CLUSTER],
    },
    entry_points={"console_scripts": ["nnunet-iac = nnunet_iac.cli.main:main"]},
)
