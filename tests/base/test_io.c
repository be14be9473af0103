/* SPDX-License-Identifier: Apache-2.0 */
/* test_io.c - files: what is refused, and that a write shows whole or not at
** all.  Every test runs in an empty folder of its own. */
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static char folder[] = "vlpc-io-XXXXXX"; /* where the test was started */
static int start;
static Diag *diag;

static int set_up(void **state) {
  (void)state;
  strcpy(folder + sizeof folder - 7, "XXXXXX");
  diag = diag_new();
  start = open(".", O_RDONLY | O_DIRECTORY);
  if (diag == NULL || start < 0 || mkdtemp(folder) == NULL) return 1;
  return chdir(folder);
}

/* Names in the folder, besides "." and ".."; removes them when told to. */
static int entries(int remove_them) {
  DIR *d = opendir(".");
  int n = 0;
  for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    n++;
    if (remove_them) remove(e->d_name);
  }
  closedir(d);
  return n;
}

static int tear_down(void **state) {
  (void)state;
  entries(1);
  diag_free(diag);
  if (fchdir(start) != 0) return 1;
  close(start);
  return rmdir(folder);
}

static void put(const char *path, const char *text) {
  assert_int_equal(io_write_file(path, text, strlen(text), diag), VLPC_OK);
}

static void check_file(const char *path, const void *want, size_t n) {
  Mapped m;
  assert_int_equal(io_map(path, diag, &m), VLPC_OK);
  assert_int_equal(m.n, n);
  if (n != 0) assert_memory_equal(m.at, want, n);
  io_unmap(&m);
  assert_null(m.at);
}

static void test_write_then_map(void **state) {
  (void)state;
  put("a", "hello");
  check_file("a", "hello", 5);
  put("a", "");
  check_file("a", NULL, 0);
  assert_int_equal(entries(0), 1);
  assert_int_equal(diag_count(diag), 0);
}

static void test_missing_file(void **state) {
  (void)state;
  Mapped m;
  assert_int_equal(io_map("no", diag, &m), VLPC_E_IO);
  assert_null(m.at);
  assert_string_equal(diag_text(diag),
                      "vlpc: error[E0101]: no: cannot be opened: No such file or directory\n"
                      "  fix:      check the spelling of the path and of its folders\n");
}

static void test_fifo_is_refused(void **state) {
  (void)state;
  Mapped m;
  assert_int_equal(mkfifo("pipe", 0600), 0);
  assert_int_equal(io_map("pipe", diag, &m), VLPC_E_BAD_FILE);
  assert_string_equal(diag_text(diag), "vlpc: error[E0106]: pipe: not a regular file\n"
                                       "  found:    a pipe\n"
                                       "  expected: a regular file\n"
                                       "  fix:      name a file on disk\n");
}

static void test_folder_and_device_are_refused(void **state) {
  (void)state;
  Mapped m;
  FileWriter *w = NULL;
  assert_int_equal(io_map(".", diag, &m), VLPC_E_BAD_FILE);
  assert_non_null(strstr(diag_text(diag), "found:    a folder"));
  assert_int_equal(io_create("/dev/null", diag, &w), VLPC_E_BAD_FILE);
  assert_null(w);
  assert_non_null(strstr(diag_text(diag), "found:    a device"));
  assert_int_equal(io_create(".", diag, &w), VLPC_E_BAD_FILE);
  assert_int_equal(io_create("new/", diag, &w), VLPC_E_IO);
  assert_int_equal(io_create("", diag, &w), VLPC_E_IO);
  assert_int_equal(entries(0), 0);
}

static void test_read(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  uint8_t *text = NULL;
  size_t n = 0;
  put("a", "hello");
  assert_int_equal(io_read("a", 5, a, diag, &text, &n), VLPC_OK);
  assert_int_equal(n, 5);
  assert_string_equal((char *)text, "hello");
  assert_int_equal(io_read("a", 4, a, diag, &text, &n), VLPC_E_LIMIT);
  assert_string_equal(diag_text(diag), "vlpc: error[E0105]: a: the file is too large\n"
                                       "  found:    5 bytes\n"
                                       "  expected: at most 4 bytes\n");
  assert_int_equal(io_read("no", 4, a, diag, &text, &n), VLPC_E_IO);
  arena_free(a);
}

/* A descriptor opened when the arena jumps is closed with the arena. */
static void test_read_without_memory(void **state) {
  (void)state;
  char big[4096] = {0};
  assert_int_equal(io_write_file("a", big, sizeof big, diag), VLPC_OK);
  int before = dup(0);
  close(before);
  Arena *a = arena_new(1024);
  volatile bool jumped = true;
  if (!ARENA_GUARD(a)) {
    uint8_t *text = NULL;
    size_t n = 0;
    VL_IGNORE(io_read("a", 1 << 20, a, diag, &text, &n)); /* it jumps */
    jumped = false;
  }
  assert_true(jumped);
  arena_free(a);
  int after = dup(0);
  close(after);
  assert_int_equal(before, after);
}

static void test_abandon_leaves_nothing(void **state) {
  (void)state;
  FileWriter *w = NULL;
  assert_int_equal(io_create("new", diag, &w), VLPC_OK);
  assert_int_equal(io_write(w, "half", 4), VLPC_OK);
  assert_int_equal(entries(0), 1);
  io_abandon(w);
  assert_int_equal(entries(0), 0);
  io_abandon(NULL);
}

static void test_old_file_stays_until_commit(void **state) {
  (void)state;
  FileWriter *w = NULL;
  put("a", "old");
  assert_int_equal(io_create("a", diag, &w), VLPC_OK);
  assert_int_equal(io_write(w, "new text", 8), VLPC_OK);
  check_file("a", "old", 3);
  assert_int_equal(io_commit(w), VLPC_OK);
  check_file("a", "new text", 8);
  assert_int_equal(entries(0), 1);
}

static void test_offsets(void **state) {
  (void)state;
  FileWriter *w = NULL;
  assert_int_equal(io_create("a", diag, &w), VLPC_OK);
  assert_int_equal(io_write(w, "abc", 3), VLPC_OK);
  assert_int_equal(io_pad_to(w, 8), VLPC_OK);
  assert_int_equal(io_pad_to(w, 8), VLPC_OK);
  assert_int_equal(io_offset(w), 8);
  assert_int_equal(io_write_at(w, 10, "de", 2), VLPC_OK);
  assert_int_equal(io_offset(w), 12);
  assert_int_equal(io_write_at(w, 0, "A", 1), VLPC_OK);
  assert_int_equal(io_write(w, "f", 1), VLPC_OK);
  assert_int_equal(io_commit(w), VLPC_OK);
  check_file("a", "Abc\0\0\0\0\0\0\0def", 13);
}

static mode_t mode_of(const char *path) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_mode & 07777;
}

static void test_modes(void **state) {
  (void)state;
  mode_t old = umask(027);
  put("a", "x");
  assert_int_equal(mode_of("a"), 0640);
  assert_int_equal(chmod("a", 0604), 0);
  put("a", "y");
  assert_int_equal(mode_of("a"), 0604);
  umask(old);
}

static void test_link_is_followed(void **state) {
  (void)state;
  struct stat st;
  put("real", "old");
  assert_int_equal(symlink("real", "link"), 0);
  put("link", "new");
  check_file("real", "new", 3);
  assert_int_equal(lstat("link", &st), 0);
  assert_true(S_ISLNK(st.st_mode));
}

static void test_long_name(void **state) {
  (void)state;
  char name[256];
  memset(name, 'n', 255);
  name[255] = '\0';
  put(name, "x");
  check_file(name, "x", 1);
}

/* The limit of file sizes stands in for a full disk. */
static void test_failed_write_keeps_the_old_file(void **state) {
  (void)state;
  struct rlimit old, low;
  FileWriter *w = NULL;
  static const char block[8192];
  put("a", "old");
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  low = (struct rlimit){4096, old.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  assert_int_equal(io_create("a", diag, &w), VLPC_OK);
  VlStatus first = io_write(w, block, sizeof block);
  VlStatus second = io_write(w, "x", 1);
  VlStatus last = io_commit(w);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  assert_int_equal(first, VLPC_E_IO);
  assert_int_equal(second, VLPC_E_IO);
  assert_int_equal(last, VLPC_E_IO);
  assert_string_equal(diag_text(diag), "vlpc: error[E0103]: a: cannot be written: File too large\n"
                                       "  fix:      raise the limit of file sizes (ulimit -f)\n");
  check_file("a", "old", 3);
  assert_int_equal(entries(0), 1);
}

static void test_offset_beyond_all_files(void **state) {
  (void)state;
  FileWriter *w = NULL;
  assert_int_equal(io_create("a", diag, &w), VLPC_OK);
  assert_int_equal(io_write_at(w, UINT64_MAX, "ab", 2), VLPC_E_IO);
  assert_int_equal(io_commit(w), VLPC_E_IO);
  assert_int_equal(entries(0), 0);
}

static void test_missing_folder(void **state) {
  (void)state;
  assert_int_equal(io_write_file("no/a", "x", 1, diag), VLPC_E_IO);
  assert_string_equal(diag_text(diag),
                      "vlpc: error[E0103]: no/a: cannot be written: No such file or directory\n"
                      "  fix:      check the spelling of the path and of its folders\n");
}

static void test_forget_keeps_the_bytes(void **state) {
  (void)state;
  static char text[40000];
  Mapped m;
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i % 127);
  assert_int_equal(io_write_file("a", text, sizeof text, diag), VLPC_OK);
  assert_int_equal(io_map("a", diag, &m), VLPC_OK);
  assert_memory_equal(m.at, text, sizeof text);
  io_forget(&m, 100, 30000);
  io_forget(&m, 0, sizeof text);
  io_forget(&m, 1, UINT64_MAX);
  io_forget(&m, 0, 0);
  assert_memory_equal(m.at, text, sizeof text);
  io_unmap(&m);
  io_forget(&m, 0, 0);
}

static void test_map_of_a_descriptor(void **state) {
  (void)state;
  Mapped m;
  put("a", "hello");
  int fd = open("a", O_RDONLY);
  assert_int_equal(io_map_fd(fd, "shown", diag, &m), VLPC_OK);
  assert_int_equal(close(fd), 0);
  assert_memory_equal(m.at, "hello", 5);
  assert_string_equal(m.path, "shown");
  io_unmap(&m);
  assert_int_equal(io_map_fd(-1, "shown", diag, &m), VLPC_E_IO);
  assert_string_equal(diag_text(diag),
                      "vlpc: error[E0102]: shown: cannot be read: Bad file descriptor\n");
}

#define IO_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      IO_TEST(test_write_then_map),
      IO_TEST(test_missing_file),
      IO_TEST(test_fifo_is_refused),
      IO_TEST(test_folder_and_device_are_refused),
      IO_TEST(test_read),
      IO_TEST(test_read_without_memory),
      IO_TEST(test_abandon_leaves_nothing),
      IO_TEST(test_old_file_stays_until_commit),
      IO_TEST(test_offsets),
      IO_TEST(test_modes),
      IO_TEST(test_link_is_followed),
      IO_TEST(test_long_name),
      IO_TEST(test_failed_write_keeps_the_old_file),
      IO_TEST(test_offset_beyond_all_files),
      IO_TEST(test_missing_folder),
      IO_TEST(test_forget_keeps_the_bytes),
      IO_TEST(test_map_of_a_descriptor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
