#include "lib/json.h"

#include <assert.h>
#include <string.h>

#include "lib/text.h"

/* jansson's own limit on nesting is 2,048; ours is looked for before it builds anything. */
static bool too_deep(const char *p, size_t n) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                quoted = false;
        } else if (p[i] == '"') {
            quoted = true;
        } else if (p[i] == '[' || p[i] == '{') {
            if (++depth > JSON_MAX_DEPTH)
                return true;
        } else if (p[i] == ']' || p[i] == '}') {
            depth--;
        }
    }
    return false;
}

enum vrs_err json_parse(const void *p, size_t n, json_t **out, struct vrs_fault *fault) {
    *out = NULL;
    if (too_deep(p, n))
        return err_fail(fault, ERR_TOO_DEEP, "deeper than %d", JSON_MAX_DEPTH);
    json_error_t error;
    json_t *v = json_loadb(p, n, JSON_REJECT_DUPLICATES, &error);
    if (v == NULL)
        return err_fail(fault, ERR_BAD_JSON, "line %d, column %d", error.line, error.column);
    *out = v;
    return VRS_OK;
}

static const struct json_field *find_field(const struct json_field *fields, const char *name) {
    for (const struct json_field *f = fields; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static bool plain_lines(const char *s) {
    while ((*s >= ' ' && *s <= '~') || *s == '\n' || *s == '\r')
        s++;
    return *s == '\0';
}

/* false: wrong type, too long, or characters that are not allowed. */
static bool fits(const struct json_field *f, const json_t *v) {
    switch (f->kind) {
    case JSON_FIELD_STR:
        return json_is_string(v) &&
               json_string_length(v) <= (f->max_bytes == 0 ? 200 : f->max_bytes) &&
               text_printable(json_string_value(v));
    case JSON_FIELD_TEXT:
        return json_is_string(v) &&
               json_string_length(v) <= (f->max_bytes == 0 ? 200 : f->max_bytes) &&
               plain_lines(json_string_value(v));
    case JSON_FIELD_INT:
        return json_is_integer(v);
    case JSON_FIELD_BOOL:
        return json_is_boolean(v);
    case JSON_FIELD_OBJECT:
        return json_is_object(v);
    case JSON_FIELD_ARRAY:
        return json_is_array(v);
    }
    return false;
}

static void store(const struct json_field *f, json_t *v) {
    switch (f->kind) {
    case JSON_FIELD_STR:
    case JSON_FIELD_TEXT:
        *f->out.str = json_string_value(v);
        break;
    case JSON_FIELD_INT:
        *f->out.num = json_integer_value(v);
        break;
    case JSON_FIELD_BOOL:
        *f->out.flag = json_is_true(v);
        break;
    case JSON_FIELD_OBJECT:
    case JSON_FIELD_ARRAY:
        *f->out.value = v;
        break;
    }
}

enum vrs_err json_read(const json_t *obj, const struct json_field *fields,
                       struct vrs_fault *fault) {
    if (!json_is_object(obj))
        return err_fail(fault, ERR_BAD_REQUEST, "not an object");
    json_t *readable = (json_t *)(uintptr_t)obj; /* jansson's iterators have no const form */
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach(readable, name, v) {
        /* A name that is not in the table is the client's text: it could be anything, so only a
         * plain one is repeated. */
        if (find_field(fields, name) == NULL) {
            size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyz_");
            return err_fail(fault, ERR_UNKNOWN_FIELD, "%s",
                            name[plain] == '\0' && plain <= 40 ? name : "?");
        }
    }
    for (const struct json_field *f = fields; f->name != NULL; f++) {
        v = json_object_get(readable, f->name);
        if (v == NULL && f->required)
            return err_fail(fault, ERR_MISSING_FIELD, "%s", f->name);
        if (v == NULL)
            continue;
        if (!fits(f, v))
            return err_fail(fault, ERR_BAD_FIELD, "%s", f->name);
        store(f, v);
    }
    return VRS_OK;
}

static int append(const char *p, size_t n, void *to) {
    return buffer_put(to, p, n) ? 0 : -1;
}

bool json_write(struct buffer *b, const json_t *v) {
    if (json_dump_callback(v, append, b, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
        b->failed = true;
    return !b->failed;
}

bool json_write_with(struct buffer *b, const json_t *object, const char *name,
                     const struct buffer *value) {
    assert(json_object_size(object) > 0 && value->len > 0);
    if (!json_write(b, object))
        return false;
    b->len--; /* its brace */
    (void)buffer_printf(b, ",\"%s\":", name);
    (void)buffer_put(b, value->data, value->len);
    (void)buffer_put(b, "}", 1);
    return !b->failed;
}
