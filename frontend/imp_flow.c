/* SPDX-License-Identifier: Apache-2.0 */
/* imp_flow.c - branches and sequences, both gone after import: a branch must be
** decided at compile time, a sequence is a list of values of known length. */
#include <inttypes.h>
#include <string.h>

#include "frontend/fe_int.h"

/* ---- If ----------------------------------------------------------------- */

static bool import_branch(OnnxNode *x, Onnx__GraphProto *g, Scope *scope) {
  Body b = *x->body;
  b.scope = scope;
  b.node = g->node;
  b.n_node = g->n_node;
  b.outer = x->body;
  b.path = arena_printf(x->a, "%s%.100s/", x->body->path,
                        x->proto->name ? x->proto->name : x->proto->output[0]);
  int errors = diag_count(x->im->d);
  x->im->depth++;
  initializers_import(x->im, b.scope, g);
  body_import(x->im, &b);
  x->im->depth--;
  x->is_reported = diag_count(x->im->d) > errors;
  return !x->is_reported && !x->im->is_restart;
}

static bool take_outputs(OnnxNode *x, const Onnx__GraphProto *g, Scope *s) {
  for (uint32_t i = 0; i < x->n_out; i++) {
    const char *name = g->output[i]->name;
    const Slot *slot = name ? scope_find(s, name) : NULL;
    if (!slot || slot->bad) {
      return n_fail(x, DIAG_ONNX_SUBGRAPH, "the branch does not make its output %" PRIu32, i);
    }
    x->out[i] = slot->v;
    x->out_seq[i] = slot->seq;
  }
  return true;
}

bool imp_if(OnnxNode *x) {
  int64_t *cond = NULL;
  uint32_t n = 0;
  int64_t count = 0;
  if (!ir_is_const(x->g, x->in[0]) || !ir_count_const(x->g, x->in[0], &count) || count != 1) {
    n_fail(x, DIAG_ONNX_SUBGRAPH, "the condition of If must be known at compile time");
    diag_found(x->im->d, "'%.100s' depends on the model's inputs", x->proto->input[0]);
    diag_fix(x->im->d, "export with fixed sizes, or with a newer exporter that needs no If");
    return false;
  }
  if (!n_const_ints(x, 0, "the condition", &cond, &n)) return false;
  Onnx__GraphProto *g = get_graph(x, cond[0] ? "then_branch" : "else_branch");
  if (!g || g->n_input || g->n_output != x->n_out || x->im->depth >= FE_MAX_NESTING) {
    return n_fail(x, DIAG_ONNX_SUBGRAPH, "the branch does not fit its If");
  }
  Scope *s = scope_new(x->im, x->body->scope);
  return import_branch(x, g, s) && take_outputs(x, g, s);
}

/* ---- sequences ---------------------------------------------------------- */

static Seq *seq_new(OnnxNode *x, uint32_t n) {
  Seq *s = arena_one(x->a, Seq);
  s->at = arena_array(x->a, Val, n + 1);
  s->n = n;
  return s;
}

static bool out_seq(OnnxNode *x, Seq *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    if (!val_ok(s->at[i])) return n_out(x, 0, VAL_NONE);
  }
  x->out_seq[0] = s;
  return true;
}

bool imp_sequence_construct(OnnxNode *x) {
  Seq *s = seq_new(x, x->n_in);
  for (uint32_t i = 0; i < x->n_in; i++) s->at[i] = x->in[i];
  return out_seq(x, s);
}

bool imp_sequence_empty(OnnxNode *x) { return out_seq(x, seq_new(x, 0)); }

bool imp_sequence_length(OnnxNode *x) {
  return n_out(x, 0, n_scalar(x, VLPC_I64, x->seq[0]->n));
}

/* Input i as a position in 0 … most, default `otherwise`. */
static bool position(OnnxNode *x, uint32_t i, int64_t otherwise, int64_t most, uint32_t *out) {
  int64_t at = otherwise, n = x->seq[0]->n;
  if (val_ok(n_in(x, i)) && !n_const_int(x, i, "the position in a sequence", &at)) return false;
  if (at < -n || at > most) {
    n_fail(x, DIAG_ONNX_SHAPE, "the position is outside the sequence");
    diag_found(x->im->d, "%" PRId64, at);
    diag_expected(x->im->d, "%" PRId64 " to %" PRId64, -n, most);
    return false;
  }
  *out = (uint32_t)(at < 0 ? at + n : at);
  return true;
}

bool imp_sequence_at(OnnxNode *x) {
  uint32_t at;
  return position(x, 1, 0, (int64_t)x->seq[0]->n - 1, &at) && n_out(x, 0, x->seq[0]->at[at]);
}

bool imp_sequence_insert(OnnxNode *x) {
  const Seq *old = x->seq[0];
  uint32_t at;
  if (!position(x, 2, old->n, old->n, &at)) return false;
  Seq *s = seq_new(x, old->n + 1);
  for (uint32_t i = 0; i < s->n; i++) {
    s->at[i] = i == at ? x->in[1] : old->at[i < at ? i : i - 1];
  }
  return out_seq(x, s);
}

bool imp_sequence_erase(OnnxNode *x) {
  const Seq *old = x->seq[0];
  uint32_t at;
  if (!position(x, 1, (int64_t)old->n - 1, (int64_t)old->n - 1, &at)) return false;
  Seq *s = seq_new(x, old->n - 1);
  for (uint32_t i = 0; i < s->n; i++) s->at[i] = old->at[i < at ? i : i + 1];
  return out_seq(x, s);
}

/* Sizes of the parts: a list, one size for all (the last may be smaller), or 1. */
static bool sequence_sizes(OnnxNode *x, int64_t whole, int64_t **out, uint32_t *n) {
  int64_t each = 1;
  bool is_list = val_ok(n_in(x, 1)) && n_rank(x, x->in[1]) == 1;
  if (is_list) return n_const_ints(x, 1, "the sizes of the parts", out, n);
  if (val_ok(n_in(x, 1)) && !n_const_int(x, 1, "the size of a part", &each)) return false;
  if (each < 1 || whole / each >= FE_MAX_INTS) {
    return n_fail(x, DIAG_ONNX_SHAPE, "the size of a part is out of range");
  }
  *n = (uint32_t)(whole / each + (whole % each != 0));
  *out = arena_array(x->a, int64_t, *n + 1);
  for (uint32_t i = 0; i < *n; i++) (*out)[i] = VL_MIN(each, whole - (int64_t)i * each);
  return true;
}

bool imp_split_to_sequence(OnnxNode *x) {
  uint32_t axis, n = 0;
  int64_t whole = 0, at = 0, *size = NULL;
  Val a = x->in[0];
  if (!n_axis(x, get_int(x, "axis", 0), n_rank(x, a), &axis)) return false;
  if (!ir_size_const(x->g, a, (int)axis, &whole)) {
    return n_fail(x, DIAG_ONNX_NOT_CONST, "the split axis must be known at compile time");
  }
  if (!sequence_sizes(x, whole, &size, &n)) return false;
  bool is_dropped = !val_ok(n_in(x, 1)) && !get_int(x, "keepdims", 1);
  Seq *s = seq_new(x, n);
  for (uint32_t i = 0; i < n; i++) {
    if (size[i] < 0 || size[i] > whole - at) {
      return n_fail(x, DIAG_ONNX_SHAPE, "the parts do not add up to the axis");
    }
    Val part = n_slice(x, a, axis, n_size(x, at), n_size(x, size[i]));
    s->at[i] = is_dropped ? n_squeeze(x, part, axis) : part;
    at += size[i];
  }
  if (at != whole) return n_fail(x, DIAG_ONNX_SHAPE, "the parts do not add up to the axis");
  return out_seq(x, s);
}

bool imp_concat_from_sequence(OnnxNode *x) {
  const Seq *s = x->seq[0];
  bool is_new = get_int(x, "new_axis", 0) != 0;
  uint32_t axis;
  if (!s->n) return n_fail(x, DIAG_ONNX_SHAPE, "an empty sequence cannot be joined");
  uint32_t rank = n_rank(x, s->at[0]) + is_new;
  if (!n_axis(x, get_int(x, "axis", 0), rank, &axis)) return false;
  Val *part = arena_array(x->a, Val, s->n);
  for (uint32_t i = 0; i < s->n; i++) part[i] = is_new ? n_unsqueeze(x, s->at[i], axis) : s->at[i];
  return n_out(x, 0, n_concat(x, part, s->n, axis));
}
