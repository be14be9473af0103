/* SPDX-License-Identifier: Apache-2.0 */
/* vlpc/vlpc_compile.h - make artifacts from ONNX files.
**
** libvlpc implements these calls by opening libvlpc_compiler, which a program
** need not link; without it vlpc_compiler_open fails and says what to install.
**
**   vlpc_compiler *c;
**   if (vlpc_compiler_open(NULL, &c) != VLPC_OK ||
**       vlpc_compile(c, &(vlpc_compile_options){.struct_size = sizeof(vlpc_compile_options),
**                                               .models = {"model.onnx"}, .output = "clip.vlpc"}))
**     fputs(vlpc_compiler_error(c), stderr);
**   vlpc_compiler_close(c);
**
** Errors, memory and options follow the rules of vlpc.h.  Threads: a compiler
** belongs to one thread at a time. */
#ifndef VLPC_VLPC_COMPILE_H
#define VLPC_VLPC_COMPILE_H

#include "vlpc/vlpc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vlpc_compiler vlpc_compiler;

typedef struct vlpc_compiler_options {
  size_t struct_size;
  const char *library; /* path of libvlpc_compiler; NULL: beside libvlpc, then
                          where the system looks */
  vlpc_log_fn *log;
  void *log_user;
} vlpc_compiler_options;

VLPC_API vlpc_status vlpc_compiler_open(const vlpc_compiler_options *options, vlpc_compiler **out);
VLPC_API void vlpc_compiler_close(vlpc_compiler *c);
VLPC_API const char *vlpc_compiler_error(const vlpc_compiler *c);
VLPC_API const char *vlpc_compiler_error_json(const vlpc_compiler *c);
/* "0.1.0 (LLVM 19.1.7)"; "" when it is not open. */
VLPC_API const char *vlpc_compiler_version(const vlpc_compiler *c);

/* Called now and then with what is done; a result other than 0 stops the work
** with VLPC_E_CANCELLED and leaves no file. */
typedef int vlpc_progress_fn(void *user, const char *stage, uint64_t done, uint64_t total);

typedef struct vlpc_compile_options {
  size_t struct_size;
  const char *models[2]; /* one file, or image and text tower in any order */
  const char *output;    /* .vlpc file; not used by vlpc_compile_emit */
  const char *tokenizer; /* tokenizer.json, a folder with vocab.json and
                            merges.txt, or a .txt.gz vocabulary; NULL: none */
  const char *preprocess;    /* preprocessor_config.json; NULL: CLIP's */
  const char *require_fused; /* "attention,layernorm,gelu": a miss is an error */
  const char *seal;          /* "avx2,avx512" or "all": adds native code; NULL: none */
  const char *passes;        /* switches of the pass manager, separated by spaces:
                                "--no-x", "--dump=after:x", "--check=eval" …; NULL: none */
  uint64_t memory_limit;     /* bytes; 0: default */
  const char *external_root; /* external data may also lie here; NULL: only in
                                the model's folder */
  vlpc_progress_fn *progress;
  void *progress_user;
  const char *prompt;      /* ONNX file of a prompt module to link in; NULL: none */
  const char *prompt_spec; /* its declaration; NULL: in its metadata, or beside it */
  const char *precision; /* "fp32" or "bf16": how factors of matrix products are held and
                            multiplied (sums are fp32); NULL: "fp32" */
  const char *calibrate;    /* with "bf16": a folder of photos or an .npz of inputs on which the
                               error against fp32 is measured; NULL: seeded inputs; "none": it
                               is not measured */
  int32_t train; /* 1: adds the entry "train" of the prompt module's loss and gradients */
  double logit_scale; /* factor of cosines, of files that hold none, as those of separate towers
                         do; 0: the artifact's that prompts are linked into, else 100 */
  const char *cache_dir; /* private folder for code that measuring the error of bf16 makes, where
                            sessions find it; NULL: it is not kept */
} vlpc_compile_options;

/* Compiles to options->output, which appears whole or not at all. */
VLPC_API vlpc_status vlpc_compile(vlpc_compiler *c, const vlpc_compile_options *options);

typedef enum vlpc_text_format { VLPC_TEXT = 0, VLPC_JSON = 1 } vlpc_text_format;
/* What the last vlpc_compile or vlpc_compile_emit found and fused, and the
** nodes it could not; "" before the first. */
VLPC_API const char *vlpc_compile_report(vlpc_compiler *c, vlpc_text_format format);
/* Text of an inner stage instead of an artifact: what is "import" (the graph as
** read), "normal" (normalised, without names), "core" (as planned), "binding" (what
** is known when), "kernels" or "program".  The text holds until the next call on c. */
VLPC_API vlpc_status vlpc_compile_emit(vlpc_compiler *c, const vlpc_compile_options *options,
                                       const char *what, const char **out_text);

typedef struct vlpc_model_options {
  size_t struct_size;
  const char *kind;      /* "clip" */
  const char *size;      /* "tiny", "b32", "b16", "l14" */
  const char *directory; /* made when absent */
  uint64_t seed;
  int32_t two_files; /* 1: image.onnx and text.onnx; 0: model.onnx */
  int32_t opset;     /* 0: 17 */
  const char *dtype; /* "fp32", "fp16"; NULL: "fp32" */
} vlpc_model_options;

/* Writes a model of a given size with seeded weights as ONNX. */
VLPC_API vlpc_status vlpc_model_write(vlpc_compiler *c, const vlpc_model_options *options);

typedef struct vlpc_prompt_options {
  size_t struct_size;
  const char *method; /* as vlpc_prompt_list names it */
  const char *output; /* x.onnx; losses go to x.loss.onnx, x.loss2.onnx beside it */
  /* The model that the module is for: ONNX files or an artifact; or a size that
  ** vlpc_model_write knows; or its sizes. */
  const char *models[2];
  const char *size;
  int64_t text_width, vision_width, embed, text_layers, vision_layers, context;
  /* 0 and NULL: as published.  length and depth are the text's where a method has
  ** both; those of images follow them unless they are given. */
  int64_t length, depth, vision_length, vision_depth;
  const char *place;   /* of learned words: "end", "middle", "front" */
  const char *phrase;  /* whose words they start as; "": a random start */
  int32_t class_rows;  /* 1: words of each class's own */
  int64_t classes;     /* how many there are, where a module must know */
  int64_t top_classes; /* of dpt-cavpt; 0: 10 */
  int64_t keys;        /* of tip-adapter */
  uint64_t seed;
  const char *tokenizer; /* with ONNX models: rows that start as words have their
                            embeddings in the file; NULL: zeros stand for them */
  int64_t known_classes; /* of the photos: used where a module must know their number and
                            classes is 0 */
  const char *loss_weights; /* of the parts of the method's loss, "text=20 image=5": text, image,
                               logit, aux; NULL or not named: as published */
} vlpc_prompt_options;

/* Writes a prompt module as ONNX (docs/prompt-modules.md). */
VLPC_API vlpc_status vlpc_prompt_write(vlpc_compiler *c, const vlpc_prompt_options *options);
/* The methods that vlpc_prompt_write knows, with their published sizes; a depth of
** -1 is every layer.  The text holds until the next call on c. */
VLPC_API vlpc_status vlpc_prompt_list(vlpc_compiler *c, vlpc_text_format format,
                                      const char **out_text);

/* Describes an ONNX file: producer, opsets, inputs, outputs, operators with
** counts and what is not supported. */
VLPC_API vlpc_status vlpc_compile_inspect(vlpc_compiler *c, const char *path,
                                          vlpc_text_format format, const char **out_text);

typedef struct vlpc_kernel_info {
  size_t struct_size;
  const char *text; /* "gemm m=50 k=768 n=3072 bias"; holds until the next call on c */
  int64_t flops;    /* with these sizes; 2 per multiply-add */
} vlpc_kernel_info;

/* Describes kernel number `step->kernel` of an artifact with a step's sizes. */
VLPC_API vlpc_status vlpc_kernel_describe(vlpc_compiler *c, const vlpc_artifact *a,
                                          const vlpc_step_info *step, vlpc_kernel_info *out);

typedef struct vlpc_found_device {
  size_t struct_size;   /* set by the caller */
  const char *name;     /* "opencl:0:0", as in vlpc_session_options.device */
  const char *platform; /* the driver's family */
  const char *model;    /* "NVIDIA H100 80GB HBM3" */
  const char *driver;   /* its version */
  const char *kind;     /* "gpu", "cpu" or "accelerator" */
  const char *skipped;  /* why it cannot be used; NULL: it can */
  uint64_t memory_bytes;
  const char *cache_dir; /* given: where a table of vlpc_tune is looked for; NULL: nowhere */
  const char *untuned;   /* why sessions do not follow that table; NULL: they do */
} vlpc_found_device;

/* The i-th device that OpenCL shows, strings until the next call on c; *more is
** 0 past the last.  cache_dir of *out is read, so what is not set is 0.  Fails
** with VLPC_E_DEVICE when no loader or driver is installed, which is no fault of
** a machine without a GPU. */
VLPC_API vlpc_status vlpc_compiler_device(vlpc_compiler *c, uint32_t i, vlpc_found_device *out,
                                          int32_t *more);

typedef struct vlpc_tune_options {
  size_t struct_size;
  const char *device;    /* "opencl" or as vlpc_found_device.name */
  const char *cache_dir; /* the private folder that sessions are given */
  double seconds;        /* time to spend; what runs when it is over is finished */
  vlpc_text_format format;
  int32_t clblast;       /* 1: CLBlast, opened at run time, is tried too */
} vlpc_tune_options;

/* Times the artifact's matrix products with each tile that the device may have, and keeps the
** fastest in a table of cache_dir, which later sessions on this device read.  Results have
** the same bits with and without, but where CLBlast was tried and is the fastest.  The text
** says what was tried and chosen, and holds until the next call on c.  Fails as a session on
** the device does, with VLPC_E_DEVICE when CLBlast is asked for and not installed, and with
** VLPC_E_IO when the table cannot be kept. */
VLPC_API vlpc_status vlpc_tune(vlpc_compiler *c, const vlpc_artifact *a,
                               const vlpc_tune_options *options, const char **out_text);

#ifdef __cplusplus
}
#endif
#endif
