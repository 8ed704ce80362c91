#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "lib/worker.h"

struct job {
    struct worker_job job;
    int number;
    bool ran, done;
    pthread_t ran_on, done_on;
};

static struct event_base *base;
static int expected; /* the loop ends after so many `done`s */
static int order[10000];
static int finished;

static void run(struct worker_job *j) {
    struct job *job = (struct job *)j;
    job->ran = true;
    job->ran_on = pthread_self();
}

static void done(struct worker_job *j) {
    struct job *job = (struct job *)j;
    job->done = true;
    job->done_on = pthread_self();
    order[finished++] = job->number;
    if (finished == expected)
        assert_int_equal(event_base_loopbreak(base), 0);
}

static int setup(void **state) {
    (void)state;
    finished = 0;
    base = event_base_new();
    return base == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    event_base_free(base);
    return 0;
}

static void jobs_run_there_and_end_here_in_order(void **state) {
    (void)state;
    static struct job jobs[5000];
    struct worker *w = NULL;
    assert_int_equal(worker_open(base, "a name that is far too long", 10000, NULL, NULL, &w),
                     VRS_OK);
    expected = 5000;
    for (int i = 0; i < expected; i++) {
        jobs[i] = (struct job){.job = {.run = run, .done = done}, .number = i};
        assert_int_equal(worker_submit(w, &jobs[i].job), VRS_OK);
    }
    assert_int_equal(event_base_dispatch(base), 0);
    for (int i = 0; i < expected; i++) {
        assert_true(jobs[i].ran && jobs[i].done);
        assert_int_equal(order[i], i);
        assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
        assert_true(pthread_equal(jobs[i].done_on, pthread_self()));
    }
    worker_close(&w);
    assert_null(w);
    worker_close(&w);
}

static sem_t gate, inside;

static void run_gated(struct worker_job *j) {
    assert_int_equal(sem_post(&inside), 0);
    assert_int_equal(sem_wait(&gate), 0);
    run(j);
}

static void the_queue_is_bounded(void **state) {
    (void)state;
    struct job jobs[4];
    struct worker *w = NULL;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&inside, 0, 0), 0);
    assert_int_equal(worker_open(base, "w", 2, NULL, NULL, &w), VRS_OK);
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct job){.job = {.run = i == 0 ? run_gated : run, .done = done}, .number = i};
    assert_int_equal(worker_submit(w, &jobs[0].job), VRS_OK);
    assert_int_equal(sem_wait(&inside), 0);
    assert_int_equal(worker_submit(w, &jobs[1].job), VRS_OK);
    assert_int_equal(worker_submit(w, &jobs[2].job), VRS_OK);
    assert_int_equal(worker_queued(w), 2);
    assert_int_equal(worker_submit(w, &jobs[3].job), ERR_BUSY);
    assert_int_equal(sem_post(&gate), 0);
    expected = 3;
    assert_int_equal(event_base_dispatch(base), 0);
    assert_int_equal(worker_queued(w), 0);
    assert_false(jobs[3].ran);
    worker_close(&w);
}

static void free_itself(struct worker_job *j) {
    free(j);
}

/* Closing runs what was queued, and its `done`s, without the loop. */
static void closing_loses_nothing(void **state) {
    (void)state;
    static struct job jobs[100];
    struct worker *w = NULL;
    assert_int_equal(worker_open(base, "w", 1000, NULL, NULL, &w), VRS_OK);
    expected = -1;
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct job){.job = {.run = run, .done = done}, .number = i};
        assert_int_equal(worker_submit(w, &jobs[i].job), VRS_OK);
        /* One without `done` is gone once it has run. */
        struct job *alone = calloc(1, sizeof *alone);
        assert_non_null(alone);
        alone->job.run = free_itself;
        assert_int_equal(worker_submit(w, &alone->job), VRS_OK);
    }
    worker_close(&w);
    for (int i = 0; i < 100; i++)
        assert_true(jobs[i].ran && jobs[i].done);
    assert_int_equal(finished, 100);
}

static atomic_int batches, batched;

static bool batch(struct worker *w, struct worker_job *jobs, void *arg) {
    assert_ptr_equal(arg, &batches);
    batches++;
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->run != NULL)
            j->run(j);
        batched++;
        worker_finish(w, j);
    }
    return false;
}

/* What gathers while a batch is in flight comes as the next one: natural group commit. */
static void batches_gather(void **state) {
    (void)state;
    static struct job jobs[51];
    struct worker *w = NULL;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&inside, 0, 0), 0);
    assert_int_equal(worker_open(base, "w", 1000, batch, &batches, &w), VRS_OK);
    expected = 51;
    for (int i = 0; i < expected; i++) {
        jobs[i] = (struct job){.job = {.run = i == 0 ? run_gated : run, .done = done}, .number = i};
        assert_int_equal(worker_submit(w, &jobs[i].job), VRS_OK);
        if (i == 0)
            assert_int_equal(sem_wait(&inside), 0);
    }
    assert_int_equal(sem_post(&gate), 0);
    assert_int_equal(event_base_dispatch(base), 0);
    assert_int_equal(batches, 2);
    assert_int_equal(batched, 51);
    for (int i = 0; i < expected; i++)
        assert_int_equal(order[i], i);
    worker_close(&w);
}

static atomic_int calls;
static sem_t called;
static unsigned ask_ms;
static int more_rounds; /* of the batch function with nothing new */

static bool asks_for_a_call(struct worker *w, struct worker_job *jobs, void *arg) {
    (void)arg;
    if (jobs == NULL && more_rounds > 0 && --more_rounds == 0) {
        worker_call_in(w, ask_ms);
        return false;
    }
    if (jobs == NULL) {
        atomic_fetch_add(&calls, 1);
        (void)sem_post(&called);
        return false;
    }
    if (more_rounds == 0)
        worker_call_in(w, ask_ms);
    for (struct worker_job *j = jobs, *next; j != NULL; j = next) {
        next = j->next;
        j->run(j);
        worker_finish(w, j);
    }
    return more_rounds > 0;
}

/* One call for what it asked for, whether its time comes or the end does. */
static void a_call_asked_for_comes_once(void **state) {
    (void)state;
    struct job first = {.job = {.run = run, .done = done}}, second = first;
    struct worker *w = NULL;
    assert_int_equal(sem_init(&called, 0, 0), 0);
    assert_int_equal(worker_open(base, "w", 10, asks_for_a_call, NULL, &w), VRS_OK);
    ask_ms = 1;
    expected = 1;
    assert_int_equal(worker_submit(w, &first.job), VRS_OK);
    assert_int_equal(event_base_dispatch(base), 0);
    assert_int_equal(sem_wait(&called), 0);
    assert_int_equal(atomic_load(&calls), 1);
    ask_ms = 3600000;
    expected = 2;
    assert_int_equal(worker_submit(w, &second.job), VRS_OK);
    assert_int_equal(event_base_dispatch(base), 0);
    assert_int_equal(atomic_load(&calls), 1);
    worker_close(&w);
    assert_int_equal(atomic_load(&calls), 2);
    /* Asked for in the round that the thread still made when it was to end. */
    struct job third = first;
    expected = 3;
    more_rounds = 1;
    assert_int_equal(worker_open(base, "w", 10, asks_for_a_call, NULL, &w), VRS_OK);
    assert_int_equal(worker_submit(w, &third.job), VRS_OK);
    worker_close(&w);
    assert_int_equal(atomic_load(&calls), 3);
}

static struct worker *again_on;
static int rounds;

static void again(struct worker_job *j) {
    if (++rounds < 1000)
        assert_int_equal(worker_submit(again_on, j), VRS_OK);
    else
        assert_int_equal(event_base_loopbreak(base), 0);
}

static void a_done_may_submit(void **state) {
    (void)state;
    struct job job = {.job = {.run = run, .done = again}};
    assert_int_equal(worker_open(base, "w", 1, NULL, NULL, &again_on), VRS_OK);
    assert_int_equal(worker_submit(again_on, &job.job), VRS_OK);
    assert_int_equal(event_base_dispatch(base), 0);
    assert_int_equal(rounds, 1000);
    worker_close(&again_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(jobs_run_there_and_end_here_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(the_queue_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_gather, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_asked_for_comes_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_done_may_submit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
