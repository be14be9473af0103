/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_scan.c - one iterative walk, run twice: first to check and to measure,
** then to write.
**
** A submessage keeps the width of its length field: what is left out makes the
** length smaller, never larger, and a varint may be padded.  Fields that are
** unknown to onnx.proto are left out too. */
#include "frontend/onnx_scan.h"

#include <inttypes.h>
#include <string.h>

#include "onnx.pb-c.h"

typedef struct {
  const ProtobufCMessageDescriptor *desc;
  uint64_t end;       /* in the file */
  uint64_t out_start; /* of the body in the output */
  uint32_t width;     /* bytes of the length before the body */
  uint64_t seen;      /* singular fields met, by index in desc */
} Frame;

typedef struct {
  const Mapped *file;
  uint8_t *out; /* NULL while measuring */
  uint64_t out_n, at;
  uint64_t messages, memory, budget;
  uint32_t depth;
  Frame frame[SCAN_DEPTH];
  Arena *arena;
  Diag *d;
} Scan;

/* One field as it lies in the file. */
typedef struct {
  const ProtobufCFieldDescriptor *desc; /* NULL: unknown */
  uint64_t at;                          /* of the tag */
  uint64_t len_at, body, n;             /* length and payload of a length-delimited field */
  uint64_t end;
  uint32_t wire;
} Field;

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

static VlStatus broken(Scan *s, uint64_t at, const char *what) {
  DiagAt place = {s->file->path, arena_printf(s->arena, "byte %" PRIu64, at)};
  VlStatus st = diag_error(s->d, DIAG_ONNX_PROTOBUF, place, "%s", what);
  diag_fix(s->d, "check that the file is an ONNX model and was copied whole");
  return st;
}

/* A varint of at most `most` bytes before `end`; false when there is none. */
static bool read_varint(const Scan *s, uint64_t end, uint32_t most, uint64_t *at, uint64_t *out) {
  uint64_t v = 0;
  for (uint32_t i = 0; i < most && *at < end; i++) {
    uint8_t b = s->file->at[(*at)++];
    v |= (uint64_t)(b & 0x7f) << (7 * i);
    if (!(b & 0x80)) {
      *out = v;
      return true;
    }
  }
  return false;
}

/* ---- writing ------------------------------------------------------------ */

static void emit(Scan *s, const uint8_t *p, uint64_t n) {
  if (s->out) memcpy(s->out + s->out_n, p, n);
  s->out_n += n;
}

static uint32_t put_varint(uint8_t *p, uint64_t v) {
  uint32_t n = 0;
  for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
  p[n++] = (uint8_t)v;
  return n;
}

/* TensorProto.segment { begin, end }: where the left-out bytes lie. */
static void emit_segment(Scan *s, uint64_t begin, uint64_t end) {
  uint8_t body[32], head[2];
  uint32_t n = 0;
  body[n++] = 1 << 3 | WIRE_VARINT;
  n += put_varint(body + n, begin);
  body[n++] = 2 << 3 | WIRE_VARINT;
  n += put_varint(body + n, end);
  head[0] = 3 << 3 | WIRE_LEN;
  head[1] = (uint8_t)n;
  emit(s, head, 2);
  emit(s, body, n);
}

/* Writes the body's new length over the old one, in as many bytes. */
static void patch_length(Scan *s, const Frame *f) {
  if (!s->out) return;
  uint64_t v = s->out_n - f->out_start;
  uint8_t *p = s->out + f->out_start - f->width;
  for (uint32_t i = 0; i < f->width; i++, v >>= 7) {
    p[i] = (uint8_t)((v & 0x7f) | (i + 1 < f->width ? 0x80 : 0));
  }
}

/* ---- checks ------------------------------------------------------------- */

static VlStatus charge(Scan *s, uint64_t bytes) {
  s->memory += bytes;
  if (s->memory <= s->budget) return VLPC_OK;
  DiagAt place = {s->file->path, arena_printf(s->arena, "byte %" PRIu64, s->at)};
  VlStatus st =
      diag_error(s->d, DIAG_ONNX_SIZE, place, "reading the file would take too much memory");
  diag_found(s->d, "more than %" PRIu64 " bytes for a file of %" PRIu64, s->budget, s->file->n);
  diag_expected(s->d, "at most 3 times the file and 64 MiB");
  return st;
}

static bool utf8_ok(const uint8_t *p, uint64_t n) {
  for (uint64_t i = 0; i < n;) {
    uint8_t c = p[i];
    uint32_t more = c < 0x80 ? 0 : c < 0xc2 ? 9 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 9;
    if (c == 0 || more == 9 || more >= n - i) return false;
    for (uint32_t k = 1; k <= more; k++) {
      if ((p[i + k] & 0xc0) != 0x80) return false;
    }
    if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) ||
        (c == 0xf0 && p[i + 1] < 0x90) || (c == 0xf4 && p[i + 1] > 0x8f)) {
      return false;
    }
    i += more + 1;
  }
  return true;
}

static uint32_t wire_of(ProtobufCType t) {
  switch (t) {
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_BYTES:
  case PROTOBUF_C_TYPE_MESSAGE:
    return WIRE_LEN;
  case PROTOBUF_C_TYPE_FLOAT:
  case PROTOBUF_C_TYPE_FIXED32:
  case PROTOBUF_C_TYPE_SFIXED32:
    return WIRE_32;
  case PROTOBUF_C_TYPE_DOUBLE:
  case PROTOBUF_C_TYPE_FIXED64:
  case PROTOBUF_C_TYPE_SFIXED64:
    return WIRE_64;
  default:
    return WIRE_VARINT;
  }
}

static bool is_packed(const Field *f) {
  return f->wire == WIRE_LEN && wire_of(f->desc->type) != WIRE_LEN;
}

/* The wire type fits the field, singular fields come once, texts are text. */
static VlStatus check_field(Scan *s, const Field *f) {
  Frame *top = &s->frame[s->depth - 1];
  uint32_t want = wire_of(f->desc->type);
  bool repeated = f->desc->label == PROTOBUF_C_LABEL_REPEATED;
  if (f->wire != want && !(repeated && f->wire == WIRE_LEN)) {
    return broken(s, f->at, arena_printf(s->arena, "field '%s' has the wrong wire type",
                                         f->desc->name));
  }
  if (is_packed(f) && ((want == WIRE_32 && f->n % 4) || (want == WIRE_64 && f->n % 8))) {
    return broken(s, f->at, arena_printf(s->arena, "field '%s' is cut short", f->desc->name));
  }
  uint64_t bit = 1ull << (f->desc - top->desc->fields);
  if (!repeated && (top->seen & bit)) {
    return broken(s, f->at, arena_printf(s->arena, "field '%s' comes twice", f->desc->name));
  }
  if (!repeated) top->seen |= bit;
  if (f->desc->type == PROTOBUF_C_TYPE_STRING && !utf8_ok(s->file->at + f->body, f->n)) {
    return broken(s, f->at, arena_printf(s->arena, "field '%s' is not UTF-8 text or holds a NUL",
                                         f->desc->name));
  }
  return VLPC_OK;
}

/* What nobody reads: texts for people, hints of other tools, training parts. */
static bool is_left_out(const ProtobufCMessageDescriptor *m, const Field *f) {
  static const struct {
    const ProtobufCMessageDescriptor *in; /* NULL: everywhere */
    const char *name;
  } left_out[] = {
      {NULL, "doc_string"},
      {&onnx__node_proto__descriptor, "metadata_props"},
      {&onnx__value_info_proto__descriptor, "metadata_props"},
      {&onnx__graph_proto__descriptor, "metadata_props"},
      {&onnx__tensor_proto__descriptor, "metadata_props"},
      {&onnx__function_proto__descriptor, "metadata_props"},
      {&onnx__graph_proto__descriptor, "value_info"},
      {&onnx__function_proto__descriptor, "value_info"},
      {&onnx__graph_proto__descriptor, "quantization_annotation"},
      {&onnx__node_proto__descriptor, "device_configurations"},
      {&onnx__model_proto__descriptor, "configuration"},
      {&onnx__model_proto__descriptor, "training_info"},
  };
  if (!f->desc) return true;
  for (size_t i = 0; i < VL_COUNT(left_out); i++) {
    bool here = !left_out[i].in || left_out[i].in == m;
    if (here && strcmp(left_out[i].name, f->desc->name) == 0) return true;
  }
  return false;
}

/* ---- the walk ----------------------------------------------------------- */

static VlStatus read_field(Scan *s, Field *f) {
  const Frame *top = &s->frame[s->depth - 1];
  uint64_t tag = 0, skip = 0;
  *f = (Field){.at = s->at};
  if (!read_varint(s, top->end, 5, &s->at, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) {
    return broken(s, f->at, "a field's tag is malformed or cut short");
  }
  f->wire = (uint32_t)tag & 7;
  f->desc = protobuf_c_message_descriptor_get_field(top->desc, (unsigned)(tag >> 3));
  switch (f->wire) {
  case WIRE_VARINT:
    if (!read_varint(s, top->end, 10, &s->at, &skip)) {
      return broken(s, f->at, "a number is malformed or cut short");
    }
    break;
  case WIRE_LEN:
    f->len_at = s->at;
    if (!read_varint(s, top->end, 5, &s->at, &f->n)) {
      return broken(s, f->at, "a length is malformed or cut short");
    }
    f->body = s->at;
    skip = f->n;
    break;
  case WIRE_64:
  case WIRE_32:
    skip = f->wire == WIRE_64 ? 8 : 4;
    break;
  default:
    return broken(s, f->at, "groups are not part of ONNX");
  }
  if (f->wire != WIRE_VARINT) {
    if (skip > top->end - s->at) {
      VlStatus st = broken(s, f->at, "a field reaches past the end of what holds it");
      diag_found(s->d, "%" PRIu64 " bytes", skip);
      diag_expected(s->d, "at most %" PRIu64, top->end - s->at);
      return st;
    }
    s->at += skip;
  }
  f->end = s->at;
  return VLPC_OK;
}

static VlStatus enter(Scan *s, const Field *f) {
  DiagAt place = {s->file->path, NULL};
  if (s->depth == SCAN_DEPTH) {
    place.place = arena_printf(s->arena, "byte %" PRIu64, f->at);
    VlStatus st = diag_error(s->d, DIAG_ONNX_NESTING, place, "messages are nested too deep");
    diag_found(s->d, "more than %d levels", SCAN_DEPTH);
    diag_expected(s->d, "at most %d", SCAN_DEPTH);
    return st;
  }
  if (++s->messages > SCAN_MESSAGES) {
    VlStatus st = diag_error(s->d, DIAG_ONNX_SIZE, place, "the file holds too many messages");
    diag_expected(s->d, "at most %d", SCAN_MESSAGES);
    return st;
  }
  emit(s, s->file->at + f->at, f->body - f->at);
  const ProtobufCMessageDescriptor *desc = f->desc->descriptor;
  s->frame[s->depth++] = (Frame){desc, f->end, s->out_n, (uint32_t)(f->body - f->len_at), 0};
  s->at = f->body;
  return charge(s, desc->sizeof_message + 64);
}

static VlStatus take_field(Scan *s, const Field *f) {
  const ProtobufCMessageDescriptor *in = s->frame[s->depth - 1].desc;
  if (is_left_out(in, f)) return VLPC_OK;
  VL_TRY(check_field(s, f));
  if (in == &onnx__tensor_proto__descriptor && f->desc->id == 3) {
    DiagAt place = {s->file->path, arena_printf(s->arena, "byte %" PRIu64, f->at)};
    return diag_error(s->d, DIAG_ONNX_TENSOR_TYPE, place, "tensors in segments are not supported");
  }
  if (f->desc->type == PROTOBUF_C_TYPE_MESSAGE) return enter(s, f);
  bool raw = in == &onnx__tensor_proto__descriptor && f->desc->id == 9;
  if (raw && f->n > SCAN_INLINE) {
    emit_segment(s, f->body, f->end);
    return charge(s, 64);
  }
  emit(s, s->file->at + f->at, f->end - f->at);
  return charge(s, 64 + (is_packed(f) ? f->n * 8 : f->n));
}

static VlStatus walk(Scan *s) {
  s->frame[0] = (Frame){&onnx__model_proto__descriptor, s->file->n, 0, 0, 0};
  s->depth = 1;
  for (;;) {
    Frame *top = &s->frame[s->depth - 1];
    if (s->at == top->end) {
      patch_length(s, top);
      if (--s->depth == 0) return VLPC_OK;
      continue;
    }
    Field f;
    VL_TRY(read_field(s, &f));
    VL_TRY(take_field(s, &f));
  }
}

VlStatus scan_onnx(const Mapped *file, uint64_t memory, Arena *a, Diag *d, Slim *out) {
  Scan *s = arena_one(a, Scan);
  *s = (Scan){.file = file, .budget = memory, .arena = a, .d = d};
  VL_TRY(walk(s));
  out->n = (size_t)s->out_n;
  out->at = arena_alloc(a, out->n + 1);
  *s = (Scan){.file = file, .out = out->at, .budget = memory, .arena = a, .d = d};
  VL_TRY(walk(s));
  VL_CHECK(s->out_n == out->n, "both walks of a file must agree");
  return VLPC_OK;
}
