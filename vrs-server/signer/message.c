#include "vrs-server/signer/message.h"

#include <string.h>

#include "lib/local.h"
#include "lib/secret.h"
#include "lib/wire.h"

#define BIT(tag) WIRE_BIT(tag)

/* Fields of each verb. */
static const struct wire_shape shapes[] = {
    [SIGNER_HEAD] = {BIT(SIGNER_T_MUNICIPALITY) | BIT(SIGNER_T_EPOCH) | BIT(SIGNER_T_SIZE) |
                         BIT(SIGNER_T_ROOT),
                     0},
    [SIGNER_STATEMENT] = {BIT(SIGNER_T_KIND) | BIT(SIGNER_T_TEXT), 0},
    [SIGNER_CERT] = {BIT(SIGNER_T_KIND) | BIT(SIGNER_T_NAME) | BIT(SIGNER_T_DAYS) |
                         BIT(SIGNER_T_TEXT),
                     BIT(SIGNER_T_MUNICIPALITY) | BIT(SIGNER_T_BEGINS_MS)},
    [SIGNER_KEYS] = {0, 0},
    [SIGNER_STATUS] = {0, 0},
    [SIGNER_LAST] = {BIT(SIGNER_T_MUNICIPALITY), 0},
};

static bool take(const struct wire_field *f, void *arg) {
    struct signer_request *r = arg;
    uint64_t u;
    switch (f->tag) {
    case SIGNER_T_VERB:
        if (!wire_u64(f, &u) || u < SIGNER_HEAD || u > SIGNER_LAST)
            return false;
        r->verb = (enum signer_verb)u;
        return true;
    case SIGNER_T_EPOCH:
        return f->len > 0 && wire_str(f, r->head.epoch, sizeof r->head.epoch) &&
               strspn(r->head.epoch, "0123456789abcdef-") == f->len;
    case SIGNER_T_SIZE:
        return wire_u64(f, &r->head.size) && r->head.size > 0;
    case SIGNER_T_ROOT:
        return wire_fixed(f, r->head.root.bytes, sizeof r->head.root.bytes);
    case SIGNER_T_KIND:
        return wire_str(f, r->kind, sizeof r->kind);
    case SIGNER_T_NAME:
        return f->len > 0 && wire_str(f, r->name, sizeof r->name);
    case SIGNER_T_MUNICIPALITY:
        return f->len == sizeof r->municipality - 1 &&
               wire_str(f, r->municipality, sizeof r->municipality) &&
               strspn(r->municipality, "0123456789") == f->len;
    case SIGNER_T_DAYS:
        return wire_u64(f, &r->days) && r->days > 0 && r->days <= SIGNER_MAX_DAYS;
    case SIGNER_T_BEGINS_MS:
        if (!wire_u64(f, &u) || u > INT64_MAX)
            return false;
        r->begins_ms = (int64_t)u;
        return true;
    case SIGNER_T_TEXT:
        return f->len > 0 && buffer_put(&r->text, f->data, f->len);
    default:
        return false;
    }
}

enum vrs_err signer_request_read(struct signer_request *r, const uint8_t *p, size_t n) {
    uint32_t seen;
    memset(r, 0, sizeof *r);
    buffer_init(&r->text, SIGNER_MAX_TEXT);
    buffer_init(&r->fields, SIGNER_MAX_TEXT);
    if (wire_each_once(p, n, take, r, &seen) != VRS_OK)
        return ERR_PROTOCOL;
    if ((seen & BIT(SIGNER_T_VERB)) == 0)
        return ERR_PROTOCOL;
    if (!wire_fits(seen & ~BIT(SIGNER_T_VERB), &shapes[r->verb]) ||
        (r->verb == SIGNER_CERT && r->text.len > SIGNER_MAX_REQUEST))
        return ERR_PROTOCOL;
    memcpy(r->head.municipality, r->municipality, sizeof r->head.municipality);
    return VRS_OK;
}

void signer_request_fini(struct signer_request *r) {
    buffer_fini(&r->text);
    buffer_fini(&r->fields);
    memset(r, 0, sizeof *r);
}

void signer_answer_write(const struct signer_request *r, struct buffer *out) {
    size_t mark = local_begin(out);
    wire_put_u64(out, SIGNER_T_VERB, SIGNER_ANSWER);
    wire_put_str(out, SIGNER_T_ERR, err_name(r->err));
    if (r->err == VRS_OK)
        (void)buffer_put(out, r->fields.data, r->fields.len);
    local_end(out, mark);
}
