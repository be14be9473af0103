/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_read.c - from a path to a checked ONNX model in memory.
**
** The file is mapped, scanned and slimmed (onnx_scan.h); only then protobuf-c
** reads it, with the arena as its memory. */
#include <inttypes.h>
#include <unistd.h>

#include "frontend/fe_int.h"
#include "frontend/onnx_scan.h"

enum { FILE_MOST = INT32_MAX }; /* protobuf's own limit */

static void *pb_alloc(void *arena, size_t n) { return arena_alloc(arena, n); }
static void pb_free(void *arena, void *p) {
  (void)arena;
  (void)p;
}

static void close_model(void *m) { fe_close(m); }

void fe_close(FeModel *m) {
  io_unmap(&m->file);
  for (uint32_t i = 0; i < m->ext.n; i++) io_unmap(&m->ext.at[i].map);
  m->ext.n = 0;
  if (m->dir_fd >= 0) close(m->dir_fd);
  m->dir_fd = -1;
}

static void forget_in(const Mapped *map, const uint8_t *p, uint64_t n) {
  if (map->at && p >= map->at && (uint64_t)(p - map->at) < map->n)
    io_forget(map, (uint64_t)(p - map->at), n);
}

void fe_forget(const FeModel *m, const void *p, uint64_t n) {
  forget_in(&m->file, p, n);
  for (uint32_t i = 0; i < m->ext.n; i++) forget_in(&m->ext.at[i].map, p, n);
}

static VlStatus read_file(FeModel *m) {
  DiagAt at = {m->path, NULL};
  VL_TRY(io_map(m->path, m->d, &m->file));
  if (m->file.n == 0) return diag_error(m->d, DIAG_ONNX_PROTOBUF, at, "the file is empty");
  if (m->file.n > FILE_MOST) {
    VlStatus st = diag_error(m->d, DIAG_ONNX_SIZE, at, "the file is too large for protobuf");
    diag_found(m->d, "%" PRIu64 " bytes", m->file.n);
    diag_expected(m->d, "at most %d", FILE_MOST);
    diag_fix(m->d, "export the weights as external data");
    return st;
  }
  uint64_t budget = m->opt.memory ? m->opt.memory : 3 * m->file.n + (64u << 20);
  Slim slim;
  VL_TRY(scan_onnx(&m->file, budget, m->a, m->d, &slim));
  ProtobufCAllocator mem = {pb_alloc, pb_free, m->a};
  m->proto = onnx__model_proto__unpack(&mem, slim.n, slim.at);
  if (!m->proto) return diag_error(m->d, DIAG_ONNX_PROTOBUF, at, "protobuf cannot read the file");
  return VLPC_OK;
}

/* The version imported for ONNX's own domain. */
static VlStatus read_opset(FeModel *m) {
  DiagAt at = {m->path, NULL};
  for (size_t i = 0; i < m->proto->n_opset_import; i++) {
    const Onnx__OperatorSetIdProto *o = m->proto->opset_import[i];
    bool is_own = !o->domain || str_is(o->domain, "") || str_is(o->domain, "ai.onnx");
    if (!is_own) continue;
    if (m->opset && m->opset != o->version) {
      return diag_error(m->d, DIAG_ONNX_STRUCTURE, at, "the operator set is imported twice");
    }
    m->opset = o->has_version ? o->version : 0;
    if (m->opset < FE_OPSET_MIN || m->opset > FE_OPSET_MAX) {
      VlStatus st = diag_error(m->d, DIAG_ONNX_OPSET, at, "the operator set is not supported");
      diag_found(m->d, "opset %" PRId64, m->opset);
      diag_expected(m->d, "opset %d to %d", FE_OPSET_MIN, FE_OPSET_MAX);
      diag_fix(m->d, "export again with opset_version=17");
      return st;
    }
  }
  if (m->opset) return VLPC_OK;
  VlStatus st = diag_error(m->d, DIAG_ONNX_OPSET, at, "the model imports no operator set");
  diag_fix(m->d, "export again; opset_import must name a version of ai.onnx");
  return st;
}

static VlStatus check_model(FeModel *m) {
  DiagAt at = {m->path, NULL};
  if (!m->proto->graph) {
    VlStatus st = diag_error(m->d, DIAG_ONNX_STRUCTURE, at, "the file holds no graph");
    diag_fix(m->d, "check that the file is an ONNX model");
    return st;
  }
  return read_opset(m);
}

VlStatus fe_read(Arena *a, const char *path, const FeOptions *opt, Diag *d, FeModel **out) {
  FeModel *m = arena_one(a, FeModel);
  *m = (FeModel){.a = a, .d = d, .path = path, .dir_fd = -1};
  if (opt) m->opt = *opt;
  arena_defer(a, close_model, m);
  VL_TRY(read_file(m));
  VL_TRY(check_model(m));
  *out = m;
  return VLPC_OK;
}

void fe_inputs(FeModel *m, const FeInput *in, uint32_t n) {
  m->input = in;
  m->n_inputs = n;
}

const char *fe_metadata(const FeModel *m, const char *key) {
  for (size_t i = 0; i < m->proto->n_metadata_props; i++) {
    const Onnx__StringStringEntryProto *e = m->proto->metadata_props[i];
    if (e->key && e->value && str_is(e->key, key)) return e->value;
  }
  return NULL;
}

const char *fe_producer(const FeModel *m) {
  const char *name = m->proto->producer_name, *version = m->proto->producer_version;
  if (!name) return "";
  return version && *version ? arena_printf(m->a, "%s %s", name, version) : name;
}

int64_t fe_opset(const FeModel *m) { return m->opset; }
