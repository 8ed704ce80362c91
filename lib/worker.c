/* Invariants: every submitted job is in `todo`, with the batch function, in `ended` or in `finished`;
 * under `lock`, the eventfd is readable whenever `finished` is not empty, and `waits` is true only
 * while the thread sleeps and nobody has woken it. */
#include "lib/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"

struct job_list {
    struct worker_job *first;
    struct worker_job **last;
    size_t count;
};

struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job_list todo;
    struct job_list finished;
    struct job_list ended; /* the thread's: not yet told */
    bool waits;
    bool stop;
    unsigned gather_us;      /* the thread's */
    struct timespec call_at; /* the thread's; tv_sec 0: not asked for */
    size_t max_queued;
    worker_batch_fn *batch;
    void *arg;
    int wake_fd;
    struct event *event;
};

static void list_init(struct job_list *l) {
    l->first = NULL;
    l->last = &l->first;
    l->count = 0;
}

static void list_add(struct job_list *l, struct worker_job *job) {
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
    l->count++;
}

static void list_append(struct job_list *l, struct job_list *more) {
    *l->last = more->first;
    l->last = more->last;
    l->count += more->count;
    list_init(more);
}

static struct worker_job *list_take_all(struct job_list *l) {
    struct worker_job *first = l->first;
    list_init(l);
    return first;
}

static void run_one_by_one(struct worker *w, struct worker_job *jobs) {
    for (struct worker_job *job = jobs, *next; job != NULL; job = next) {
        next = job->next; /* a job without `done` may be gone once it has run */
        bool tell = job->done != NULL;
        job->run(job);
        if (tell) {
            worker_finish(w, job);
            worker_tell(w);
        }
    }
}

/* Something is queued: what comes within a moment goes with it. */
static void gather(struct worker *w) {
    const struct timespec moment = {.tv_nsec = (long)w->gather_us * 1000};
    (void)pthread_mutex_unlock(&w->lock);
    (void)nanosleep(&moment, NULL);
    (void)pthread_mutex_lock(&w->lock);
}

/* Until there is something to do; true: it was time, or the last chance, for the call asked for. */
static bool wait_for_work(struct worker *w) {
    bool asked = w->call_at.tv_sec != 0;
    int rc = 0;
    while (w->todo.first == NULL && !w->stop && rc != ETIMEDOUT) {
        w->waits = true;
        if (asked)
            rc = pthread_cond_timedwait(&w->wake, &w->lock, &w->call_at);
        else
            (void)pthread_cond_wait(&w->wake, &w->lock);
    }
    w->waits = false;
    return asked && w->todo.first == NULL;
}

static void *work(void *arg) {
    struct worker *w = arg;
    bool more = false;
    for (;;) {
        (void)pthread_mutex_lock(&w->lock);
        bool call = more || wait_for_work(w);
        if (w->gather_us > 0 && !w->stop && !call)
            gather(w);
        struct worker_job *jobs = list_take_all(&w->todo);
        bool last = w->stop && jobs == NULL && !more;
        (void)pthread_mutex_unlock(&w->lock);
        if (jobs == NULL && !call)
            return NULL;
        w->call_at = (struct timespec){0};
        if (w->batch != NULL)
            more = w->batch(w, jobs, w->arg);
        else
            run_one_by_one(w, jobs);
        worker_tell(w);
        if (last)
            return NULL;
    }
}

static void run_finished(struct worker *w) {
    (void)pthread_mutex_lock(&w->lock);
    struct worker_job *jobs = list_take_all(&w->finished);
    (void)pthread_mutex_unlock(&w->lock);
    for (struct worker_job *job = jobs, *next; job != NULL; job = next) {
        next = job->next; /* `done` may free the job */
        job->done(job);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n; /* EAGAIN: someone read it before; the list tells */
    run_finished(arg);
}

static void destroy(struct worker *w) {
    if (w->event != NULL)
        event_free(w->event);
    if (w->wake_fd >= 0)
        (void)close(w->wake_fd);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

enum vrs_err worker_open(struct event_base *base, const char *name, size_t max_queued,
                         worker_batch_fn *batch, void *arg, struct worker **out) {
    *out = NULL;
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ERR_MEMORY;
    (void)pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    list_init(&w->todo);
    list_init(&w->finished);
    list_init(&w->ended);
    w->max_queued = max_queued;
    w->batch = batch;
    w->arg = arg;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd >= 0)
        w->event = event_new(base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
    if (w->event == NULL || event_add(w->event, NULL) != 0) {
        destroy(w);
        return ERR_IO;
    }
    /* Signals belong to the loop. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, work, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        destroy(w);
        return ERR_MEMORY;
    }
    char shown[16];
    (void)snprintf(shown, sizeof shown, "%.15s", name);
    (void)pthread_setname_np(w->thread, shown);
    *out = w;
    return VRS_OK;
}

void worker_close(struct worker **worker) {
    struct worker *w = *worker;
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    run_finished(w);
    destroy(w);
    *worker = NULL;
}

enum vrs_err worker_submit(struct worker *w, struct worker_job *job) {
    (void)pthread_mutex_lock(&w->lock);
    bool full = w->stop || w->todo.count >= w->max_queued;
    bool wake = !full && w->waits;
    if (!full)
        list_add(&w->todo, job);
    if (wake)
        w->waits = false;
    (void)pthread_mutex_unlock(&w->lock);
    if (wake)
        (void)pthread_cond_signal(&w->wake);
    return full ? ERR_BUSY : VRS_OK;
}

void worker_finish(struct worker *w, struct worker_job *job) {
    if (job->done != NULL)
        list_add(&w->ended, job);
}

void worker_tell(struct worker *w) {
    if (w->ended.first == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    bool first = w->finished.first == NULL;
    list_append(&w->finished, &w->ended);
    (void)pthread_mutex_unlock(&w->lock);
    if (first) {
        uint64_t one = 1;
        ssize_t n = write(w->wake_fd, &one, sizeof one);
        (void)n; /* it can only be full, and then it is readable already */
    }
}

void worker_gather(struct worker *w, unsigned us) {
    w->gather_us = us < 1000000 ? us : 999999;
}

void worker_call_in(struct worker *w, unsigned ms) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    w->call_at = at;
}

size_t worker_queued(struct worker *w) {
    (void)pthread_mutex_lock(&w->lock);
    size_t n = w->todo.count;
    (void)pthread_mutex_unlock(&w->lock);
    return n;
}
