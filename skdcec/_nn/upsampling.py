"""The decoder's transposed convolution, which a CPU computes faster by hand in bfloat16."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d, pad, pixel_shuffle
from torch.nn.grad import conv2d_weight

# With so few channels to write, the four pixels that one pixel becomes are better computed as
# channels of one convolution, which takes 3 to 5 % off a training step; with 32 it is slower.
_FEW_CHANNELS = 4


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution that undoes a halving, back to images of the size given.

    In float32 it is PyTorch's layer. In bfloat16 on a CPU, a training step by what stands below
    takes 9 to 19 % less time than by PyTorch's layer.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    size : tuple (height, width)
        Of the result.
    geometry : dict
        Kernel size, stride and padding of the halving.
    """

    def __init__(self, n_in: int, n_out: int, size: tuple[int, int], geometry: dict[str, Any]):
        # Halving maps an even length and the odd one below it to the same size.
        of_rows, of_columns = (
            int(stride == 2 and length % 2 == 0)
            for stride, length in zip(geometry["stride"], size, strict=True)
        )
        output_padding = (of_rows, of_columns)
        empty: dict[str, Any] = {"device": "meta", "dtype": torch.float32}
        super().__init__(n_in, n_out, **geometry, output_padding=output_padding, **empty)
        self.size = size

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.bfloat16:
            return super().forward(x)
        assert self.bias is not None
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        result: Tensor = _OnCPU.apply(x, weight, bias, self.stride, self.padding, self.size)
        return result


class _OnCPU(torch.autograd.Function):
    """The same with gradients from the convolution that it transposes.

    It computes the even length and drops the last row or column where the odd one is asked for:
    on a CPU, computing an odd length directly takes longer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        size: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding
        if stride == (2, 2) and weight.shape[1] <= _FEW_CHANNELS:
            result = _by_pixel_shuffle(x, weight, bias, padding)
        else:
            output_padding = [s - 1 for s in stride]
            result = conv_transpose2d(x, weight, bias, stride, padding, output_padding)
        return _crop(result, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d(gradient, weight, None, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            of_weight = conv2d_weight(gradient, weight.shape, x, *ctx.geometry)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 2, 3))
        return of_x, of_weight, of_bias, None, None, None


def _crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images of a size, in memory of their own, so that what follows may work in place."""
    if images.shape[2:] == size:
        return images.contiguous(memory_format=torch.channels_last)
    height, width = size
    return images[:, :, :height, :width].clone(memory_format=torch.channels_last)


def _by_pixel_shuffle(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
    """Return the transposed convolution of stride 2, to twice the size of `x`.

    The pixels in even and odd rows and columns are four images, each a convolution of `x`.
    """
    rows, row_pads = _taps(weight.shape[2], padding[0])
    columns, column_pads = _taps(weight.shape[3], padding[1])
    # A row and a column of zeros, for the taps that are not there.
    kernels = pad(weight, (0, 1, 0, 1))[:, :, rows][:, :, :, :, columns]
    n_in, n_out, _, height, _, width = kernels.shape
    kernels = kernels.permute(1, 2, 4, 0, 3, 5).reshape(4 * n_out, n_in, height, width)
    kernels = kernels.contiguous(memory_format=torch.channels_last)
    x = pad(x, (*column_pads, *row_pads))
    return pixel_shuffle(conv2d(x, kernels, bias.repeat_interleave(4)), 2)


def _taps(kernel_size: int, padding: int) -> tuple[Tensor, tuple[int, int]]:
    """Return which weights meet which inputs along one axis.

    Output 2 i + r adds up input i + s times weight r + padding - 2 s, for the s that have one.

    Returns
    -------
    taps : tensor of shape (2, n_shifts)
        The weights' numbers for r = 0 and 1; ``kernel_size`` stands for none.
    pads : tuple of int
        Inputs that are missing before the first and after the last.
    """
    first = -((kernel_size - 1 - padding) // 2)
    last = (1 + padding) // 2
    taps = torch.tensor([[r + padding - 2 * s for s in range(first, last + 1)] for r in (0, 1)])
    taps[(taps < 0) | (taps >= kernel_size)] = kernel_size
    return taps, (-first, last)
