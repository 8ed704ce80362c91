/* GET and PUT /v1/settings: a municipality's own, each change in its log with before and after. */
#include <stdio.h>
#include <string.h>

#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"

static enum vrs_err show(struct inside_request *in, struct partition *p) {
    json_t *list = json_array();
    enum vrs_err e = settings_version(p, &in->etag);
    for (int s = 0; s < SETTING_COUNT && e == VRS_OK; s++) {
        int64_t value, standard, lowest, highest;
        e = setting_get(p, (enum setting)s, &value);
        setting_bounds((enum setting)s, &standard, &lowest, &highest);
        json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "name", setting_name((enum setting)s),
                              "label", setting_label((enum setting)s), "value", (json_int_t)value,
                              "default", (json_int_t)standard, "lowest", (json_int_t)lowest,
                              "highest", (json_int_t)highest);
        if (e == VRS_OK && json_array_append_new(list, o) != 0)
            e = ERR_MEMORY;
    }
    return e == VRS_OK ? inside_json(in, json_pack("{s:o,s:I}", "settings", list, "version",
                                                   (json_int_t)in->etag))
                       : (json_decref(list), e);
}

static enum vrs_err get_run(struct inside_request *in, struct partition *p) {
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, SETTING_COUNT, "ok", NULL);
    return e == VRS_OK ? show(in, p) : e;
}

void settings_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "setting.read";
    in->purpose = "operation";
    inside_run(in, get_run);
}

static void name_field(struct inside_request *in, const char *name) {
    json_decref(in->problem_extra);
    in->problem_extra = json_pack("{s:s}", "field", name);
}

static enum vrs_err change(struct inside_request *in, struct partition *p, char *detail,
                           size_t cap) {
    const char *name;
    json_t *value;
    detail[0] = '\0';
    json_object_foreach(in->body, name, value) {
        enum setting s;
        int64_t before, after = json_integer_value(value);
        enum vrs_err e = VRS_OK;
        if (!setting_by_name(name, &s))
            e = ERR_UNKNOWN_FIELD;
        else if (!json_is_integer(value))
            e = ERR_BAD_FIELD;
        if (e == VRS_OK)
            e = setting_get(p, s, &before);
        if (e == VRS_OK && before != after)
            e = setting_put(p, s, after);
        if (e != VRS_OK) {
            name_field(in, name);
            return e;
        }
        size_t len = strlen(detail);
        if (before != after)
            (void)snprintf(detail + len, cap - len, "%s%s: %lld -> %lld", len > 0 ? "; " : "", name,
                           (long long)before, (long long)after);
    }
    return VRS_OK;
}

static enum vrs_err put_run(struct inside_request *in, struct partition *p) {
    char detail[1000];
    uint64_t version;
    enum vrs_err e = settings_version(p, &version);
    if (e == VRS_OK && version != in->if_match)
        e = ERR_STALE_VERSION;
    if (e == VRS_OK)
        e = change(in, p, detail, sizeof detail);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, 1, "ok", detail);
    if (e == VRS_OK)
        e = session_rules_read(p, in->own);
    return e == VRS_OK ? show(in, p) : e;
}

static void put_done(struct inside_request *in) {
    if (in->job.err == VRS_OK)
        sessions_set_rules(in->server->sessions, in->session.municipality, in->own);
    inside_answer(in, in->job.err);
}

void settings_put(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "setting.change";
    in->purpose = "operation";
    in->own = arena_alloc(http_arena(rq), sizeof(struct session_rules));
    if (in->own == NULL || !json_is_object(in->body) || json_object_size(in->body) == 0)
        inside_refuse(in, in->own == NULL ? ERR_MEMORY : ERR_BAD_REQUEST);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, put_run, put_done);
}
