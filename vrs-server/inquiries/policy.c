#include "vrs-server/inquiries/policy.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

enum { DEFAULT_RESULT_DAYS = 30 };

struct policy_list {
    json_t *document;
};

static const char *text_of(const json_t *row, const char *name) {
    const char *s = json_string_value(json_object_get(row, name));
    return s != NULL ? s : "";
}

static bool fits(const json_t *row, const char *name, const char *value) {
    const char *s = text_of(row, name);
    return strcmp(s, "*") == 0 || strcmp(s, value) == 0;
}

/* Rows are in force from their first to their last day, both included; "to": null is open. */
static bool in_force(const json_t *row, struct civil_date on) {
    char day[11];
    const char *to = json_string_value(json_object_get(row, "to"));
    clock_format_date(on, day);
    return strcmp(text_of(row, "from"), day) <= 0 && (to == NULL || strcmp(day, to) <= 0);
}

static bool is_day(const json_t *v) {
    struct civil_date d;
    return json_is_string(v) && clock_parse_date(json_string_value(v), &d) == VRS_OK;
}

static enum vrs_err check_rows(const json_t *rows, const char *what, struct vrs_fault *fault) {
    size_t i;
    const json_t *row;
    if (!json_is_array(rows))
        return err_fail(fault, ERR_CONFIG, "policies: no list called %s", what);
    json_array_foreach(rows, i, row) {
        const json_t *to = json_object_get(row, "to");
        if (!is_day(json_object_get(row, "from")) || (!json_is_null(to) && !is_day(to)))
            return err_fail(fault, ERR_CONFIG, "policies: %s row %zu: from/to are not dates", what,
                            i + 1);
    }
    return VRS_OK;
}

enum vrs_err policy_list_open(const char *json_path, struct policy_list **out,
                              struct vrs_fault *fault) {
    json_error_t error;
    struct policy_list *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    enum vrs_err e = VRS_OK;
    l->document = json_load_file(json_path, JSON_REJECT_DUPLICATES, &error);
    if (l->document == NULL)
        e = err_fail(fault, ERR_CONFIG, "%s:%d: %s", json_path, error.line, error.text);
    else if (!json_is_array(json_object_get(l->document, "purposes")))
        e = err_fail(fault, ERR_CONFIG, "%s: no list called purposes", json_path);
    static const char *const dated[] = {"inquiry_bases", "inquiry_results", "retention"};
    for (size_t i = 0; e == VRS_OK && i < sizeof dated / sizeof *dated; i++)
        e = check_rows(json_object_get(l->document, dated[i]), dated[i], fault);
    if (e != VRS_OK)
        policy_list_close(out);
    return e;
}

void policy_list_close(struct policy_list **l) {
    if (*l == NULL)
        return;
    json_decref((*l)->document);
    free(*l);
    *l = NULL;
}

enum vrs_err policy_basis(const struct policy_list *l, const char *municipality, const char *kind,
                          struct civil_date on) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(l->document, "inquiry_bases"), i, row) {
        if (fits(row, "municipality", municipality) && strcmp(text_of(row, "basis"), kind) == 0 &&
            in_force(row, on))
            return VRS_OK;
    }
    return ERR_BASIS_REFUSED;
}

static bool lists(const json_t *array, const char *word) {
    size_t i;
    const json_t *v;
    json_array_foreach(array, i, v) {
        if (json_is_string(v) && strcmp(json_string_value(v), word) == 0)
            return true;
    }
    return false;
}

enum vrs_err policy_purpose(const struct policy_list *l, const char *purpose, const char *use) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(l->document, "purposes"), i, row) {
        if (strcmp(text_of(row, "id"), purpose) == 0)
            return lists(json_object_get(row, "uses"), use) ? VRS_OK : ERR_PURPOSE;
    }
    return ERR_PURPOSE;
}

int64_t policy_retention(const struct policy_list *l, const char *municipality, const char *what,
                         const char *unit) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(l->document, "retention"), i, row) {
        if (fits(row, "municipality", municipality) && strcmp(text_of(row, "what"), what) == 0 &&
            in_force(row, clock_today_jst()))
            return json_integer_value(json_object_get(row, unit));
    }
    return 0;
}

int64_t policy_result_days(const struct policy_list *l, const char *municipality) {
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(l->document, "inquiry_results"), i, row) {
        if (fits(row, "municipality", municipality) && in_force(row, clock_today_jst()))
            return json_integer_value(json_object_get(row, "expire_days"));
    }
    return DEFAULT_RESULT_DAYS;
}
