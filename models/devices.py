"""The GPUs of this machine, as torch sees them.

``python -m models.devices`` prints how many there are: the node, which never imports torch, asks that way, and what
``CUDA_VISIBLE_DEVICES``, drivers and containers leave of them is answered by who is going to use them.
"""

from __future__ import annotations

import sys

import torch

MIB = 2**20


def limit_memory(mebibytes: int) -> None:
    """This process takes no more of the GPU that it uses: beyond it torch says that the memory does not suffice, and
    ``frugal`` does what is to be done then."""
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, mebibytes * MIB / total))


if __name__ == "__main__":
    sys.stdout.write(f"{torch.cuda.device_count()}\n")
