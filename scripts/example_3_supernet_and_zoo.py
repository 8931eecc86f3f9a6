"""Example 3: cut a small stock network out of an elastic U-Net, keep it in a zoo, and read it back.

python scripts/example_3_supernet_and_zoo.py
"""

import tempfile

import torch

from nnunet_iac.zoo.entry import Description
from nnunet_iac.zoo.store import Zoo
from nnunet_iac.zoo.subnetwork import extract
from nnunet_iac.zoo.supernet import ElasticUNet
from nnunet_iac.zoo.verification import verify

torch.manual_seed(0)
architecture = {  # as a plans file has it
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [16, 32, 64],
        "strides": [[1, 1], [2, 2], [2, 2]],
        "kernel_sizes": [[3, 3], [3, 3], [3, 3]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
    },
    "_kw_requires_import": ["conv_op", "norm_op"],
}
supernet = ElasticUNet(architecture, input_channels=1, num_classes=3, deep_supervision=False).eval()
small = extract(supernet, supernet.space.smallest)  # a stock network of its own, with weights
image = torch.randn(1, 1, 32, 32)
with torch.no_grad():
    same = torch.allclose(small.network.eval()(image), supernet(image, supernet.space.smallest), atol=1e-5)
print(f"{supernet.parameter_count(supernet.space.smallest)} parameters, the supernet's logits: {same}")

with tempfile.TemporaryDirectory() as folder:
    zoo = Zoo.create(folder)
    about = Description(
        kind="network",
        name="smallest",
        dataset="Dataset001_Example",
        plans={},
        configuration="2d",
        trainer="example",
        channels=("CT",),
        spacing=(1.0, 1.0),
        patch_size=(32, 32),
    )
    added = zoo.add(about, small.state_dict)
    print(f"entry {added.entry.id}, weights {added.entry.weights[:12]}…: named by their content")
    restored = zoo.read_weights(zoo.entry(added.entry.id))
    print("read back, tensor by tensor:", all(torch.equal(restored[k], v) for k, v in small.state_dict.items()))
    print("faults:", len(verify(zoo).findings))
