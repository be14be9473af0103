/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - the inner form of a session, shared by bind.c (sizes and memory),
** exec.c (the step loop), session.c (life) and easy.c (photos and labels).
**
** Per entry a Bound holds everything a run needs, in arrays made at the entry's
** first use; binding other shapes refills them, and a run with the shapes of the
** last one touches the allocator not at all.
** Buffers are numbered per entry ("local"): only those its steps and ports name. */
#ifndef VLPC_RUNTIME_SESSION_H
#define VLPC_RUNTIME_SESSION_H

#include "base/options.h"
#include "runtime/model.h"
#include "runtime/prompts.h"

typedef struct {
  vlpc_tensor value; /* as set; data is the caller's */
  bool set;
  bool of_prompts; /* the value is the prompt set's or computed from it */
  DeviceMem copy; /* on a device without host memory */
} InPort;

typedef struct {
  void *user; /* the caller's buffer, or NULL */
  uint64_t user_bytes;
  void *own; /* the session's, 64-byte aligned, own_bytes long */
  uint64_t own_bytes;
  DeviceMem copy; /* on a device without host memory */
  int64_t shape[VLPC_MAX_RANK]; /* of the last bind */
} OutPort;

/* One buffer of the entry with the sizes of now. */
typedef struct {
  uint32_t buf; /* in the program */
  uint64_t bytes;
  uint64_t offset; /* BUF_TEMP: in the arena; BUF_CONST: in the weights */
  void *handle;
} LocalBuf;

typedef struct {
  uint32_t local;
  uint64_t offset; /* bytes */
} LocalArg;

typedef struct {
  const ProgEntry *e;
  bool made;     /* the arrays below are there */
  bool measured; /* sizes hold for bound_shape */
  bool bound;    /* and there is memory */
  bool ready; /* the device has its kernels */
  bool ran;   /* outputs are those of the last run */
  InPort *in;
  OutPort *out;
  int64_t (*bound_shape)[VLPC_MAX_RANK]; /* per input */
  uint32_t n_bufs, n_temps, n_args, n_sizes;
  LocalBuf *bufs;
  uint32_t *in_local, *out_local; /* per port */
  uint32_t *temps;                /* locals, for the layout */
  LocalArg *args;
  DeviceSpan *spans; /* parallel to args */
  int64_t *sizes;
  DeviceLaunch *launch; /* per step */
  uint64_t temp_bytes;
} Bound;

/* A label set of the easy path (labels.c). */
typedef struct {
  char **names;
  uint32_t n, embed;
  char *pattern;         /* NULL: the prompt set's own, or the module's */
  int64_t *name_lengths; /* tokens of each name, where an entry takes them */
  float *features;       /* [n, embed], unit length; NULL where they depend on prompts */
  uint64_t version;      /* differs between label sets */
  /* what entries were given of them (label_inputs.c); NULL: nothing */
  void *ids, *mask;
  float *plain;
} Labels;

/* A result of the labels' texts that the image entry takes. */
typedef struct {
  const char *name;
  vlpc_tensor value; /* data on the heap */
} ClassValue;

/* What a session has made of one prompt set. */
typedef struct BoundPrompts {
  struct BoundPrompts *next;
  vlpc_prompts *set; /* shared */
  bool begun;        /* the results are there, or being made */
  void **result;     /* outputs of the manifest's entry for prompts */
  int64_t (*shape)[VLPC_MAX_RANK];
  /* of the labels of this version; 0: none */
  float *features;
  ClassValue *value;
  uint32_t n_values;
  uint64_t version;
} BoundPrompts;

struct vlpc_session {
  atomic_bool busy;
  Diag *diag;
  Model *model; /* NULL when it could not be made */
  const LoadedCode *code;
  ThreadPool *pool;
  DeviceStream *stream;
  uint64_t memory_limit;
  Bound *bound;    /* per entry */
  int64_t *symbol; /* values, -1 where not known */
  uint32_t *map;   /* program buffer → local + 1; all 0 between uses */
  DeviceMem temp;  /* temporaries of whichever entry runs */
  uint64_t launches;
  vlpc_step_fn *on_step;
  void *on_step_user;
  Labels labels;
  BoundPrompts *known, *prompts; /* all there are, the one in use or NULL */
  int64_t *packed; /* text_rows.c */
  uint64_t packed_bytes;
  float *class_features; /* chunks.c */
  uint64_t class_bytes;
  float *pixels; /* easy.c */
  uint64_t pixels_bytes;
};

/* bind.c */

/* Makes the arrays of an entry.  Fails with NOMEM. */
VL_MUST_USE VlStatus bound_make(vlpc_session *s, Bound *b);
void bound_free(vlpc_session *s, Bound *b);
/* Sizes and launches for the inputs that are set, and temp_bytes; returns at once when
** their shapes are those of the last time. */
VL_MUST_USE VlStatus bound_measure(vlpc_session *s, Bound *b);
/* The same, and the memory. */
VL_MUST_USE VlStatus bound_bind(vlpc_session *s, Bound *b);

/* Fails with MEMORY_LIMIT. */
VL_MUST_USE VlStatus bound_check_limit(vlpc_session *s, const Bound *b, uint64_t bytes);

/* layout.c: offsets of temporaries by live range; largest first, each at the
** lowest offset that is free while it lives.  Returns the bytes of all in
** *total.  Fails with TOO_LARGE. */
VL_MUST_USE VlStatus layout_temps(const Program *p, Bound *b, Diag *d, uint64_t *total);

/* exec.c */
VL_MUST_USE VlStatus session_run(vlpc_session *s, Bound *b);
/* The same of b, in whose place no other entry runs. */
VL_MUST_USE VlStatus session_run_itself(vlpc_session *s, Bound *b);
/* Memory of n bytes for output i: the caller's, or the session's own. */
VL_MUST_USE VlStatus session_ready_output(vlpc_session *s, Bound *b, uint32_t i, uint64_t n);
void *session_result(const OutPort *o);

/* text_rows.c */

/* Some of the texts; n is INT64_MAX: all. */
typedef struct {
  int64_t first, n;
} TextRange;
/* The entry on rows with these texts of b packed; *out is NULL when they do not lend
** themselves to it. */
VL_MUST_USE VlStatus text_rows_pack(vlpc_session *s, const Bound *b, const char *entry,
                                    TextRange of, Bound **out);
/* Rows of a tensor that has all of them. */
vlpc_tensor text_rows_of(const vlpc_tensor *t, TextRange of);

/* chunks.c: b's texts some classes at a time, by the entries that the manifest has beside
** head, which stands in for b.  b's texts can be packed. */
typedef struct {
  uint64_t bytes, steps;
} ChunksPlan;
VL_MUST_USE VlStatus chunks_measure(vlpc_session *s, Bound *b, Bound *head, ChunksPlan *out);
VL_MUST_USE VlStatus chunks_run(vlpc_session *s, Bound *b, Bound *head);

/* stand_in.c */

const ManifestEntry *session_about(const vlpc_session *s, const Bound *b);
/* Number of the input of that name, -1: none. */
int session_port(const vlpc_session *s, const Bound *b, const char *name);
/* The entry to run in b's place, with b's inputs: on packed rows, and the first that
** keeps the session's memory limit, else the leanest; b itself when there is none. */
VL_MUST_USE VlStatus stand_in_find(vlpc_session *s, Bound *b, Bound **out);
/* The results of x become b's. */
VL_MUST_USE VlStatus stand_in_hand_over(vlpc_session *s, Bound *x, Bound *b);
/* vlpc_session_plan, inside; out->name is NULL past the last. */
VL_MUST_USE VlStatus session_plan(vlpc_session *s, const char *entry, uint32_t i, vlpc_plan *out);

/* bind_prompts.c */

/* Gives the inputs of an entry that are prompts the values of those in use. */
void prompts_apply(vlpc_session *s, Bound *b);
/* Before a run of b: computes what it takes of the set in use alone, once per set. */
VL_MUST_USE VlStatus prompts_ready(vlpc_session *s, const Bound *b);
/* Inputs of an entry that are trainables, or made of them. */
uint32_t prompts_ports(const Model *m, const ProgEntry *e);
bool prompts_port(const Model *m, const char *name);
/* vlpc_session_set_prompts, inside. */
VL_MUST_USE VlStatus prompts_use(vlpc_session *s, vlpc_prompts *p);
void prompts_refresh(vlpc_session *s); /* prompts_apply to all entries in use */
void prompts_release(vlpc_session *s); /* all of them */

/* session.c */

/* Fills a zeroed session that has its diag; on failure only the diag is left. */
VL_MUST_USE VlStatus session_open(Model *m, const vlpc_session_options *o, vlpc_session *s);
/* A public call enters and leaves; enter fails while another thread
** is inside, and then the call must return INVALID_ARG at once. */
bool session_enter(vlpc_session *s);
VlStatus session_leave(vlpc_session *s, VlStatus status);
Bound *session_bound(vlpc_session *s, const char *entry);
/* DIAG_ARGUMENT with a sentence. */
VlStatus session_argument(vlpc_session *s, const char *what);
/* The public calls of these names, inside. */
VL_MUST_USE VlStatus session_set(vlpc_session *s, const char *entry, const char *name,
                                 const vlpc_tensor *value);
VL_MUST_USE VlStatus session_set_out(vlpc_session *s, const char *entry, const char *name,
                                     void *data, uint64_t bytes);
VL_MUST_USE VlStatus session_get(vlpc_session *s, const char *entry, const char *name,
                                 vlpc_tensor *out);

/* labels.c */

/* The classes that the artifact was packed with become the labels. */
VL_MUST_USE VlStatus labels_of_model(vlpc_session *s);
void labels_free(Labels *l);

/* pack.c */
VL_MUST_USE VlStatus session_pack(vlpc_session *s, const char *path);

#endif
