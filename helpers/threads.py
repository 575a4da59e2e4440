"""Work side by side on the cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function on every item, on as many threads as PyTorch may use, each of which gives PyTorch one thread.

    Small tensors gain nothing from lending all threads to one operation, and much from working on several at once.

    Args:
        function: called once for each item. As in every new thread, gradients are on while it runs.
        items: in any number.

    Returns:
        The results in the order of the items.

    Raises:
        Exception: the first in this order that the function raised, after all threads have ended.
    """
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, items))
