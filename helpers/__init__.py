"""Small PyTorch rooms for experiments on what activation functions do.

Data flows one way, and so do the imports:
seeding, checks -> datasets, activations -> models -> training -> metrics -> results, statistics, claims
-> figures -> explorers.
"""
