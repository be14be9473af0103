/* SPDX-License-Identifier: Apache-2.0 */
/* vlpc/vlpc.h - run a compiled CLIP: artifact → session → input → run → output.
**
**   vlpc_artifact *a;
**   vlpc_session *s;
**   if (vlpc_artifact_open("clip.vlpc", NULL, &a) != VLPC_OK)
**     … vlpc_artifact_error(a) …
**   if (vlpc_session_new(a, NULL, &s) != VLPC_OK) … vlpc_session_error(s) …
**   vlpc_set_labels(s, labels, n_labels, "a photo of a {}.");
**   vlpc_classify(s, &(vlpc_image){.path = "photo.jpg"}, 1, probabilities);
**   vlpc_session_free(s);
**   vlpc_artifact_close(a);
**
** Errors.  A call that fails returns a status other than VLPC_OK and leaves its
** text (file, place, found / expected, what to do) in the object it was called
** on.  vlpc_artifact_open and vlpc_session_new give an object even when they
** fail, so that its text can be read; it must be closed or freed as usual.  Only
** when memory is out is it NULL.  Every function takes a NULL object: it returns
** VLPC_E_INVALID_ARG, NULL, false or "", or does nothing.
** Memory.  Pointers that a function returns belong to the object and hold until
** the next call that changes it; buffers that a caller passes stay the caller's.
** Threads.  An artifact may be used by any threads at once.  A session belongs
** to one thread at a time; a call made while another thread is inside the
** session returns VLPC_E_INVALID_ARG and changes nothing.
** Options.  A NULL pointer means defaults.  Otherwise struct_size is
** sizeof(struct) and fields that are 0 mean their default.
** The library reads no environment variables, prints nothing, never exits. */
#ifndef VLPC_VLPC_H
#define VLPC_VLPC_H

#include <stdbool.h>

#include "vlpc/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vlpc_artifact vlpc_artifact;
typedef struct vlpc_session vlpc_session;
typedef struct vlpc_prompts vlpc_prompts;

/* ---- library ------------------------------------------------------------ */

/* "0.1.0" */
VLPC_API const char *vlpc_version(void);
/* "INVALID_ARG" …; never NULL. */
VLPC_API const char *vlpc_status_name(vlpc_status status);
/* Exit code of the command for a status (table in vlpc/types.h). */
VLPC_API int vlpc_status_exit_code(vlpc_status status);

typedef enum vlpc_log_level { VLPC_LOG_WARNING = 1, VLPC_LOG_INFO = 2 } vlpc_log_level;
/* Called on the thread that makes the call it belongs to; one line, no newline. */
typedef void vlpc_log_fn(void *user, vlpc_log_level level, const char *line);

typedef struct vlpc_device_info {
  size_t struct_size;  /* set by the caller */
  const char *name;    /* "cpu", "null", … as in vlpc_session_options.device */
  const char *what;    /* one sentence */
  const char *target;  /* "avx512": the best instruction set that runs; "": none */
  const char *model;   /* the processor's name */
  int32_t processors;  /* that this process may use */
} vlpc_device_info;

/* The i-th device driver of this library; false past the last. */
VLPC_API bool vlpc_device(uint32_t i, vlpc_device_info *out);

/* ---- artifact: one .vlpc file, mapped ----------------------------------- */

typedef struct vlpc_artifact_options {
  size_t struct_size;
  /* 1: also check the weights' checksum now (reads the whole file).  All other
  ** sections are always checked. */
  int32_t verify_weights;
  vlpc_log_fn *log; /* warnings of this artifact and its sessions */
  void *log_user;
} vlpc_artifact_options;

/* Maps and checks a file.  Nothing of it is trusted before it is checked. */
VLPC_API vlpc_status vlpc_artifact_open(const char *path, const vlpc_artifact_options *options,
                                        vlpc_artifact **out);
/* The last session holds the file: closing before freeing sessions is allowed. */
VLPC_API void vlpc_artifact_close(vlpc_artifact *a);
/* Text of the last failure of a call on this artifact, "" when there is none. */
VLPC_API const char *vlpc_artifact_error(const vlpc_artifact *a);
/* The same facts as a JSON array. */
VLPC_API const char *vlpc_artifact_error_json(const vlpc_artifact *a);
/* Checks the weights' checksum.  One thread at a time. */
VLPC_API vlpc_status vlpc_artifact_verify(vlpc_artifact *a);

typedef struct vlpc_section {
  size_t struct_size;
  const char *name; /* "manifest", "graph", "program", "kernels", "weights",
                       "tokenizer", "preprocess", "classes", "provenance", "code",
                       "calibration", "features" */
  const void *data; /* in the mapped file; text sections are not NUL-terminated */
  uint64_t offset, bytes;
  char hash[33]; /* XXH3-128, hexadecimal */
} vlpc_section;

/* The i-th section of the file; false past the last. */
VLPC_API bool vlpc_artifact_section(const vlpc_artifact *a, uint32_t i, vlpc_section *out);

typedef struct vlpc_artifact_info {
  size_t struct_size;
  uint32_t container_version;
  const char *compiler_version; /* of the vlpc that made the file */
  const char *precision;        /* "fp32" */
  const char *model;            /* "clip" */
  uint64_t file_bytes, weight_bytes;
  uint32_t n_entries, n_kernels, n_steps;
  /* 0 or NULL where the artifact has no such part */
  int32_t image_size;     /* pixels of a side */
  int32_t context_length; /* tokens of a text */
  int32_t embed_dim;      /* of the joint space */
  double logit_scale;     /* factor of cosines, not its logarithm */
  const char *tokenizer;  /* "hf" or "openai" rules, NULL: none */
  uint32_t n_classes;     /* class names packed in: labels of every new session */
  bool has_code;          /* holds sealed native code */
} vlpc_artifact_info;

VLPC_API bool vlpc_artifact_get_info(const vlpc_artifact *a, vlpc_artifact_info *out);
/* Name of the i-th entry ("image", "text", "model"); NULL past the last. */
VLPC_API const char *vlpc_artifact_entry(const vlpc_artifact *a, uint32_t i);
/* Name of the i-th stream point ("T.0", "V.feat"); NULL past the last. */
VLPC_API const char *vlpc_artifact_point(const vlpc_artifact *a, uint32_t i);
/* The i-th class name baked in; NULL past the last. */
VLPC_API const char *vlpc_artifact_class(const vlpc_artifact *a, uint32_t i);

typedef enum vlpc_direction { VLPC_INPUT = 0, VLPC_OUTPUT = 1 } vlpc_direction;

typedef struct vlpc_port {
  size_t struct_size;
  const char *name;
  vlpc_dtype dtype;
  int32_t rank;
  int64_t shape[VLPC_MAX_RANK];       /* -1: decided by the caller */
  const char *symbol[VLPC_MAX_RANK];  /* "batch", "2*batch + 1"; NULL: fixed */
  const char *const *aliases;         /* other names it answers to, NULL-terminated */
  bool of_prompts; /* an input that vlpc_session_set_prompts sets */
} vlpc_port;

/* The i-th input or output of an entry; false past the last. */
VLPC_API bool vlpc_artifact_port(const vlpc_artifact *a, const char *entry,
                                 vlpc_direction direction, uint32_t i, vlpc_port *out);

/* ---- session: runs the entries of an artifact --------------------------- */

typedef struct vlpc_session_options {
  size_t struct_size;
  const char *device;  /* "cpu" */
  int32_t threads;     /* 0: every processor that this process may use */
  int32_t pin_threads; /* 1: each thread keeps its processor */
  /* Uses this session's threads (calls then take turns); it may be freed first. */
  vlpc_session *share_threads;
  const char *isa;              /* "portable" … "amx"; NULL: the best that runs */
  const char *cache_dir;        /* where code is kept between runs; NULL: nowhere */
  const char *compiler_library; /* path of libvlpc_compiler; NULL: beside this
                                   library, then where the system looks */
  /* 1: may run native code sealed in the artifact; where none can be made and isa is NULL,
  ** also of a lower level than the best.  Only for files from somebody you would also run a
  ** program from. */
  int32_t trust_code;
  uint64_t memory_limit; /* bytes of activations; 0: none */
} vlpc_session_options;

/* Makes code for this machine, or takes it from the cache, and starts the
** threads.  Sessions of one artifact and target share code and weights. */
VLPC_API vlpc_status vlpc_session_new(vlpc_artifact *a, const vlpc_session_options *options,
                                      vlpc_session **out);
VLPC_API void vlpc_session_free(vlpc_session *s);
VLPC_API const char *vlpc_session_error(const vlpc_session *s);
VLPC_API const char *vlpc_session_error_json(const vlpc_session *s);

typedef struct vlpc_tensor {
  void *data; /* row-major, contiguous, aligned to its element */
  vlpc_dtype dtype;
  int32_t rank;
  int64_t shape[VLPC_MAX_RANK];
} vlpc_tensor;

/* Sets an input by its name or an alias.  The data are read while the entry
** runs and must stay until then; nothing is copied. */
VLPC_API vlpc_status vlpc_session_set_input(vlpc_session *s, const char *entry, const char *name,
                                            const vlpc_tensor *value);
/* Has the output written to data (NULL: to memory of the session), which must
** hold it whole: vlpc_session_run fails when bytes is too small. */
VLPC_API vlpc_status vlpc_session_set_output(vlpc_session *s, const char *entry, const char *name,
                                             void *data, uint64_t bytes);
/* Runs an entry on the inputs set.  The first run with new shapes lays out
** memory; later runs with the same shapes allocate nothing.  Results do not
** depend on the number of threads, nor on what else is in a batch. */
VLPC_API vlpc_status vlpc_session_run(vlpc_session *s, const char *entry);
/* An output of the last run of the entry; data hold until the entry runs again,
** or are the caller's where vlpc_session_set_output gave a buffer.  The easy path
** below runs entries too. */
VLPC_API vlpc_status vlpc_session_output(vlpc_session *s, const char *entry, const char *name,
                                         vlpc_tensor *out);

typedef struct vlpc_step_info {
  const char *entry;
  uint32_t step, kernel;
  const char *place;    /* nodes that the step computes */
  const int64_t *sizes; /* the kernel's run-time sizes (vlpc_kernel_describe) */
  uint32_t n_sizes;
  int64_t start_ns, end_ns; /* monotonic clock */
} vlpc_step_info;

/* Has fn called after each step, on the caller's thread; NULL: no more. */
typedef void vlpc_step_fn(void *user, const vlpc_step_info *step);
VLPC_API vlpc_status vlpc_session_on_step(vlpc_session *s, vlpc_step_fn *fn, void *user);

typedef enum vlpc_code_origin {
  VLPC_CODE_NONE = 0,  /* the device needs none */
  VLPC_CODE_MADE = 1,  /* made now */
  VLPC_CODE_CACHE = 2, /* from the cache */
  VLPC_CODE_SEALED = 3 /* from the artifact */
} vlpc_code_origin;

typedef struct vlpc_session_info {
  size_t struct_size;
  const char *device, *target;
  int32_t threads;
  vlpc_code_origin code;
  uint64_t code_bytes;
  uint64_t activation_bytes; /* of the largest shapes run so far */
  uint64_t cache_rebuilt;    /* damaged cache entries thrown away */
  uint64_t launches;         /* steps launched so far */
  int64_t code_ns;           /* time it took to get the code */
  /* XXH3-128 of the code, hexadecimal; "": the device needs none.  Equal code, weights
  ** and program give equal bits. */
  char code_hash[33];
} vlpc_session_info;

VLPC_API bool vlpc_session_get_info(const vlpc_session *s, vlpc_session_info *out);

/* A way to run an entry.  A step of training can keep all that its way back reads, or
** compute some of it once more: fewer bytes, more steps, the same results. */
typedef struct vlpc_plan {
  size_t struct_size;
  const char *name; /* NULL: there are no more ways */
  uint64_t activation_bytes;
  uint32_t steps;
  int32_t used; /* 1: vlpc_session_run takes it, the first that keeps memory_limit */
} vlpc_plan;

/* The i-th way to run an entry on the inputs set, that with most memory first.  Nothing
** runs and no memory is taken. */
VLPC_API vlpc_status vlpc_session_plan(vlpc_session *s, const char *entry, uint32_t i,
                                       vlpc_plan *out);

/* ---- prompt sets: learned values for an artifact with a prompt module ---- */

/* Reads a safetensors file whose "__metadata__" names its method (docs/prompt-sets.md).
** A set never changes and may be used by any threads and sessions at once. */
VLPC_API vlpc_status vlpc_prompts_open(const char *path, vlpc_prompts **out);
/* The same from a copy of bytes; name is for messages, NULL: "prompts". */
VLPC_API vlpc_status vlpc_prompts_open_memory(const void *bytes, size_t n, const char *name,
                                              vlpc_prompts **out);
/* Sessions that were given the set hold it: closing it at once is allowed. */
VLPC_API void vlpc_prompts_close(vlpc_prompts *p);
VLPC_API const char *vlpc_prompts_error(const vlpc_prompts *p);
VLPC_API const char *vlpc_prompts_error_json(const vlpc_prompts *p);

typedef struct vlpc_prompts_info {
  size_t struct_size;
  const char *method; /* "coop", "maple", … */
  const char *base;   /* hash of the model it was trained on, NULL: not said */
  const char *template_text; /* text for a class, "{}" its name, NULL: not said */
  uint32_t n_classes; /* class names it was trained on, 0: not said */
  uint32_t n_tensors;
  uint64_t bytes; /* of all tensors */
} vlpc_prompts_info;

VLPC_API bool vlpc_prompts_get_info(const vlpc_prompts *p, vlpc_prompts_info *out);
/* The i-th class name; NULL past the last. */
VLPC_API const char *vlpc_prompts_class(const vlpc_prompts *p, uint32_t i);
/* Name and value of the i-th tensor, in the order of the file; false past the last.
** Neither may be written to. */
VLPC_API bool vlpc_prompts_tensor(const vlpc_prompts *p, uint32_t i, const char **name,
                                  vlpc_tensor *out);

typedef struct vlpc_module_info {
  size_t struct_size;
  const char *method;
  const char *base; /* hash of the model without prompts, NULL: not known */
  /* learned rows of each text: how many, where ("end", "middle", "front"; NULL: none) and
  ** the words before a name that they take the place of, NULL: of no words */
  uint32_t slot_rows;
  const char *slot_place, *slot_phrase;
  uint32_t n_trainables;
  bool loss_per_photo; /* its loss is the mean of those of the photos */
  const char *loss_weights; /* of the parts of its loss, "text=25 image=10"; NULL: not stated */
} vlpc_module_info;

/* What was linked in by --prompt; false when the artifact has no prompt module. */
VLPC_API bool vlpc_artifact_module(const vlpc_artifact *a, vlpc_module_info *out);
/* The i-th tensor that a prompt set must have; shape[0] is -1 where it is the number of
** classes.  False past the last. */
VLPC_API bool vlpc_artifact_trainable(const vlpc_artifact *a, uint32_t i, vlpc_port *out);

typedef struct vlpc_layout_row {
  size_t struct_size;
  const char *point;   /* "T.emb", "V.0", "V.feat" … */
  const char *action;  /* "keep", "insert", "overwrite", "drop"; "replace" of features, scores */
  const char *segment; /* of the stream: "slot", "prompt" …; NULL: none */
  const char *value;   /* the module's output that is written; NULL: none */
  const char *per;     /* a value each: "all", "class", "image", "image and class"; NULL: none */
  const char *time;    /* when it is known: "const", "prompts", "classes", "image"; NULL: none */
  int64_t stream;      /* rows of the stream from here on, 0: no stream; -1: not fixed */
  int64_t first, rows; /* those that are written */
  double mix[2];       /* the value is mix[0] · learned + mix[1] · the rows before; 0: no mix */
} vlpc_layout_row;

/* What the module does at the points of the towers, in their order: a row for each write, or
** one for a point without.  False past the last. */
VLPC_API bool vlpc_artifact_layout(const vlpc_artifact *a, uint32_t i, vlpc_layout_row *out);

typedef struct vlpc_start_options {
  size_t struct_size;
  uint64_t seed;
  const char *const *classes; /* names, kept with the set; needed where a trainable has a row
                                 for each class */
  uint32_t n_classes;
  const char *template_text; /* kept with the set; NULL: none */
} vlpc_start_options;

/* A set with start values as the session's prompt module declares them: draws of the
** seed, rows of the model's tokens.  Equal seeds give equal bits.  Errors (E1026, E1028) are
** the session's, and then *out is NULL. */
VLPC_API vlpc_status vlpc_prompts_start(vlpc_session *s, const vlpc_start_options *options,
                                        vlpc_prompts **out);
/* The same set with copies of other values: data[i] for its i-th tensor, NULL: as it is. */
VLPC_API vlpc_status vlpc_prompts_copy(const vlpc_prompts *p, const void *const *data,
                                       vlpc_prompts **out);
/* Writes the set as a safetensors file, which appears whole or not at all.  One thread at
** a time. */
VLPC_API vlpc_status vlpc_prompts_write(vlpc_prompts *p, const char *path);

/* Has the entries take their trainables from a set, whose tensors are used where they
** are: a change of pointers.  The first run that takes what a set decides alone computes
** it, and it is kept with the set; so are text features of labels (vlpc_set_labels), which
** the next vlpc_classify makes.
** NULL: no prompts.  On failure the set of before stays.  Errors: E1023 … E1025. */
VLPC_API vlpc_status vlpc_session_set_prompts(vlpc_session *s, vlpc_prompts *p);
/* Frees what the session has computed for a set and lets go of it; the set in use
** stops being so. */
VLPC_API vlpc_status vlpc_session_forget_prompts(vlpc_session *s, vlpc_prompts *p);

/* ---- the easy path: photos and labels in, probabilities out ------------- */

typedef struct vlpc_image {
  const char *path;    /* a JPEG or PNG file, or NULL: */
  const uint8_t *rgb;  /* height × width × 3 bytes */
  int32_t width, height;
  /* The prompt set of this photo; NULL: the session's.  Photos of one call may name
  ** different ones: those of a set run together, set after set, and each answer has the
  ** bits that its photo alone gives.  A set is kept as by vlpc_session_set_prompts. */
  vlpc_prompts *prompts;
} vlpc_image;

/* One image as the image entry takes it: out[3 · image_size · image_size]. */
VLPC_API vlpc_status vlpc_preprocess(vlpc_session *s, const vlpc_image *image, float *out);
/* Token ids of one UTF-8 text as the text entry takes them: context_length ids,
** or ids[cap] when cap is smaller (VLPC_E_LIMIT).  *n_used counts those up to
** and with the end token. */
VLPC_API vlpc_status vlpc_tokenize(vlpc_session *s, const char *text, int64_t *ids, uint32_t cap,
                                   uint32_t *n_used);
typedef struct vlpc_near_token {
  int64_t id;
  double distance;
  char text[64]; /* "photo"; "phot-": a part that a word goes on from */
} vlpc_near_token;

/* For each of rows[n · width] the k tokens of the model whose embeddings are nearest to it, by
** Euclidean distance, the nearest first; equal ones by id (CoOp, interpret_prompt.py):
** out[n · k].  n and k are above 0, width is that of a text's rows; else, and for k beyond
** the vocabulary, VLPC_E_INVALID_ARG.  Needs a prompt module: others have no entry that gives
** embeddings. */
VLPC_API vlpc_status vlpc_nearest_tokens(vlpc_session *s, const float *rows, uint32_t n,
                                         uint32_t width, uint32_t k, vlpc_near_token *out);
/* Features of unit length: out[n · embed_dim].  Results are the same for any
** division into batches. */
VLPC_API vlpc_status vlpc_embed_images(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                       float *out);
VLPC_API vlpc_status vlpc_embed_texts(vlpc_session *s, const char *const *texts, uint32_t n,
                                      float *out);
/* Where features of images come from: out[n · rows], how much of the image tower's last
** attention its class row gives to each row of the stream, mean over the heads: to the class
** row, to the patches in row-major order, to prompt rows; a map's sum is 1.  output is
** "attention", with the session's prompts, or "plain_attention", of the tower without any,
** which is there where prompts change it; how many rows one has is the last axis of this
** output of the entry "attention" (vlpc_artifact_port).  Artifacts compiled for training have
** them. */
VLPC_API vlpc_status vlpc_attention_maps(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                         const char *output, float *out);
/* Computes and keeps the text features of n labels.  In the template each "{}"
** becomes the label; NULL: the label alone, or with prompts the template of the set
** or the words that the module's rows take the place of.  A text is cut to the model's
** context, but with learned rows in it too long a one is VLPC_E_LIMIT.  The strings may go
** afterwards. */
VLPC_API vlpc_status vlpc_set_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                                     const char *template_text);
/* Features of the labels, of unit length, with the prompts in use: out[n_labels · embed_dim].
** Fails where texts differ from image to image (CoCoOp). */
VLPC_API vlpc_status vlpc_embed_labels(vlpc_session *s, float *out);
/* Gives the inputs of an entry that follow from the labels their values: token ids of the
** labels' texts (and the mask), lengths of names, and features of texts without learned
** rows: the mean of those of the labels in the module's own templates for them, where it
** has any, else in each of n_plain templates (0: "a photo of a {}.").  They stay until
** labels are set anew. */
VLPC_API vlpc_status vlpc_label_inputs(vlpc_session *s, const char *entry,
                                       const char *const *plain, uint32_t n_plain);
/* softmax(logit_scale · cosine) over the labels: out[n · n_labels]. */
VLPC_API vlpc_status vlpc_classify(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                   float *out);

/* Writes an artifact that has the image tower, with the prompts in use folded in, and the
** text features of the labels: it needs no prompt set, no labels, no text tower and no
** tokenizer, and classifies with the same bits.  Where texts follow the image (CoCoOp), the
** text tower and the tokenizer stay; where the module changes scores, what makes them.
** Equal sessions give equal files; the file appears whole or not at all.  Errors: E1025,
** E1027. */
VLPC_API vlpc_status vlpc_pack(vlpc_session *s, const char *path);

#ifdef __cplusplus
}
#endif
#endif
