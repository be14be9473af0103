/* SPDX-License-Identifier: Apache-2.0 */
/* test_dataset.c - what is read from folders, lists and shards, in which order,
** and the text of every refusal. */
#include "train/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train_kit.h"

static Dataset open_at(Kit *k, const char *path) {
  Dataset data;
  VlStatus st = dataset_open(&(DatasetSource){path, NULL}, k->arena, k->diag, &data);
  assert_string_equal(diag_text(k->diag), "");
  assert_int_equal(st, VLPC_OK);
  return data;
}

static void refused(Kit *k, const char *path, DiagCode code, const char *text) {
  Dataset data;
  kit_expect(k, dataset_open(&(DatasetSource){path, NULL}, k->arena, k->diag, &data), code, text);
}

/* "path:label path:label …" of a split. */
static const char *listed(Kit *k, const Dataset *d, SplitId s) {
  Str text = {.arena = k->arena};
  for (uint32_t i = 0; i < d->split[s].n; i++)
    str_printf(&text, "%s%s:%u", i ? " " : "", d->split[s].at[i].path, d->split[s].at[i].label);
  return str_text(&text);
}

static void class_folders(void **state) {
  Kit *k = *state;
  kit_put_text("p/sea_lion/b.JPG", "x");
  kit_put_text("p/sea_lion/a.png", "x");
  kit_put_text("p/sea_lion/notes.txt", "x");
  kit_put_text("p/Zebra/1.jpeg", "x");
  kit_put_text("p/.hidden/1.jpg", "x");
  Dataset d = open_at(k, "p");
  assert_int_equal(d.n_classes, 2);
  assert_string_equal(d.classes[0], "Zebra");
  assert_string_equal(d.classes[1], "sea lion");
  assert_string_equal(listed(k, &d, SPLIT_train),
                      "p/Zebra/1.jpeg:0 p/sea_lion/a.png:1 p/sea_lion/b.JPG:1");
  assert_int_equal(d.split[SPLIT_val].n + d.split[SPLIT_test].n, 0);
}

static void split_folders(void **state) {
  Kit *k = *state;
  kit_put_text("p/train/b/1.jpg", "x");
  kit_put_text("p/train/a/1.jpg", "x");
  kit_put_text("p/valid/b/2.jpg", "x");
  kit_put_text("p/test/c/3.jpg", "x");
  kit_put_text("p/classes.txt", "an_ant\r\na bee\r\na cat\n");
  Dataset d = open_at(k, "p/");
  assert_int_equal(d.n_classes, 3);
  assert_string_equal(d.classes[0], "an ant");
  assert_string_equal(d.classes[2], "a cat");
  assert_string_equal(listed(k, &d, SPLIT_train), "p/train/a/1.jpg:0 p/train/b/1.jpg:1");
  assert_string_equal(listed(k, &d, SPLIT_val), "p/valid/b/2.jpg:1");
  assert_string_equal(listed(k, &d, SPLIT_test), "p/test/c/3.jpg:2");
}

static void folder_faults(void **state) {
  Kit *k = *state;
  refused(k, "none", DIAG_OPEN,
          "vlpc: error[E0101]: none: there is no such data set\n"
          "  fix:      check the spelling of the path and of its folders\n");
  kit_put_text("p/a/1.jpg", "x");
  kit_put_text("p/b/readme", "x");
  refused(k, "p", DIAG_DATA_LAYOUT,
          "vlpc: error[E1101]: p/b: this class has no photos\n"
          "  expected: FOLDER/<class>/*.jpg or *.png, the same below train, val and test, "
          "*.tar shards, a split_zhou_*.json or a .csv of file,label\n"
          "  fix:      put the photos of each class into a folder named as the class\n");
  kit_put_text("p/b/2.png", "x");
  kit_put_text("p/classes.txt", "one\n");
  refused(k, "p", DIAG_DATA_LABEL,
          "vlpc: error[E1103]: p/classes.txt: there is not one name for each class\n"
          "  found:    1 lines\n"
          "  expected: 2, in the order of the class folders\n"
          "  fix:      correct the file, or remove it to use the names of the folders\n");
}

static void csv_lists(void **state) {
  Kit *k = *state;
  kit_put_text("d/a.csv", "file,label,classname,extra\r\n"
                          "\"x, \"\"y\"\".jpg\",10,sea_lion,1\r\n\r\n/abs/b.png,9,cat,2");
  Dataset d = open_at(k, "d/a.csv");
  assert_string_equal(listed(k, &d, SPLIT_train), "d/x, \"y\".jpg:1 /abs/b.png:0");
  assert_string_equal(d.classes[0], "cat");
  assert_string_equal(d.classes[1], "sea lion");
  kit_put_text("b.csv", "split,path,class\ntest,1.jpg,dog\ntrain,2.jpg,ant\n");
  assert_int_equal(dataset_open(&(DatasetSource){"b.csv", "root"}, k->arena, k->diag, &d), 0);
  assert_string_equal(listed(k, &d, SPLIT_train), "root/2.jpg:0");
  assert_string_equal(listed(k, &d, SPLIT_test), "root/1.jpg:1");
  kit_put_text("c.csv", "1.jpg,02\n2.jpg,2\n3.jpg,-1\n");
  d = open_at(k, "c.csv");
  assert_string_equal(listed(k, &d, SPLIT_train), "1.jpg:1 2.jpg:1 3.jpg:0");
}

typedef struct {
  const char *text, *place_and_words, *expected;
} ListFault;

static void expect_list_faults(Kit *k, const char *path, const ListFault *f, size_t n) {
  for (size_t i = 0; i < n; i++) {
    kit_put_text(path, f[i].text);
    const char *text = arena_printf(k->arena,
                                    "vlpc: error[E1102]: %s: %s\n  expected: %s\n"
                                    "  fix:      correct this line of the list\n",
                                    path, f[i].place_and_words, f[i].expected);
    refused(k, path, DIAG_DATA_LIST, text);
  }
}

static void csv_faults(void **state) {
  static const ListFault faults[] = {
      {"a.jpg,1\nb.jpg\n", "line 2: the line has too few fields", "file,label"},
      {"a.jpg,\n", "line 1: the photo has no label", "a number or a class name"},
      {"\n,3\n", "line 2: the photo has no name", "a path of a photo"},
      {"\"a.jpg,1\n", "line 1: a quote is not closed on its line", "a second quote"},
      {"\"a\"b,1\n", "line 1: text follows a closing quote", "a comma or the end of the line"},
      {"path,label,split\na,1,dev\n", "line 2: a split of another name", "train, val or test"},
  };
  expect_list_faults(*state, "x.csv", faults, sizeof faults / sizeof *faults);
  Kit *k = *state;
  kit_put("z.csv", "a\0b,1\n", 6);
  refused(k, "z.csv", DIAG_DATA_LIST,
          "vlpc: error[E1102]: z.csv: line 1: a zero byte in a line\n  expected: text\n"
          "  fix:      correct this line of the list\n");
  kit_put_text("n.csv", "a.jpg,1,cat\nb.jpg,1,dog\n");
  refused(k, "n.csv", DIAG_DATA_LABEL,
          "vlpc: error[E1103]: n.csv: line 2: label 1 has two class names\n"
          "  found:    'dog'\n  expected: 'cat', as before\n"
          "  fix:      give the photos of one class one label and one name\n");
}

static void json_lists(void **state) {
  Kit *k = *state;
  kit_put_text("s.json", "{\"train\": [[\"a\\/\\u00e9\\ud83d\\ude00.jpg\", 1, \"sea_lion\"],\n"
                         " [\"b.jpg\", 0, \"cat\"]], \"test\": [[\"c.jpg\", 1, \"sea_lion\"]],"
                         "\"val\": []}");
  Dataset d = open_at(k, "s.json");
  assert_string_equal(listed(k, &d, SPLIT_train), "a/\xc3\xa9\xf0\x9f\x98\x80.jpg:1 b.jpg:0");
  assert_string_equal(listed(k, &d, SPLIT_test), "c.jpg:1");
  assert_string_equal(d.classes[1], "sea lion");
}

static void json_faults(void **state) {
  static const char form[] = "[\"path\", label, \"class name\"]";
  static const ListFault faults[] = {
      {"", "line 1: the list breaks its form", "{\"train\": …, \"val\": …, \"test\": …}"},
      {"{\"train\":\n [[\"a\", 1.5, \"x\"]]}", "line 2: the list breaks its form", form},
      {"{\"train\": [\n\n[\"a\", -1, \"x\"]]}", "line 3: a label is no number",
       "a whole number from 0 on"},
      {"{\"train\": [[\"a\", 99999999999999999999, \"x\"]]}", "line 1: a label is no number",
       "a whole number from 0 on"},
      {"{\"train\": [[\"a\", 1, \"x\"],\n]}", "line 2: the list breaks its form", form},
      {"{\"train\": [], \"train\": []}", "line 1: a split is there twice",
       "train, val and test once each"},
      {"{\"dev\": []}", "line 1: a split of another name", "train, val or test"},
      {"{\"train\": [[\"\\ud800x\", 1, \"x\"]]}", "line 1: half a character",
       "a second surrogate"},
      {"{\"train\": [[\"\\u0000\", 1, \"x\"]]}", "line 1: an escape is wrong",
       "\\\\u and four hex digits, not 0000"},
      {"{\"train\": [[\"a", "line 1: the list breaks its form", "a quote"},
      {"{\"train\": []}\nx", "line 2: text follows the end of the splits",
       "the end of the file"},
  };
  Kit *k = *state;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    Dataset data;
    kit_put_text("x.json", faults[i].text);
    VlStatus st = dataset_open(&(DatasetSource){"x.json", NULL}, k->arena, k->diag, &data);
    assert_int_equal(st, VLPC_E_BAD_FILE);
    char want[200];
    snprintf(want, sizeof want, "vlpc: error[E1102]: x.json: %s\n", faults[i].place_and_words);
    assert_memory_equal(diag_text(k->diag), want, strlen(want));
    diag_clear(k->diag);
  }
}

/* Every prefix of a list is refused, whatever it ends in. */
static void cut_json(void **state) {
  Kit *k = *state;
  const char *text = "{\"train\": [[\"a\\u00e9\", 1, \"x\"], [\"b\", 0, \"y\"]], \"val\": []}";
  for (size_t n = 0; n < strlen(text); n++) {
    Dataset data;
    kit_put("x.json", text, n);
    assert_int_equal(dataset_open(&(DatasetSource){"x.json", NULL}, k->arena, k->diag, &data),
                     VLPC_E_BAD_FILE);
    diag_clear(k->diag);
  }
}

/* ---- shards ------------------------------------------------------------- */

static uint8_t shard[64 * 512];
static size_t shard_n;

static void seal(uint8_t *h) {
  unsigned sum = 0;
  memset(h + 148, ' ', 8);
  for (int i = 0; i < 512; i++) sum += h[i];
  snprintf((char *)h + 148, 8, "%06o", sum);
}

static uint8_t *member(const char *name, char type, const void *data, size_t n) {
  uint8_t *h = shard + shard_n;
  memset(h, 0, 512);
  memcpy(h, name, strlen(name));
  snprintf((char *)h + 124, 12, "%011o", (unsigned)n);
  memcpy(h + 257, "ustar\00000", 8);
  h[156] = (uint8_t)type;
  seal(h);
  memcpy(h + 512, data, n);
  shard_n += 512 + (n + 511) / 512 * 512;
  return h;
}

static void shards(void **state) {
  Kit *k = *state;
  static const char pax[] = "21 path=long/p.e.jpg\n";
  memset(shard, 0, sizeof shard);
  shard_n = 0;
  member("s/", '5', "", 0);
  member("s/0.cls", '0', "7\n", 2);
  member("s/0.jpg", '0', "JPEG", 4);
  member("s/1.png", '\0', "PNG!!", 5);
  member("../../evil.jpg", '2', "", 0);
  member("PaxHeader", 'x', pax, strlen(pax));
  member("short.jpg", '0', "x", 1);
  memcpy(member("q.jpg", '0', "y", 1) + 345, "cat", 3);
  seal(shard + shard_n - 1024);
  kit_put("d/train/0.tar", shard, shard_n + 1024);
  Dataset d = open_at(k, "d");
  assert_string_equal(listed(k, &d, SPLIT_train),
                      "d/train/0.tar:s/0.jpg:0 d/train/0.tar:s/1.png:3 "
                      "d/train/0.tar:long/p.e.jpg:2 d/train/0.tar:cat/q.jpg:1");
  assert_string_equal(d.classes[0], "7");
  assert_string_equal(d.classes[3], "s");
  const Item *i = &d.split[SPLIT_train].at[1];
  assert_int_equal(i->bytes, 5);
  assert_memory_equal(d.shards[i->shard].at + i->offset, "PNG!!", 5);
}

static void shard_refused(Kit *k, size_t n, const char *place_and_words, const char *expected) {
  kit_put("x.tar", shard, n);
  refused(k, "x.tar", DIAG_DATA_SHARD,
          arena_printf(k->arena,
                       "vlpc: error[E1104]: x.tar: %s\n  expected: %s\n"
                       "  fix:      fetch or pack the shard again\n",
                       place_and_words, expected));
}

static void shard_faults(void **state) {
  Kit *k = *state;
  memset(shard, 0, sizeof shard);
  shard_n = 0;
  uint8_t *h = member("c/0.jpg", '0', "JPEG", 4);
  shard_refused(k, 300, "byte 0: the shard ends inside a header", "512 bytes");
  shard_refused(k, 514, "byte 0: a member passes the end of the shard", "all of its bytes");
  h[0] ^= 1;
  shard_refused(k, 1024, "byte 0: a header's checksum does not match", "a ustar header");
  h[0] ^= 1;
  memcpy(h + 124, "\x80\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff", 12);
  seal(h);
  shard_refused(k, 1024, "byte 0: a member passes the end of the shard", "all of its bytes");
  memcpy(h + 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
  seal(h);
  shard_refused(k, 1024, "byte 0: a size is no number", "octal digits");
  shard_n = 0;
  member("x", 'x', "9 size=-1\n", 10);
  shard_refused(k, 1024, "byte 0: an extended header is malformed", "records of LENGTH KEY=VALUE");
  shard_n = 0;
  member("0.jpg", '0', "JPEG", 4);
  shard_refused(k, 1024, "byte 512: a photo has no label",
                "a .cls beside it, or a folder named as its class");
}

/* No byte that changes in a shard brings the reader down: it refuses, or reads
** photos that lie inside the file.  VLPC_TEST_LONG: every byte. */
static void shard_bytes(void **state) {
  Kit *k = *state;
  memset(shard, 0, sizeof shard);
  shard_n = 0;
  member("x", 'x', "16 path=a/b.jpg\n", 16);
  member("c/0.jpg", '0', "JPEG", 4);
  size_t step = getenv("VLPC_TEST_LONG") ? 1 : 7;
  for (size_t i = 0; i < shard_n; i += step) {
    Arena *a = arena_new(0);
    Dataset d;
    shard[i] ^= 0x15;
    kit_put("x.tar", shard, shard_n);
    VlStatus st = dataset_open(&(DatasetSource){"x.tar", NULL}, a, k->diag, &d);
    for (uint32_t j = 0; st == VLPC_OK && j < d.split[SPLIT_train].n; j++) {
      const Item *it = &d.split[SPLIT_train].at[j];
      assert_true(vl_range_ok(it->offset, it->bytes, d.shards[it->shard].n));
    }
    shard[i] ^= 0x15;
    diag_clear(k->diag);
    arena_free(a);
  }
}

/* CoOp's published list of Oxford Pets. */
static void published_split(void **state) {
  Kit *k = *state;
  kit_unpack("split_zhou_OxfordPets.json.gz", "s.json");
  Dataset d = open_at(k, "s.json");
  assert_int_equal(d.n_classes, 37);
  assert_int_equal(d.split[SPLIT_train].n, 2944);
  assert_int_equal(d.split[SPLIT_val].n, 736);
  assert_int_equal(d.split[SPLIT_test].n, 3669);
  assert_string_equal(d.classes[2], "american pit bull terrier");
  assert_string_equal(d.split[SPLIT_train].at[0].path, "Abyssinian_122.jpg");
}

static const char *hash_at(Kit *k, const char *path) {
  char *out = arena_array(k->arena, char, 33);
  Dataset d = open_at(k, path);
  dataset_hash(&d, k->arena, out);
  return out;
}

/* A hash of names below the root, bytes and labels, wherever they are. */
static void hashes(void **state) {
  Kit *k = *state;
  char b[33];
  kit_put_text("a.csv", "1.jpg,dog\n2.jpg,cat\n");
  const char *a = hash_at(k, "a.csv");
  assert_string_equal(a, hash_at(k, "a.csv"));
  Dataset d = open_at(k, "a.csv");
  d.split[SPLIT_train].at[0].label ^= 1;
  dataset_hash(&d, k->arena, b);
  assert_string_not_equal(a, b);
  mkdir("h", 0777), mkdir("h/b", 0777);
  kit_put_text("h/b/a.csv", "1.jpg,dog\n2.jpg,cat\n");
  assert_string_equal(a, hash_at(k, "h/b/a.csv"));
  kit_put_text("h/b/2.jpg", "x");
  assert_string_not_equal(a, hash_at(k, "h/b/a.csv"));
  kit_put_text("h/b/a.csv", "1.jpg,dog\n3.jpg,cat\n");
  assert_string_not_equal(a, hash_at(k, "h/b/a.csv"));
  a = hash_at(k, "h");
  assert_string_equal(a, hash_at(k, "h/"));
  assert_string_equal(a, hash_at(k, "./h"));
  assert_int_equal(rename("h", "moved"), 0);
  assert_string_equal(a, hash_at(k, "moved"));
  assert_int_equal(rename("moved/b", "moved/c"), 0);
  assert_string_not_equal(a, hash_at(k, "moved"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(class_folders), kit_test(split_folders), kit_test(folder_faults),
      kit_test(csv_lists),     kit_test(csv_faults),    kit_test(json_lists),
      kit_test(json_faults),   kit_test(cut_json),      kit_test(shards),
      kit_test(shard_faults),  kit_test(shard_bytes),   kit_test(published_split),
      kit_test(hashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
