/* Imports: the file is announced and sent in parts (resumable, sealed in the partition), checked
 * (dry run) and committed by import_walk.c; a per-row result file stays. */
#include "vrs-server/residents/imports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/handlers.h"
#include "vrs-server/views.h"

/* What the ledger says beyond the file itself (C77). */
static void import_view_ledger(const struct import *m, json_t *o) {
    (void)json_object_set_new(o, "sha256", json_string(m->sha256));
    (void)json_object_set_new(o, "operator", json_string(m->user));
    (void)json_object_set_new(o, "section", json_string(m->section));
    (void)json_object_set_new(o, "terminal", json_string(m->terminal));
    (void)json_object_set_new(o, "announced_at", view_time(m->made_ms));
    if (m->medium[0] != '\0')
        (void)json_object_set_new(o, "medium_id", json_string(m->medium));
    if (m->approved_by[0] != '\0')
        (void)json_object_set_new(o, "approved_by", json_string(m->approved_by));
    if (m->committed_ms != 0)
        (void)json_object_set_new(o, "committed_at", view_time(m->committed_ms));
    if (m->removed_ms != 0)
        (void)json_object_set_new(o, "removed_at", view_time(m->removed_ms));
    if (m->deletion_ms != 0)
        (void)json_object_set_new(o, "deletion",
                                  json_pack("{s:s,s:o,s:s}", "confirmed_by", m->deletion_by,
                                            "confirmed_at", view_time(m->deletion_ms), "method",
                                            m->deletion_method));
}

json_t *import_view(const struct import *m) {
    char id[33];
    uint64_t parts = (m->size + m->part_bytes - 1) / m->part_bytes;
    record_id_format(&m->id, id);
    json_t *o = json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "import_id", id, "state",
        import_state_name(m->state), "kind", m->kind == IMPORT_RESIDENTS ? "residents" : "doses",
        "file_name", m->file_name, "size", (json_int_t)m->size, "received", (json_int_t)m->received,
        "rows", (json_int_t)m->rows, "new", (json_int_t)m->count[ROW_NEW], "changed",
        (json_int_t)m->count[ROW_CHANGED], "same", (json_int_t)m->count[ROW_SAME], "refused",
        (json_int_t)m->count[ROW_REFUSED], "progress_percent",
        (json_int_t)(parts == 0 ? 0 : 100 * m->parts_done / parts));
    if (o == NULL)
        return NULL;
    enum vrs_err code;
    if (m->error[0] != '\0' && err_by_name(m->error, &code))
        (void)json_object_set_new(o, "error",
                                  json_pack("{s:s,s:s,s:s}", "code", m->error, "detail",
                                            err_detail_ja(code), "column", m->column));
    import_view_ledger(m, o);
    return o;
}

enum vrs_err import_answer(struct inside_request *in, const struct import *m) {
    return inside_json(in, import_view(m));
}

/* --- create --- */

struct create {
    const char *kind, *name, *sha256, *medium, *approver;
    int64_t size;
};

struct open_imports {
    uint64_t count, bytes;
};

static enum vrs_err count_open(struct import *m, void *arg) {
    struct open_imports *o = arg;
    o->count += import_open(m);
    o->bytes += import_open(m) ? m->size : 0;
    return VRS_OK;
}

/* What is announced and never finished holds 個人番号: there is an end to it. */
static enum vrs_err check_quota(struct inside_request *in, struct partition *p, uint64_t size) {
    struct open_imports o = {0};
    enum vrs_err e = import_walk_all(p, count_open, &o);
    if (e != VRS_OK || (o.count < IMPORT_MAX_OPEN && o.bytes + size <= IMPORT_MAX_OPEN_BYTES))
        return e;
    (void)snprintf(
        in->detail_ja, sizeof in->detail_ja,
        "確定されていない取込みが上限（%d件・2GiB）に達しています。確定または破棄してから"
        "やり直してください。%d日間操作のない取込みは自動で消去されます。",
        IMPORT_MAX_OPEN, IMPORT_STAGED_DAYS);
    return ERR_TOO_MANY;
}

/* What came was not the file that was announced: announced again, it may be sent again. */
static enum vrs_err begin_again(struct inside_request *in, struct partition *p, struct import *m) {
    enum vrs_err e = import_file_remove(p, m);
    if (e == VRS_OK)
        e = import_parts_remove(p, &m->id, "preview", m->results);
    if (e == VRS_OK)
        e = check_quota(in, p, m->size);
    m->state = IMPORT_CREATED;
    m->touched_ms = clock_now_ms();
    m->received = m->parts_done = m->rows = m->results = 0;
    memset(m->count, 0, sizeof m->count);
    memset(m->error, 0, sizeof m->error);
    memset(m->column, 0, sizeof m->column);
    return e == VRS_OK ? import_put(p, m, false) : e;
}

static void fill_new(const struct inside_request *in, const struct create *c, struct import *m) {
    *m = (struct import){
        .state = IMPORT_CREATED, .size = (uint64_t)c->size, .part_bytes = IMPORT_PART_BYTES};
    m->kind = strcmp(c->kind, "residents") == 0 ? IMPORT_RESIDENTS : IMPORT_DOSES;
    INSIDE_COPY(m->file_name, c->name);
    INSIDE_COPY(m->sha256, c->sha256);
    for (char *h = m->sha256; *h != '\0'; h++)
        *h = *h >= 'A' && *h <= 'F' ? (char)(*h - 'A' + 'a') : *h;
    INSIDE_COPY(m->user, in->session.user);
    INSIDE_COPY(m->section, in->session.section);
    INSIDE_COPY(m->terminal, in->session.terminal);
    INSIDE_COPY(m->medium, c->medium);
    INSIDE_COPY(m->approved_by, c->approver);
    m->made_ms = m->touched_ms = clock_now_ms();
    record_id_new(&m->id);
}

static enum vrs_err create_run(struct inside_request *in, struct partition *p) {
    const struct create *c = in->own;
    struct import m, same;
    bool any = false;
    fill_new(in, c, &m);
    enum vrs_err e = import_find(p, "hash", m.sha256, &same, &any);
    if (e == VRS_OK && any) { /* the same bytes once: the first receipt */
        in->status = 200;
        if ((same.state == IMPORT_REFUSED && strcmp(same.error, err_name(ERR_F010)) == 0) ||
            same.state == IMPORT_REMOVED)
            e = begin_again(in, p, &same);
        if (e == VRS_OK)
            e = inside_log(in, p, NULL, NULL, 0, 0, "repeated", same.sha256);
        return e == VRS_OK ? import_answer(in, &same) : e;
    }
    if (e == VRS_OK)
        e = import_find(p, "name", m.file_name, &same, &any);
    if (e == VRS_OK && any)
        e = ERR_F003;
    if (e == VRS_OK)
        e = check_quota(in, p, m.size);
    if (e == VRS_OK)
        e = import_put(p, &m, true);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", m.sha256);
    in->status = 201;
    return e == VRS_OK ? import_answer(in, &m) : e;
}

/* Who allowed the medium must be somebody else of the same municipality who may log in. */
static enum vrs_err look_approver(struct inside_request *in, struct partition *registry) {
    const struct create *c = in->own;
    struct account a;
    enum vrs_err e = strcmp(c->approver, in->session.user) == 0
                         ? ERR_BAD_FIELD
                         : account_get(registry, c->approver, &a);
    if (e == VRS_OK &&
        (a.state != ACCOUNT_ACTIVE || strcmp(a.municipality, in->session.municipality) != 0))
        e = ERR_BAD_FIELD;
    secret_wipe(&a, sizeof a);
    return e == ERR_NOT_FOUND ? ERR_BAD_FIELD : e;
}

static void approver_looked_up(struct inside_request *in) {
    if (in->job.err == VRS_OK) {
        inside_run(in, create_run);
        return;
    }
    enum vrs_err e = in->job.err;
    if (e == ERR_BAD_FIELD)
        INSIDE_COPY(in->detail_ja, "承認者（approved_by）には、同じ自治体の本人以外の利用者IDを"
                                   "指定してください。");
    inside_refuse(in, e);
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
        JF_STR("medium_id", false, 100, &c->medium),
        JF_STR("approved_by", false, 63, &c->approver),
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
    if (e == VRS_OK && (c->size < 0 || c->size > IMPORT_MAX_BYTES))
        e = ERR_TOO_LARGE;
    if (e == VRS_OK && !is_sha256(c->sha256))
        e = ERR_BAD_FIELD;
    if (e != VRS_OK)
        inside_refuse(in, e);
    else if (c->approver != NULL)
        inside_step(in, REGISTRY, 0, look_approver, approver_looked_up);
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
        uint64_t n = m->received / m->part_bytes;
        size_t have = (size_t)(m->received % m->part_bytes), room = (size_t)m->part_bytes - have;
        size_t take = len < room ? len : room;
        if (have > 0) {
            e = import_part_get(p, &m->id, "part", n, &tail);
            if (e == VRS_OK)
                e = buffer_put(&tail.text, data, take) ? record_update(p, TABLE_IMPORT_PART, &tail)
                                                       : ERR_MEMORY;
        } else {
            e = import_part_put(p, &m->id, "part", n, data, take);
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
        goto known; /* sent again after a lost answer */
    if (e == VRS_OK && (from > m.received || m.state > IMPORT_RECEIVING))
        e = ERR_CONFLICT;
    if (e == VRS_OK) {
        size_t skip = (size_t)(m.received - from);
        e = keep_part(p, &m, data + skip, len - skip);
    }
    if (e == VRS_OK) {
        m.touched_ms = clock_now_ms();
        m.state = m.received == m.size ? IMPORT_RECEIVED : IMPORT_RECEIVING;
        e = import_put(p, &m, false);
    }
known:
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, "ok", NULL);
    return e == VRS_OK ? import_answer(in, &m) : e;
}

void imports_content(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.content";
    inside_run(in, content_run);
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
    return e == VRS_OK ? import_answer(in, &m) : e;
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
    if (e == VRS_OK && m.state == IMPORT_REMOVED)
        e = ERR_RESULT_GONE;
    for (uint64_t i = 0; e == VRS_OK && i < m.results; i++) {
        e = import_part_get(p, &id, commit ? "result" : "preview", i, &part);
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
