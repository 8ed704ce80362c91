/* Terminals of the own municipality, for whoever has the right terminal.manage: codes for new ones,
 * the list, and stopping one.
 *
 * The rows are the registry's.  What changes there leaves an entry in the same commit; the entry in
 * the own municipality follows, and only then is answered. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/terminals/enrolment.h"
#include "vrs-server/terminals/terminal_list.h"
#include "vrs-server/views.h"

struct own {
    struct enrolment enrolment;
    int64_t minutes;
    char code[ENROLMENT_CODE_SIZE];
    struct record_id id;
    char reason[256];
    struct terminal terminal;
    const struct inside_request *in;
    json_t *list;
};

static struct own *own_new(struct inside_request *in, const char *act) {
    struct own *o = arena_alloc(http_arena(in->rq), sizeof *o);
    in->act = act;
    in->own = o;
    if (o == NULL)
        inside_answer(in, ERR_MEMORY);
    else
        memset(o, 0, sizeof *o);
    return o;
}

static enum vrs_err log_registry(const struct inside_request *in, struct partition *registry,
                                 const char *detail) {
    const struct log_entry entry = {.actor = in->actor,
                                    .act = in->act,
                                    .purpose = "operation",
                                    .result = "ok",
                                    .detail = detail,
                                    .count = 1};
    return access_log_append(registry, &entry, NULL);
}

/* The entry in the own municipality has been committed: what it is about may be told. */
static void told(struct inside_request *in) {
    inside_answer(in, in->job.err);
}

/* --- a code for a new terminal --- */

static enum vrs_err code_log(struct inside_request *in, struct partition *p) {
    const struct own *o = in->own;
    char expires[25];
    clock_format_rfc3339(o->enrolment.expires_ms, expires);
    in->purpose = "operation";
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, 1, "ok", o->enrolment.name);
    in->status = 201;
    return e == VRS_OK ? inside_json(in, json_pack("{s:s,s:s,s:s,s:s}", "code", o->code, "name",
                                                   o->enrolment.name, "kind", o->enrolment.kind,
                                                   "expires_at", expires))
                       : e;
}

static void code_made(struct inside_request *in) {
    if (in->job.err != VRS_OK)
        inside_refuse(in, in->job.err);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, code_log, told);
}

static enum vrs_err code_make(struct inside_request *in, struct partition *registry) {
    struct own *o = in->own;
    enum vrs_err e = enrolment_make(registry, &o->enrolment, o->minutes, o->code);
    return e == VRS_OK ? log_registry(in, registry, o->enrolment.name) : e;
}

/* A JSON array of words, joined by spaces; false when it does not fit. */
static bool join(const json_t *array, char *out, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *word = json_string_value(json_array_get(array, i));
        int more = word != NULL ? snprintf(out + n, cap - n, "%s%s", i > 0 ? " " : "", word) : -1;
        if (more < 0 || (size_t)more >= cap - n)
            return false;
        n += (size_t)more;
    }
    return true;
}

void terminals_enrol_code(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    const char *kind = NULL, *name = NULL, *site = "", *binding = "";
    json_t *rights = NULL;
    struct own *o = own_new(in, "terminals.enrol_code");
    if (o == NULL)
        return;
    o->minutes = 60;
    const struct json_field fields[] = {JF_STR("kind", true, 15, &kind),
                                        JF_STR("name", true, 63, &name),
                                        JF_STR("site", false, 127, &site),
                                        JF_STR("binding", false, 15, &binding),
                                        JF_ARRAY("rights", false, &rights),
                                        JF_INT("valid_minutes", false, &o->minutes),
                                        JF_END};
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK) {
        INSIDE_COPY(o->enrolment.kind, kind);
        INSIDE_COPY(o->enrolment.name, name);
        INSIDE_COPY(o->enrolment.site, site);
        INSIDE_COPY(o->enrolment.municipality, in->session.municipality);
        INSIDE_COPY(o->enrolment.made_by, in->session.user);
        if (strcmp(binding, "site") == 0 || strcmp(binding, "none") == 0)
            INSIDE_COPY(o->enrolment.binding, binding);
        else if (binding[0] != '\0' && strcmp(binding, "municipality") != 0)
            e = ERR_BAD_FIELD;
        if (rights != NULL && !join(rights, o->enrolment.rights, sizeof o->enrolment.rights))
            e = ERR_BAD_FIELD;
        if (rights == NULL && strcmp(kind, TERMINAL_TABLET) != 0)
            INSIDE_COPY(o->enrolment.rights, "dose.post receipt.read");
    }
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, REGISTRY, POOL_CREATE, code_make, code_made);
}

/* --- the list --- */

static json_t *view_terminal(const struct inside_request *in, const struct terminal *t) {
    char id[33];
    struct civil_date until;
    record_id_format(&t->id, id);
    int64_t used_ms = terminal_list_last_used(in->server->terminals, t->name);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "terminal_id", id, "name", t->name,
                          "kind", t->kind, "site", t->site, "binding",
                          t->binding[0] != '\0' ? t->binding : "municipality", "serial", t->serial,
                          "state", t->state == TERMINAL_ACTIVE ? "active" : "revoked",
                          "valid_until", t->valid_until);
    if (o == NULL)
        return NULL;
    if (clock_parse_date(t->valid_until, &until) == VRS_OK)
        (void)json_object_set_new(o, "days_left",
                                  json_integer(until.days - clock_today_jst().days));
    if (used_ms < t->last_used_ms)
        used_ms = t->last_used_ms;
    (void)json_object_set_new(o, "last_used_at", used_ms > 0 ? view_time(used_ms) : json_null());
    if (t->rights[0] != '\0')
        (void)json_object_set_new(o, "rights", json_string(t->rights));
    if (t->works_until_ms != 0)
        (void)json_object_set_new(o, "replaced_works_until", view_time(t->works_until_ms));
    if (t->state == TERMINAL_REVOKED) {
        (void)json_object_set_new(o, "revoked_at", view_time(t->revoked_ms));
        (void)json_object_set_new(o, "revoke_reason", json_string(t->revoke_reason));
    }
    return o;
}

static enum vrs_err list_one(struct terminal *t, void *arg) {
    struct own *o = arg;
    if (strcmp(t->municipality, o->in->session.municipality) != 0)
        return VRS_OK;
    json_t *one = view_terminal(o->in, t);
    return one != NULL && json_array_append_new(o->list, one) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err list_read(struct inside_request *in, struct partition *registry) {
    struct own *o = in->own;
    json_decref(o->list); /* the job may run again */
    o->in = in;
    o->list = json_array();
    return terminal_walk(registry, list_one, o);
}

static enum vrs_err list_log(struct inside_request *in, struct partition *p) {
    struct own *o = in->own;
    in->purpose = "operation";
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, json_array_size(o->list), "ok", NULL);
    return e == VRS_OK ? inside_json(in, json_pack("{s:O}", "terminals", o->list)) : e;
}

static void list_told(struct inside_request *in) {
    struct own *o = in->own;
    json_decref(o->list);
    o->list = NULL;
    inside_answer(in, in->job.err);
}

static void list_done(struct inside_request *in) {
    struct own *o = in->own;
    if (in->job.err == VRS_OK) {
        inside_step(in, in->session.municipality, POOL_CREATE, list_log, list_told);
        return;
    }
    json_decref(o->list);
    o->list = NULL;
    inside_refuse(in, in->job.err);
}

void terminals_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    if (own_new(in, "terminals.list") != NULL)
        inside_step(in, REGISTRY, POOL_CREATE, list_read, list_done);
}

/* --- stopping one --- */

static enum vrs_err revoke_run(struct inside_request *in, struct partition *registry) {
    struct own *o = in->own;
    enum vrs_err e = terminal_get(registry, &o->id, &o->terminal);
    if (e == VRS_OK && strcmp(o->terminal.municipality, in->session.municipality) != 0)
        e = ERR_NOT_FOUND; /* another municipality's is none (C02) */
    if (e != VRS_OK || o->terminal.state == TERMINAL_REVOKED)
        return e;
    o->terminal.revoked_ms = clock_now_ms();
    INSIDE_COPY(o->terminal.revoked_by, in->session.user);
    INSIDE_COPY(o->terminal.revoke_reason, o->reason);
    e = terminal_revoke(registry, &o->terminal);
    return e == VRS_OK ? log_registry(in, registry, o->terminal.name) : e;
}

static enum vrs_err revoke_log(struct inside_request *in, struct partition *p) {
    const struct own *o = in->own;
    char detail[400];
    (void)snprintf(detail, sizeof detail, "%s: %s", o->terminal.name, o->reason);
    in->purpose = "operation";
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, 1, "ok", detail);
    return e == VRS_OK ? inside_json(in, view_terminal(in, &o->terminal)) : e;
}

static void revoke_done(struct inside_request *in) {
    const struct own *o = in->own;
    if (in->job.err != VRS_OK) {
        inside_refuse(in, in->job.err);
        return;
    }
    /* From the next request on, here and, over the line, outside (C31). */
    terminal_list_revoke(in->server->terminals, &o->terminal);
    line_out_snapshot_changed(in->server->line);
    inside_step(in, in->session.municipality, POOL_CREATE, revoke_log, told);
}

void terminals_revoke(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    const char *reason = NULL;
    const struct json_field fields[] = {JF_STR("reason", false, 255, &reason), JF_END};
    struct own *o = own_new(in, "terminals.revoke");
    if (o == NULL)
        return;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e == VRS_OK)
        e = inside_id(in, "id", &o->id);
    INSIDE_COPY(o->reason, reason);
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, REGISTRY, POOL_CREATE, revoke_run, revoke_done);
}
