/* JSON by jansson, strict and bounded.  Objects are read through a table of fields: an unknown
 * field, a wrong type, a string too long or with control characters are refused by name. */
#ifndef VRS_LIB_JSON_H
#define VRS_LIB_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/arena.h"
#include "lib/buffer.h"
#include "lib/err.h"

enum { JSON_MAX_DEPTH = 16 };

enum json_kind {
    JSON_FIELD_STR,
    JSON_FIELD_TEXT, /* ASCII with line ends: PEM */
    JSON_FIELD_INT,
    JSON_FIELD_BOOL,
    JSON_FIELD_OBJECT,
    JSON_FIELD_ARRAY
};

struct json_field {
    const char *name;
    enum json_kind kind;
    bool required;
    size_t max_bytes; /* strings and texts; 0 = 200 */
    /* where it goes; strings and nested values are borrowed from the json_t.  Absent optional
     * fields leave the target as it was. */
    union {
        const char **str;
        int64_t *num;
        bool *flag;
        json_t **value;
        void *any;
    } out;
};

#define JF_STR(n, req, max, target)                                                                \
    {                                                                                              \
        .name = (n), .kind = JSON_FIELD_STR, .required = (req), .max_bytes = (max),                \
        .out.str = (target)                                                                        \
    }
#define JF_TEXT(n, req, max, target)                                                               \
    {                                                                                              \
        .name = (n), .kind = JSON_FIELD_TEXT, .required = (req), .max_bytes = (max),               \
        .out.str = (target)                                                                        \
    }
#define JF_OBJECT(n, req, target)                                                                  \
    { .name = (n), .kind = JSON_FIELD_OBJECT, .required = (req), .out.value = (target) }
#define JF_ARRAY(n, req, target)                                                                   \
    { .name = (n), .kind = JSON_FIELD_ARRAY, .required = (req), .out.value = (target) }
#define JF_INT(n, req, target)                                                                     \
    { .name = (n), .kind = JSON_FIELD_INT, .required = (req), .out.num = (target) }
#define JF_BOOL(n, req, target)                                                                    \
    { .name = (n), .kind = JSON_FIELD_BOOL, .required = (req), .out.flag = (target) }
#define JF_END                                                                                     \
    { .name = NULL }

/* A new reference in *out, or ERR_BAD_JSON / ERR_TOO_DEEP (duplicates, NUL, trailing bytes, invalid
 * UTF-8 are bad).  The fault text gives the position, not the content. */
VRS_CHECK enum vrs_err json_parse(const void *p, size_t n, json_t **out, struct vrs_fault *fault);
/* ERR_BAD_REQUEST when not an object, ERR_UNKNOWN_FIELD, ERR_MISSING_FIELD, ERR_BAD_FIELD; the
 * fault text is the name of the field. */
VRS_CHECK enum vrs_err json_read(const json_t *obj, const struct json_field *fields,
                                 struct vrs_fault *fault);
/* Appends the compact form; false when the buffer failed. */
bool json_write(struct buffer *b, const json_t *v);
/* The same of an object that is not empty, with one member more, `name`, whose value is JSON that was
 * written before. */
bool json_write_with(struct buffer *b, const json_t *object, const char *name,
                     const struct buffer *value);

#endif
