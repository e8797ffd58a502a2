# SPDX-License-Identifier: GPL-3.0-or-later
"""Anchor-aided training of several users beside its two benchmarks, and the theory behind it, measured.

python -m semcom_training.multiuser run|table|forgetting|theory EXPERIMENT.yaml
"""
