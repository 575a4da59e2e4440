import threading

import pytest
import torch

from helpers.threads import side_by_side


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_keep_the_order_of_the_items(three_threads):
    assert side_by_side(lambda n: n * n, range(50)) == [n * n for n in range(50)]
    assert side_by_side(str, []) == []


def test_as_many_at_once_as_pytorch_has_threads(three_threads):
    # Each waits until three are at work; with fewer the barrier breaks.
    barrier = threading.Barrier(3)
    inside = side_by_side(lambda _: (barrier.wait(timeout=20), torch.get_num_threads())[1], range(3))
    assert inside == [1, 1, 1]
    assert torch.get_num_threads() == 3


def test_first_exception_is_raised():
    def fail(n):
        if n > 2:
            raise ValueError(f"n must be at most 2, got {n}.")
        return n

    with pytest.raises(ValueError, match="got 3"):
        side_by_side(fail, range(5))
