// needs: tablet-api/inbox.c tablet-api/inbox_db.c tablet-api/line.c
/* The inbox worker with a real file; the disk's failures are planted below SQLite. */
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
#include <event2/thread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tablet-api/inbox.h"

/* --- a disk that fails when told: SQLite's calls land here --- */

static _Atomic int fail_syncs;  /* how many of the next syncs fail */
static _Atomic int fail_writes; /* how many of the next writes find no room */
static _Atomic int syncs;

int fdatasync(int fd) {
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&fail_syncs) > 0) {
        atomic_fetch_sub(&fail_syncs, 1);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static ssize_t planted_pwrite(int fd, const void *p, size_t n, off_t at) {
    if (atomic_load(&fail_writes) > 0) {
        atomic_fetch_sub(&fail_writes, 1);
        errno = ENOSPC;
        return -1;
    }
    return pwrite(fd, p, n, at);
}

/* --- a small world --- */

struct world {
    char dir[64];
    char path[96];
    struct event_base *base;
    struct inbox *inbox;
    struct secret_key priv;
    struct crypto_opener *opener;
    int pending;
};

static struct world w;

static void open_inbox(void) {
    const struct inbox_options o = {
        .path = w.path, .max_queued = 1000, .retention_ms = 90 * INT64_C(86400000)};
    struct vrs_fault fault = {0};
    uint8_t pub[CRYPTO_X25519_BYTES];
    assert_int_equal(inbox_open(&o, &w.inbox, &fault), VRS_OK);
    assert_int_equal(crypto_x25519_public(&w.priv, pub), VRS_OK);
    assert_int_equal(inbox_seal_to(w.inbox, pub), VRS_OK);
    assert_int_equal(inbox_start(w.inbox, w.base), VRS_OK);
    /* After the first opening, which sets SQLite up. */
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    (void)vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)planted_pwrite);
    (void)vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)planted_pwrite);
}

static int setup(void **state) {
    uint8_t pub[CRYPTO_X25519_BYTES];
    (void)state;
    memset(&w, 0, sizeof w);
    strcpy(w.dir, "/tmp/vrs-inbox-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    (void)snprintf(w.path, sizeof w.path, "%s/inbox.db", w.dir);
    (void)evthread_use_pthreads();
    w.base = event_base_new();
    crypto_x25519_keypair(&w.priv, pub);
    w.opener = crypto_opener_open(&w.priv);
    open_inbox();
    return 0;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    atomic_store(&fail_syncs, 0);
    atomic_store(&fail_writes, 0);
    inbox_close(&w.inbox);
    crypto_opener_close(&w.opener);
    event_base_free(w.base);
    (void)snprintf(command, sizeof command, "rm -rf %s", w.dir);
    return system(command);
}

static void reopen(void) {
    inbox_close(&w.inbox);
    open_inbox();
}

static void one_done(struct worker_job *job) {
    (void)job;
    w.pending--;
}

static void settle_all(void) {
    while (w.pending > 0)
        (void)event_base_loop(w.base, EVLOOP_ONCE);
}

static struct inbox_put put_of(int key, const char *text) {
    struct inbox_put p;
    memset(&p, 0, sizeof p);
    p.kind = LINE_DOSE;
    crypto_random(p.receipt, sizeof p.receipt);
    strcpy(p.municipality, "131032");
    strcpy(p.terminal, "tablet-1");
    p.received_ms = 1625097600000 + key;
    p.has_key = true;
    memset(p.key_hash, 0, sizeof p.key_hash);
    memcpy(p.key_hash, &key, sizeof key);
    crypto_sha256(text, strlen(text), p.body_mac);
    buffer_init(&p.plain, 1024);
    (void)buffer_puts(&p.plain, text);
    return p;
}

static void submit(struct inbox_put *p) {
    w.pending++;
    assert_int_equal(inbox_submit_put(w.inbox, p, one_done), VRS_OK);
}

static enum vrs_err put(struct inbox_put *p) {
    submit(p);
    settle_all();
    return p->job.err;
}

static enum vrs_err get(const uint8_t receipt[LINE_RECEIPT_BYTES], const char *terminal,
                        struct inbox_found *out) {
    struct inbox_get g = {0};
    memcpy(g.receipt, receipt, sizeof g.receipt);
    strcpy(g.terminal, terminal);
    w.pending++;
    assert_int_equal(inbox_submit_get(w.inbox, &g, one_done), VRS_OK);
    settle_all();
    *out = g.found;
    return g.job.err;
}

static enum vrs_err settle(const uint8_t receipt[LINE_RECEIPT_BYTES], enum line_outcome outcome,
                           const char *warnings, struct inbox_settle *s) {
    struct line_result r = {.outcome = outcome};
    memcpy(r.receipt, receipt, sizeof r.receipt);
    (void)snprintf(r.warnings, sizeof r.warnings, "%s", warnings);
    *s = (struct inbox_settle){.results = &r, .count = 1};
    w.pending++;
    assert_int_equal(inbox_submit_settle(w.inbox, s, one_done), VRS_OK);
    settle_all();
    return s->job.err;
}

static uint64_t prove(const uint8_t receipt[LINE_RECEIPT_BYTES], enum line_outcome outcome,
                      const char *proof) {
    struct line_result r = {
        .outcome = outcome, .proof = (const uint8_t *)proof, .proof_len = strlen(proof)};
    memcpy(r.receipt, receipt, sizeof r.receipt);
    struct inbox_settle s = {.results = &r, .count = 1};
    w.pending++;
    assert_int_equal(inbox_submit_settle(w.inbox, &s, one_done), VRS_OK);
    settle_all();
    assert_int_equal(s.job.err, VRS_OK);
    return s.changed;
}

static struct inbox_pull pull_of(uint64_t after, bool wait) {
    struct inbox_pull p = {.after_seq = after, .max = 100, .wait = wait};
    buffer_init(&p.entries, 1 << 20);
    return p;
}

static void pull(struct inbox_pull *p) {
    w.pending++;
    assert_int_equal(inbox_submit_pull(w.inbox, p, one_done), VRS_OK);
}

static uint64_t depth(void) {
    struct inbox_state s;
    inbox_state(w.inbox, &s);
    return s.depth;
}

/* --- keys --- */

static void the_same_key_twice_has_one_effect(void **state) {
    (void)state;
    struct inbox_put a = put_of(1, "a");
    struct inbox_put b = put_of(1, "a");
    assert_int_equal(put(&a), VRS_OK);
    assert_false(a.existing);
    assert_int_equal(put(&b), VRS_OK);
    assert_true(b.existing);
    assert_memory_equal(b.found.receipt, a.receipt, sizeof a.receipt);
    assert_true(depth() == 1);
    struct inbox_put c = put_of(1, "another body");
    assert_int_equal(put(&c), ERR_KEY_REUSED);
    reopen();
    struct inbox_put d = put_of(1, "a");
    assert_int_equal(put(&d), VRS_OK);
    assert_memory_equal(d.found.receipt, a.receipt, sizeof a.receipt);
}

static void identical_posts_at_once_make_one_entry(void **state) {
    (void)state;
    enum { N = 200 };
    static struct inbox_put p[N];
    for (int i = 0; i < N; i++) {
        p[i] = put_of(7, "same");
        submit(&p[i]);
    }
    settle_all();
    int first = 0;
    for (int i = 0; i < N; i++) {
        assert_int_equal(p[i].job.err, VRS_OK);
        first += !p[i].existing;
        assert_memory_equal(p[i].found.receipt, p[0].found.receipt, LINE_RECEIPT_BYTES);
    }
    assert_int_equal(first, 1);
    assert_true(depth() == 1);
}

static void only_existing_keys_may_be_asked_for(void **state) {
    (void)state;
    struct inbox_put a = put_of(3, "x");
    a.only_existing = ERR_CANCEL_LATE;
    assert_int_equal(put(&a), ERR_CANCEL_LATE);
    struct inbox_put b = put_of(3, "x");
    assert_int_equal(put(&b), VRS_OK);
    struct inbox_put c = put_of(3, "x");
    c.only_existing = ERR_CANCEL_LATE;
    assert_int_equal(put(&c), VRS_OK);
    assert_memory_equal(c.found.receipt, b.receipt, sizeof b.receipt);
}

/* --- outcomes --- */

static void an_outcome_moves_once_and_never_back(void **state) {
    (void)state;
    struct inbox_put p = put_of(1, "a");
    struct inbox_settle s;
    struct inbox_found f;
    assert_int_equal(put(&p), VRS_OK);
    assert_int_equal(settle(p.receipt, LINE_PENDING, "", &s), VRS_OK);
    assert_true(s.changed == 0);
    assert_int_equal(settle(p.receipt, LINE_WAITING_FOR_COUPON, "coupon_not_registered", &s),
                     VRS_OK);
    assert_true(s.changed == 1 && depth() == 0);
    assert_int_equal(settle(p.receipt, LINE_WAITING_FOR_COUPON, "other", &s), VRS_OK);
    assert_true(s.changed == 0);
    assert_int_equal(settle(p.receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_true(s.changed == 1);
    for (enum line_outcome o = LINE_PENDING; o <= LINE_NOTED; o++) {
        if (o == LINE_CANCELLED)
            continue;
        assert_int_equal(settle(p.receipt, o, "", &s), VRS_OK);
        assert_true(s.changed == 0);
    }
    assert_int_equal(get(p.receipt, "tablet-1", &f), VRS_OK);
    assert_int_equal(f.outcome, LINE_RECORDED);
    assert_int_equal(settle(p.receipt, LINE_CANCELLED, "", &s), VRS_OK);
    assert_true(s.changed == 1);
    assert_int_equal(settle(p.receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_true(s.changed == 0);
    assert_int_equal(get(p.receipt, "tablet-1", &f), VRS_OK);
    assert_int_equal(f.outcome, LINE_CANCELLED);
    assert_int_equal(get(p.receipt, "tablet-2", &f), ERR_NOT_FOUND);
    assert_true(depth() == 0);
}

static void a_proof_comes_with_its_outcome_or_later(void **state) {
    (void)state;
    struct inbox_put p = put_of(1, "a");
    struct inbox_settle s;
    struct inbox_found f;
    assert_int_equal(put(&p), VRS_OK);
    assert_true(prove(p.receipt, LINE_WAITING_FOR_COUPON, "of waiting") == 1);
    assert_int_equal(get(p.receipt, "tablet-1", &f), VRS_OK);
    assert_true(f.proof_len == 10 && memcmp(f.proof, "of waiting", 10) == 0);
    assert_true(prove(p.receipt, LINE_WAITING_FOR_COUPON, "another") == 0); /* the first stays */
    assert_int_equal(settle(p.receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_int_equal(get(p.receipt, "tablet-1", &f), VRS_OK);
    assert_true(f.proof_len == 0); /* what was waiting's is not recorded's */
    assert_true(prove(p.receipt, LINE_CONFLICT, "of conflict") == 0);
    assert_true(prove(p.receipt, LINE_RECORDED, "of recorded") == 1);
    assert_int_equal(settle(p.receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_int_equal(get(p.receipt, "tablet-1", &f), VRS_OK);
    assert_int_equal(f.outcome, LINE_RECORDED);
    assert_true(f.proof_len == 11 && memcmp(f.proof, "of recorded", 11) == 0);
}

static void unknown_receipts_are_counted(void **state) {
    (void)state;
    const uint8_t receipt[LINE_RECEIPT_BYTES] = {9};
    struct inbox_settle s;
    assert_int_equal(settle(receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_true(s.unknown == 1 && s.changed == 0);
}

/* --- pulls --- */

struct unsealed {
    int count;
    char text[64];
    uint64_t seq;
};

static enum vrs_err unseal(const struct line_entry *e, void *arg) {
    struct unsealed *u = arg;
    struct buffer aad, plain;
    buffer_init(&aad, 256);
    buffer_init(&plain, 1024);
    line_aad(e, &aad);
    assert_int_equal(
        crypto_opener_unseal(w.opener, aad.data, aad.len, e->sealed, e->sealed_len, &plain),
        VRS_OK);
    (void)snprintf(u->text, sizeof u->text, "%s", buffer_cstr(&plain));
    u->seq = e->seq;
    u->count++;
    buffer_fini(&aad);
    buffer_fini(&plain);
    return VRS_OK;
}

static struct unsealed read_pull(struct inbox_pull *p) {
    struct unsealed u = {0};
    struct buffer b;
    const struct line_pulled_head head = {0};
    struct line_pulled_head got;
    buffer_init(&b, 1 << 20);
    line_pulled_begin(&head, &b);
    if (p->entries.len > 0)
        (void)buffer_put(&b, p->entries.data, p->entries.len);
    assert_int_equal(line_pulled_decode(b.data, b.len, &got, unseal, NULL, &u), VRS_OK);
    buffer_fini(&b);
    buffer_fini(&p->entries);
    return u;
}

static void a_waiting_pull_is_answered_by_the_commit(void **state) {
    (void)state;
    struct inbox_pull p = pull_of(0, true);
    struct inbox_put a = put_of(1, "what was read");
    pull(&p);
    for (int i = 0; i < 20; i++)
        (void)event_base_loop(w.base, EVLOOP_NONBLOCK);
    assert_int_equal(w.pending, 1); /* it waits */
    submit(&a);
    settle_all();
    assert_int_equal(p.job.err, VRS_OK);
    assert_true(p.count == 1 && p.depth == 1 && p.oldest_ms == a.received_ms);
    struct unsealed u = read_pull(&p);
    assert_string_equal(u.text, "what was read");
    struct inbox_pull next = pull_of(u.seq, true);
    pull(&next);
    inbox_nudge(w.inbox);
    settle_all();
    assert_true(next.count == 0);
    buffer_fini(&next.entries);
    struct inbox_pull again = pull_of(0, false); /* unsettled: offered again */
    pull(&again);
    settle_all();
    assert_int_equal(read_pull(&again).count, 1);
    struct inbox_settle s;
    assert_int_equal(settle(a.receipt, LINE_RECORDED, "", &s), VRS_OK);
    struct inbox_pull none = pull_of(0, false);
    pull(&none);
    settle_all();
    assert_int_equal(read_pull(&none).count, 0);
}

static void a_newer_pull_ends_the_older(void **state) {
    (void)state;
    struct inbox_pull old = pull_of(0, true);
    struct inbox_pull new = pull_of(0, true);
    pull(&old);
    pull(&new);
    while (w.pending > 1)
        (void)event_base_loop(w.base, EVLOOP_ONCE);
    struct inbox_put a = put_of(1, "a");
    submit(&a);
    settle_all();
    assert_true(old.count == 0 && new.count == 1);
    buffer_fini(&old.entries);
    buffer_fini(&new.entries);
}

static void a_replay_gives_settled_entries_of_one_municipality(void **state) {
    (void)state;
    struct inbox_put a = put_of(1, "a");
    struct inbox_put b = put_of(2, "b");
    struct inbox_settle s;
    strcpy(b.municipality, "462012");
    assert_int_equal(put(&a), VRS_OK);
    assert_int_equal(put(&b), VRS_OK);
    assert_int_equal(settle(a.receipt, LINE_RECORDED, "", &s), VRS_OK);
    struct inbox_replay r = {.municipality = "131032", .max = 10};
    buffer_init(&r.entries, 1 << 16);
    w.pending++;
    assert_int_equal(inbox_submit_replay(w.inbox, &r, one_done), VRS_OK);
    settle_all();
    assert_true(r.job.err == VRS_OK && r.end && r.count == 1 && r.last == b.found.seq);
    buffer_fini(&r.entries);
}

/* --- three outcomes of a commit --- */

static void a_failed_sync_is_unknown_and_recovered(void **state) {
    (void)state;
    struct inbox_put before = put_of(1, "before");
    assert_int_equal(put(&before), VRS_OK);
    atomic_store(&fail_syncs, 1);
    struct inbox_put during = put_of(2, "during");
    assert_int_equal(put(&during), ERR_UNKNOWN);
    struct inbox_put after = put_of(3, "after"); /* reopens and checkpoints first */
    assert_int_equal(put(&after), VRS_OK);
    /* The retry settles what was unknown, whichever way it went. */
    struct inbox_put retry = put_of(2, "during");
    assert_int_equal(put(&retry), VRS_OK);
    assert_true(!retry.existing || memcmp(retry.found.receipt, during.receipt, 16) == 0);
    assert_true(depth() == 3);
    reopen();
    assert_true(depth() == 3);
}

static void nothing_is_acknowledged_before_the_recovery(void **state) {
    (void)state;
    struct inbox_state s;
    atomic_store(&fail_syncs, 1000);
    struct inbox_put a = put_of(1, "a");
    assert_int_equal(put(&a), ERR_UNKNOWN);
    for (int i = 2; i < 5; i++) {
        struct inbox_put p = put_of(i, "x");
        assert_int_equal(put(&p), ERR_STORAGE); /* the checkpoint does not succeed */
    }
    inbox_state(w.inbox, &s);
    assert_false(s.fit);
    atomic_store(&fail_syncs, 0);
    struct inbox_put b = put_of(9, "b");
    assert_int_equal(put(&b), VRS_OK);
    inbox_state(w.inbox, &s);
    assert_true(s.fit);
}

static void a_full_disk_is_not_stored_and_heals_itself(void **state) {
    (void)state;
    struct inbox_put before = put_of(1, "before");
    struct inbox_found f;
    assert_int_equal(put(&before), VRS_OK);
    atomic_store(&fail_writes, 1000000);
    struct inbox_put p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = put_of(10 + i, "x");
        assert_int_equal(put(&p[i]), ERR_STORAGE);
    }
    atomic_store(&fail_writes, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get(p[i].receipt, "tablet-1", &f), ERR_NOT_FOUND);
        struct inbox_put again = put_of(10 + i, "x");
        assert_int_equal(put(&again), VRS_OK);
        assert_false(again.existing);
    }
    assert_int_equal(get(before.receipt, "tablet-1", &f), VRS_OK);
    assert_true(depth() == 4);
}

static void every_acknowledgement_was_synced(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int before = atomic_load(&syncs);
        struct inbox_put p = put_of(i, "x");
        assert_int_equal(put(&p), VRS_OK);
        assert_true(atomic_load(&syncs) > before);
    }
}

static void commits_are_shared(void **state) {
    (void)state;
    enum { N = 500 };
    static struct inbox_put p[N];
    int before = atomic_load(&syncs);
    for (int i = 0; i < N; i++) {
        p[i] = put_of(i, "x");
        submit(&p[i]);
    }
    settle_all();
    assert_true(atomic_load(&syncs) - before < N / 4);
    uint64_t last = 0;
    for (int i = 0; i < N; i++) {
        assert_int_equal(p[i].job.err, VRS_OK);
        assert_true(p[i].found.seq > last);
        last = p[i].found.seq;
    }
}

/* --- the file --- */

static void settings_read_back(void **state) {
    (void)state;
    struct buffer b;
    inbox_close(&w.inbox);
    struct inbox_db *db = NULL;
    struct vrs_fault fault = {0};
    assert_int_equal(inbox_db_open(w.path, &db, &fault), VRS_OK);
    buffer_init(&b, 8192);
    assert_int_equal(inbox_db_describe(db, &b), VRS_OK);
    const char *text = buffer_cstr(&b);
    static const char *const want[] = {
        "journal_mode=wal\n",       "synchronous=2\n",     "secure_delete=1\n", "foreign_keys=1\n",
        "trusted_schema=0\n",       "cell_size_check=1\n", "temp_store=2\n",    "mmap_size=0\n",
        "locking_mode=exclusive\n", "defensive=1\n"};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_non_null(strstr(text, want[i]));
    buffer_fini(&b);
    inbox_db_close(&db);
    open_inbox();
}

/* Old settled entries go; pending and waiting ones stay; numbers are not used again. */
static void the_old_is_purged_and_seq_still_grows(void **state) {
    (void)state;
    struct inbox_put p[3];
    struct inbox_settle s;
    for (int i = 0; i < 3; i++) {
        p[i] = put_of(i, "x");
        assert_int_equal(put(&p[i]), VRS_OK);
    }
    assert_int_equal(settle(p[2].receipt, LINE_RECORDED, "", &s), VRS_OK);
    assert_int_equal(settle(p[1].receipt, LINE_WAITING_FOR_COUPON, "", &s), VRS_OK);
    inbox_close(&w.inbox);
    struct inbox_db *db = NULL;
    struct vrs_fault fault = {0};
    uint64_t removed = 0;
    assert_int_equal(inbox_db_open(w.path, &db, &fault), VRS_OK);
    assert_int_equal(inbox_db_begin(db, &fault), VRS_OK);
    assert_int_equal(inbox_db_purge(db, p[0].received_ms, 10, &removed), VRS_OK);
    assert_true(removed == 0);
    assert_int_equal(inbox_db_purge(db, INT64_MAX, 10, &removed), VRS_OK);
    assert_true(removed == 1);
    assert_int_equal(inbox_db_commit(db, &fault), VRS_OK);
    inbox_db_close(&db);
    open_inbox();
    struct inbox_put next = put_of(9, "x");
    assert_int_equal(put(&next), VRS_OK);
    assert_true(next.found.seq > p[2].found.seq);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_same_key_twice_has_one_effect),
        TEST(identical_posts_at_once_make_one_entry),
        TEST(only_existing_keys_may_be_asked_for),
        TEST(an_outcome_moves_once_and_never_back),
        TEST(a_proof_comes_with_its_outcome_or_later),
        TEST(unknown_receipts_are_counted),
        TEST(a_waiting_pull_is_answered_by_the_commit),
        TEST(a_newer_pull_ends_the_older),
        TEST(a_replay_gives_settled_entries_of_one_municipality),
        TEST(a_failed_sync_is_unknown_and_recovered),
        TEST(nothing_is_acknowledged_before_the_recovery),
        TEST(a_full_disk_is_not_stored_and_heals_itself),
        TEST(every_acknowledgement_was_synced),
        TEST(commits_are_shared),
        TEST(settings_read_back),
        TEST(the_old_is_purged_and_seq_still_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
