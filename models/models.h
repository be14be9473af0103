/* SPDX-License-Identifier: Apache-2.0 */
/* models.h - writes models as ONNX, with weights made of a seed. */
#ifndef VLPC_MODELS_MODELS_H
#define VLPC_MODELS_MODELS_H

#include "base/diag.h"

enum { MODELS_OPSET_MIN = 13, MODELS_OPSET_MAX = 22, MODELS_OPSET = 17 };

typedef struct {
  const char *size;      /* a row of clip_sizes.def: "tiny", "b32", "b16", "l14", … */
  const char *directory; /* made when absent, with the folders above it */
  uint64_t seed;
  /* image.onnx (image → image_features) and text.onnx (text → text_features);
  ** otherwise model.onnx with Hugging Face's names (pixel_values, input_ids →
  ** logits_per_image, logits_per_text, text_embeds, image_embeds). */
  bool two_files;
  int opset;         /* 0: MODELS_OPSET; LayerNormalization is one op from 17 on */
  const char *dtype; /* "fp32", "fp16" (a Cast after each weight); NULL: "fp32" */
} ClipOptions;

/* Writes OpenAI's CLIP of a size.  A weight depends on seed and its name alone,
** so one and two files hold the same model; equal options give equal bytes.
** Weights of more than 1 GiB in all go to FILE.onnx.data beside the file.  Each
** file appears whole or not at all.  Errors: E0014, E0103, E0104. */
VL_MUST_USE VlStatus models_write_clip(const ClipOptions *o, Diag *d);

#endif
