#include "partitions/rotate_index.h"

#include <string.h>

#include "lib/secret.h"
#include "lib/wire.h"

/* `recipe` writes the value out of the record's fields: tN the text of tag N, dN its number as one
 * digit, iN its number as four bytes of this machine; anything else stands for itself.  NULL: the
 * value is not kept; the row is then found by it no more. */
static const struct recipe {
    enum store_table table;
    int column;
    const char *kind;
    const char *recipe;
    bool moves;
} recipes[] = {
    {TABLE_PERSON, 0, "addressee", "t1", false},
    {TABLE_PERSON, 1, "birth", "i5", false},
    {TABLE_COUPON, 0, "coupon", "t1", false},
    {TABLE_CLAIM, 1, "claim_turn", "d3t4t5", false}, /* older rows; nothing is found by it */
    {TABLE_CLAIM, 2, "claim_coupon", "t4t5", false},
    {TABLE_TALLY, 0, "tally", "t1", true},
    {TABLE_IMPORT, 0, "import_hash", "t3", false},
    {TABLE_IMPORT, 1, "import_name", "t2", false},
    {TABLE_ACCOUNT, 0, "user", "t1", false},
    {TABLE_APPLICATION, 0, "user", "t1", false},
    {TABLE_TERMINAL, 0, "serial", "t4", false},
    {TABLE_SETTING, 0, "setting", "t1", false},
    {TABLE_ALERT, 0, "alert", "t1 t2", false},
    {TABLE_ENROLMENT, 0, "enrolment", NULL, false}, /* codes that are out are issued anew */
    {TABLE_NUMBER, 0, "number", "t1", false},
};

enum { VALUE_MAX = 512 };

/* True and the field, when the record has it: an empty text is not written. */
static bool field_of(const struct record *r, unsigned tag, struct wire_field *out) {
    struct wire_reader reader;
    bool more;
    wire_open(&reader, r->text.data, r->text.len);
    while (wire_next(&reader, out, &more) == VRS_OK && more) {
        if (out->tag == tag)
            return true;
    }
    return false;
}

static bool put_part(char how, unsigned tag, const struct record *r, struct buffer *out) {
    struct wire_field f;
    uint64_t n = 0;
    bool there = field_of(r, tag, &f);
    if (how == 't')
        return !there || buffer_put(out, f.data, f.len);
    if (there && !wire_u64(&f, &n))
        return false;
    int32_t narrow = (int32_t)(int64_t)n;
    char digit = (char)('0' + n % 10);
    return how == 'i' ? buffer_put(out, &narrow, sizeof narrow) : buffer_put(out, &digit, 1);
}

static bool put_value(const char *recipe, const struct record *r, struct buffer *out) {
    bool good = true;
    for (const char *c = recipe; good && *c != '\0';) {
        if (*c == ' ') {
            good = buffer_put(out, c++, 1);
            continue;
        }
        char how = *c++;
        unsigned tag = 0;
        for (; *c >= '0' && *c <= '9'; c++)
            tag = tag * 10 + (unsigned)(*c - '0');
        good = put_part(how, tag, r, out);
    }
    return good;
}

static enum vrs_err make_one(struct partition *p, const struct recipe *recipe, struct record *r) {
    struct store_index *column = &r->index[recipe->column], made = {0};
    struct buffer value;
    if (recipe->recipe == NULL) {
        *column = made;
        return VRS_OK;
    }
    buffer_init(&value, VALUE_MAX);
    enum vrs_err e = put_value(recipe->recipe, r, &value) ? VRS_OK : ERR_CORRUPT;
    if (e == VRS_OK)
        e = partition_blind(p, recipe->kind, value.data, value.len, &made);
    if (e == VRS_OK &&
        (made.old_len != column->len || memcmp(made.old, column->bytes, column->len) != 0))
        e = ERR_INTERNAL;
    if (e == VRS_OK)
        *column = made;
    secret_wipe(&made, sizeof made);
    buffer_fini(&value);
    return e;
}

enum vrs_err rotate_index_make(struct partition *p, enum store_table t, uint32_t old_key,
                               struct record *r, bool *moves, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    *moves = false;
    for (size_t i = 0; e == VRS_OK && i < sizeof recipes / sizeof *recipes; i++) {
        const struct recipe *recipe = &recipes[i];
        if (recipe->table != t || store_index_key(&r->index[recipe->column]) != old_key)
            continue;
        e = make_one(p, recipe, r);
        *moves = recipe->moves;
        if (e == ERR_INTERNAL)
            return err_fail(fault, e, "%s: the recipe of column %d does not give what is stored",
                            store_table_name(t), recipe->column);
    }
    for (int n = 0; e == VRS_OK && n < STORE_INDEXES; n++) {
        if (store_index_key(&r->index[n]) == old_key)
            return err_fail(fault, ERR_INTERNAL, "%s: no recipe for column %d", store_table_name(t),
                            n);
    }
    return e;
}
