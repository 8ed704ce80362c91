#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/metric.h"
#include "partitions/pool.h"
#include "tests/lib/stand.h"

enum { JOBS = 4000 };

struct job {
    struct pool_job job; /* first */
    unsigned number;
    enum vrs_err refuse; /* what run returns after it has written */
    const char *big;     /* written many times: more than the cache holds */
    unsigned runs;
    bool done;
    bool got_null;
    unsigned committed; /* its place among all that were told */
    uint64_t rows;      /* durable when it was told */
    unsigned followed;  /* groups told when it ran */
    pthread_t ran_on;
};

static struct stand stand;
static struct vrs_fault fault;
static struct event_base *base;
static struct pool *pool;
static struct job jobs[JOBS];
static unsigned used;
static unsigned finished;
static unsigned expected;
static pthread_t loop_thread;
static atomic_uint opened_count, opened_first;
static _Atomic(enum vrs_err) opened_answer;
static atomic_uint told;           /* jobs after a commit */
static atomic_uint groups_told;    /* groups after a commit */
static atomic_bool told_late;      /* a job before its group */
static struct store_engine engine; /* SQLite's, noting hints */
static atomic_uint rests, favours;
static sem_t gate;
static sem_t entered;

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static enum vrs_err opened(struct partition *p, bool first, void *arg) {
    assert_ptr_equal(arg, &stand);
    (void)partition_code(p);
    atomic_fetch_add(&opened_count, 1);
    atomic_fetch_add(&opened_first, first);
    return opened_answer;
}

/* Outside a transaction: it can open one of its own. */
static uint64_t durable_rows(struct partition *p) {
    uint64_t n = 0;
    assert_int_equal(partition_begin(p), VRS_OK);
    assert_int_equal(store_sqlite.count(partition_store(p), TABLE_PERSON, UINT32_MAX, &n), VRS_OK);
    partition_rollback(p);
    return n;
}

static void group_committed(struct partition *p, unsigned worker_index, void *arg) {
    assert_ptr_equal(arg, &stand);
    assert_true(worker_index < 2);
    unsigned *groups = partition_note(p, sizeof *groups);
    assert_non_null(groups);
    ++*groups; /* stays with the partition while it is open */
    atomic_fetch_add(&groups_told, 1);
}

static void job_committed(struct pool_job *j, struct partition *p) {
    struct job *job = (struct job *)j;
    const unsigned *groups = partition_note(p, sizeof *groups);
    told_late = told_late || *groups == 0 || job->done;
    job->rows = durable_rows(p);
    job->committed = atomic_fetch_add(&told, 1) + 1;
}

static void note_rest(struct store *s) {
    atomic_fetch_add(&rests, 1);
    store_sqlite.rest(s);
}

static void note_favour(struct store *s, bool on) {
    if (on)
        atomic_fetch_add(&favours, 1);
    store_sqlite.favour(s, on);
}

static void open_pool(unsigned workers, size_t max_open, size_t max_queued) {
    engine = store_sqlite;
    engine.rest = note_rest;
    engine.favour = note_favour;
    const struct pool_options o = {.engine = &engine,
                                   .dir = stand.partitions,
                                   .keys = stand.ring,
                                   .workers = workers,
                                   .max_open = max_open,
                                   .max_queued = max_queued,
                                   .opened = opened,
                                   .committed = group_committed,
                                   .arg = &stand};
    ok(pool_open(base, &o, &pool, &fault));
}

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, 1 << KEY_RECORDS | 1 << KEY_LOG);
    base = event_base_new();
    memset(jobs, 0, sizeof jobs);
    used = finished = expected = 0;
    opened_count = opened_first = told = groups_told = rests = favours = 0;
    told_late = false;
    opened_answer = VRS_OK;
    loop_thread = pthread_self();
    (void)sem_init(&gate, 0, 0);
    (void)sem_init(&entered, 0, 0);
    struct partition *p; /* SQLite is set up by the first open */
    ok(partition_open(&store_sqlite, stand.dir, "999999", stand.ring, STORE_CREATE, &p, &fault));
    partition_close(&p);
    stand_disk_install();
    (void)unlink(stand_path(&stand, "keys/999999.keys"));
    open_pool(2, 16, 1000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    stand_disk_heal();
    pool_close(&pool);
    event_base_free(base);
    stand_close(&stand);
    return 0;
}

static enum vrs_err write_row(struct partition *p, unsigned number, const char *text, size_t len) {
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    r.order = number + 1;
    enum vrs_err e =
        buffer_put(&r.text, text, len) ? record_insert(p, TABLE_PERSON, &r) : ERR_MEMORY;
    record_fini(&r);
    return e;
}

static enum vrs_err run_write(struct pool_job *j, struct partition *p) {
    struct job *job = (struct job *)j;
    job->runs++;
    job->ran_on = pthread_self();
    enum vrs_err e = write_row(p, job->number, "record", 6);
    static const char filler[16 << 10];
    for (int i = 0; e == VRS_OK && job->big != NULL && i < 900; i++)
        e = write_row(p, job->number, filler, sizeof filler);
    return e != VRS_OK ? e : job->refuse;
}

static enum vrs_err run_wait(struct pool_job *j, struct partition *p) {
    (void)sem_post(&entered);
    while (sem_wait(&gate) != 0 && errno == EINTR)
        ;
    return run_write(j, p);
}

static enum vrs_err run_note(struct pool_job *j, struct partition *p) {
    struct job *job = (struct job *)j;
    job->runs++;
    job->got_null = p == NULL;
    return VRS_OK;
}

static void on_done(struct pool_job *j) {
    struct job *job = (struct job *)j;
    assert_true(pthread_equal(pthread_self(), loop_thread));
    assert_false(job->done);
    job->done = true;
    if (++finished == expected)
        (void)event_base_loopbreak(base);
}

static struct job *next_job(const char *code, unsigned flags) {
    assert_true(used < JOBS);
    struct job *job = &jobs[used];
    job->number = used++;
    job->job.flags = flags;
    job->job.run = run_write;
    job->job.done = on_done;
    job->job.committed = job_committed;
    memcpy(job->job.municipality, code, 7);
    return job;
}

static struct job *submit(const char *code, unsigned flags) {
    struct job *job = next_job(code, flags);
    ok(pool_submit(pool, &job->job));
    return job;
}

static void wait_all(void) {
    expected = used;
    if (finished < expected)
        (void)event_base_dispatch(base);
    assert_int_equal(finished, expected);
}

/* Holds the worker of that municipality inside a job, so that what comes next gathers. */
static struct job *hold(const char *code) {
    struct job *job = next_job(code, POOL_CREATE);
    job->job.run = run_wait;
    ok(pool_submit(pool, &job->job));
    while (sem_wait(&entered) != 0 && errno == EINTR)
        ;
    return job;
}

static void let_go(void) {
    (void)sem_post(&gate);
}

static long metric_of(const char *line) {
    struct buffer b;
    buffer_init(&b, 1 << 20);
    metric_write(&b);
    const char *at = strstr(buffer_cstr(&b), line);
    long n = at == NULL ? -1 : strtol(at + strlen(line), NULL, 10);
    buffer_fini(&b);
    return n;
}

static long acked(void) {
    return metric_of("vrs_partition_commits_total{outcome=\"acked\"} ");
}

static unsigned rows_in(const char *code) {
    struct partition *p;
    uint64_t n;
    ok(partition_open(&store_sqlite, stand.partitions, code, stand.ring, 0, &p, &fault));
    ok(partition_begin(p));
    ok(store_sqlite.count(partition_store(p), TABLE_PERSON, UINT32_MAX, &n));
    partition_rollback(p);
    partition_close(&p);
    return (unsigned)n;
}

static void jobs_are_committed_and_answered_on_the_loop(void **state) {
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        char code[7];
        (void)snprintf(code, sizeof code, "%06u", i % 6);
        (void)submit(code, POOL_CREATE);
    }
    wait_all();
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(jobs[i].job.err, VRS_OK);
        assert_int_equal(jobs[i].runs, 1);
        assert_false(pthread_equal(jobs[i].ran_on, loop_thread));
        assert_true(pthread_equal(jobs[i].ran_on, jobs[i % 6].ran_on)); /* for ever the same */
    }
    assert_int_equal(opened_count, 6);
    assert_int_equal(pool_open_files(pool), 6);
    pool_close(&pool);
    for (unsigned i = 0; i < 6; i++) {
        char code[7];
        (void)snprintf(code, sizeof code, "%06u", i);
        assert_int_equal(rows_in(code), 50);
    }
}

static void what_waits_is_committed_at_once(void **state) {
    (void)state;
    (void)hold("131032");
    long before = acked();
    for (unsigned i = 0; i < 100; i++)
        (void)submit("131032", i % 2 == 0 ? POOL_CREATE : 0);
    let_go();
    wait_all();
    assert_int_equal(acked() - before, 2); /* the held one, then all that gathered */
    for (unsigned i = 0; i < used; i++)
        assert_int_equal(jobs[i].job.err, VRS_OK);
    before = acked();
    (void)submit("131032", 0); /* idle: at once and alone */
    wait_all();
    assert_int_equal(acked() - before, 1);
    pool_close(&pool);
    assert_int_equal(rows_in("131032"), 102);
}

static void a_refusing_job_is_undone_alone(void **state) {
    (void)state;
    (void)hold("131032");
    for (unsigned i = 0; i < 30; i++) {
        struct job *job = next_job("131032", POOL_CREATE);
        job->refuse = i % 3 == 0 ? ERR_R182 : i % 3 == 1 ? VRS_OK : ERR_STORAGE;
        ok(pool_submit(pool, &job->job));
    }
    let_go();
    wait_all();
    for (unsigned i = 0; i < used; i++)
        assert_int_equal(jobs[i].job.err, jobs[i].refuse);
    pool_close(&pool);
    assert_int_equal(rows_in("131032"), 11);
}

static void those_who_wait_for_the_commit_are_told_after_it(void **state) {
    (void)state;
    (void)hold("131032");
    for (unsigned i = 0; i < 30; i++) {
        struct job *job = next_job("131032", POOL_CREATE);
        job->refuse = i % 3 == 0 ? ERR_R182 : VRS_OK;
        if (i % 5 == 0)
            job->job.committed = NULL;
        ok(pool_submit(pool, &job->job));
    }
    let_go();
    wait_all();
    assert_int_equal(groups_told, 2);
    assert_false(told_late);
    assert_int_equal(jobs[0].committed, 1);
    assert_int_equal(jobs[0].rows, 1);
    unsigned last = 1;
    for (unsigned i = 1; i < used; i++) {
        if (jobs[i].refuse != VRS_OK || jobs[i].job.committed == NULL) {
            assert_int_equal(jobs[i].committed, 0);
            continue;
        }
        assert_int_equal(jobs[i].committed, ++last); /* in order */
        assert_int_equal(jobs[i].rows, 21);          /* all of the group is durable */
    }
    /* Nobody is told of a commit that did not answer. */
    stand_disk.stay = true;
    stand_disk.fail_sync_at = 1;
    unsigned groups = groups_told;
    struct job *lost = submit("131032", 0);
    wait_all();
    assert_int_equal(lost->job.err, ERR_UNKNOWN);
    assert_int_equal(lost->committed, 0);
    assert_int_equal(groups_told, groups);
    stand_disk_heal();
}

static enum vrs_err run_look(struct pool_job *j, struct partition *p) {
    (void)p;
    ((struct job *)j)->followed = groups_told;
    return VRS_OK;
}

static void plain_write(const char *code, unsigned flags) {
    struct job *job = next_job(code, flags);
    job->job.committed = NULL;
    ok(pool_submit(pool, &job->job));
    wait_all();
}

/* Where nobody waits for what follows a commit, it comes once for many, soon, and before the end. */
static void what_follows_commits_is_put_off_and_never_left_out(void **state) {
    enum { WRITES = 300 };
    (void)state;
    for (int i = 0; i < WRITES; i++)
        plain_write("131032", POOL_CREATE);
    assert_true(groups_told < WRITES); /* not once for each, unless each took POOL_FOLLOW_MS */
    unsigned before = groups_told;
    struct job *looks = next_job("131032", POOL_FOLLOWED);
    looks->job.run = run_look;
    ok(pool_submit(pool, &looks->job));
    wait_all();
    assert_true(looks->followed > 0 && looks->followed >= before);
    assert_int_equal(looks->committed, 1); /* and its own is told at once */
    assert_false(told_late);
    before = groups_told;
    plain_write("131032", 0);
    looks = next_job("131032", POOL_FOLLOWED);
    looks->job.run = run_look;
    looks->job.committed = NULL;
    ok(pool_submit(pool, &looks->job));
    wait_all();
    assert_true(looks->followed > before);
    /* The last one's, though the pool closes at once; also where it ran behind the others. */
    pool_close(&pool);
    before = groups_told;
    open_pool(2, 16, 1000);
    plain_write("131032", POOL_LATER);
    pool_close(&pool);
    assert_true(groups_told > before);
}

/* Work that goes through the whole nation would leave a cache in every file. */
static void a_file_rests_until_somebody_waits_for_it(void **state) {
    (void)state;
    plain_write("131032", POOL_CREATE | POOL_LATER);
    plain_write("131032", POOL_LATER);
    for (int ms = 0; rests < 3 && ms < 5000; ms++)
        (void)usleep(1000);
    assert_true(rests >= 3); /* after each, and after what followed them */
    unsigned before = rests;
    for (int i = 0; i < 10; i++) { /* as the backups of a nation */
        struct job *alone = next_job("131032", 0);
        alone->job.run = run_look;
        alone->job.committed = NULL;
        ok(pool_submit_exclusive(pool, &alone->job, false));
        wait_all();
    }
    for (int ms = 0; rests < before + 10 && ms < 5000; ms++)
        (void)usleep(1000);
    assert_true(rests >= before + 10);
    assert_int_equal(favours, 0);
    plain_write("131032", 0);
    before = rests;
    plain_write("131032", 0);
    plain_write("131032", POOL_LATER);
    struct job *looks = next_job("131032", POOL_FOLLOWED | POOL_LATER);
    looks->job.run = run_look;
    ok(pool_submit(pool, &looks->job));
    wait_all();
    plain_write("131032", 0);
    pool_close(&pool); /* what was to follow does so now */
    assert_int_equal(rests, before);
    assert_true(favours > 0);
    open_pool(2, 16, 1000);
}

static void asking_never_makes_a_partition(void **state) {
    (void)state;
    (void)hold("131032"); /* this worker is busy; find a code of the same worker */
    unsigned busy = jobs[0].job.worker_index;
    char code[7] = "";
    for (unsigned i = 100000; code[0] == '\0'; i++) {
        char try[7];
        (void)snprintf(try, sizeof try, "%06u", i);
        struct job *job = submit(try, 0);
        if (job->job.worker_index == busy)
            memcpy(code, try, sizeof code);
    }
    unsigned first = used - 1;
    (void)submit(code, 0);
    (void)submit(code, POOL_CREATE); /* in the same batch: those before it still find nothing */
    (void)submit(code, 0);
    let_go();
    wait_all();
    for (unsigned i = 1; i <= first + 1; i++) {
        assert_int_equal(jobs[i].job.err, ERR_NOT_FOUND);
        assert_int_equal(jobs[i].runs, 0);
    }
    assert_int_equal(jobs[first + 2].job.err, VRS_OK);
    assert_int_equal(jobs[first + 3].job.err, VRS_OK);
    assert_int_equal(stand_files(stand.keys), 2);
    assert_int_equal(stand_files(stand.partitions), 4);
}

static void a_full_queue_is_busy(void **state) {
    (void)state;
    pool_close(&pool);
    open_pool(1, 4, 5);
    (void)hold("131032");
    for (unsigned i = 0; i < 5; i++)
        (void)submit("131032", POOL_CREATE);
    struct job *job = next_job("131032", POOL_CREATE);
    assert_int_equal(pool_submit(pool, &job->job), ERR_BUSY);
    used--;
    let_go();
    wait_all();
    ok(pool_submit(pool, &next_job("131032", 0)->job));
    wait_all();
    static const char *const bad[] = {"", "13103", "13103a", "......"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pool_job wrong = {.run = run_note};
        (void)strncpy(wrong.municipality, bad[i], 6);
        assert_int_equal(pool_submit(pool, &wrong), ERR_NO_SUCH_MUNICIPALITY);
    }
}

static void the_least_used_are_closed(void **state) {
    (void)state;
    pool_close(&pool);
    open_pool(2, 6, 1000);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 40; i++) {
            char code[7];
            (void)snprintf(code, sizeof code, "%06u", 100 + i);
            (void)submit(code, POOL_CREATE);
            (void)submit("131032", POOL_CREATE); /* always in use: stays open */
            wait_all();
            assert_true(pool_open_files(pool) <= 6);
        }
    }
    for (unsigned i = 0; i < used; i++)
        assert_int_equal(jobs[i].job.err, VRS_OK);
    assert_int_equal(opened_count, 3 * 40 + 1);
    assert_int_equal(opened_first, 40 + 1);
    char codes[64][7];
    assert_int_equal(pool_list(pool, codes, 64), 41);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(atoi(codes[i]), (int)(100 + i));
    assert_string_equal(codes[40], "131032");
    assert_int_equal(pool_list(pool, codes, 3), 41);
    assert_true(pool_exists(pool, "000105"));
    assert_false(pool_exists(pool, "000999"));
    assert_false(pool_exists(pool, "../../"));
}

static void all_are_opened_in_the_background(void **state) {
    (void)state;
    ok(pool_warm(pool)); /* nothing there yet */
    for (unsigned i = 0; i < 30; i++) {
        char code[7];
        (void)snprintf(code, sizeof code, "%06u", 100 + i);
        (void)submit(code, POOL_CREATE);
    }
    wait_all();
    pool_close(&pool);
    opened_count = 0;
    open_pool(2, 100, 1000);
    assert_int_equal(opened_count, 0); /* opening the pool opens no file */
    ok(pool_warm(pool));
    assert_int_equal(pool_warm(pool), ERR_IN_PROGRESS);
    while (opened_count < 30)
        (void)event_base_loop(base, EVLOOP_ONCE);
    (void)submit("000100", 0);
    wait_all();
    assert_int_equal(pool_open_files(pool), 30);
    /* Closing in the middle of it leaves nothing behind. */
    pool_close(&pool);
    open_pool(2, 100, 1000);
    ok(pool_warm(pool));
}

static void a_failed_first_look_keeps_it_closed(void **state) {
    (void)state;
    opened_answer = ERR_CORRUPT;
    struct job *job = submit("131032", POOL_CREATE);
    wait_all();
    assert_int_equal(job->job.err, ERR_CORRUPT);
    assert_int_equal(job->runs, 0);
    assert_int_equal(pool_open_files(pool), 0);
    opened_answer = VRS_OK;
    job = submit("131032", 0);
    wait_all();
    assert_int_equal(job->job.err, VRS_OK);
}

/* ---- the disk */

static void an_unknown_commit_is_unknown_for_all_in_it(void **state) {
    (void)state;
    (void)submit("131032", POOL_CREATE);
    wait_all();
    (void)hold("131032");
    let_go();
    wait_all();
    stand_disk.stay = true;
    stand_disk.fail_sync_at = 1;
    (void)hold("131032");
    for (unsigned i = 0; i < 10; i++) {
        struct job *job = next_job("131032", 0);
        job->refuse = i == 5 ? ERR_R182 : VRS_OK;
        ok(pool_submit(pool, &job->job));
    }
    let_go();
    wait_all();
    assert_int_equal(jobs[2].job.err, ERR_UNKNOWN); /* its own commit failed */
    assert_int_equal(jobs[2].job.fault.err, ERR_UNKNOWN);
    for (unsigned i = 3; i < used; i++) {
        /* Recovery fails while the disk does: surely not stored, and not even run. */
        assert_int_equal(jobs[i].job.err, ERR_STORAGE);
        assert_int_equal(jobs[i].runs, 0);
    }
    stand_disk_heal();
    struct job *job = submit("131032", 0);
    wait_all();
    assert_int_equal(job->job.err, VRS_OK);
    pool_close(&pool);
    unsigned rows = rows_in("131032");
    assert_true(rows == 3 || rows == 4);

    /* The same with several jobs in the failing commit. */
    open_pool(2, 16, 1000);
    (void)submit("131032", 0); /* the first commit into an empty journal syncs more often */
    wait_all();
    unsigned first = used;
    (void)hold("131032");
    for (unsigned i = 0; i < 10; i++) {
        job = next_job("131032", 0);
        job->refuse = i == 5 ? ERR_R182 : VRS_OK;
        ok(pool_submit(pool, &job->job));
    }
    stand_disk.stay = true;
    stand_disk.fail_sync_at = 2; /* the held job's own commit still passes */
    let_go();
    wait_all();
    assert_int_equal(jobs[first].job.err, VRS_OK);
    for (unsigned i = first + 1; i < used; i++)
        assert_int_equal(jobs[i].job.err, ERR_UNKNOWN);
    stand_disk_heal();
    job = submit("131032", 0);
    wait_all();
    assert_int_equal(job->job.err, VRS_OK);
}

static void a_broken_transaction_stores_nothing_of_its_group(void **state) {
    (void)state;
    (void)submit("131032", POOL_CREATE);
    wait_all();
    (void)hold("131032");
    struct job *before = submit("131032", 0);
    struct job *breaks = next_job("131032", 0);
    breaks->big = "more than the cache holds";
    ok(pool_submit(pool, &breaks->job));
    struct job *after = submit("131032", 0);
    /* The held job's commit writes a few times; the big one fills the disk before its commit. */
    stand_disk.write_errno = ENOSPC;
    stand_disk.stay = true;
    stand_disk.fail_write_at = 120;
    let_go();
    wait_all();
    assert_int_equal(before->job.err, ERR_STORAGE);
    assert_int_equal(breaks->job.err, ERR_STORAGE);
    assert_int_equal(after->job.err, ERR_STORAGE);
    assert_int_equal(after->runs, 0);
    stand_disk_heal();
    struct job *again = submit("131032", 0);
    wait_all();
    assert_int_equal(again->job.err, VRS_OK);
    pool_close(&pool);
    assert_int_equal(rows_in("131032"), 3);
}

static void a_full_disk_is_overcome_without_restart(void **state) {
    (void)state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 200 << 10, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    unsigned stored = 0;
    unsigned doubt = 0;
    unsigned failed = 0;
    while (failed < 5 && used < JOBS - 200) {
        unsigned first = used;
        for (unsigned i = 0; i < 100; i++)
            (void)submit(i % 2 == 0 ? "131032" : "462012", POOL_CREATE);
        wait_all();
        bool bad = false;
        for (unsigned i = first; i < used; i++) {
            enum vrs_err e = jobs[i].job.err;
            assert_true(e == VRS_OK || e == ERR_STORAGE || e == ERR_UNKNOWN);
            stored += e == VRS_OK;
            doubt += e == ERR_UNKNOWN;
            bad = bad || e != VRS_OK;
        }
        failed += bad;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(failed, 5);
    struct job *a = submit("131032", 0);
    struct job *b = submit("462012", 0);
    wait_all();
    assert_int_equal(a->job.err, VRS_OK);
    assert_int_equal(b->job.err, VRS_OK);
    pool_close(&pool);
    unsigned rows = rows_in("131032") + rows_in("462012");
    assert_true(rows >= stored + 2 && rows <= stored + 2 + doubt);
}

/* ---- exclusive jobs */

static enum vrs_err run_backup(struct pool_job *j, struct partition *p) {
    ((struct job *)j)->runs++;
    return partition_engine(p)->backup(partition_store(p), stand_path(&stand, "copy.db"),
                                       &j->fault);
}

static enum vrs_err run_restore(struct pool_job *j, struct partition *p) {
    ((struct job *)j)->runs++;
    ((struct job *)j)->got_null = p == NULL;
    (void)unlink(stand_path(&stand, "partitions/131032.db-wal"));
    return rename(stand_path(&stand, "copy.db"), stand_path(&stand, "partitions/131032.db")) == 0
               ? VRS_OK
               : ERR_IO;
}

static void a_closed_partition_may_be_replaced(void **state) {
    (void)state;
    (void)hold("131032");
    (void)submit("131032", 0);
    struct job *backup = next_job("131032", 0);
    backup->job.run = run_backup;
    ok(pool_submit_exclusive(pool, &backup->job, false));
    for (unsigned i = 0; i < 3; i++)
        (void)submit("131032", 0); /* lost by the restore */
    struct job *restore = next_job("131032", 0);
    restore->job.run = run_restore;
    ok(pool_submit_exclusive(pool, &restore->job, true));
    (void)submit("131032", 0);
    let_go();
    wait_all();
    for (unsigned i = 0; i < used; i++) {
        assert_int_equal(jobs[i].job.err, VRS_OK);
        assert_int_equal(jobs[i].runs, 1);
    }
    assert_true(restore->got_null);
    assert_int_equal(opened_count, 2);
    assert_int_equal(opened_first, 1); /* what is under way is not what a crash cut off */
    /* An absent one: nothing to back up; but it may be put in place. */
    struct job *absent = next_job("462012", 0);
    absent->job.run = run_note;
    ok(pool_submit_exclusive(pool, &absent->job, false));
    struct job *closed = next_job("462012", 0);
    closed->job.run = run_note;
    ok(pool_submit_exclusive(pool, &closed->job, true));
    wait_all();
    assert_int_equal(absent->job.err, ERR_NOT_FOUND);
    assert_int_equal(absent->runs, 0);
    assert_int_equal(closed->job.err, VRS_OK);
    assert_true(closed->got_null);
    pool_close(&pool);
    assert_int_equal(rows_in("131032"), 3);
}

static void closing_finishes_what_is_queued(void **state) {
    (void)state;
    (void)hold("131032");
    for (unsigned i = 0; i < 50; i++)
        (void)submit(i % 2 == 0 ? "131032" : "462012", POOL_CREATE);
    let_go();
    pool_close(&pool);
    assert_int_equal(finished, used);
    for (unsigned i = 0; i < used; i++)
        assert_int_equal(jobs[i].job.err, VRS_OK);
    assert_int_equal(rows_in("131032") + rows_in("462012"), 51);
}

/* What nobody waits for runs behind what was queued after it, a partition at a time, and all of it
 * runs; also when nothing else comes, and at the end. */
static void what_can_wait_does(void **state) {
    (void)state;
    pool_close(&pool);
    open_pool(1, 16, 1000);
    (void)hold("131032");
    struct job *later[6], *now[2];
    for (int i = 0; i < 6; i++)
        later[i] = submit(i % 2 == 0 ? "131032" : "142051", POOL_CREATE | POOL_LATER);
    now[0] = submit("142051", POOL_CREATE);
    now[1] = submit("011002", POOL_CREATE);
    let_go();
    wait_all();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(later[i]->job.err, VRS_OK);
        assert_true(later[i]->committed > now[0]->committed);
        assert_true(later[i]->committed > now[1]->committed);
    }
    assert_true(later[4]->committed < later[1]->committed); /* one partition's, then the other's */
    (void)hold("131032");
    struct job *last = submit("011002", POOL_LATER);
    let_go();
    pool_close(&pool);
    assert_true(last->done);
    open_pool(2, 16, 1000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(jobs_are_committed_and_answered_on_the_loop),
        TEST(what_can_wait_does),
        TEST(what_waits_is_committed_at_once),
        TEST(a_refusing_job_is_undone_alone),
        TEST(those_who_wait_for_the_commit_are_told_after_it),
        TEST(what_follows_commits_is_put_off_and_never_left_out),
        TEST(a_file_rests_until_somebody_waits_for_it),
        TEST(asking_never_makes_a_partition),
        TEST(a_full_queue_is_busy),
        TEST(the_least_used_are_closed),
        TEST(all_are_opened_in_the_background),
        TEST(a_failed_first_look_keeps_it_closed),
        TEST(an_unknown_commit_is_unknown_for_all_in_it),
        TEST(a_broken_transaction_stores_nothing_of_its_group),
        TEST(a_full_disk_is_overcome_without_restart),
        TEST(a_closed_partition_may_be_replaced),
        TEST(closing_finishes_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
