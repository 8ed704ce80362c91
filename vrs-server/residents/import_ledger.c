/* The ledger of imports (媒体管理簿, C77): what came in, from which medium, allowed and carried in by
 * whom, what became of it, and that the data on the medium is gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/handlers.h"
#include "vrs-server/residents/imports.h"

enum { PAGE = 200, MOST = 20000 };

/* --- the list, newest first --- */

struct ledger {
    struct import *list;
    size_t count, cap;
};

static enum vrs_err add_import(struct import *m, void *arg) {
    struct ledger *l = arg;
    if (l->count == MOST)
        return ERR_TOO_LARGE;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        struct import *grown = reallocarray(l->list, cap, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        l->list = grown;
        l->cap = cap;
    }
    l->list[l->count++] = *m;
    return VRS_OK;
}

static int newest_first(const void *a, const void *b) {
    const struct import *x = a, *y = b;
    if (x->made_ms != y->made_ms)
        return x->made_ms < y->made_ms ? 1 : -1;
    return memcmp(x->id.bytes, y->id.bytes, sizeof x->id.bytes);
}

/* ?after: how many have been shown. */
static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    const char *after = http_query(in->rq, "after");
    struct ledger l = {0};
    uint64_t from = 0;
    char next[24] = "";
    json_t *rows = json_array();
    enum vrs_err e = after == NULL || (text_u64(&after, MOST, &from) && *after == '\0')
                         ? VRS_OK
                         : ERR_BAD_REQUEST;
    if (e == VRS_OK)
        e = import_walk_all(p, add_import, &l);
    if (e == VRS_OK && l.count > 1)
        qsort(l.list, l.count, sizeof *l.list, newest_first);
    for (size_t i = from; e == VRS_OK && i < l.count && i < from + PAGE; i++) {
        if (json_array_append_new(rows, import_view(&l.list[i])) != 0)
            e = ERR_MEMORY;
    }
    if (l.count > from + PAGE)
        (void)snprintf(next, sizeof next, "%llu", (unsigned long long)from + PAGE);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, json_array_size(rows), "ok", NULL);
    if (e == VRS_OK)
        e = inside_json(
            in, json_pack("{s:O,s:s?}", "imports", rows, "next", next[0] != '\0' ? next : NULL));
    json_decref(rows);
    free(l.list);
    return e;
}

void imports_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.list";
    inside_run(in, list_run);
}

/* --- the medium is empty again --- */

static enum vrs_err get_own(struct inside_request *in, struct partition *p, struct import *m) {
    struct record_id id;
    enum vrs_err e = inside_id(in, "id", &id);
    return e == VRS_OK ? import_get(p, &id, m) : e;
}

static enum vrs_err deletion_run(struct inside_request *in, struct partition *p) {
    const char *method = NULL;
    const struct json_field fields[] = {JF_STR("method", true, 200, &method), JF_END};
    struct import m;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (method == NULL || method[0] == '\0'))
        e = ERR_MISSING_FIELD;
    if (e == VRS_OK)
        e = get_own(in, p, &m);
    if (e == VRS_OK && import_open(&m)) {
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "取込みが終わっていません。確定または破棄してから確認してください。");
        e = ERR_CONFLICT;
    }
    bool repeated = e == VRS_OK && m.deletion_ms != 0;
    if (e == VRS_OK && !repeated) {
        INSIDE_COPY(m.deletion_by, in->session.user);
        INSIDE_COPY(m.deletion_method, method);
        m.deletion_ms = clock_now_ms();
        e = import_put(p, &m, false);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, repeated ? "repeated" : "ok", m.sha256);
    return e == VRS_OK ? import_answer(in, &m) : e;
}

void imports_confirm_deletion(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "import.confirm_deletion";
    inside_run(in, deletion_run);
}

/* --- not wanted after all --- */

static enum vrs_err discard_run(struct inside_request *in, struct partition *p) {
    struct import m;
    enum vrs_err e = get_own(in, p, &m);
    /* A commit that has begun is finished, not thrown away: a part of it stands. */
    if (e == VRS_OK && (m.state == IMPORT_COMMITTING || m.state == IMPORT_COMMITTED))
        e = ERR_CONFLICT;
    bool repeated = e == VRS_OK && m.state == IMPORT_REMOVED;
    if (e == VRS_OK && !repeated) {
        e = import_file_remove(p, &m);
        if (e == VRS_OK)
            e = import_parts_remove(p, &m.id, "preview", m.results);
        m.state = IMPORT_REMOVED;
        m.removed_ms = clock_now_ms();
        if (e == VRS_OK)
            e = import_put(p, &m, false);
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 0, repeated ? "repeated" : "removed", m.sha256);
    return e == VRS_OK ? import_answer(in, &m) : e;
}

void imports_discard(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct record_id id;
    in->act = "import.discard";
    if (inside_id(in, "id", &id) == VRS_OK && import_is_running(&id))
        inside_refuse(in, ERR_IN_PROGRESS);
    else
        inside_run(in, discard_run);
}
