#include "vrs-server/operation/verbs.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "partitions/access_log.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/operation/rotation.h"
#include "vrs-server/session.h"
#include "vrs-server/terminals/terminal_list.h"

typedef enum vrs_err step_fn(struct control_call *c, struct partition *p);

enum step_where {
    AT_REGISTRY,
    AT_MUNICIPALITY,
    AT_MUNICIPALITY_OR_ALL, /* "all": in the registry */
    AT_MUNICIPALITY_IDLE,
    AT_MUNICIPALITY_CLOSED
};

struct step {
    step_fn *run;
    enum step_where where;
};

struct verb {
    const char *name;
    struct step steps[4];
    bool snapshot; /* accounts or terminals change: a new snapshot afterwards */
    bool replay;   /* inbox entries are pulled again afterwards */
    bool rotate;   /* rotation goes on there afterwards */
};

const char *control_text(const struct control_call *c, const char *name) {
    const char *s = json_string_value(json_object_get(c->request, name));
    return s != NULL ? s : "";
}

enum vrs_err control_answer(struct control_call *c, json_t *reply) {
    json_decref(c->reply); /* the job may run again */
    c->reply = reply;
    return reply != NULL ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err log_result(struct control_call *c, struct partition *p, const char *result,
                               const char *detail) {
    const struct log_entry entry = {
        .actor = {.user = control_text(c, "by")[0] != '\0' ? control_text(c, "by") : "operator",
                  .section = "operation",
                  .terminal = "vrsctl",
                  .source = "control"},
        .act = c->verb->name,
        .purpose = "operation",
        .result = result,
        .detail = detail};
    return access_log_append(p, &entry, NULL);
}

/* With steps still before it a command has only begun. */
enum vrs_err control_log(struct control_call *c, struct partition *p, const char *detail) {
    const size_t steps = sizeof c->verb->steps / sizeof *c->verb->steps;
    bool last = c->step + 1 >= steps || c->verb->steps[c->step + 1].run == NULL;
    return log_result(c, p, last ? "ok" : "begun", detail);
}

/* A command that is none leaves its entry, too. */
static enum vrs_err verb_unknown(struct control_call *c, struct partition *p) {
    (void)c, (void)p;
    return ERR_NOT_FOUND;
}
static const struct verb unknown = {.name = "control.refused",
                                    .steps = {{verb_unknown, AT_REGISTRY}}};

static const struct verb verbs[] = {
    {.name = "user.apply", .steps = {{verb_user_apply, AT_REGISTRY}}},
    {.name = "user.approve", .steps = {{verb_user_approve, AT_REGISTRY}}, .snapshot = true},
    {.name = "user.disable", .steps = {{verb_user_disable, AT_REGISTRY}}, .snapshot = true},
    {.name = "user.list", .steps = {{verb_user_list, AT_REGISTRY}}},
    {.name = "user.applications", .steps = {{verb_user_applications, AT_REGISTRY}}},
    {.name = "terminal.add", .steps = {{verb_terminal_add, AT_REGISTRY}}, .snapshot = true},
    {.name = "terminal.revoke", .steps = {{verb_terminal_revoke, AT_REGISTRY}}, .snapshot = true},
    {.name = "terminal.enrol-code", .steps = {{verb_terminal_enrol_code, AT_REGISTRY}}},
    {.name = "allow-list.load", .steps = {{verb_allow_list_load, AT_REGISTRY}}},
    {.name = "terminal.list", .steps = {{verb_terminal_list, AT_REGISTRY}}},
    {.name = "keys.status",
     .steps = {{verb_keys_status, AT_MUNICIPALITY_OR_ALL}, {verb_keys_note, AT_REGISTRY}}},
    {.name = "keys.rotate",
     .steps = {{verb_keys_rotate, AT_MUNICIPALITY_OR_ALL}, {verb_keys_note, AT_REGISTRY}},
     .rotate = true},
    {.name = "selfcheck", .steps = {{verb_selfcheck, AT_REGISTRY}}},
    {.name = "log.verify",
     .steps = {{verb_verify_log, AT_MUNICIPALITY}, {verb_verify_log_note, AT_REGISTRY}}},
    {.name = "verify-log",
     .steps = {{verb_verify_log, AT_MUNICIPALITY}, {verb_verify_log_note, AT_REGISTRY}}},
    {.name = "backup",
     .steps = {{verb_backup_copy, AT_MUNICIPALITY_IDLE}, {verb_note_municipality, AT_REGISTRY}}},
    {.name = "partition.destroy",
     .steps = {{verb_note_municipality, AT_REGISTRY}, {verb_destroy, AT_MUNICIPALITY_IDLE}}},
    {.name = "migrate.key",
     .steps = {{verb_migrate_key, AT_MUNICIPALITY}, {verb_note_municipality, AT_REGISTRY}}},
    {.name = "migrate.export",
     .steps = {{verb_note_municipality, AT_REGISTRY}, {verb_migrate_export, AT_MUNICIPALITY_IDLE}}},
    {.name = "migrate.import",
     .steps = {{verb_note_municipality, AT_REGISTRY},
               {verb_migrate_import, AT_MUNICIPALITY_CLOSED}},
     .replay = true},
    {.name = "restore",
     .steps = {{verb_note_municipality, AT_REGISTRY}, {verb_restore_files, AT_MUNICIPALITY_CLOSED}},
     .replay = true},
};

/* --- running a verb step by step --- */

static void end(struct control_call *c, enum vrs_err e) {
    c->done(c, e, c->reply, c->arg);
    json_decref(c->request);
    free(c);
}

/* What failed is on record in the registry (C72): which command, why, about whom. */
static enum vrs_err failure_run(struct pool_job *job, struct partition *registry) {
    struct control_call *c = (struct control_call *)job;
    static const char *const about[] = {"verb", "municipality_code", "user_id", "name"};
    char detail[300] = "";
    for (size_t i = 0, len = 0; i < sizeof about / sizeof *about; i++) {
        if (control_text(c, about[i])[0] == '\0')
            continue;
        int n = snprintf(detail + len, sizeof detail - len, "%s%s=%.60s", len > 0 ? " " : "",
                         about[i], control_text(c, about[i]));
        len += n > 0 ? (size_t)n : 0;
    }
    return log_result(c, registry, err_name(c->failed), detail);
}

static void failure_done(struct pool_job *job) {
    struct control_call *c = (struct control_call *)job;
    if (job->err != VRS_OK)
        log_event(LOG_ERROR, "control.unlogged", LF_ERR(job->err));
    end(c, c->failed);
}

static void fail(struct control_call *c, enum vrs_err e) {
    log_fault(LOG_WARN, "control.failed", &c->job.fault);
    c->failed = e;
    memcpy(c->job.municipality, REGISTRY, sizeof c->job.municipality);
    c->job.flags = POOL_CREATE;
    c->job.run = failure_run;
    c->job.done = failure_done;
    c->job.err = VRS_OK;
    if (pool_submit(c->server->pool, &c->job) != VRS_OK)
        end(c, e);
}

static void finish(struct control_call *c, enum vrs_err e) {
    if (e == VRS_OK &&
        c->terminal.serial[0] != '\0') /* before vrsctl hears that it is done (C31) */
        e = terminal_list_put(c->server->terminals, &c->terminal);
    if (e == VRS_OK && c->terminal.state == TERMINAL_REVOKED &&
        control_text(c, "serial")[0] == '\0') /* by name: the device */
        terminal_list_revoke(c->server->terminals, &c->terminal);
    if (e == VRS_OK && c->verb->replay &&
        strcmp(control_text(c, "municipality_code"), REGISTRY) == 0)
        terminal_list_reload(c->server->terminals); /* the registry is another one now */
    if (e == VRS_OK && c->verb->snapshot) {
        line_out_snapshot_changed(c->server->line);
        if (control_text(c, "user_id")[0] != '\0')
            sessions_end_user(c->server->sessions, control_text(c, "user_id"));
    }
    if (e == VRS_OK && c->verb->replay) {
        json_decref(c->reply);
        c->reply = json_pack("{s:I}", "replayed", (json_int_t)c->replayed);
    }
    if (e == VRS_OK &&
        (c->verb->rotate || c->verb->replay)) /* a backup may hold a rotation's middle */
        rotations_go_on(c->server->rotations, control_text(c, "municipality_code"));
    if (e != VRS_OK)
        fail(c, e);
    else
        end(c, e);
}

static void next_step(struct control_call *c);

static void replay_done(enum vrs_err e, uint64_t replayed, void *arg) {
    struct control_call *c = arg;
    c->replayed = replayed;
    finish(c, e);
}

static void step_done(struct pool_job *job) {
    struct control_call *c = (struct control_call *)job;
    if (job->err != VRS_OK) {
        finish(c, job->err);
        return;
    }
    c->step++;
    next_step(c);
}

static enum vrs_err step_run(struct pool_job *job, struct partition *p) {
    struct control_call *c = (struct control_call *)job;
    return c->verb->steps[c->step].run(c, p);
}

static void next_step(struct control_call *c) {
    const struct step *s = &c->verb->steps[c->step];
    if (c->step >= sizeof c->verb->steps / sizeof *c->verb->steps || s->run == NULL) {
        if (c->verb->replay)
            line_out_replay(c->server->line, control_text(c, "municipality_code"), replay_done, c);
        else
            finish(c, VRS_OK);
        return;
    }
    const char *code = s->where == AT_REGISTRY ? REGISTRY : control_text(c, "municipality_code");
    if (s->where == AT_MUNICIPALITY_OR_ALL && strcmp(code, "all") == 0)
        code = REGISTRY;
    if (strlen(code) != sizeof c->job.municipality - 1) {
        finish(c, ERR_NO_SUCH_MUNICIPALITY);
        return;
    }
    memcpy(c->job.municipality, code, sizeof c->job.municipality);
    c->job.flags = strcmp(code, REGISTRY) == 0 ? POOL_CREATE : 0;
    c->job.run = step_run;
    c->job.done = step_done;
    c->job.err = VRS_OK;
    enum vrs_err e =
        s->where == AT_MUNICIPALITY_IDLE || s->where == AT_MUNICIPALITY_CLOSED
            ? pool_submit_exclusive(c->server->pool, &c->job, s->where == AT_MUNICIPALITY_CLOSED)
            : pool_submit(c->server->pool, &c->job);
    if (e != VRS_OK)
        finish(c, e);
}

enum vrs_err control_start(struct server *s, json_t *request, control_done_fn *done, void *arg,
                           struct control_call **out) {
    const char *name = json_string_value(json_object_get(request, "verb"));
    struct control_call *c = NULL;
    const struct verb *verb = &unknown;
    for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            verb = &verbs[i];
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        json_decref(request);
        return ERR_MEMORY;
    }
    c->server = s;
    c->request = request;
    c->verb = verb;
    c->done = done;
    c->arg = arg;
    *out = c;
    next_step(c);
    return VRS_OK;
}
