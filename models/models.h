/* SPDX-License-Identifier: Apache-2.0 */
/* models.h - writes models and prompt modules as ONNX, with weights made of a
** seed. */
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

/* ---- prompt modules (prompt.c) -------------------------------------------- */

/* What a module must know of the model that it is for. */
typedef struct {
  int64_t text_width, vision_width, embed; /* embed: of the joint space */
  int64_t text_layers, vision_layers;
  int64_t context; /* tokens of a text */
} PromptHost;

/* Of a row of clip_sizes.def.  Errors: E0014. */
VL_MUST_USE VlStatus models_clip_host(const char *size, Diag *d, PromptHost *out);

/* Gives rows × text_width token embeddings: of phrase's tokens, one a row. */
typedef VlStatus PromptWords(void *ctx, const char *phrase, int64_t rows, float *out, Diag *d);

typedef struct {
  const char *method; /* a row of prompt_methods.def */
  const char *output; /* x.onnx; losses go to x.loss.onnx and x.loss2.onnx beside it */
  PromptHost host;
  /* 0 and NULL: as published.  length and depth are the text's where a method
  ** has both; the images' follow them unless they are given. */
  int64_t length, depth, vision_length, vision_depth;
  const char *place;  /* "end", "middle", "front" */
  const char *phrase; /* whose words start the text rows; "": a random start */
  bool class_rows;    /* text rows of their own for each class */
  int64_t classes, top, keys;
  int64_t known_classes; /* stand in for classes where a method needs them and none are given */
  /* of the loss's parts text, image, logit, aux: "text=20 logit=0"; NULL or not named: as
  ** published */
  const char *loss_weights;
  uint64_t seed;
  PromptWords *words; /* NULL: rows that start as words are zeros in the file */
  void *words_ctx;
} PromptOptions;

/* Writes a module with its declaration in metadata_props["vlpc.prompt"], as
** docs/prompt-modules.md has it, and its losses.  Equal options give equal bytes.
** Errors: E0015 … E0017, E0103, E0104, and those of words. */
VL_MUST_USE VlStatus models_write_prompt(const PromptOptions *o, Diag *d);

typedef struct {
  const char *name, *what, *source;
  int64_t length, depth, vision_length, vision_depth; /* as published; 0: none, -1: every layer */
  const char *phrase;                                 /* NULL: none */
} PromptRow;
/* Row i of the methods; false past the end. */
bool models_prompt_row(uint32_t i, PromptRow *out);

#endif
