"""The course's 3D U-Net and its training step in PyTorch, to be measured beside ours; nothing of it is in the library.

Layer by layer the same as `organseg.unet`: `load_keras` brings weights over, and both give the same probabilities.
"""

import numpy as np
import torch
from torch import nn


class UNet(nn.Module):
    """`organseg.unet(base_filters=…)`: images (batch, 1, x, y, z) to scores (batch, class, x, y, z)."""

    def __init__(self, num_classes=8, base_filters=32, levels=4):
        super().__init__()
        self.down, self.up, self.across = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        features = 1
        for level in range(levels):
            filters = base_filters * 2**level
            self.down.append(nn.Sequential(*convolution(features, filters), *convolution(filters, 2 * filters)))
            features = 2 * filters
        for level in reversed(range(levels - 1)):
            filters = 2 * base_filters * 2**level
            self.up.append(nn.ConvTranspose3d(features, features, 2, 2))
            joined = features + filters
            self.across.append(nn.Sequential(*convolution(joined, filters), *convolution(filters, filters)))
            features = filters
        self.scores = nn.Conv3d(features, num_classes, 1)

    def forward(self, x):
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, 2))
            skipped.append(x)
        for up, across, features in zip(self.up, self.across, reversed(skipped[:-1]), strict=True):
            x = across(torch.cat([up(x), features], dim=1))
        return self.scores(x)


def convolution(features, filters):
    # Keras' batch normalisation: momentum 0.9 is PyTorch's 0.1, epsilon 1e-3.
    norm = nn.BatchNorm3d(filters, eps=1e-3, momentum=0.1)
    return nn.Conv3d(features, filters, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True)


def load_keras(network, weights):
    """Bring over the weights of `organseg.unet`, in the order of Keras' `get_weights`."""
    weights = iter(weights)
    layers = [module for block in network.down for module in block]
    for up, across in zip(network.up, network.across, strict=True):
        layers += [up, *across]
    with torch.no_grad():
        for layer in [*layers, network.scores]:
            if isinstance(layer, nn.BatchNorm3d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    tensor.copy_(torch.from_numpy(next(weights)))
            elif isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                layer.weight.copy_(torch.from_numpy(np.transpose(next(weights), (4, 3, 0, 1, 2)).copy()))
                if layer.bias is not None:
                    layer.bias.copy_(torch.from_numpy(next(weights)))


def dice_loss(labels, scores):
    """Equations (1) and (2) per image, all organs annotated: as `organseg.dice_loss`."""
    probabilities = torch.softmax(scores.float(), dim=1)
    truth = nn.functional.one_hot(labels.long(), scores.shape[1]).movedim(-1, 1).float()
    axes = (2, 3, 4)
    overlap = (probabilities * truth).sum(axes)
    return (-2 * overlap / (probabilities.sum(axes) + truth.sum(axes)).clamp_min(1e-7)).mean()


def training_step(network, precision="float32", compiled=False):
    """A function (images, labels) of one step with Adam at 1e-2; it returns the loss, a tensor on the device."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2, eps=1e-7, fused=next(network.parameters()).is_cuda)
    kind = next(network.parameters()).device.type
    half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)
    scaler = torch.amp.GradScaler(kind, enabled=precision == "float16")
    forward = torch.compile(network) if compiled else network

    def step(images, labels):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(kind, half, enabled=half is not None):
            scores = forward(images)
        loss = dice_loss(labels, scores)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step
