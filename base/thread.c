/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - the pool: every thread has a run of pieces of its own.
**
** Neighbouring pieces go to one thread, as a task may fetch the data of the task behind it
** (lc_gemm.c); a thread whose pieces are done takes the last one of whoever has most left.
** A range of pieces is one word, with the run's number, and is taken from by a compare-and-swap
** on all of it, so no thread can take a piece of a run that is over; what the run does (fn,
** ctx, n_tasks) is read only after a piece was taken, and stands still until that piece is
** done.  Sleepers are woken through a condition variable; each side stores its word before it
** reads the other's (sequentially consistent), so no wake is lost. */
#include "base/thread.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECES_PER_THREAD 8
#define SPINS 4000 /* of about 10 ns to 40 ns */
#define PIECE_BITS 20
#define PIECE_MASK (((uint64_t)1 << PIECE_BITS) - 1)

/* Pieces [next, end) of a run that nobody has taken yet: run << 40 | end << 20 | next. */
typedef struct {
  _Alignas(64) atomic_uint_fast64_t word;
} Range;

typedef struct {
  ThreadPool *pool;
  int index;
} Worker;

struct ThreadPool {
  _Alignas(64) atomic_uint_fast64_t run; /* its number, stored when all may be taken */
  _Alignas(64) atomic_int done;          /* pieces of this run */
  _Alignas(64) ThreadFn *fn;
  void *ctx;
  int64_t n_tasks;
  int n_pieces;
  pthread_mutex_t turn; /* held by the caller of a run */
  pthread_mutex_t lock; /* of the two conditions */
  pthread_cond_t work, finished;
  atomic_int sleepers, caller_sleeps, owners;
  atomic_bool stop;
  pid_t pid;
  int n; /* threads, the caller included */
  pthread_t *thread;
  Worker *worker;
  Range *range; /* one per thread */
};

/* Tells the processor that this is a waiting loop. */
#if defined(__x86_64__) || defined(__i386__)
static inline void relax(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static inline void relax(void) { __asm__ volatile("yield"); }
#else
static inline void relax(void) {}
#endif

static uint64_t pack_range(uint64_t run, int64_t next, int64_t end) {
  return run << 2 * PIECE_BITS | (uint64_t)end << PIECE_BITS | (uint64_t)next;
}
static int64_t range_next(uint64_t w) { return (int64_t)(w & PIECE_MASK); }
static int64_t range_end(uint64_t w) { return (int64_t)(w >> PIECE_BITS & PIECE_MASK); }
static int64_t range_left(uint64_t w) { return range_end(w) - range_next(w); }

/* Where part i of n begins when `total` is cut into nearly equal parts. */
static int64_t part_begin(int64_t total, int64_t i, int64_t n) {
  return total / n * i + VL_MIN(i, total % n);
}

/* The first piece of the thread's own range; -1: none is left. */
static int64_t take_own(Range *r) {
  uint64_t w = atomic_load(&r->word);
  do {
    if (range_left(w) == 0) return -1;
  } while (!atomic_compare_exchange_weak(&r->word, &w, w + 1));
  return range_next(w);
}

/* The last piece of the longest range; -1: none is left in any. */
static int64_t take_others(ThreadPool *p) {
  for (;;) {
    Range *most = NULL;
    uint64_t w = 0;
    for (int i = 0; i < p->n; i++) {
      uint64_t other = atomic_load(&p->range[i].word);
      if (range_left(other) > range_left(w)) most = &p->range[i], w = other;
    }
    if (!most) return -1;
    if (atomic_compare_exchange_strong(&most->word, &w, w - ((uint64_t)1 << PIECE_BITS)))
      return range_end(w) - 1;
  }
}

/* Takes and does one piece; false when there is none. */
static bool do_piece(ThreadPool *p, int thread) {
  int64_t i = take_own(&p->range[thread]);
  if (i < 0) i = take_others(p);
  if (i < 0) return false;
  int64_t n = p->n_pieces;
  p->fn(p->ctx, part_begin(p->n_tasks, i, n), part_begin(p->n_tasks, i + 1, n), thread);
  if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->caller_sleeps)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->finished);
    pthread_mutex_unlock(&p->lock);
  }
  return true;
}

static void sleep_until_work(ThreadPool *p, uint64_t seen) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1);
  while (!atomic_load(&p->stop) && atomic_load(&p->run) == seen)
    pthread_cond_wait(&p->work, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
  Worker *w = arg;
  ThreadPool *p = w->pool;
  fesetenv(FE_DFL_ENV);
  uint64_t seen = 0;
  for (int idle = 0; !atomic_load(&p->stop);) {
    uint64_t run = atomic_load(&p->run);
    if (run != seen) {
      while (do_piece(p, w->index)) {
      }
      seen = run, idle = 0;
    } else if (++idle < SPINS) {
      relax();
    } else {
      sleep_until_work(p, seen), idle = 0;
    }
  }
  return NULL;
}

/* ---- life --------------------------------------------------------------- */

/* Gives worker i the i-th processor of those this process may use. */
static void pin_worker(pthread_t t, int i) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int nth = i % CPU_COUNT(&allowed);
  for (int c = 0; c < CPU_SETSIZE; c++) {
    if (!CPU_ISSET(c, &allowed) || nth-- > 0) continue;
    CPU_ZERO(&one);
    CPU_SET(c, &one);
    pthread_setaffinity_np(t, sizeof one, &one);
    return;
  }
}

static void start_workers(ThreadPool *p, int n, bool pin) {
  for (int i = 1; i < n; i++) {
    p->worker[i] = (Worker){p, i};
    if (pthread_create(&p->thread[i], NULL, worker_main, &p->worker[i]) != 0) return;
    p->n = i + 1;
    if (pin) pin_worker(p->thread[i], i);
  }
}

ThreadPool *threads_new(int n, bool pin) {
  n = VL_MIN(VL_MAX(n, 1), THREADS_MAX);
  ThreadPool *p = aligned_alloc(64, vl_align_up(sizeof *p, 64));
  if (!p) return NULL;
  *p = (ThreadPool){.n = 1, .pid = getpid()};
  atomic_init(&p->owners, 1);
  p->thread = calloc((size_t)n, sizeof *p->thread);
  p->worker = calloc((size_t)n, sizeof *p->worker);
  p->range = aligned_alloc(64, (size_t)n * sizeof *p->range);
  if (!p->thread || !p->worker || !p->range) {
    free(p->thread), free(p->worker), free(p->range), free(p);
    return NULL;
  }
  for (int i = 0; i < n; i++) atomic_init(&p->range[i].word, 0);
  pthread_mutex_init(&p->turn, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->finished, NULL);
  start_workers(p, n, pin);
  return p;
}

ThreadPool *threads_share(ThreadPool *p) {
  atomic_fetch_add(&p->owners, 1);
  return p;
}

void threads_free(ThreadPool *p) {
  if (!p || atomic_fetch_sub(&p->owners, 1) != 1) return;
  bool ours = p->pid == getpid(); /* after a fork there is nobody to join */
  if (ours) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->n; i++) pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->turn);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->finished);
  }
  free(p->thread);
  free(p->worker);
  free(p->range);
  free(p);
}

int threads_count(const ThreadPool *p) { return p->n; }

/* ---- running ------------------------------------------------------------ */

static void post(ThreadPool *p, int64_t n_tasks, ThreadFn *fn, void *ctx) {
  p->fn = fn;
  p->ctx = ctx;
  p->n_tasks = n_tasks;
  p->n_pieces = (int)VL_MIN(n_tasks, (int64_t)p->n * PIECES_PER_THREAD);
  uint64_t run = atomic_load(&p->run) + 1;
  atomic_store(&p->done, 0);
  for (int i = 0; i < p->n; i++) {
    int64_t begin = part_begin(p->n_pieces, i, p->n), end = part_begin(p->n_pieces, i + 1, p->n);
    atomic_store(&p->range[i].word, pack_range(run, begin, end));
  }
  atomic_store(&p->run, run);
  if (atomic_load(&p->sleepers) == 0) return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
}

static void wait_done(ThreadPool *p) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&p->done) == p->n_pieces) return;
    relax();
  }
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->caller_sleeps, 1);
  while (atomic_load(&p->done) != p->n_pieces) pthread_cond_wait(&p->finished, &p->lock);
  atomic_store(&p->caller_sleeps, 0);
  pthread_mutex_unlock(&p->lock);
}

void threads_run(ThreadPool *p, int64_t n_tasks, ThreadFn *fn, void *ctx) {
  if (n_tasks <= 0) return;
  if (n_tasks == 1 || p->n == 1 || p->pid != getpid()) {
    fn(ctx, 0, n_tasks, 0);
    return;
  }
  pthread_mutex_lock(&p->turn);
  post(p, n_tasks, fn, ctx);
  while (do_piece(p, 0)) {
  }
  wait_done(p);
  pthread_mutex_unlock(&p->turn);
}
