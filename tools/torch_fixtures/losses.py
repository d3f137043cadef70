"""Writes tests/vectors/losses_torch.json: losses and gradients of PyTorch in float64.

python tools/torch_fixtures/losses.py
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

VECTORS = Path(__file__).parents[2] / "tests/vectors/losses_torch.json"


def weighted(per_element, weights):
    """The mean over samples of these weights and, where there are several per sample, over the elements."""
    if weights is None:
        return per_element.mean()
    rows = per_element.reshape(len(weights), -1).mean(dim=1)
    return (weights * rows).sum() / weights.sum()


def case(loss, function, x, t, weights):
    x = x.clone().requires_grad_()
    value = weighted(function(x, t), weights)
    value.backward()
    return {
        "loss": loss,
        "logits": x.tolist(),
        "targets": t.tolist(),
        "weights": None if weights is None else weights.tolist(),
        "value": value.item(),
        "gradient": x.grad.tolist(),
    }


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    cases = []
    for rows, outputs, size in [(1, 1, 1.0), (5, 3, 1.0), (4, 10, 8.0), (3, 2, 300.0)]:
        x = size * torch.randn(rows, outputs)
        numbers = x + torch.randn(rows, outputs)
        numbers[0, 0] = x[0, 0]  # the kink
        labels = torch.randint(outputs, (rows,))
        shares, probabilities = torch.rand(rows, outputs), torch.rand(rows, outputs)
        probabilities /= probabilities.sum(dim=1, keepdim=True)
        for weights in (None, torch.arange(rows, dtype=x.dtype) + 0.5):
            for loss, function in [
                ("mse", lambda x, t: functional.mse_loss(x, t, reduction="none")),
                ("mae", lambda x, t: functional.l1_loss(x, t, reduction="none")),
                ("huber", lambda x, t: functional.huber_loss(x, t, reduction="none")),
                ("huber(0.25)", lambda x, t: functional.huber_loss(x, t, reduction="none", delta=0.25)),
            ]:
                cases.append(case(loss, function, x, numbers, weights))
            for e in (0.0, 0.1, 0.75):
                cases.append(
                    case(
                        f"binary_cross_entropy({e})",
                        lambda x, t, e=e: functional.binary_cross_entropy_with_logits(
                            x, (1 - e) * t + e / 2, reduction="none"
                        ),
                        x,
                        shares,
                        weights,
                    )
                )
                for t in (labels, probabilities):

                    def smoothed(x, t, e=e):
                        return functional.cross_entropy(x, t, reduction="none", label_smoothing=e)

                    cases.append(case(f"softmax_cross_entropy({e})", smoothed, x, t, weights))
    lines = ",\n".join(json.dumps(entry) for entry in cases)
    VECTORS.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
