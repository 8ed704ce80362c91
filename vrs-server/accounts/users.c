/* The accounts of a municipality after they were approved: the yearly review list, leavers, section
 * changes, ends.  Everything here takes away; what gives is an application. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/csv.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/accounts/account_act.h"
#include "vrs-server/accounts/logins.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/handlers.h"

enum { REVIEW_DAYS = 365, LEAVERS_MAX = 2000 };

static const int64_t day_ms = 86400000;

/* --- the list (C50) --- */

static json_t *time_or_null(int64_t ms) {
    char text[25];
    clock_format_rfc3339(ms, text);
    return ms != 0 ? json_string(text) : json_null();
}

static json_t *view(const struct account *a) {
    bool unreviewed = clock_now_ms() - a->reviewed_ms > REVIEW_DAYS * day_ms;
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:s,s:s,s:o,s:o,s:o,s:s,s:b,s:b,s:s?,s:s?,s:s?}", "user_id",
        a->user, "person_name", a->person_name, "section", a->section, "unit", a->unit, "roles",
        account_words(a->roles), "rights", account_words(a->rights), "state",
        a->state != ACCOUNT_ACTIVE ? "disabled"
        : account_lives(a)         ? "active"
                                   : "ended",
        "valid_until", a->valid_until, "approved_by", a->approved_by, "approved_at",
        time_or_null(a->made_ms), "last_used_at", time_or_null(a->used_ms), "reviewed_at",
        time_or_null(a->reviewed_ms), "reviewed_by", a->reviewed_by, "unreviewed", unreviewed,
        "one_time_code", a->totp_on, "left_on", a->left_on[0] != '\0' ? a->left_on : NULL,
        "ended_by", a->ended_by[0] != '\0' ? a->ended_by : NULL, "end_reason",
        a->end_reason[0] != '\0' ? a->end_reason : NULL);
}

static enum vrs_err add(struct account *a, void *arg) {
    struct inside_request *in = arg;
    struct account_act *act = in->own;
    if (strcmp(a->municipality, in->session.municipality) != 0)
        return VRS_OK;
    act->count++;
    return json_array_append_new(json_object_get(act->shown, "users"), view(a)) == 0 ? VRS_OK
                                                                                     : ERR_MEMORY;
}

static enum vrs_err look(struct inside_request *in, struct partition *registry) {
    struct account_act *act = in->own;
    act->count = 0;
    act->shown = json_pack("{s:[]}", "users");
    return act->shown != NULL ? account_walk(registry, add, in) : ERR_MEMORY;
}

void users_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct account_act *act = arena_alloc(http_arena(rq), sizeof *act);
    in->act = "user.list";
    in->own = act;
    if (act == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return;
    }
    act->look = look;
    account_act_run(in);
}

/* --- one account --- */

struct change {
    struct account_act act; /* first */
    enum vrs_err (*how)(struct inside_request *in, struct account *a);
    bool ends; /* its sessions */
    char reason[200], section[64], unit[64];
};

static enum vrs_err own_account(struct inside_request *in, struct partition *registry,
                                const char *user, struct account *a) {
    enum vrs_err e = account_get(registry, user, a);
    if (e == VRS_OK && strcmp(a->municipality, in->session.municipality) != 0)
        e = ERR_NOT_FOUND; /* another municipality's is as good as none */
    return e;
}

static enum vrs_err change(struct inside_request *in, struct partition *registry) {
    struct change *c = in->own;
    struct account a;
    memset(&a, 0, sizeof a);
    enum vrs_err e = own_account(in, registry, http_param(in->rq, "id"), &a);
    if (e == VRS_OK)
        e = c->how(in, &a);
    if (e == VRS_OK)
        e = account_put(registry, &a);
    if (e == VRS_OK)
        e = inside_json(in, view(&a));
    secret_wipe(&a, sizeof a);
    return e;
}

static void changed(struct inside_request *in) {
    const struct change *c = in->own;
    if (!c->ends)
        return;
    sessions_end_user(in->server->sessions, http_param(in->rq, "id"));
    line_out_snapshot_changed(in->server->line);
}

static struct change *start(struct http_request *rq, const char *act_name,
                            enum vrs_err (*how)(struct inside_request *in, struct account *a)) {
    struct inside_request *in = inside_of(rq);
    struct change *c = arena_alloc(http_arena(rq), sizeof *c);
    in->act = act_name;
    in->purpose = "operation";
    in->own = c;
    if (c == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return NULL;
    }
    c->how = how;
    c->act.apply = change;
    c->act.after = changed;
    c->act.count = 1;
    return c;
}

/* Reads the body and runs, or refuses. */
static void go_on(struct inside_request *in, const struct json_field *fields,
                  const char *const *reason) {
    struct change *c = in->own;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (*reason == NULL || (*reason)[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    INSIDE_COPY(c->reason, *reason);
    account_act_run(in);
}

static enum vrs_err review(struct inside_request *in, struct account *a) {
    struct change *c = in->own;
    if (strcmp(a->user, in->session.user) == 0)
        return ERR_FORBIDDEN; /* not one's own */
    a->reviewed_ms = clock_now_ms();
    INSIDE_COPY(a->reviewed_by, in->session.user);
    (void)snprintf(c->act.detail, sizeof c->act.detail, "%s: %s", a->user, a->rights);
    return VRS_OK;
}

void users_review(struct http_request *rq) {
    if (start(rq, "user.review", review) != NULL)
        account_act_run(inside_of(rq));
}

static enum vrs_err disable(struct inside_request *in, struct account *a) {
    struct change *c = in->own;
    a->state = ACCOUNT_DISABLED;
    INSIDE_COPY(a->ended_by, in->session.user);
    memcpy(a->end_reason, c->reason, sizeof a->end_reason);
    (void)snprintf(c->act.detail, sizeof c->act.detail, "%s: %s", a->user, c->reason);
    return VRS_OK;
}

void users_disable(struct http_request *rq) {
    const char *reason = NULL;
    struct change *c = start(rq, "user.disable", disable);
    if (c == NULL)
        return;
    const struct json_field fields[] = {JF_STR("reason", false, sizeof c->reason - 1, &reason),
                                        JF_END};
    c->ends = true;
    go_on(inside_of(rq), fields, &reason);
}

/* 異動: the rights were the old section's (C42, C43); the new one applies for its own. */
static enum vrs_err change_section(struct inside_request *in, struct account *a) {
    struct change *c = in->own;
    (void)snprintf(c->act.detail, sizeof c->act.detail, "%s: %s %s -> %s %s, rights taken: %s; %s",
                   a->user, a->section, a->unit, c->section, c->unit, a->rights, c->reason);
    memcpy(a->section, c->section, sizeof a->section);
    memcpy(a->unit, c->unit, sizeof a->unit);
    a->rights[0] = '\0';
    return VRS_OK;
}

void users_change_section(struct http_request *rq) {
    const char *reason = NULL, *section = NULL, *unit = NULL;
    struct inside_request *in = inside_of(rq);
    struct change *c = start(rq, "user.change_section", change_section);
    if (c == NULL)
        return;
    const struct json_field fields[] = {JF_STR("section", true, sizeof c->section - 1, &section),
                                        JF_STR("unit", false, sizeof c->unit - 1, &unit),
                                        JF_STR("reason", false, sizeof c->reason - 1, &reason),
                                        JF_END};
    c->ends = true;
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && (reason == NULL || reason[0] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (e != VRS_OK) {
        inside_refuse(in, e);
        return;
    }
    INSIDE_COPY(c->section, section);
    INSIDE_COPY(c->unit, unit);
    INSIDE_COPY(c->reason, reason);
    account_act_run(in);
}

/* --- locked out by the throttle (C141) --- */

static enum vrs_err clear(struct inside_request *in, struct partition *registry) {
    struct account_act *act = in->own;
    struct account a;
    memset(&a, 0, sizeof a);
    enum vrs_err e = own_account(in, registry, http_param(in->rq, "id"), &a);
    (void)snprintf(act->detail, sizeof act->detail, "%s", a.user);
    secret_wipe(&a, sizeof a);
    in->status = 204;
    return e;
}

static void cleared(struct inside_request *in) {
    logins_clear_throttle(in->server->logins, http_param(in->rq, "id"));
}

void users_clear_throttle(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct account_act *act = arena_alloc(http_arena(rq), sizeof *act);
    in->act = "user.clear_throttle";
    in->purpose = "operation";
    in->own = act;
    if (act == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return;
    }
    act->apply = clear;
    act->after = cleared;
    act->count = 1;
    account_act_run(in);
}

/* --- the personnel system's feed of leavers: all of it or nothing (C48) --- */

struct leavers {
    struct account_act act; /* first */
    struct inside_request *in;
    struct partition *registry; /* of the present run */
    json_t *wrong;
    size_t rows;
    bool headed;
    struct {
        char user[64];
    } gone[LEAVERS_MAX];
};

static void complain(struct leavers *l, uint64_t row, const char *what) {
    if (json_array_size(l->wrong) < 100)
        (void)json_array_append_new(l->wrong,
                                    json_pack("{s:I,s:s}", "row", (json_int_t)row, "detail", what));
}

static enum vrs_err leave(struct leavers *l, struct account *a, struct civil_date on) {
    clock_format_date(on, a->left_on);
    if (on.days <= clock_today_jst().days)
        a->state = ACCOUNT_DISABLED;
    else if (strcmp(a->left_on, a->valid_until) < 0) /* ends by itself on that day (C45) */
        memcpy(a->valid_until, a->left_on, sizeof a->valid_until);
    INSIDE_COPY(a->ended_by, l->in->session.user);
    INSIDE_COPY(a->end_reason, "退職・異動（人事連携）");
    enum vrs_err e = account_put(l->registry, a);
    if (e == VRS_OK && l->rows < LEAVERS_MAX)
        memcpy(l->gone[l->rows].user, a->user, sizeof a->user);
    return e;
}

static bool header_good(const struct csv_row *row) {
    return row->cells == 3 && strcmp(row->cell[0], "user_id") == 0 &&
           strcmp(row->cell[1], "person_name") == 0 && strcmp(row->cell[2], "left_on") == 0;
}

static enum vrs_err take_row(const struct csv_row *row, void *arg) {
    struct leavers *l = arg;
    struct account a;
    struct civil_date on;
    if (!l->headed) {
        l->headed = true;
        return header_good(row) ? VRS_OK : ERR_F006;
    }
    if (row->cells != 3) {
        complain(l, row->number, "列の数が違います。");
        return VRS_OK;
    }
    if (l->rows >= LEAVERS_MAX)
        return ERR_F008;
    if (clock_parse_date(row->cell[2], &on) != VRS_OK) {
        complain(l, row->number, "退職日が日付ではありません。");
        return VRS_OK;
    }
    enum vrs_err e = own_account(l->in, l->registry, row->cell[0], &a);
    if (e == ERR_NOT_FOUND) {
        complain(l, row->number, "このユーザーIDはありません。");
        return VRS_OK;
    }
    if (e == VRS_OK && strcmp(a.person_name, row->cell[1]) != 0)
        complain(l, row->number, "ユーザーIDと氏名が一致しません。");
    else if (e == VRS_OK)
        e = leave(l, &a, on);
    l->rows++;
    secret_wipe(&a, sizeof a);
    return e;
}

static enum vrs_err take_feed(struct inside_request *in, struct partition *registry) {
    struct leavers *l = in->own;
    size_t len;
    const void *body = http_body(in->rq, &len);
    l->registry = registry;
    l->rows = 0;
    l->headed = false;
    l->wrong = json_array();
    struct csv_reader *reader = csv_reader_open(take_row, l);
    enum vrs_err e = reader != NULL && l->wrong != NULL ? csv_feed(reader, body, len) : ERR_MEMORY;
    if (e == VRS_OK)
        e = csv_end(reader);
    if (reader != NULL)
        csv_reader_close(&reader);
    if (e == VRS_OK && json_array_size(l->wrong) > 0) {
        in->problem_extra = json_pack("{s:O}", "rows", l->wrong);
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "誤りのある行があるため、全体を取り込みませんでした。"
                       "行を直して送り直してください。");
        e = ERR_BAD_FIELD;
    }
    if (e == VRS_OK && l->rows == 0)
        e = ERR_F004;
    json_decref(l->wrong);
    l->wrong = NULL;
    l->act.count = l->rows;
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:I}", "disabled", (json_int_t)l->rows));
    return e;
}

static void feed_taken(struct inside_request *in) {
    const struct leavers *l = in->own;
    for (size_t i = 0; i < l->rows; i++)
        sessions_end_user(in->server->sessions, l->gone[i].user);
    line_out_snapshot_changed(in->server->line);
}

void users_leavers(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    struct leavers *l = arena_alloc(http_arena(rq), sizeof *l);
    in->act = "user.leavers";
    in->purpose = "operation";
    in->own = l;
    if (l == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return;
    }
    l->in = in;
    l->act.apply = take_feed;
    l->act.after = feed_taken;
    account_act_run(in);
}
