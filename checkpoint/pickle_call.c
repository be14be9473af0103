/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_call.c - the few names that a checkpoint's tensors need, and what
** stands for a call of each.  All others give opaque values. */
#include <inttypes.h>
#include <string.h>

#include "checkpoint/pickle_int.h"

/* ---- storages ----------------------------------------------------------- */

static const struct {
  const char *name;
  VlDtype dtype;
} storage_row[] = {
    {"torch FloatStorage", VLPC_F32},     {"torch HalfStorage", VLPC_F16},
    {"torch BFloat16Storage", VLPC_BF16}, {"torch DoubleStorage", VLPC_F64},
    {"torch LongStorage", VLPC_I64},      {"torch IntStorage", VLPC_I32},
    {"torch ShortStorage", VLPC_I16},     {"torch CharStorage", VLPC_I8},
    {"torch ByteStorage", VLPC_U8},       {"torch BoolStorage", VLPC_BOOL},
};

static VlStatus unknown_storage(const Pickle *p, const char *name) {
  const char *place = arena_printf(p->a, "%s, byte %" PRIu64, p->where.place, p->op);
  VlStatus s = diag_error(p->d, DIAG_CHECKPOINT_KIND, (DiagAt){p->where.file, place},
                          "a storage is of a kind that vlpc does not read");
  diag_found(p->d, "%s", name);
  diag_expected(p->d, "torch FloatStorage, HalfStorage, BFloat16Storage, …");
  return s;
}

static bool is_number_text(const PickleValue *v) {
  size_t n = v->kind == PICKLE_text ? strlen(v->as.text) : 0;
  return n > 0 && n <= 10 && strspn(v->as.text, "0123456789") == n;
}

/* ("storage", class, key, device, elements) */
VlStatus pickle_storage(const Pickle *p, const PickleValue *id, PickleValue **out) {
  bool sound = id->kind == PICKLE_tuple && id->n == 5;
  for (uint32_t i = 0; sound && i < 5; i++) {
    static const PickleKind want[] = {PICKLE_text, PICKLE_global, PICKLE_text, PICKLE_text,
                                      PICKLE_int};
    sound = id->as.item[i]->kind == want[i];
  }
  if (!sound || strcmp(id->as.item[0]->as.text, "storage") != 0 ||
      !is_number_text(id->as.item[2]) || id->as.item[4]->as.i < 0)
    return pickle_bad(p, "a reference to a storage is malformed");
  PickleStorage *s = arena_one(p->a, PickleStorage);
  *s = (PickleStorage){.key = id->as.item[2]->as.text, .n = (uint64_t)id->as.item[4]->as.i};
  for (size_t i = 0; i < VL_COUNT(storage_row); i++) {
    if (strcmp(storage_row[i].name, id->as.item[1]->as.text) == 0) s->dtype = storage_row[i].dtype;
  }
  if (!s->dtype) return unknown_storage(p, id->as.item[1]->as.text);
  *out = pickle_new(p, PICKLE_storage);
  (*out)->as.storage = s;
  return VLPC_OK;
}

/* ---- tensors ------------------------------------------------------------ */

static bool read_sizes(const PickleValue *v, uint32_t rank, int64_t *out) {
  if (v->kind != PICKLE_tuple || v->n != rank) return false;
  for (uint32_t i = 0; i < rank; i++) {
    if (v->as.item[i]->kind != PICKLE_int || v->as.item[i]->as.i < 0) return false;
    out[i] = v->as.item[i]->as.i;
  }
  return true;
}

/* The element furthest from the start lies in the storage, and there are not more
** elements than it has. */
static bool view_fits(const PickleTensor *t) {
  uint64_t last = t->offset, count = 1;
  bool empty = false;
  for (uint32_t i = 0; i < t->rank; i++) empty = empty || t->size[i] == 0;
  if (empty) return t->offset <= t->storage->n;
  for (uint32_t i = 0; i < t->rank; i++) {
    uint64_t reach;
    if (!vl_mul_u64(count, (uint64_t)t->size[i], &count) ||
        !vl_mul_u64((uint64_t)t->size[i] - 1, (uint64_t)t->stride[i], &reach) ||
        !vl_add_u64(last, reach, &last))
      return false;
  }
  return last < t->storage->n && count <= t->storage->n;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static VlStatus rebuild_tensor(const Pickle *p, const PickleValue *args, PickleValue **out) {
  PickleValue *const *x = args->as.item;
  if (args->n < 6 || args->n > 7 || x[0]->kind != PICKLE_storage || x[1]->kind != PICKLE_int ||
      x[1]->as.i < 0 || x[2]->kind != PICKLE_tuple)
    return pickle_bad(p, "a tensor's description is malformed");
  PickleTensor *t = arena_one(p->a, PickleTensor);
  *t = (PickleTensor){.storage = x[0]->as.storage, .offset = (uint64_t)x[1]->as.i,
                      .rank = x[2]->n};
  if (t->rank > VLPC_MAX_RANK) return pickle_bad(p, "a tensor has more than 8 axes");
  if (!read_sizes(x[2], t->rank, t->size) || !read_sizes(x[3], t->rank, t->stride))
    return pickle_bad(p, "a tensor's description is malformed");
  if (!view_fits(t)) return pickle_bad(p, "a tensor leaves its storage");
  *out = pickle_new(p, PICKLE_tensor);
  (*out)->as.tensor = t;
  return VLPC_OK;
}

/* (tensor, requires_grad, hooks) */
static VlStatus rebuild_parameter(const Pickle *p, const PickleValue *args, PickleValue **out) {
  if (args->n != 3 || args->as.item[0]->kind != PICKLE_tensor)
    return pickle_bad(p, "a parameter is no tensor");
  *out = args->as.item[0];
  return VLPC_OK;
}

static VlStatus ordered_dict(const Pickle *p, const PickleValue *args, PickleValue **out) {
  if (args->n != 0) return pickle_bad(p, "an ordered dictionary is made of something");
  *out = pickle_new(p, PICKLE_dict);
  return VLPC_OK;
}

static const struct {
  const char *name;
  VlStatus (*make)(const Pickle *p, const PickleValue *args, PickleValue **out);
} call_row[] = {
    {"torch._utils _rebuild_tensor_v2", rebuild_tensor},
    {"torch._utils _rebuild_parameter", rebuild_parameter},
    {"collections OrderedDict", ordered_dict},
};

VlStatus pickle_call(const Pickle *p, const PickleValue *f, const PickleValue *args,
                     PickleValue **out) {
  if (f->kind != PICKLE_global || args->kind != PICKLE_tuple)
    return pickle_bad(p, "calls what is no function");
  for (size_t i = 0; i < VL_COUNT(call_row); i++) {
    if (strcmp(call_row[i].name, f->as.text) == 0) return call_row[i].make(p, args, out);
  }
  *out = pickle_new(p, PICKLE_opaque);
  return VLPC_OK;
}
