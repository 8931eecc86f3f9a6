"""A fitted meta-space: it embeds data sets and sub-networks and says how well they go together. It never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nnunet_iac.metaspace.networks import MetaNetworks
from nnunet_iac.metaspace.settings import FitSettings
from nnunet_iac.metaspace.task import DatasetSample, check_encoder, finite_rows

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MetaSpace:
    """Encoders and predictor as they were fitted.

    Attributes:
        networks: in evaluation mode, without gradients.
        settings: of the fit.
        encoder: what says which frozen encoder made the image features.
        tasks: names of the tasks it was fitted on.
        datasets: the data set of each task.
        embeddings: ``(D, E)``, of these data sets.
        losses: each loss, unweighted, in the last step.
        digests: of each task, see :attr:`~nnunet_iac.metaspace.task.Task.digest`; empty if they are not known.
        ancestors: other data sets that the weights of candidates in the fit have seen.
    """

    networks: MetaNetworks
    settings: FitSettings
    encoder: Any
    tasks: tuple[str, ...]
    datasets: tuple[str, ...]
    embeddings: torch.Tensor
    losses: Mapping[str, float]
    digests: tuple[str, ...] = ()
    ancestors: tuple[str, ...] = ()

    @torch.no_grad()
    def embed_dataset(self, sample: DatasetSample) -> Float32:
        """Return the embedding ``(E,)`` of a data set, of length 1.

        The order of images does not matter; copies of all of them change nothing.

        Raises:
            ValueError: if the features come from another encoder.
        """
        check_encoder(sample.name, sample, self.encoder, len(self.networks.images.mean))
        rows = self.networks.image_rows(torch.from_numpy(sample.features))
        return self.networks.encode_dataset(rows).numpy()

    @torch.no_grad()
    def embed_models(self, topology: ArrayLike, responses: ArrayLike) -> Float32:
        """Return the embeddings ``(n, E)`` of sub-networks, of length 1.

        Args:
            topology: ``(n, T)``.
            responses: ``(n, any)``; padded or cut to the width of the fit.

        Raises:
            ValueError: if a number is not finite, or the numbers of rows or topology's columns do not fit.
        """
        rows, answers = finite_rows("topology", topology), finite_rows("responses", responses)
        width = len(self.networks.topology.mean)
        if rows.shape[1] != width or len(rows) != len(answers):
            raise ValueError(
                f"topology: expected {width} columns and as many rows as responses ({len(answers)}), got {rows.shape}"
            )
        inputs = self.networks.model_rows(torch.from_numpy(rows), torch.from_numpy(answers))
        return self.networks.encode_models(inputs).numpy()

    def similarity(self, dataset: Float32, models: Float32) -> Float32:
        """Return the cosines ``(n,)``, which retrieval uses, of a data set ``(E,)`` and models ``(n, E)``."""
        return models @ dataset

    @torch.no_grad()
    def predict(self, dataset: Float32, models: Float32) -> Float32:
        """Return the predicted Dice ``(n,)`` of models ``(n, E)`` on a data set ``(E,)``, both as embedded."""
        return self.networks.predict(torch.from_numpy(dataset), torch.from_numpy(models)).numpy()
