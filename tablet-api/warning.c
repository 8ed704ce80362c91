#include "tablet-api/warning.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

struct warning {
    char *name;
    char *json; /* {"code":…,"detail":…} */
};

struct warning_list {
    size_t count;
    struct warning *item;
};

static char *item_json(const char *name, const char *detail) {
    json_t *o = json_pack("{s:s, s:s}", "code", name, "detail", detail);
    char *text = NULL;
    struct buffer b;
    buffer_init(&b, 8192);
    if (o != NULL && json_write(&b, o))
        text = strdup(buffer_cstr(&b));
    buffer_fini(&b);
    json_decref(o);
    return text;
}

enum vrs_err warning_list_open(const char *json_path, struct warning_list **out,
                               struct vrs_fault *fault) {
    json_error_t why;
    *out = NULL;
    json_t *doc = json_load_file(json_path, JSON_REJECT_DUPLICATES, &why);
    const json_t *rules = json_object_get(doc, "rules");
    struct warning_list *l = calloc(1, sizeof *l);
    enum vrs_err e = VRS_OK;
    if (!json_is_array(rules) || l == NULL) {
        e = err_fail(fault, ERR_CONFIG, "rules.json:%d: %s", why.line, why.text);
        goto out;
    }
    l->item = calloc(json_array_size(rules) + 1, sizeof *l->item);
    if (l->item == NULL) {
        e = err_fail(fault, ERR_MEMORY, "rules.json");
        goto out;
    }
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        const char *name = json_string_value(json_object_get(rule, "name"));
        const char *message = json_string_value(json_object_get(rule, "message_ja"));
        if (name == NULL || message == NULL) {
            e = err_fail(fault, ERR_CONFIG, "rules.json: rule %zu has no name or message_ja", i);
            goto out;
        }
        struct warning *w = &l->item[l->count++];
        w->name = strdup(name);
        w->json = item_json(name, message);
        if (w->name == NULL || w->json == NULL) {
            e = err_fail(fault, ERR_MEMORY, "rules.json");
            goto out;
        }
    }
    *out = l;
    l = NULL;
out:
    warning_list_close(&l);
    json_decref(doc);
    return e;
}

void warning_list_close(struct warning_list **l) {
    if (*l == NULL)
        return;
    for (size_t i = 0; i < (*l)->count; i++) {
        free((*l)->item[i].name);
        free((*l)->item[i].json);
    }
    free((*l)->item);
    free(*l);
    *l = NULL;
}

static void write_one(const struct warning_list *l, const char *name, size_t n,
                      struct buffer *out) {
    for (size_t i = 0; l != NULL && i < l->count; i++) {
        if (strlen(l->item[i].name) == n && memcmp(l->item[i].name, name, n) == 0) {
            (void)buffer_puts(out, l->item[i].json);
            return;
        }
    }
    (void)buffer_puts(out, "{\"code\":\"");
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')
            (void)buffer_put(out, &c, 1);
    }
    (void)buffer_puts(out, "\",\"detail\":\"内容を確認してください。\"}");
}

void warning_write(const struct warning_list *l, const char *names, struct buffer *out) {
    bool first = true;
    (void)buffer_puts(out, "[");
    for (;;) {
        names += strspn(names, " ");
        size_t n = strcspn(names, " ");
        if (n == 0)
            break;
        if (!first)
            (void)buffer_puts(out, ",");
        first = false;
        write_one(l, names, n, out);
        names += n;
    }
    (void)buffer_puts(out, "]");
}
