/* GET /v1/access-log/export: the log for outsiders.  Its entry is committed first, so that the head
 * over it is signed; then the lines are made, on the worker, outside the transaction of the job. */
#include <stdio.h>
#include <string.h>

#include "lib/text.h"
#include "vrs-server/doses/prove.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/log_lines.h"
#include "vrs-server/request.h"

struct export {
    struct log_lines asked;
    struct log_lines lines; /* as the entry says it */
    struct log_signed_head head;
};

static bool number_query(struct inside_request *in, const char *name, uint64_t *out) {
    const char *s = http_query(in->rq, name);
    return s == NULL || (text_u64(&s, INT64_MAX, out) && *s == '\0');
}

static bool checkpoints_query(struct inside_request *in, struct log_lines *out) {
    const char *s = http_query(in->rq, "checkpoints");
    while (s != NULL && *s != '\0') {
        if (out->checkpoints == LOG_LINES_CHECKPOINTS ||
            !text_u64(&s, INT64_MAX, &out->checkpoint[out->checkpoints++]) ||
            (*s != '\0' && *s++ != ','))
            return false;
    }
    return true;
}

static enum vrs_err export_run(struct inside_request *in, struct partition *p) {
    struct export *x = in->own;
    char detail[120];
    x->lines = x->asked;
    enum vrs_err e = log_lines_settle(p, &x->lines);
    const struct log_lines *l = &x->lines;
    (void)snprintf(detail, sizeof detail, "entries %llu-%llu%s", (unsigned long long)l->from,
                   (unsigned long long)l->to, l->words ? " with their words" : "");
    return e == VRS_OK ? inside_log(in, p, NULL, NULL, 0, l->to + 1 - l->from, "ok", detail) : e;
}

static enum vrs_err write_lines(struct inside_request *in, struct partition *p) {
    struct export *x = in->own;
    uint64_t count = 0;
    if (prove_head(p, &x->head))
        x->lines.head = &x->head;
    /* The signer was away: what its last head is not over has no proof yet. */
    if (x->lines.head != NULL && x->head.size < x->lines.to)
        x->lines.to = x->head.size < x->lines.from ? x->lines.from - 1 : x->head.size;
    if (x->lines.head != NULL && x->head.size + 1 < x->lines.from)
        return ERR_SIGNER_AWAY;
    return log_lines_write(p, &x->lines, &in->answer, &count);
}

static void export_committed(struct pool_job *job, struct partition *p) {
    struct inside_request *in = (struct inside_request *)job;
    if (in->failed != VRS_OK) /* its refusal is what was committed */
        return;
    enum vrs_err e = partition_begin(p);
    if (e == VRS_OK) {
        e = write_lines(in, p);
        partition_rollback(p);
    }
    in->failed = e;
}

void access_log_export(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct export *x = arena_alloc(http_arena(rq), sizeof *x);
    const char *words = http_query(rq, "entries");
    in->act = "log.export";
    in->purpose = "log_review";
    enum vrs_err e = x != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK &&
        (!number_query(in, "from", &x->asked.from) || !number_query(in, "to", &x->asked.to) ||
         !checkpoints_query(in, &x->asked) ||
         (words != NULL && strcmp(words, "0") != 0 && strcmp(words, "1") != 0)))
        e = ERR_BAD_FIELD;
    if (e == VRS_OK) {
        x->asked.words = words != NULL && words[0] == '1';
        if (x->asked.words && !right_allows(in->session.rights, "log.read"))
            e = ERR_FORBIDDEN;
    }
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    in->own = x;
    in->content_type = "application/x-ndjson";
    if (!inside_scope(in))
        return;
    in->job.committed = export_committed;
    inside_run(in, export_run);
}
