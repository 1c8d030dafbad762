// SPDX-License-Identifier: Apache-2.0
// Empty: the target of this file carries the precompiled torch/torch.h that all LibTorch sources of the tree reuse.
