/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - the pool: one word says which piece is next.
**
** The word holds the run's number, its count of pieces and the next piece.  A
** thread takes a piece by a compare-and-swap on the whole word, so it can never
** take one of a run that is over; what the run does (fn, ctx, n_tasks) is read
** only after a piece was taken, and stands still until that piece is done.
** Sleepers are woken through a condition variable; each side stores its word
** before it reads the other's (sequentially consistent), so no wake is lost. */
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

typedef struct {
  ThreadPool *pool;
  int index;
} Worker;

struct ThreadPool {
  _Alignas(64) atomic_uint_fast64_t word; /* run << 40 | pieces << 20 | next */
  _Alignas(64) atomic_int done;           /* pieces of this run */
  _Alignas(64) ThreadFn *fn;
  void *ctx;
  int64_t n_tasks;
  int n_pieces;
  uint64_t run;
  pthread_mutex_t turn; /* held by the caller of a run */
  pthread_mutex_t lock; /* of the two conditions */
  pthread_cond_t work, finished;
  atomic_int sleepers, caller_sleeps, owners;
  atomic_bool stop;
  pid_t pid;
  int n; /* threads, the caller included */
  pthread_t *thread;
  Worker *worker;
};

/* Tells the processor that this is a waiting loop. */
#if defined(__x86_64__) || defined(__i386__)
static inline void relax(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static inline void relax(void) { __asm__ volatile("yield"); }
#else
static inline void relax(void) {}
#endif

static bool has_piece(uint64_t w) { return (w & PIECE_MASK) < (w >> PIECE_BITS & PIECE_MASK); }

/* First task of piece i of n. */
static int64_t piece_begin(int64_t n_tasks, int64_t i, int64_t n) {
  return n_tasks / n * i + VL_MIN(i, n_tasks % n);
}

/* Takes and does one piece; false when there is none. */
static bool do_piece(ThreadPool *p, int thread) {
  uint64_t w = atomic_load(&p->word);
  do {
    if (!has_piece(w)) return false;
  } while (!atomic_compare_exchange_weak(&p->word, &w, w + 1));
  int64_t i = (int64_t)(w & PIECE_MASK), n = p->n_pieces;
  p->fn(p->ctx, piece_begin(p->n_tasks, i, n), piece_begin(p->n_tasks, i + 1, n), thread);
  if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->caller_sleeps)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->finished);
    pthread_mutex_unlock(&p->lock);
  }
  return true;
}

static void sleep_until_work(ThreadPool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1);
  while (!atomic_load(&p->stop) && !has_piece(atomic_load(&p->word)))
    pthread_cond_wait(&p->work, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
  Worker *w = arg;
  ThreadPool *p = w->pool;
  fesetenv(FE_DFL_ENV);
  for (int idle = 0; !atomic_load(&p->stop);) {
    if (do_piece(p, w->index)) idle = 0;
    else if (++idle < SPINS) relax();
    else sleep_until_work(p), idle = 0;
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
  if (!p->thread || !p->worker) {
    free(p->thread), free(p->worker), free(p);
    return NULL;
  }
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
  free(p);
}

int threads_count(const ThreadPool *p) { return p->n; }

/* ---- running ------------------------------------------------------------ */

static void post(ThreadPool *p, int64_t n_tasks, ThreadFn *fn, void *ctx) {
  p->fn = fn;
  p->ctx = ctx;
  p->n_tasks = n_tasks;
  p->n_pieces = (int)VL_MIN(n_tasks, (int64_t)p->n * PIECES_PER_THREAD);
  p->run++;
  atomic_store(&p->done, 0);
  atomic_store(&p->word, p->run << 2 * PIECE_BITS | (uint64_t)p->n_pieces << PIECE_BITS);
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
