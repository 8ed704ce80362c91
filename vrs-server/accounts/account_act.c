#include "vrs-server/accounts/account_act.h"

#include <string.h>

static struct account_act *act_of(struct inside_request *in) {
    return in->own;
}

json_t *account_words(const char *words) {
    json_t *array = json_array();
    while (*words != '\0') {
        size_t n = strcspn(words, " ");
        if (n > 0)
            (void)json_array_append_new(array, json_stringn(words, n));
        words += n;
        words += strspn(words, " ");
    }
    return array;
}

enum vrs_err account_words_read(const json_t *array, char *out, size_t cap) {
    size_t i, len = 0;
    const json_t *v;
    out[0] = '\0';
    json_array_foreach(array, i, v) {
        const char *word = json_string_value(v);
        if (word == NULL || word[0] == '\0' || strpbrk(word, " \n\t") != NULL)
            return ERR_BAD_FIELD;
        int n = snprintf(out + len, cap - len, "%s%s", len > 0 ? " " : "", word);
        if (n < 0 || (size_t)n >= cap - len)
            return ERR_BAD_FIELD;
        len += (size_t)n;
    }
    return VRS_OK;
}

void account_field(struct inside_request *in, const char *field) {
    if (in->problem_extra != NULL)
        json_decref(in->problem_extra);
    in->problem_extra = json_pack("{s:s}", "field", field);
}

static void finish(struct inside_request *in, enum vrs_err e) {
    struct account_act *act = act_of(in);
    json_decref(act->shown);
    act->shown = NULL;
    inside_answer(in, e);
}

static void applied(struct inside_request *in) {
    struct account_act *act = act_of(in);
    if (in->job.err != VRS_OK) {
        inside_refuse(in, in->job.err);
        return;
    }
    if (act->after != NULL)
        act->after(in);
    finish(in, VRS_OK);
}

static enum vrs_err log_run(struct inside_request *in, struct partition *p) {
    struct account_act *act = act_of(in);
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, act->count, "ok",
                                act->detail[0] != '\0' ? act->detail : NULL);
    return e == VRS_OK && act->shown != NULL ? inside_json(in, json_incref(act->shown)) : e;
}

static void logged(struct inside_request *in) {
    struct account_act *act = act_of(in);
    if (in->job.err != VRS_OK)
        finish(in, in->job.err == ERR_STORAGE ? ERR_LOG_UNWRITABLE : in->job.err);
    else if (act->apply == NULL)
        finish(in, VRS_OK);
    else
        inside_step(in, REGISTRY, 0, act->apply, applied);
}

static enum vrs_err try_run(struct inside_request *in, struct partition *registry) {
    struct account_act *act = act_of(in);
    if (act->apply == NULL) {
        json_decref(act->shown);
        act->shown = NULL;
        return act->look(in, registry);
    }
    enum vrs_err e = partition_savepoint(registry);
    if (e != VRS_OK)
        return e;
    e = act->apply(in, registry);
    enum vrs_err undone = partition_rollback_to(registry);
    return undone != VRS_OK ? undone : e;
}

static void tried(struct inside_request *in) {
    if (in->job.err != VRS_OK)
        inside_refuse(in, in->job.err);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, log_run, logged);
}

void account_act_run(struct inside_request *in) {
    in->purpose = "operation";
    inside_step(in, REGISTRY, POOL_CREATE, try_run, tried);
}
