/* SPDX-License-Identifier: Apache-2.0 */
/* op_misfits.c - operands that do not fit an op are refused with exact words. */
#include "op_case.h"

typedef struct {
  OpCode op;
  const char *in; /* "f32[2,3] i64[batch]"; - for an absent operand */
  AttrSet attr;
  const char *sentence, *found, *expected;
} Row;

#define ROW(op, ...) {OP_##op, __VA_ARGS__}
#define DIMS(k, text) TEXT(k, text)

static const Row rows[] = {
    /* the frame */
    ROW(add, "f32[2]", NONE, "the number of operands is wrong", "1", "2"),
    ROW(linear, "f32[2]", NONE, "the number of operands is wrong", "1", "2 to 3"),
    ROW(concat, "", ATTRS(INT(axis, 0)), "the number of operands is wrong", "0", "1 or more"),
    ROW(concat, "f32[2] - f32[2]", ATTRS(INT(axis, 0)), "an operand is missing",
        "none as operand 1", "a value"),
    ROW(broadcast, "f32[]", ATTRS(DIMS(dims, "2097152,2097152")),
        "the result has too many elements", "f32[2097152,2097152]", "at most 2^40 elements"),
    ROW(broadcast, "f32[]", ATTRS(DIMS(dims, "batch,-2")), "a size of the result is negative",
        "f32[batch,-2]", "0 or more"),
    ROW(broadcast, "f32[]", ATTRS(DIMS(dims, "1,1,1,1,1,1,1,1,1")),
        "the result has too many axes", "rank 9", "rank 8 at most"),
    ROW(iota, "", ATTRS(DIMS(dims, "-1")), "a size of the result is negative", "i64[-1]",
        "0 or more"),
    ROW(iota, "", ATTRS(DIMS(dims, "1,2")), "an attribute has the wrong length",
        "dims has 2 entries", "1"),
    /* elementwise */
    ROW(add, "f32[2,3] f32[4]", NONE, "operands do not broadcast", "f32[2,3] and f32[4]",
        "equal sizes, or 1"),
    ROW(mul, "f32[batch] f32[classes]", NONE, "operands do not broadcast",
        "f32[batch] and f32[classes]", "equal sizes, or 1"),
    ROW(sub, "f32[batch] f32[batch+1]", NONE, "operands do not broadcast",
        "f32[batch] and f32[batch+1]", "equal sizes, or 1"),
    ROW(add, "f32[2] i64[2]", NONE, "element types differ", "f32[2] and i64[2]",
        "one element type"),
    ROW(exp, "i64[2]", NONE, "an operand has the wrong element type", "i64[2]", "a float type"),
    ROW(and, "f32[2] f32[2]", NONE, "an operand has the wrong element type", "f32[2]", "bool"),
    ROW(add, "bool[2] bool[2]", NONE, "an operand has the wrong element type", "bool[2]",
        "a number type"),
    ROW(where, "f32[2] f32[2] f32[2]", NONE, "an operand has the wrong element type", "f32[2]",
        "bool"),
    ROW(where, "bool[3] f32[2] f32[1]", NONE, "the condition does not broadcast", "bool[3]",
        "f32[2]"),
    ROW(cast, "f32[2]", NONE, "an attribute is missing", "none", "dtype"),
    ROW(cast, "f32[2]", ATTRS(INT(dtype, 99)), "an element type does not exist", "99",
        "an element type"),
    /* over axes */
    ROW(reduce_sum, "f32[2,3]", NONE, "an attribute is missing", "none", "axes"),
    ROW(reduce_sum, "f32[2,3]", ATTRS(INTS(axes, 2)),
        "an axis is out of range or given twice", "axis 2", "distinct axes of rank 2"),
    ROW(reduce_max, "f32[2,3]", ATTRS(INTS(axes, 1, -1)),
        "an axis is out of range or given twice", "axis -1", "distinct axes of rank 2"),
    ROW(reduce_sum, "f32[2]", ATTRS(INTS(axes, 0), INT(keepdims, 2)),
        "an attribute is out of range", "keepdims = 2", "0 to 1"),
    ROW(reduce_sum, "bool[2]", ATTRS(INTS(axes, 0)), "an operand has the wrong element type",
        "bool[2]", "a number type"),
    ROW(argmax, "f32[2,0]", ATTRS(INT(axis, 1)), "argmax over no elements", "f32[2,0]",
        "1 element or more"),
    ROW(argmax, "f32[2]", ATTRS(INT(axis, -2)), "an axis is out of range", "axis -2",
        "an axis of rank 1"),
    ROW(cumsum, "f32[]", ATTRS(INT(axis, 0)), "an axis is out of range", "axis 0",
        "an axis of rank 0"),
    /* moves */
    ROW(permute, "f32[2,3]", ATTRS(INTS(perm, 0)), "an attribute has the wrong length",
        "perm has 1 entries", "2"),
    ROW(permute, "f32[2,3]", ATTRS(INTS(perm, 1, 1)), "perm is no permutation", "axis 1",
        "each axis of rank 2 once"),
    ROW(reshape, "f32[2,3]", ATTRS(DIMS(dims, "7")), "the numbers of elements differ",
        "f32[2,3] to f32[7]", "equal whatever the symbols"),
    ROW(reshape, "f32[batch,50]", ATTRS(DIMS(dims, "49*batch")),
        "the numbers of elements differ", "f32[batch,50] to f32[49*batch]",
        "equal whatever the symbols"),
    ROW(reshape, "f32[batch,4]", ATTRS(DIMS(dims, "classes,4")),
        "the numbers of elements differ", "f32[batch,4] to f32[classes,4]",
        "equal whatever the symbols"),
    ROW(reshape, "f32[0,batch]", ATTRS(DIMS(dims, "batch")), "the numbers of elements differ",
        "f32[0,batch] to f32[batch]", "equal whatever the symbols"),
    ROW(broadcast, "f32[2,3]", ATTRS(DIMS(dims, "3")),
        "an operand does not broadcast to the sizes", "f32[2,3]", "f32[3]"),
    ROW(broadcast, "f32[2]", ATTRS(DIMS(dims, "1")),
        "an operand does not broadcast to the sizes", "f32[2]", "f32[1]"),
    ROW(slice, "f32[4]", ATTRS(DIMS(starts, "2"), DIMS(dims, "3")),
        "a slice reads outside its operand", "axis 0: 3 elements from 2, step 1",
        "within 4 elements"),
    ROW(slice, "f32[4]", ATTRS(DIMS(starts, "1"), INTS(steps, -1), DIMS(dims, "3")),
        "a slice reads outside its operand", "axis 0: 3 elements from 1, step -1",
        "within 4 elements"),
    ROW(slice, "f32[batch]", ATTRS(DIMS(starts, "1"), DIMS(dims, "batch")),
        "a slice reads outside its operand", "axis 0: batch elements from 1, step 1",
        "within batch elements"),
    ROW(slice, "f32[4]", ATTRS(DIMS(starts, "0"), INTS(steps, INT64_MAX), DIMS(dims, "-2")),
        "a size of the result is negative", "f32[-2]", "0 or more"),
    ROW(concat, "f32[2,3] f32[2,4] f32[3,3]", ATTRS(INT(axis, 1)),
        "operands differ beside the joined axis", "f32[2,3] and f32[3,3]",
        "equal but on axis 1"),
    ROW(pad, "f32[2] f32[]", ATTRS(DIMS(before, "-1"), DIMS(after, "0")), "padding is negative",
        "axis 0: -1 before, 0 after", "0 or more"),
    ROW(pad, "f32[2] f32[1]", ATTRS(DIMS(before, "0"), DIMS(after, "0")),
        "an operand has the wrong rank", "f32[1]", "rank 0"),
    /* contractions */
    ROW(matmul, "f32[2,3] f32[4,2]", NONE, "inner sizes differ", "f32[2,3] and f32[4,2]",
        "3 and 4 equal"),
    ROW(matmul, "f32[2,1,3] f32[3,3,1]", NONE, "batch axes do not broadcast",
        "f32[2,1,3] and f32[3,3,1]", "equal sizes, or 1"),
    ROW(matmul, "f32[] f32[2]", NONE, "an operand has the wrong rank", "f32[]", "rank 1 to 8"),
    ROW(conv, "f32[1,3,8,8] f32[4,2,3,3]", NONE, "channels do not fit the weights",
        "f32[1,3,8,8] and f32[4,2,3,3]", "x[n,c,…] and w[m,c/1,…]"),
    ROW(conv, "f32[1,3,2,2] f32[4,3,5,5]", NONE, "a size of the result is negative",
        "f32[1,4,-2,-2]", "0 or more"),
    ROW(conv, "f32[1,3,h,8] f32[4,3,2,2]", ATTRS(INTS(strides, 2, 2)),
        "a size of the result is no affine expression", "f32[1,4,?,4]", "sizes c + k*symbol + …"),
    ROW(conv, "f32[1,3,8] f32[4,3,2]", ATTRS(INTS(strides, 0)),
        "a step, padding or spacing is out of range", "0", "1 to 1048576"),
    ROW(conv, "f32[1,3,8] f32[4,3,2] f32[3]", NONE, "an operand does not fit the others",
        "f32[3]", "f32[4]"),
    /* by index */
    ROW(gather, "f32[2] f32[1]", ATTRS(INT(axis, 0)), "an operand has the wrong element type",
        "f32[1]", "an integer type"),
    ROW(gather, "f32[1,1,1,1,1] i64[1,1,1,1,1]", ATTRS(INT(axis, 0)),
        "the result has too many axes", "rank over 8", "rank 8 at most"),
    ROW(gather_elements, "f32[2,3] i64[3,1]", ATTRS(INT(axis, 1)),
        "indices are larger than the data", "f32[2,3] and i64[3,1]",
        "at most equal but on axis 1"),
    ROW(gather_nd, "f32[2,3] i64[4,3]", NONE, "an index names too many axes", "i64[4,3]",
        "a last size of 0 to 2"),
    ROW(gather_nd, "f32[2,3] i64[4,1]", ATTRS(INT(batch_dims, 1)), "batch axes differ",
        "f32[2,3] and i64[4,1]", "equal leading sizes"),
    ROW(gather_nd, "f32[2,3] i64[n]", NONE, "an index names too many axes", "i64[n]",
        "a last size of 0 to 2"),
    ROW(scatter_nd, "f32[4,3] i64[2,1] f32[2,4]", NONE, "updates do not fit data and indices",
        "f32[2,4]", "f32[2,3]"),
    ROW(topk_values, "f32[3]", ATTRS(INT(axis, 0), INT(k, 4)), "an attribute is out of range",
        "k = 4", "0 to 3"),
    /* semantic */
    ROW(softmax, "f32[2,3]", ATTRS(INT(axis, 2)), "an axis is out of range", "axis 2",
        "an axis of rank 2"),
    ROW(layernorm, "f32[2,3]", NONE, "an attribute is missing", "none", "eps"),
    ROW(layernorm, "f32[2,3] f32[2]", ATTRS(REAL(eps, 1e-5)),
        "an operand does not fit the others", "f32[2]", "f32[3]"),
    ROW(l2norm, "f32[]", ATTRS(REAL(eps, 1e-5)), "an operand has the wrong rank", "f32[]",
        "rank 1 to 8"),
    ROW(gelu, "f32[2]", ATTRS(TEXT(approx, "fast")), "no such kind of gelu", "fast",
        "erf, tanh or quick"),
    ROW(linear, "f32[2,3] f32[4,5]", NONE, "weights do not fit the rows",
        "f32[2,3] and f32[4,5]", "weights of 3 rows"),
    ROW(linear, "f32[2,3] f32[3,5] f32[3]", NONE, "an operand does not fit the others", "f32[3]",
        "f32[5]"),
    ROW(embedding, "f32[5,2] f32[3]", NONE, "an operand has the wrong element type", "f32[3]",
        "an integer type"),
    ROW(patch_embed, "f32[b,3,10,8] f32[12,4]", ATTRS(INTS(patch, 4, 2)),
        "patches do not tile the image", "f32[b,3,10,8]", "multiples of 4 by 2"),
    ROW(patch_embed, "f32[b,3,8,8] f32[12,4]", ATTRS(INTS(patch, 0, 2)),
        "patches do not tile the image", "f32[b,3,8,8]", "multiples of 0 by 2"),
    ROW(patch_embed, "f32[b,3,8,8] f32[12,4]", ATTRS(INTS(patch, 4, 2)),
        "weights do not fit the rows", "f32[b,3,8,8] and f32[12,4]", "weights of 24 rows"),
    ROW(attention, "f32[b,5,8] f32[b,6,4] f32[b,6,4]", ATTRS(INT(heads, 2), REAL(scale, 1)),
        "queries and keys do not fit", "f32[b,5,8] and f32[b,6,4]",
        "q[…,Lq,h*d] and k[…,Lk,h*d]"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,5,8]", ATTRS(INT(heads, 2), REAL(scale, 1)),
        "keys and values do not fit", "f32[b,6,8] and f32[b,5,8]",
        "k[…,Lk,h*d] and v[…,Lk,h*dv]"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8]", ATTRS(INT(heads, 3), REAL(scale, 1)),
        "heads do not divide the width", "f32[b,5,8] and f32[b,6,8]", "multiples of 3"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8] f32[6,5]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "the mask does not broadcast to the scores",
        "f32[6,5]", "f32[b,2,5,6]"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8]", ATTRS(INT(heads, 2)),
        "an attribute is missing", "none", "scale"),
    ROW(attention, "f32[1,5,8] f32[b,6,8] f32[1,6,8] f32[c,2,8] f32[1,2,8]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "queries and keys do not fit",
        "f32[1,5,8] and f32[c,2,8]", "q[…,Lq,h*d] and k[…,Lk,h*d]"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8] f32[b,2,8] f32[b,2,6]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "keys and values do not fit",
        "f32[b,2,8] and f32[b,2,6]", "k[…,Lk,h*d] and v[…,Lk,h*dv]"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8] - f32[b,2,8]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "an operand is missing", "none",
        "keys and values of each segment"),
    ROW(attention, "f32[b,5,8] f32[b,6,8] f32[b,6,8] f32[1,n,8] f32[1,n,8] f32[5,6]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "the mask does not broadcast to the scores",
        "f32[5,6]", "f32[b,2,5,n+6]"),
    ROW(attention_varlen, "f32[r,8] f32[n,8] f32[r,8] i64[s]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "queries and keys do not fit",
        "f32[r,8] and f32[n,8]", "q[R,h*d] and k[R,h*d]"),
    ROW(attention_varlen, "f32[r,8] f32[r,8] f32[r,8] f32[s]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "the bounds of the runs do not fit",
        "f32[r,8] and f32[s]", "i64[S+1]"),
    ROW(attention_varlen, "f32[r,8] f32[r,8] f32[r,6] i64[s]",
        ATTRS(INT(heads, 4), REAL(scale, 1)), "heads do not divide the width",
        "f32[r,8] and f32[r,6]", "multiples of 4"),
};

/* ---- reading a row ------------------------------------------------------- */

static TypeId read_type(Graph *g, const char *text) {
  VlDtype dtype;
  DimId dim[VLPC_MAX_RANK + 1];
  size_t n = strcspn(text, "[");
  assert_true(dtype_parse(text, n, &dtype));
  uint32_t rank = read_dims(g, text + n + 1, dim);
  return ir_type(g, dtype, rank, dim);
}

static uint32_t read_operands(Graph *g, const char *text, Val in[10]) {
  uint32_t n = 0;
  while (*text != '\0') {
    in[n] = *text == '-' ? VAL_NONE : ir_input(g, "x", read_type(g, text));
    text += strcspn(text, " ");
    text += *text == ' ';
    n++;
  }
  return n;
}

static Val make(Graph *g, OpCode op, const char *operands, const AttrSet *set) {
  Val in[10];
  Attr at[4];
  uint32_t n = read_operands(g, operands, in);
  for (uint32_t i = 0; i < set->n; i++) at[i] = read_attr(g, set->at[i]);
  return ir_node(g, op, n, in, set->n, at);
}

/* ---- tests --------------------------------------------------------------- */

static void test_words(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    const Row *r = &rows[i];
    Arena *a = arena_new(0);
    Graph *g = ir_graph_new(a);
    Val v = make(g, r->op, r->in, &r->attr);
    if (val_ok(v)) fail_msg("%s %s is accepted", op_info(r->op)->name, r->in);
    Why why = ir_why(g);
    assert_string_equal(why.sentence, r->sentence);
    assert_string_equal(why.found, r->found);
    assert_string_equal(why.expected, r->expected);
    arena_free(a);
  }
}

/* Next to the misfits: what is accepted, with the type of the result. */
static const struct {
  OpCode op;
  const char *in;
  AttrSet attr;
  const char *type;
} fits[] = {
    ROW(add, "f32[batch,1] f32[1,classes]", NONE, "f32[batch,classes]"),
    ROW(reshape, "f32[batch,classes,4]", ATTRS(DIMS(dims, "2*classes,2*batch")),
        "f32[2*classes,2*batch]"),
    ROW(reshape, "f32[2*batch+2,3]", ATTRS(DIMS(dims, "6,batch+1")), "f32[6,batch+1]"),
    ROW(reshape, "f32[batch,50,768]", ATTRS(DIMS(dims, "50*batch,768")), "f32[50*batch,768]"),
    ROW(reshape, "f32[batch,0]", ATTRS(DIMS(dims, "0,classes")), "f32[0,classes]"),
    ROW(slice, "f32[len]", ATTRS(DIMS(starts, "1"), DIMS(dims, "len-1")), "f32[len-1]"),
    ROW(slice, "f32[len]", ATTRS(DIMS(starts, "len-1"), INTS(steps, -1), DIMS(dims, "len")),
        "f32[len]"),
    ROW(slice, "f32[batch]", ATTRS(DIMS(starts, "0"), DIMS(dims, "1")), "f32[1]"),
    ROW(concat, "f32[b,1,8] f32[b,49,8] f32[b,n,8]", ATTRS(INT(axis, -2)), "f32[b,n+50,8]"),
    ROW(pad, "f32[n] f32[]", ATTRS(DIMS(before, "1"), DIMS(after, "n")), "f32[2*n+1]"),
    ROW(matmul, "f32[b,1,50,8] f32[12,8,l]", NONE, "f32[b,12,50,l]"),
    ROW(conv, "f32[b,3,2*h,32*w] f32[768,3,2,32]", ATTRS(INTS(strides, 2, 32)),
        "f32[b,768,h,w]"),
    ROW(conv, "f32[b,3,2*h+1,7] f32[8,3,3,3]", ATTRS(INTS(strides, 2, 3), INTS(pads, 1, 0, 1, 1)),
        "f32[b,8,h+1,2]"),
    ROW(patch_embed, "f32[b,3,32*h,224] f32[3072,8]", ATTRS(INTS(patch, 32, 32)), "f32[b,7*h,8]"),
    ROW(attention, "f32[b,n,8] f32[b,n+4,8] f32[b,n+4,6] f32[n,n+4]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "f32[b,n,6]"),
    ROW(attention, "f32[1,n,8] f32[1,5,8] f32[b,5,6] f32[1,m,8] f32[1,m,6] f32[b,1,1,m+5]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "f32[b,n,6]"),
    ROW(attention_varlen, "f32[r,8] f32[r,8] f32[r,6] i64[s]",
        ATTRS(INT(heads, 2), REAL(scale, 1)), "f32[r,6]"),
    ROW(layernorm, "f32[b,8] - f32[8]", ATTRS(REAL(eps, 1e-5)), "f32[b,8]"),
};

static void test_accepted(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(fits); i++) {
    Arena *a = arena_new(0);
    Graph *g = ir_graph_new(a);
    Val v = make(g, fits[i].op, fits[i].in, &fits[i].attr);
    if (!val_ok(v)) fail_msg("%s: %s", fits[i].in, ir_why(g).sentence);
    assert_int_equal(ir_type_id(g, v).i, read_type(g, fits[i].type).i);
    arena_free(a);
  }
}

static void test_const_data_must_fit(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Graph *g = ir_graph_new(a);
  float data[3] = {1, 2, 3};
  BlobId b = ir_blob_copy(g, data, sizeof data, NULL);
  assert_false(val_ok(ir_const(g, read_type(g, "f32[4]"), b)));
  assert_string_equal(ir_why(g).sentence, "a constant's data do not fit its type");
  assert_string_equal(ir_why(g).found, "12 bytes");
  assert_string_equal(ir_why(g).expected, "16 bytes for f32[4]");
  assert_false(val_ok(ir_const(g, read_type(g, "f32[batch]"), b)));
  assert_string_equal(ir_why(g).sentence, "a constant's sizes must be numbers");
  assert_true(val_ok(ir_const(g, read_type(g, "f32[3]"), b)));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words),
      cmocka_unit_test(test_accepted),
      cmocka_unit_test(test_const_data_must_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
