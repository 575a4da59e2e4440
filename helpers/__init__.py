"""Small PyTorch rooms for experiments on what activation functions do.

Data flows one way through the rooms, and so do the imports::

    ground | datasets  evidence  models | training  metrics | attacks | robustness | experiments | figures | explorers

The ground are the modules beside the rooms: `checks` refuses nonsense in one sentence, `seeding` gives each network
streams of its own, `norms` measures distances, `threads` lends the cores, `files` writes whole files, `names` says what
a reader sees for a name. Each room's face names what it offers: ``from helpers.attacks import fgsm, pgd``.
"""

__version__ = "0.1.0"
