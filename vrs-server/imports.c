/* Imports in two phases: the file is sent in parts (resumable, sealed in the partition), checked
 * (dry run), then committed; a per-row result file stays.
 *
 *   created ─► receiving ─► received ─► checking ─► checked ─► committing ─► committed
 *                                          └─► refused (header, encoding, hash)
 *
 * Checking and committing walk the parts, one part a transaction, so that other work of the
 * partition goes on between them.  The position is stored in each part's transaction: after a crash
 * `:commit` goes on behind the last part that was committed, and nothing is applied twice. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/text.h"
#include "partitions/fields.h"
#include "vrs-server/handlers.h"
#include "vrs-server/import_rows.h"
#include "vrs-server/line_out.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

enum { PART_BYTES = 64 << 10, MAX_FILE_BYTES = 1 << 30, MAX_SUBJECTS = 4096 };

enum import_state {
    IMPORT_CREATED = 1,
    IMPORT_RECEIVING,
    IMPORT_RECEIVED,
    IMPORT_CHECKING,
    IMPORT_CHECKED,
    IMPORT_COMMITTING,
    IMPORT_COMMITTED,
    IMPORT_REFUSED,
};
static const char *const state_names[] = {
    [IMPORT_CREATED] = "created",     [IMPORT_RECEIVING] = "receiving",
    [IMPORT_RECEIVED] = "received",   [IMPORT_CHECKING] = "checking",
    [IMPORT_CHECKED] = "checked",     [IMPORT_COMMITTING] = "committing",
    [IMPORT_COMMITTED] = "committed", [IMPORT_REFUSED] = "refused",
};

struct import {
    struct record_id id;
    enum import_state state;
    enum import_kind kind;
    char file_name[256];
    char sha256[65];
    char user[64];
    uint64_t size, received;
    uint64_t parts_done;               /* of the phase: position after a crash */
    uint64_t rows, count[ROW_RESULTS]; /* of the phase */
    uint64_t results;                  /* result parts written */
    int64_t made_ms;
    char error[16], column[64]; /* refused: code and column */
};

static const struct field members[] = {
    FIELD(1, FIELD_I32, struct import, kind),
    FIELD(2, FIELD_TEXT, struct import, file_name),
    FIELD(3, FIELD_TEXT, struct import, sha256),
    FIELD(4, FIELD_TEXT, struct import, user),
    FIELD(5, FIELD_I64, struct import, size),
    FIELD(6, FIELD_I64, struct import, received),
    FIELD(7, FIELD_I64, struct import, parts_done),
    FIELD(8, FIELD_I64, struct import, rows),
    FIELD(9, FIELD_I64, struct import, count[ROW_NEW]),
    FIELD(10, FIELD_I64, struct import, count[ROW_CHANGED]),
    FIELD(11, FIELD_I64, struct import, count[ROW_SAME]),
    FIELD(12, FIELD_I64, struct import, count[ROW_REFUSED]),
    FIELD(13, FIELD_I64, struct import, results),
    FIELD(14, FIELD_I64, struct import, made_ms),
    FIELD(15, FIELD_TEXT, struct import, error),
    FIELD(16, FIELD_TEXT, struct import, column),
    {0},
};

/* --- stored --- */

static enum vrs_err import_decode(const struct record *r, struct import *m) {
    memset(m, 0, sizeof *m);
    m->id = r->id;
    m->state = (enum import_state)r->state;
    return fields_decode(members, &r->text, m);
}

static enum vrs_err import_get(struct partition *p, const struct record_id *id,
                               struct import *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_IMPORT, id, &r);
    if (e == VRS_OK)
        e = import_decode(&r, out);
    record_fini(&r);
    return e;
}

static enum vrs_err import_put(struct partition *p, const struct import *m, bool insert) {
    struct record r;
    record_init(&r);
    enum vrs_err e = insert ? VRS_OK : record_get(p, TABLE_IMPORT, &m->id, &r);
    if (e == VRS_OK && insert) {
        r.id = m->id;
        e = partition_blind(p, "import_hash", m->sha256, strlen(m->sha256), &r.index[0]);
        if (e == VRS_OK)
            e = partition_blind(p, "import_name", m->file_name, strlen(m->file_name), &r.index[1]);
    }
    buffer_clear(&r.text);
    fields_encode(members, m, &r.text);
    r.state = m->state;
    if (e == VRS_OK)
        e = insert ? record_insert(p, TABLE_IMPORT, &r) : record_update(p, TABLE_IMPORT, &r);
    record_fini(&r);
    return e;
}

/* Parts have ids that follow from the import's, so that one can be read without the others. */
static void part_id(const struct record_id *import, const char *what, uint64_t n,
                    struct record_id *out) {
    char text[80], hex[33];
    uint8_t hash[CRYPTO_HASH_BYTES];
    record_id_format(import, hex);
    int len = snprintf(text, sizeof text, "%s/%s/%" PRIu64, hex, what, n);
    crypto_sha256(text, (size_t)len, hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

static enum vrs_err part_put(struct partition *p, const struct record_id *import, const char *what,
                             uint64_t n, const void *data, size_t len) {
    struct record r;
    record_init(&r);
    part_id(import, what, n, &r.id);
    store_index_id(import, &r.index[0]);
    r.order = n;
    enum vrs_err e = buffer_put(&r.text, data, len) ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = record_insert(p, TABLE_IMPORT_PART, &r);
    record_fini(&r);
    return e;
}

static enum vrs_err part_get(struct partition *p, const struct record_id *import, const char *what,
                             uint64_t n, struct record *out) {
    struct record_id id;
    part_id(import, what, n, &id);
    return record_get(p, TABLE_IMPORT_PART, &id, out);
}

static enum vrs_err parts_remove(struct partition *p, const struct record_id *import,
                                 const char *what, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        struct record_id id;
        part_id(import, what, i, &id);
        enum vrs_err e = record_remove(p, TABLE_IMPORT_PART, &id);
        if (e != VRS_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return VRS_OK;
}

static enum vrs_err answer_import(struct inside_request *in, const struct import *m) {
    char id[33];
    uint64_t parts = (m->size + PART_BYTES - 1) / PART_BYTES;
    record_id_format(&m->id, id);
    json_t *o = json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "import_id", id, "state",
        state_names[m->state], "kind", m->kind == IMPORT_RESIDENTS ? "residents" : "doses",
        "file_name", m->file_name, "size", (json_int_t)m->size, "received", (json_int_t)m->received,
        "rows", (json_int_t)m->rows, "new", (json_int_t)m->count[ROW_NEW], "changed",
        (json_int_t)m->count[ROW_CHANGED], "same", (json_int_t)m->count[ROW_SAME], "refused",
        (json_int_t)m->count[ROW_REFUSED], "progress_percent",
        (json_int_t)(parts == 0 ? 0 : 100 * m->parts_done / parts));
    if (o == NULL)
        return ERR_MEMORY;
    enum vrs_err code;
    if (m->error[0] != '\0' && err_by_name(m->error, &code))
        (void)json_object_set_new(o, "error",
                                  json_pack("{s:s,s:s,s:s}", "code", m->error, "detail",
                                            err_detail_ja(code), "column", m->column));
    return inside_json(in, o);
}

/* --- create --- */

struct create {
    const char *kind, *name, *sha256;
    int64_t size;
};

struct same_file {
    struct import found;
    bool any;
};

static enum vrs_err see_import(struct record *r, void *arg) {
    struct same_file *s = arg;
    s->any = true;
    return import_decode(r, &s->found);
}

static enum vrs_err find_import(struct partition *p, int index, const char *kind, const char *value,
                                struct same_file *out) {
    struct store_index blind;
    memset(out, 0, sizeof *out);
    enum vrs_err e = partition_blind(p, kind, value, strlen(value), &blind);
    return e == VRS_OK ? record_find(p, TABLE_IMPORT, index, &blind, see_import, out) : e;
}

/* What came was not the file that was announced: announced again, it may be sent again. */
static enum vrs_err begin_again(struct partition *p, struct import *m) {
    enum vrs_err e = parts_remove(p, &m->id, "part", (m->received + PART_BYTES - 1) / PART_BYTES);
    if (e == VRS_OK)
        e = parts_remove(p, &m->id, "preview", m->results);
    m->state = IMPORT_CREATED;
    m->received = m->parts_done = m->rows = m->results = 0;
    memset(m->count, 0, sizeof m->count);
    memset(m->error, 0, sizeof m->error);
    memset(m->column, 0, sizeof m->column);
    return e == VRS_OK ? import_put(p, m, false) : e;
}

static enum vrs_err create_run(struct inside_request *in, struct partition *p) {
    const struct create *c = in->own;
    struct same_file same;
    struct import m = {.state = IMPORT_CREATED, .size = (uint64_t)c->size};
    m.kind = strcmp(c->kind, "residents") == 0 ? IMPORT_RESIDENTS : IMPORT_DOSES;
    (void)snprintf(m.file_name, sizeof m.file_name, "%s", c->name);
    (void)snprintf(m.sha256, sizeof m.sha256, "%s", c->sha256);
    for (char *h = m.sha256; *h != '\0'; h++)
        *h = *h >= 'A' && *h <= 'F' ? (char)(*h - 'A' + 'a') : *h;
    (void)snprintf(m.user, sizeof m.user, "%s", in->session.user);
    m.made_ms = clock_now_ms();
    record_id_new(&m.id);
    enum vrs_err e = find_import(p, 0, "import_hash", m.sha256, &same);
    if (e == VRS_OK && same.any) { /* the same bytes once: the first receipt */
        in->status = 200;
        if (same.found.state == IMPORT_REFUSED && strcmp(same.found.error, err_name(ERR_F010)) == 0)
            e = begin_again(p, &same.found);
        if (e != VRS_OK)
            return e;
        e = inside_log(in, p, NULL, NULL, 0, 0, "repeated", NULL);
        return e == VRS_OK ? answer_import(in, &same.found) : e;
    }
    if (e == VRS_OK)
        e = find_import(p, 1, "import_name", m.file_name, &same);
    if (e == VRS_OK && same.any)
        e = ERR_F003;
    if (e == VRS_OK)
        e = import_put(p, &m, true);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", m.sha256);
    in->status = 201;
    return e == VRS_OK ? answer_import(in, &m) : e;
}

static bool is_sha256(const char *s) {
    uint8_t bytes[CRYPTO_HASH_BYTES];
    return strlen(s) == 2 * sizeof bytes && crypto_unhex(s, bytes, sizeof bytes);
}

void imports_create(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct create *c = arena_alloc(http_arena(rq), sizeof *c);
    in->act = "import.create";
    in->own = c;
    if (c == NULL) {
        inside_answer(in, ERR_MEMORY);
        return;
    }
    const struct json_field fields[] = {
        JF_STR("kind", true, 20, &c->kind),
        JF_STR("file_name", true, 200, &c->name),
        JF_INT("size", true, &c->size),
        JF_STR("sha256", true, 64, &c->sha256),
        JF_END,
    };
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && strcmp(c->kind, "residents") != 0 && strcmp(c->kind, "doses") != 0) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "kindはresidents（住民）またはdoses（接種記録）を指定してください。");
        e = ERR_BAD_FIELD;
    }
    if (e == VRS_OK && (c->name[0] == '\0' || strpbrk(c->name, "/\\") != NULL))
        e = ERR_F001;
    if (e == VRS_OK && c->size == 0)
        e = ERR_F004;
    if (e == VRS_OK && (c->size < 0 || c->size > MAX_FILE_BYTES))
        e = ERR_TOO_LARGE;
    if (e == VRS_OK && !is_sha256(c->sha256))
        e = ERR_BAD_FIELD;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_run(in, create_run);
}

/* --- content: parts in order; a part that is there already changes nothing --- */

static enum vrs_err read_range(const struct inside_request *in, uint64_t size, size_t len,
                               uint64_t *from) {
    const char *range = http_header(in->rq, "Content-Range");
    uint64_t to, total;
    *from = 0;
    if (range == NULL)
        return len == size ? VRS_OK : ERR_F010;
    const char *p = range + strlen("bytes ");
    bool good = text_starts_with(range, "bytes ") && text_u64(&p, size, from) && *p++ == '-' &&
                text_u64(&p, size, &to) && *p++ == '/' && text_u64(&p, size, &total) && *p == '\0';
    if (!good || total != size || *from > to || to - *from + 1 != len || to >= total)
        return ERR_BAD_REQUEST;
    return VRS_OK;
}

static enum vrs_err keep_part(struct partition *p, struct import *m, const uint8_t *data,
                              size_t len) {
    /* Stored parts have one size; what is short of it waits in the last one. */
    struct record tail;
    enum vrs_err e = VRS_OK;
    record_init(&tail);
    while (len > 0 && e == VRS_OK) {
        uint64_t n = m->received / PART_BYTES;
        size_t have = (size_t)(m->received % PART_BYTES);
        size_t take = len < PART_BYTES - have ? len : PART_BYTES - have;
        if (have > 0) {
            e = part_get(p, &m->id, "part", n, &tail);
            if (e == VRS_OK)
                e = buffer_put(&tail.text, data, take) ? record_update(p, TABLE_IMPORT_PART, &tail)
                                                       : ERR_MEMORY;
        } else {
            e = part_put(p, &m->id, "part", n, data, take);
        }
        m->received += take;
        data += take;
        len -= take;
    }
    record_fini(&tail);
    return e;
}

static enum vrs_err content_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct import m;
    size_t len;
    uint64_t from;
    const uint8_t *data = http_body(in->rq, &len);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = import_get(p, &id, &m);
    if (e == VRS_OK)
        e = read_range(in, m.size, len, &from);
    if (e == VRS_OK && from + len <= m.received)
        return answer_import(in, &m); /* sent again after a lost answer */
    if (e == VRS_OK && (from > m.received || m.state > IMPORT_RECEIVING))
        e = ERR_CONFLICT;
    if (e == VRS_OK) {
        size_t skip = (size_t)(m.received - from);
        e = keep_part(p, &m, data + skip, len - skip);
    }
    if (e == VRS_OK) {
        m.state = m.received == m.size ? IMPORT_RECEIVED : IMPORT_RECEIVING;
        e = import_put(p, &m, false);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", NULL);
    return e == VRS_OK ? answer_import(in, &m) : e;
}

void imports_content(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.content";
    inside_run(in, content_run);
}

/* --- walking the file: check or commit --- */

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
    struct crypto_digest *digest;
    struct buffer results;
    struct import_context context;
    struct import_numbers numbers;
    struct record_id *subject;
    size_t subjects;
};

enum { MAX_WALKS = 16 };
/* Loop thread: at most one an import. */
static struct walk *running[MAX_WALKS];

static bool is_running(const struct record_id *id) {
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
    struct import_context *x = &w->context;
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
    enum vrs_err e = import_row(w->layout, row, x);
    if (e != VRS_OK)
        return e;
    w->next.rows++;
    w->next.count[x->result]++;
    result_row(w, row->number, x);
    if (x->has_subject && w->subjects < MAX_SUBJECTS)
        w->subject[w->subjects++] = x->subject;
    return VRS_OK;
}

static bool file_fault(enum vrs_err e) {
    return e == ERR_F004 || e == ERR_F005 || e == ERR_F006 || e == ERR_F007 || e == ERR_F008 ||
           e == ERR_F010 || e == ERR_R180;
}

/* The whole file is wrong: said once, the rows that were counted are forgotten. */
static void refuse_file(struct walk *w, enum vrs_err e) {
    w->next.state = IMPORT_REFUSED;
    (void)snprintf(w->next.error, sizeof w->next.error, "%s", err_name(e));
    w->finished = true;
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
    w->finished = true;
    w->next.state = w->commit ? IMPORT_COMMITTED : IMPORT_CHECKED;
    return VRS_OK;
}

static enum vrs_err log_slice(struct walk *w, struct partition *p) {
    const struct log_entry entry = {.actor = {.user = w->session.user,
                                              .section = w->session.section,
                                              .terminal = w->session.terminal,
                                              .source = "lgwan"},
                                    .act = w->commit ? "import.commit" : "import.check",
                                    .purpose = "vaccination_record",
                                    .result = state_names[w->next.state],
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
    enum vrs_err e = part_get(p, &w->id, "part", w->part, part);
    if (e != VRS_OK)
        return e;
    crypto_digest_add(w->digest, part->text.data, part->text.len);
    e = csv_feed(w->reader, part->text.data, part->text.len);
    w->next.parts_done = w->part + 1;
    if (e == VRS_OK && (w->part + 1) * (uint64_t)PART_BYTES >= w->import.size)
        e = end_of_file(w);
    if (file_fault(e)) {
        /* Found while committing, what came before stands: the check should have found it. */
        refuse_file(w, e);
        e = VRS_OK;
    }
    if (e == VRS_OK && w->commit)
        e = import_put_numbers(x);
    if (e == VRS_OK && w->commit)
        e = tally_batch_flush(x->tally, p);
    if (e == VRS_OK && w->results.len > 0)
        e = part_put(p, &w->id, w->commit ? "result" : "preview", w->next.results++,
                     w->results.data, w->results.len);
    if (e == VRS_OK && w->next.state == IMPORT_COMMITTED) /* C114: the staged file goes */
        e = parts_remove(p, &w->id, "part", w->next.parts_done);
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
    if (w->digest != NULL)
        crypto_digest_close(&w->digest, hash);
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
        log_fault(LOG_ERROR, "import.stopped", &job->fault);
        walk_close(w);
        return;
    }
    if (w->part >= w->skip_parts)
        w->import = w->next;
    w->part++;
    if (w->finished) {
        log_event(LOG_INFO, "import.finished", LF_STR("municipality", job->municipality),
                  LF_STR("state", state_names[w->import.state]), LF_INT("rows", w->import.rows));
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
    s->finished = m->state == IMPORT_COMMITTED || (!s->commit && m->state == IMPORT_CHECKED);
    s->resume = s->commit && m->state == IMPORT_COMMITTING;
    bool may = s->commit ? m->state == IMPORT_CHECKED || s->resume
                         : m->state == IMPORT_RECEIVED || m->state == IMPORT_CHECKING ||
                               m->state == IMPORT_REFUSED;
    if (!may && !s->finished) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja, "%s",
                       s->commit
                           ? "先に確認（:check）を実行し、結果を確かめてから確定してください。"
                           : "ファイルの送信が終わっていません。続きを送信してください。");
        return ERR_CONFLICT;
    }
    if (!s->finished && !s->resume) {
        e = parts_remove(p, &m->id, "preview", m->results);
        m->state = s->commit ? IMPORT_COMMITTING : IMPORT_CHECKING;
        m->parts_done = m->rows = m->results = 0;
        memset(m->count, 0, sizeof m->count);
        memset(m->error, 0, sizeof m->error);
        memset(m->column, 0, sizeof m->column);
        if (e == VRS_OK)
            e = import_put(p, m, false);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, state_names[m->state], m->sha256);
    in->status = s->finished ? 200 : 202;
    return e == VRS_OK ? answer_import(in, m) : e;
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
    w->digest = crypto_digest_open();
    memcpy(w->job.municipality, in->session.municipality, sizeof w->job.municipality);
    w->job.run = walk_run;
    w->job.done = walk_done;
    if (w->context.tally == NULL || w->subject == NULL || w->reader == NULL || w->digest == NULL) {
        walk_close(w);
        return NULL;
    }
    return w;
}

static void started(struct inside_request *in) {
    const struct start *s = in->own;
    size_t slot = 0;
    if (in->job.err != VRS_OK || s->finished || is_running(&s->import.id)) {
        inside_answer(in, in->job.err);
        return;
    }
    while (slot < MAX_WALKS && running[slot] != NULL)
        slot++;
    struct walk *w = slot < MAX_WALKS ? walk_open(in, s) : NULL;
    if (w == NULL) {
        inside_answer(in, ERR_BUSY);
        return;
    }
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
    if (e == VRS_OK && is_running(&id))
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

/* --- looking --- */

static enum vrs_err get_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct import m;
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = import_get(p, &id, &m);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", NULL);
    return e == VRS_OK ? answer_import(in, &m) : e;
}

void imports_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.read";
    inside_run(in, get_run);
}

static enum vrs_err add_result(const struct csv_row *row, void *arg) {
    if (row->number == 1 || row->cells != 5)
        return VRS_OK; /* the header */
    json_t *o = json_pack("{s:I,s:s,s:s,s:s,s:s}", "row",
                          (json_int_t)strtoll(row->cell[0], NULL, 10), "result", row->cell[1],
                          "column", row->cell[2], "code", row->cell[3], "message", row->cell[4]);
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

/* The same rows for programs. */
static enum vrs_err results_as_json(struct inside_request *in) {
    json_t *rows = json_array();
    struct csv_reader *reader = csv_reader_open(add_result, rows);
    enum vrs_err e =
        reader != NULL ? csv_feed(reader, in->answer.data, in->answer.len) : ERR_MEMORY;
    if (e == VRS_OK)
        e = csv_end(reader);
    csv_reader_close(&reader);
    buffer_clear(&in->answer);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:O}", "rows", rows));
    json_decref(rows);
    return e;
}

static enum vrs_err results_run(struct inside_request *in, struct partition *p) {
    const char *accept = http_header(in->rq, "Accept");
    static const char *const header[] = {"行", "結果", "列", "コード", "メッセージ"};
    struct record_id id;
    struct import m;
    struct record part;
    record_init(&part);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = import_get(p, &id, &m);
    csv_write_bom(&in->answer, CSV_FOR_PEOPLE);
    csv_write_row(&in->answer, CSV_FOR_PEOPLE, header, sizeof header / sizeof *header);
    bool commit = e == VRS_OK && (m.state == IMPORT_COMMITTING || m.state == IMPORT_COMMITTED);
    for (uint64_t i = 0; e == VRS_OK && i < m.results; i++) {
        e = part_get(p, &id, commit ? "result" : "preview", i, &part);
        if (e == VRS_OK && !buffer_put(&in->answer, part.text.data, part.text.len))
            e = ERR_TOO_LARGE;
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, m.rows, "ok", NULL);
    if (accept != NULL && strstr(accept, "application/json") != NULL)
        e = e == VRS_OK ? results_as_json(in) : e;
    else
        in->content_type = "text/csv; charset=utf-8";
    record_fini(&part);
    return e;
}

void imports_results(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.results";
    inside_run(in, results_run);
}

/* --- erasure: a file that is not committed yet may hold the person --- */

struct holding {
    struct partition *partition;
    struct erased *erased;
    const struct record_id *import;
    struct buffer carry; /* the end of the part before: a word may stand over the edge */
    bool holds;
    struct record_id last;
    size_t seen;
};

enum { CARRY_BYTES = 64 };

static enum vrs_err look_at_part(struct record *r, void *arg) {
    struct holding *h = arg;
    size_t tail = r->text.len < CARRY_BYTES ? r->text.len : CARRY_BYTES;
    bool ok = buffer_put(&h->carry, r->text.data, tail); /* the beginning of this one behind it */
    h->holds |= erased_in(h->erased, h->carry.data, h->carry.len) ||
                erased_in(h->erased, r->text.data, r->text.len);
    buffer_clear(&h->carry);
    ok = ok && buffer_put(&h->carry, r->text.data + r->text.len - tail, tail);
    return ok ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err look_at_import(struct record *r, void *arg) {
    struct holding *h = arg;
    struct store_index index;
    h->last = r->id;
    h->seen++;
    if (r->state == IMPORT_COMMITTED)
        return VRS_OK; /* its content is gone; results name rows, not people */
    h->holds = false;
    buffer_clear(&h->carry);
    store_index_id(&r->id, &index);
    enum vrs_err e = record_find(h->partition, TABLE_IMPORT_PART, 0, &index, look_at_part, h);
    if (e != VRS_OK || !h->holds)
        return e;
    if (r->state == IMPORT_COMMITTING || r->state == IMPORT_CHECKING)
        return ERR_CONFLICT; /* first one, then the other */
    uint64_t imports = h->erased->count[ERASED_IMPORT];
    e = erase_rows_of(h->partition, TABLE_IMPORT_PART, 0, &r->id, ERASED_IMPORT, h->erased);
    if (e == VRS_OK)
        e = erase_row(h->partition, TABLE_IMPORT, &r->id, ERASED_IMPORT, h->erased);
    h->erased->count[ERASED_IMPORT] = imports + 1;
    return e;
}

enum vrs_err imports_erase(struct partition *p, struct erased *x) {
    struct holding h = {.partition = p, .erased = x, .seen = MAX_WALKS};
    enum vrs_err e = VRS_OK;
    buffer_init(&h.carry, 2 * CARRY_BYTES);
    for (bool first = true; e == VRS_OK && h.seen == MAX_WALKS; first = false) {
        struct record_id after = h.last;
        h.seen = 0;
        e = record_walk(p, TABLE_IMPORT, first ? NULL : &after, MAX_WALKS, look_at_import, &h);
    }
    buffer_fini(&h.carry);
    return e;
}
