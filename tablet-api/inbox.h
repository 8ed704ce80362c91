/* The inbox: sealed entries, durable before anyone is told.
 *
 * One worker thread owns the file (inbox_db.h) and the sealer.  Jobs go in from the loop; the
 * worker takes all that wait, runs them in one transaction, commits once, and only then hands them
 * back (natural group commit: it gathers while a commit is in flight, commits at once when idle).
 * A pull that waits is answered with the very commit that brought the entries, never before it.
 *
 *     submitted → run in the transaction → commit ok       → done, err = what run said
 *                                        → commit unknown  → done, err = ERR_UNKNOWN
 *                                        → not stored      → done, err = ERR_STORAGE
 *
 * Every job is zeroed by the caller, filled, submitted, and belongs to the inbox until its `done`
 * runs on the loop. */
#ifndef TABLET_API_INBOX_H
#define TABLET_API_INBOX_H

#include "lib/worker.h"
#include "tablet-api/inbox_db.h"

struct event_base;
struct inbox;

struct inbox_options {
    const char *path;
    size_t max_queued;
    int64_t retention_ms;        /* keys, receipts and outcomes live at least this long */
    bool test_ack_before_commit; /* the crash test's control; only under VRS_TEST_CONTROLS */
};

struct inbox_job {
    struct worker_job job;
    enum vrs_err (*run)(struct inbox *in, struct inbox_job *job); /* the inbox's */
    enum vrs_err err;                                             /* valid in done */
};

/* Opens the file on the calling thread, before the sandbox; the worker starts with inbox_start. */
VRS_CHECK enum vrs_err inbox_open(const struct inbox_options *o, struct inbox **out,
                                  struct vrs_fault *fault);
VRS_CHECK enum vrs_err inbox_start(struct inbox *in, struct event_base *base);
void inbox_close(struct inbox **in); /* lets jobs finish, runs their `done`s */
/* Before inbox_start only: for the snapshot that was kept. */
struct inbox_db *inbox_db_of(struct inbox *in);
/* The key that entries are sealed to; before inbox_start, later by inbox_publish. */
VRS_CHECK enum vrs_err inbox_seal_to(struct inbox *in, const uint8_t key[CRYPTO_X25519_BYTES]);

/* --- put: one entry.  `plain` is a line_*_encode; wiped when it is sealed. --- */
struct inbox_put {
    struct inbox_job job;
    enum line_entry_kind kind;
    uint8_t receipt[LINE_RECEIPT_BYTES];
    char municipality[7];
    char terminal[64];
    int64_t received_ms;
    bool has_key;
    uint8_t key_hash[CRYPTO_HASH_BYTES];
    uint8_t body_mac[CRYPTO_HASH_BYTES];
    struct buffer plain;
    bool any_body;              /* a known key is answered whatever body it came with */
    enum vrs_err only_existing; /* not VRS_OK: a key that is new is refused with this */
    /* VRS_OK: durable.  ERR_KEY_REUSED: the key stands for another body. */
    struct inbox_found found; /* the entry now: this one, or the first with the same key */
    bool existing;            /* found is older than this request */
};
VRS_CHECK enum vrs_err inbox_submit_put(struct inbox *in, struct inbox_put *p,
                                        void (*done)(struct worker_job *));

/* --- get: one receipt, only for the terminal that posted it --- */
struct inbox_get {
    struct inbox_job job;
    uint8_t receipt[LINE_RECEIPT_BYTES];
    char terminal[64];
    struct inbox_found found; /* ERR_NOT_FOUND: no such receipt of this terminal */
};
VRS_CHECK enum vrs_err inbox_submit_get(struct inbox *in, struct inbox_get *g,
                                        void (*done)(struct worker_job *));

/* --- settle: outcomes from the inside, durable when done --- */
struct inbox_settle {
    struct inbox_job job;
    struct line_result *results; /* owned by the caller */
    size_t count;
    uint64_t changed; /* how many were news */
    uint64_t unknown; /* receipts that are not in the inbox: acknowledged all the same */
};
VRS_CHECK enum vrs_err inbox_submit_settle(struct inbox *in, struct inbox_settle *s,
                                           void (*done)(struct worker_job *));

/* --- pull: unsettled entries; with `wait` it stays with the worker until there are some, another
 * pull comes or inbox_nudge is called --- */
struct inbox_pull {
    struct inbox_job job;
    uint64_t after_seq;
    uint64_t max;
    bool wait;
    struct buffer entries; /* line_pulled_entry fields, appended on the worker */
    uint64_t count;
    uint64_t depth;
    int64_t oldest_ms;
};
VRS_CHECK enum vrs_err inbox_submit_pull(struct inbox *in, struct inbox_pull *p,
                                         void (*done)(struct worker_job *));
/* Ends a waiting pull with what there is. */
void inbox_nudge(struct inbox *in);

/* --- replay: entries of one municipality, settled ones too; looks at a bounded number of rows at a
 * time so that it never holds up doses: submit again from `last` until `end` --- */
struct inbox_replay {
    struct inbox_job job;
    char municipality[7];
    uint64_t after_seq;
    uint64_t max;
    struct buffer entries;
    uint64_t count;
    uint64_t last;
    bool end;
};
VRS_CHECK enum vrs_err inbox_submit_replay(struct inbox *in, struct inbox_replay *r,
                                           void (*done)(struct worker_job *));

/* --- publish: keeps the signed snapshot and seals to its key from now on --- */
struct inbox_publish {
    struct inbox_job job;
    uint64_t version;
    const void *text; /* owned by the caller */
    size_t len;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    uint8_t inbox_key[CRYPTO_X25519_BYTES];
};
VRS_CHECK enum vrs_err inbox_submit_publish(struct inbox *in, struct inbox_publish *p,
                                            void (*done)(struct worker_job *));

struct inbox_state { /* as of the last commit */
    uint64_t depth;
    int64_t oldest_ms; /* 0: none */
    bool fit;          /* the file takes commits */
};
void inbox_state(const struct inbox *in, struct inbox_state *out);

#endif
