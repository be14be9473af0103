/* SPDX-License-Identifier: Apache-2.0 */
/* tokens.c - rows of the model's token table, which the entry `tokens` gives: those of
** ids, and those nearest to given ones. */
#include <math.h>
#include <string.h>

#include "runtime/easy_int.h"

#define TOKENS_ENTRY "tokens"
enum { CHUNK = 1024 };

VlStatus tokens_rows(vlpc_session *s, int64_t *ids, int64_t n, vlpc_tensor *out) {
  vlpc_tensor in = {ids, VLPC_I64, 1, {n}};
  if (!model_entry(s->model, TOKENS_ENTRY, NULL))
    return easy_lacks(s, "rows of tokens", "compile it with --prompt MODULE.onnx");
  Bound *b = session_bound(s, TOKENS_ENTRY);
  if (!b) return diag_status(s->diag);
  VL_TRY(session_set(s, TOKENS_ENTRY, "token_ids", &in));
  VlStatus st = session_run(s, b);
  easy_forget_inputs(b);
  VL_TRY(st);
  VL_TRY(session_get(s, TOKENS_ENTRY, "token_rows", out));
  if (out->rank == 2 && out->shape[0] == n && out->dtype == VLPC_F32) return VLPC_OK;
  return easy_lacks(s, "rows of tokens", "compile it again");
}

/* ---- the nearest ----------------------------------------------------------- */

static double apart(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)a[i] - (double)b[i];
    sum += d * d;
  }
  return sqrt(sum);
}

/* Keeps out[n] sorted, k of them when there are more; ids come in rising order. */
static void insert(vlpc_near_token *out, uint32_t n, uint32_t k, int64_t id, double distance) {
  uint32_t at = n;
  while (at > 0 && out[at - 1].distance > distance) at--;
  if (at == k) return;
  memmove(out + at + 1, out + at, (VL_MIN(n, k - 1) - at) * sizeof *out);
  out[at] = (vlpc_near_token){.id = id, .distance = distance};
}

static VlStatus misfit(vlpc_session *s, uint32_t width, int64_t expected) {
  VlStatus st = session_argument(s, "the rows are not as wide as the model's tokens");
  diag_found(s->diag, "%u", width);
  diag_expected(s->diag, "%lld", (long long)expected);
  return st;
}

/* What is looked for. */
typedef struct {
  const float *row; /* [n, width] */
  uint32_t n, width, k;
  vlpc_near_token *out; /* [n, k] */
} Search;

/* Tokens come by rising id from 0, so each row has as many as were seen, up to k. */
static void compare(const Search *x, uint32_t id, const float *token) {
  for (uint32_t r = 0; r < x->n; r++)
    insert(x->out + (size_t)r * x->k, VL_MIN(id, x->k), x->k, id,
           apart(x->row + (size_t)r * x->width, token, x->width));
}

static VlStatus nearest(vlpc_session *s, const Search *x) {
  const Tokenizer *t = s->model->tokenizer;
  uint32_t vocab = tokenizer_info(t).vocab;
  int64_t ids[CHUNK];
  vlpc_tensor rows;
  for (uint32_t at = 0; at < vocab; at += CHUNK) {
    uint32_t count = VL_MIN(vocab - at, CHUNK);
    for (uint32_t i = 0; i < count; i++) ids[i] = at + i;
    VL_TRY(tokens_rows(s, ids, count, &rows));
    if (rows.shape[1] != (int64_t)x->width) return misfit(s, x->width, rows.shape[1]);
    for (uint32_t i = 0; i < count; i++)
      compare(x, at + i, (const float *)rows.data + (size_t)i * x->width);
  }
  for (size_t i = 0; i < (size_t)x->n * x->k; i++)
    tokenizer_token(t, (uint32_t)x->out[i].id, x->out[i].text, sizeof x->out[i].text);
  return VLPC_OK;
}

static VlStatus find(vlpc_session *s, const Search *x) {
  if (!x->row || !x->out || !x->n || !x->k)
    return session_argument(s, "rows or out is NULL, or n or k is 0");
  if (!s->model->tokenizer)
    return easy_lacks(s, "tokenizer", "compile with --tokenizer FILE");
  if (x->k > tokenizer_info(s->model->tokenizer).vocab)
    return diag_error(s->diag, DIAG_ARGUMENT, (DiagAt){s->model->path, NULL},
                      "the vocabulary has fewer tokens than are asked for");
  return nearest(s, x);
}

vlpc_status vlpc_nearest_tokens(vlpc_session *s, const float *rows, uint32_t n, uint32_t width,
                                uint32_t k, vlpc_near_token *out) {
  Search x = {.row = rows, .n = n, .width = width, .k = k, .out = out};
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, find(s, &x));
}
