#include "vrs-server/number/message.h"

#include <string.h>

#include "lib/local.h"
#include "lib/secret.h"
#include "lib/wire.h"

#define BIT(tag) WIRE_BIT(tag)
#define ALWAYS (BIT(NUMBER_T_VERB) | BIT(NUMBER_T_ID))
#define WHY (BIT(NUMBER_T_RIGHT) | BIT(NUMBER_T_PURPOSE) | BIT(NUMBER_T_USER))

/* Fields of each verb beside ALWAYS.  A missing right or purpose is answered, not fatal. */
static const struct wire_shape shapes[] = {
    [NUMBER_PUT] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_ROW) | BIT(NUMBER_T_NUMBER), WHY},
    [NUMBER_MATCH] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NUMBER), WHY},
    [NUMBER_REVEAL] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_ROW), WHY},
    [NUMBER_ERASE] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_ROW), 0},
    [NUMBER_LIST] = {BIT(NUMBER_T_MUNICIPALITY), BIT(NUMBER_T_ROW)},
    [NUMBER_BACKUP] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NAME), 0},
    [NUMBER_RESTORE] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NAME), 0},
    [NUMBER_STATUS] = {0, 0},
    [NUMBER_CARRY_KEY] = {BIT(NUMBER_T_MUNICIPALITY), 0},
    [NUMBER_CARRY_OUT] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NAME) | BIT(NUMBER_T_USER),
                          BIT(NUMBER_T_ROW)},
    [NUMBER_CARRY_IN] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NAME) | BIT(NUMBER_T_ROW) |
                             BIT(NUMBER_T_TEXT),
                         0},
    [NUMBER_DESTROY] = {BIT(NUMBER_T_MUNICIPALITY), 0},
    [NUMBER_ROTATE] = {BIT(NUMBER_T_MUNICIPALITY) | BIT(NUMBER_T_NAME), BIT(NUMBER_T_USER)},
};

static bool take(const struct wire_field *f, void *arg) {
    struct number_request *r = arg;
    uint64_t verb;
    switch (f->tag) {
    case NUMBER_T_VERB:
        if (!wire_u64(f, &verb) || verb < NUMBER_PUT || verb > NUMBER_CARRY_IN)
            return false;
        r->verb = (enum number_verb)verb;
        return true;
    case NUMBER_T_ID:
        return wire_u64(f, &r->id);
    case NUMBER_T_MUNICIPALITY:
        return f->len == sizeof r->municipality - 1 &&
               wire_str(f, r->municipality, sizeof r->municipality);
    case NUMBER_T_ROW:
        r->has_row = true;
        return wire_fixed(f, r->row.bytes, sizeof r->row.bytes);
    case NUMBER_T_NUMBER:
        return f->len == sizeof r->number.digits - 1 &&
               wire_str(f, r->number.digits, sizeof r->number.digits);
    case NUMBER_T_RIGHT:
        return wire_str(f, r->right, sizeof r->right);
    case NUMBER_T_PURPOSE:
        return wire_str(f, r->purpose, sizeof r->purpose);
    case NUMBER_T_USER:
        return wire_str(f, r->user, sizeof r->user);
    case NUMBER_T_NAME:
        return wire_str(f, r->name, sizeof r->name);
    case NUMBER_T_TEXT:
        return buffer_put(&r->text, f->data, f->len);
    default:
        return false;
    }
}

enum vrs_err number_request_read(struct number_request *r, const uint8_t *p, size_t n) {
    uint32_t seen;
    memset(r, 0, sizeof *r);
    buffer_init(&r->fields, NUMBER_MAX_MESSAGE);
    buffer_init(&r->text, NUMBER_MAX_MESSAGE);
    if (wire_each_once(p, n, take, r, &seen) != VRS_OK)
        return ERR_PROTOCOL;
    if ((seen & ALWAYS) != ALWAYS)
        return ERR_PROTOCOL;
    if (!wire_fits(seen & ~ALWAYS, &shapes[r->verb]))
        return ERR_PROTOCOL;
    return VRS_OK;
}

void number_request_fini(struct number_request *r) {
    buffer_fini(&r->fields);
    buffer_fini(&r->text);
    secret_wipe(r, sizeof *r);
}

void number_answer_write(const struct number_request *r, struct buffer *out) {
    size_t mark = local_begin(out);
    wire_put_u64(out, NUMBER_T_VERB, NUMBER_ANSWER);
    wire_put_u64(out, NUMBER_T_ID, r->id);
    wire_put_str(out, NUMBER_T_ERR, err_name(r->err));
    if (r->err == VRS_OK)
        (void)buffer_put(out, r->fields.data, r->fields.len);
    local_end(out, mark);
}
