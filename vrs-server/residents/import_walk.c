/* Walking the file of an import: check (dry run) or commit.
 *
 * One part a transaction, so that other work of the partition goes on between them.  The position
 * is stored in each part's transaction: after a crash `:commit` goes on behind the last part that
 * was committed, and nothing is applied twice. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/handlers.h"
#include "vrs-server/residents/import_slice.h"
#include "vrs-server/residents/imports.h"
#include "vrs-server/residents/scanner.h"

enum { MAX_SUBJECTS = 4096 };

struct walk {
    struct pool_job job; /* first */
    struct server *server;
    struct record_id id;
    struct session session;
    struct import import; /* as of the last committed part */
    struct import next;   /* as of the part in flight */
    bool commit;
    bool header_seen, finished;
    enum import_layout layout;
    uint64_t part;       /* next to read */
    uint64_t skip_parts; /* committed before a crash: read again, not applied again */
    struct csv_reader *reader;
    struct import_slice *slice;
    struct crypto_digest *digest;
    struct scanner *scan; /* of the check; NULL none */
    struct buffer results;
    struct import_context context;
    struct import_numbers numbers;
    struct record_id *subject;
    size_t subjects;
};

enum { MAX_WALKS = 16 };
/* Loop thread: at most one an import. */
static struct walk *running[MAX_WALKS];

bool import_is_running(const struct record_id *id) {
    for (size_t i = 0; i < MAX_WALKS; i++) {
        if (running[i] != NULL && record_id_equal(&running[i]->id, id))
            return true;
    }
    return false;
}

static void result_row(struct walk *w, uint64_t number, const struct import_context *x) {
    static const char *const names[] = {"新規", "変更", "同一", "エラー"};
    char row[24];
    (void)snprintf(row, sizeof row, "%" PRIu64, number);
    const char *cells[] = {row, names[x->result], x->column,
                           x->code != VRS_OK ? err_name(x->code) : "",
                           x->code != VRS_OK ? err_detail_ja(x->code) : x->note};
    csv_write_row(&w->results, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof *cells);
}

static enum vrs_err walk_row(const struct csv_row *row, void *arg) {
    struct walk *w = arg;
    const char *column = "";
    if (!w->header_seen) {
        w->header_seen = true;
        enum vrs_err e = import_header(w->import.kind, row, &w->layout, &column);
        if (e != VRS_OK)
            (void)snprintf(w->next.column, sizeof w->next.column, "%s", column);
        return e;
    }
    if (w->part < w->skip_parts)
        return VRS_OK;
    if (w->next.rows >= (uint64_t)w->server->config.import_max_rows)
        return ERR_F008;
    w->next.rows++;
    return import_slice_add(w->slice, row);
}

static enum vrs_err apply_row(const struct csv_row *row, void *arg) {
    struct walk *w = arg;
    struct import_context *x = &w->context;
    enum vrs_err e = import_row(w->layout, row, x);
    if (e != VRS_OK)
        return e;
    w->next.count[x->result]++;
    result_row(w, row->number, x);
    if (x->has_subject && w->subjects < MAX_SUBJECTS)
        w->subject[w->subjects++] = x->subject;
    return VRS_OK;
}

static bool file_fault(enum vrs_err e) {
    return e == ERR_F004 || e == ERR_F005 || e == ERR_F006 || e == ERR_F007 || e == ERR_F008 ||
           e == ERR_F010 || e == ERR_F011 || e == ERR_R180;
}

/* The whole file is wrong: said once, the rows that were counted are forgotten. */
static void refuse_file(struct walk *w, enum vrs_err e) {
    w->next.state = IMPORT_REFUSED;
    (void)snprintf(w->next.error, sizeof w->next.error, "%s", err_name(e));
    w->finished = true;
}

/* The check scans; what is committed has the same bytes, by their hash (C144). */
static enum vrs_err scan_ended(struct walk *w) {
    char finding[64];
    enum vrs_err e = scanner_verdict(w->scan, finding);
    if (e == ERR_F011) {
        log_event(LOG_ERROR, "import.malware_found", LF_STR("municipality", w->job.municipality),
                  LF_STR("finding", finding));
        alert_note(w->server, "malware_found", w->job.municipality);
    }
    return e;
}

static enum vrs_err end_of_file(struct walk *w) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    enum vrs_err e = csv_end(w->reader);
    if (e != VRS_OK)
        return e;
    crypto_digest_close(&w->digest, hash);
    crypto_hex(hash, sizeof hash, hex);
    if (strcmp(hex, w->import.sha256) != 0)
        return ERR_F010;
    if (w->next.rows == 0)
        return ERR_F004;
    if ((e = scan_ended(w)) != VRS_OK)
        return e;
    w->finished = true;
    w->next.state = w->commit ? IMPORT_COMMITTED : IMPORT_CHECKED;
    return VRS_OK;
}

static enum vrs_err log_slice(struct walk *w, struct partition *p) {
    const struct log_entry entry = {.actor = {.user = w->session.user,
                                              .section = w->session.section,
                                              .terminal = w->session.terminal,
                                              .source = "lgwan"},
                                    .act = w->commit ? "import.commit_rows" : "import.check_rows",
                                    .purpose = "vaccination_record",
                                    .result = import_state_name(w->next.state),
                                    .count = w->subjects,
                                    .subjects = w->subject,
                                    .subject_count = w->subjects};
    return access_log_append(p, &entry, NULL);
}

/* Takes one part: rows, numbers, results, position, log entry; all or nothing. */
static enum vrs_err walk_part(struct walk *w, struct partition *p, struct record *part) {
    struct import_context *x = &w->context;
    x->partition = p;
    x->worker_index = w->job.worker_index;
    w->next = w->import;
    w->subjects = 0;
    buffer_clear(&w->results);
    enum vrs_err e = import_part_get(p, &w->id, "part", w->part, part);
    if (e != VRS_OK)
        return e;
    crypto_digest_add(w->digest, part->text.data, part->text.len);
    e = csv_feed(w->reader, part->text.data, part->text.len);
    if (e == VRS_OK)
        e = scanner_feed(w->scan, part->text.data, part->text.len);
    w->next.parts_done = w->part + 1;
    if (e == VRS_OK && (w->part + 1) * w->import.part_bytes >= w->import.size)
        e = end_of_file(w);
    if (file_fault(e)) {
        /* Found while committing, what came before stands: the check should have found it. */
        refuse_file(w, e);
        e = VRS_OK;
    }
    if (e == VRS_OK)
        e = import_slice_run(w->slice, w->layout, x, apply_row, w);
    if (e == VRS_OK && w->commit)
        e = import_put_numbers(x);
    if (e == VRS_OK && w->commit)
        e = tally_batch_flush(x->tally, p);
    if (e == VRS_OK && w->results.len > 0)
        e = import_part_put(p, &w->id, w->commit ? "result" : "preview", w->next.results++,
                            w->results.data, w->results.len);
    w->next.touched_ms = clock_now_ms();
    if (w->next.state == IMPORT_COMMITTED)
        w->next.committed_ms = w->next.touched_ms;
    /* C114: the staged file goes; so does one that is refused whole: it has to be sent again. */
    if (e == VRS_OK && (w->next.state == IMPORT_COMMITTED || w->next.state == IMPORT_REFUSED))
        e = import_file_remove(p, &w->next);
    if (e == VRS_OK && w->part >= w->skip_parts)
        e = import_put(p, &w->next, false);
    if (e == VRS_OK && w->part >= w->skip_parts)
        e = log_slice(w, p);
    return e;
}

static enum vrs_err walk_run(struct pool_job *job, struct partition *p) {
    struct walk *w = (struct walk *)job;
    struct record part;
    record_init(&part);
    enum vrs_err e = walk_part(w, p, &part);
    record_fini(&part);
    return e;
}

static void walk_close(struct walk *w) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    for (size_t i = 0; i < MAX_WALKS; i++) {
        if (running[i] == w)
            running[i] = NULL;
    }
    csv_reader_close(&w->reader);
    import_slice_close(&w->slice);
    if (w->digest != NULL)
        crypto_digest_close(&w->digest, hash);
    scanner_close(&w->scan);
    tally_batch_close(&w->context.tally);
    buffer_fini(&w->results);
    free(w->subject);
    secret_wipe(w, sizeof *w);
    free(w);
}

static void walk_done(struct pool_job *job) {
    struct walk *w = (struct walk *)job;
    if (job->err != VRS_OK) {
        /* The position is stored: `:commit` or `:check` goes on from there. */
        if (job->err == ERR_SCANNER_AWAY)
            alert_state(w->server, "scanner_away", "clamd", true);
        if (job->err == ERR_STORAGE || job->err == ERR_UNKNOWN)
            alert_note(w->server, "storage_failing", job->municipality);
        log_fault(LOG_ERROR, "import.stopped", &job->fault);
        walk_close(w);
        return;
    }
    if (w->part >= w->skip_parts)
        w->import = w->next;
    w->part++;
    if (w->finished) {
        log_event(LOG_INFO, "import.finished", LF_STR("municipality", job->municipality),
                  LF_STR("state", import_state_name(w->import.state)),
                  LF_INT("rows", w->import.rows));
        if (w->context.waiting_settled)
            line_out_kick(w->server->line, job->municipality);
        walk_close(w);
        return;
    }
    job->err = VRS_OK;
    if (pool_submit(w->server->pool, job) != VRS_OK)
        walk_close(w);
}

/* The request's own part: state and position for the phase, committed before the walk starts. */
struct start {
    struct import import;
    bool commit;
    bool resume;
    bool finished; /* nothing to do: done before */
    struct scanner *scan;
};

static enum vrs_err start_run(struct inside_request *in, struct partition *p) {
    struct start *s = in->own;
    struct import *m = &s->import;
    struct record_id id;
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = import_get(p, &id, m);
    if (e != VRS_OK)
        return e;
    s->finished = m->state == IMPORT_COMMITTED ||
                  (!s->commit && (m->state == IMPORT_CHECKED || m->state == IMPORT_REFUSED));
    s->resume = s->commit && m->state == IMPORT_COMMITTING;
    bool may = s->commit ? m->state == IMPORT_CHECKED || s->resume
                         : m->state == IMPORT_RECEIVED || m->state == IMPORT_CHECKING;
    if (!may && !s->finished) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja, "%s",
                       s->commit
                           ? "先に確認（:check）を実行し、結果を確かめてから確定してください。"
                       : m->state == IMPORT_REMOVED
                           ? "このファイルは消去されています。もう一度届け出て送信してください。"
                           : "ファイルの送信が終わっていません。続きを送信してください。");
        return ERR_CONFLICT;
    }
    if (!s->finished && !s->resume) {
        e = import_parts_remove(p, &m->id, "preview", m->results);
        m->state = s->commit ? IMPORT_COMMITTING : IMPORT_CHECKING;
        m->parts_done = m->rows = m->results = 0;
        memset(m->count, 0, sizeof m->count);
        memset(m->error, 0, sizeof m->error);
        memset(m->column, 0, sizeof m->column);
        if (e == VRS_OK)
            e = import_put(p, m, false);
        scanner_close(&s->scan); /* of an earlier run */
        if (e == VRS_OK && !s->commit)
            e = scanner_open(in->server->config.import_scanner_socket, &s->scan);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, import_state_name(m->state), m->sha256);
    in->status = s->finished ? 200 : 202;
    return e == VRS_OK ? import_answer(in, m) : e;
}

static struct walk *walk_open(struct inside_request *in, const struct start *s) {
    struct walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->server = in->server;
    w->id = s->import.id;
    w->import = s->import;
    w->session = in->session;
    w->commit = s->commit;
    w->skip_parts = s->resume ? s->import.parts_done : 0;
    buffer_init(&w->results, 8 << 20);
    w->context.server = in->server;
    w->context.who = (struct log_actor){.user = w->session.user,
                                        .section = w->session.section,
                                        .terminal = w->session.terminal,
                                        .source = "lgwan"};
    w->context.commit = s->commit;
    w->context.numbers = s->commit ? &w->numbers : NULL;
    w->context.tally = tally_batch_open();
    w->subject = calloc(MAX_SUBJECTS, sizeof *w->subject);
    w->reader = csv_reader_open(walk_row, w);
    w->slice = import_slice_open();
    w->digest = crypto_digest_open();
    memcpy(w->job.municipality, in->session.municipality, sizeof w->job.municipality);
    w->job.flags = POOL_LATER;
    w->job.run = walk_run;
    w->job.done = walk_done;
    if (w->context.tally == NULL || w->subject == NULL || w->reader == NULL || w->slice == NULL ||
        w->digest == NULL) {
        walk_close(w);
        return NULL;
    }
    return w;
}

static void started(struct inside_request *in) {
    struct start *s = in->own;
    size_t slot = 0;
    if (in->job.err == ERR_SCANNER_AWAY || s->scan != NULL)
        alert_state(in->server, "scanner_away", "clamd", in->job.err == ERR_SCANNER_AWAY);
    if (in->job.err != VRS_OK || s->finished || import_is_running(&s->import.id)) {
        scanner_close(&s->scan);
        inside_answer(in, in->job.err);
        return;
    }
    while (slot < MAX_WALKS && running[slot] != NULL)
        slot++;
    struct walk *w = slot < MAX_WALKS ? walk_open(in, s) : NULL;
    if (w == NULL) {
        scanner_close(&s->scan);
        inside_answer(in, ERR_BUSY);
        return;
    }
    w->scan = s->scan;
    running[slot] = w;
    if (pool_submit(in->server->pool, &w->job) != VRS_OK) {
        walk_close(w);
        inside_answer(in, ERR_BUSY);
        return;
    }
    inside_answer(in, VRS_OK);
}

static void start(struct http_request *rq, bool commit) {
    struct inside_request *in = inside_of(rq);
    struct start *s = arena_alloc(http_arena(rq), sizeof *s);
    struct record_id id;
    in->act = commit ? "import.commit" : "import.check";
    in->own = s;
    enum vrs_err e = s != NULL ? inside_id(in, "id", &id) : ERR_MEMORY;
    if (e == VRS_OK && import_is_running(&id))
        e = ERR_IN_PROGRESS;
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    s->commit = commit;
    inside_step(in, in->session.municipality, 0, start_run, started);
}

void imports_check(struct http_request *rq) {
    start(rq, false);
}

void imports_commit(struct http_request *rq) {
    start(rq, true);
}
