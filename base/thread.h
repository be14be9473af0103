/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h - a pool of threads that share ranges of tasks.
**
** threads_run gives tasks [0, n_tasks) out in contiguous pieces, a run of them to each
** thread and what is left to whoever is free, and returns when all are done; the caller works
** too, as thread 0.  Between runs the workers spin for some microseconds, then sleep.
** A worker that wakes late delays nothing: a run waits for tasks, not for
** threads.  Runs of several callers on one pool take turns.  In a process made
** by fork the workers are gone and the caller does all tasks alone. */
#ifndef VLPC_BASE_THREAD_H
#define VLPC_BASE_THREAD_H

#include "base/base.h"

#define THREADS_MAX 1024

typedef struct ThreadPool ThreadPool;

/* Does tasks [begin, end) as thread 0 … threads_count - 1. */
typedef void ThreadFn(void *ctx, int64_t begin, int64_t end, int thread);

/* n >= 1 threads, the caller's included; pin gives each worker a processor of
** its own.  When the system refuses a thread the pool has fewer; NULL when
** memory is out. */
ThreadPool *threads_new(int n, bool pin);
/* One more owner; each calls threads_free once. */
ThreadPool *threads_share(ThreadPool *p);
void threads_free(ThreadPool *p); /* takes NULL */
int threads_count(const ThreadPool *p);
void threads_run(ThreadPool *p, int64_t n_tasks, ThreadFn *fn, void *ctx);

#endif
