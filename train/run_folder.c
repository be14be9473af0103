/* SPDX-License-Identifier: Apache-2.0 */
/* run_folder.c - the folder of a run: made, and one process's at a time.
**
** The lock is the system's (flock), which a killed process gives back; the number in the
** file only tells people who has it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "train/checkpoint.h"

static VlStatus cannot(const char *folder, const char *what, const char *fix, Diag *d) {
  VlStatus s = diag_error(d, DIAG_FOLDER, (DiagAt){folder, NULL}, "%s: %s", what, strerror(errno));
  diag_fix(d, "%s", fix);
  return s;
}

static VlStatus busy(const char *folder, int lock, Diag *d) {
  char digits[24] = "";
  int64_t process;
  size_t n;
  VlStatus s = diag_error(d, DIAG_RUN_BUSY, (DiagAt){folder, NULL},
                          "the folder is in use by another process");
  if (io_read_fd(lock, 0, digits, sizeof digits - 1, &n) && parse_i64(digits, &process))
    diag_found(d, "process %" PRId64, process);
  diag_fix(d, "wait for it or end it, or name another folder");
  return s;
}

static bool is_locked(int lock) {
  return flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

VlStatus run_take(const char *folder, Diag *d, int *lock) {
  char process[24];
  *lock = -1;
  if (mkdir(folder, 0777) != 0 && errno != EEXIST)
    return cannot(folder, "cannot be made", "name a folder in one that exists", d);
  int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int how = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  int fd = at < 0 ? -1 : openat(at, "lock", how, 0666);
  VlStatus s = VLPC_OK;
  if (fd < 0) s = cannot(folder, "cannot be written into", "name a folder of your own", d);
  else if (is_locked(fd)) s = busy(folder, fd, d);
  run_give_back(at);
  if (s != VLPC_OK) {
    run_give_back(fd);
    return s;
  }
  int n = snprintf(process, sizeof process, "%lld", (long long)getpid());
  if (ftruncate(fd, 0) == 0) (void)io_write_fd(fd, 0, process, (size_t)n);
  *lock = fd;
  return VLPC_OK;
}

void run_give_back(int lock) {
  if (lock >= 0) close(lock);
}

VlStatus run_is_new(const char *folder, Arena *a, Diag *d) {
  RunFound found;
  if (run_latest(folder, a, NULL, &found) != VLPC_OK) return VLPC_OK;
  VlStatus s =
      diag_error(d, DIAG_RUN_THERE, (DiagAt){folder, NULL}, "the folder holds a run");
  diag_found(d, "%s", found.path);
  diag_fix(d, "go on with it by --resume, or name another folder");
  return s;
}
