# SPDX-License-Identifier: GPL-3.0-or-later
"""What the anchor-aided paper reports over Rayleigh fading (PSNR in dB; trained and measured on DIV2K).

Its text states no bandwidth ratio. Only what it gives in digits is here: all five SNRs for the attention user, the
ends of the range for the others' anchor-aided training, and the two points where iterative training wins.
"""

#: family -> scheme -> SNR in dB -> PSNR in dB
RAYLEIGH_PSNR_DB = {
    "attention": {
        "two_stage": {1: 26.08, 4: 27.02, 7: 27.64, 10: 28.03, 13: 28.25},
        "iterative": {1: 25.54, 4: 26.43, 7: 27.02, 10: 27.36, 13: 27.54},
        "simultaneous": {1: 25.49, 4: 26.29, 7: 26.79, 10: 27.08, 13: 27.24},
    },
    "conv": {"two_stage": {1: 25.64, 13: 27.32}},
    "resnet": {"two_stage": {1: 25.68, 13: 27.52}, "iterative": {10: 27.58, 13: 27.70}},
    "vgg": {"two_stage": {1: 25.17, 13: 26.65}},
}

#: Fig. 5: the attention user at 13 dB before and after an epoch in which the encoder is trained with the VGG user
FORGETTING_PSNR_DB = (29.43, 26.86)
