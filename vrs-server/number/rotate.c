/* New keys for a municipality's numbers, a step a request: vrs-server asks on, and has logged it
 * before an old key is destroyed.  What is under way stands in the municipality's own file. */
#include <string.h>

#include "lib/log.h"
#include "lib/wire.h"
#include "vrs-server/number/area_private.h"

static enum vrs_err look(struct partition *p, struct number_rotation *out) {
    static const enum rotate_what both[] = {ROTATE_DATA, ROTATE_INDEX};
    for (int i = 0; i < 2; i++) {
        enum vrs_err e = rotate_get(p, both[i], KEY_NUMBERS, &out->of[i]);
        if (e != VRS_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return VRS_OK;
}

static enum vrs_err step(struct partition *p, bool may_destroy, struct number_rotation *out,
                         struct vrs_fault *fault) {
    for (int i = 0; i < 2; i++) {
        struct rotation *r = &out->of[i];
        if (r->phase == 0 || r->phase == ROTATE_DONE || (r->phase == ROTATE_CLEAN && !may_destroy))
            continue;
        enum vrs_err e = rotate_step(p, r, fault);
        if (e == VRS_OK && r->phase == ROTATE_DONE)
            log_event(LOG_INFO, "number.key_destroyed", LF_STR("municipality", partition_code(p)),
                      LF_INT("key_id", r->from_key));
        return e;
    }
    return VRS_OK;
}

static enum vrs_err obey(struct partition *p, const struct number_request *rq,
                         struct number_rotation *out, struct vrs_fault *fault) {
    enum vrs_err e = look(p, out);
    if (e != VRS_OK || strcmp(rq->name, "status") == 0 || strcmp(rq->name, "kek") == 0)
        return e;
    if (strcmp(rq->name, "data") == 0)
        return rotate_begin(p, ROTATE_DATA, KEY_NUMBERS, rq->user, &out->of[0]);
    if (strcmp(rq->name, "index") == 0)
        return rotate_begin(p, ROTATE_INDEX, KEY_NUMBERS, rq->user, &out->of[1]);
    bool destroy = strcmp(rq->name, "destroy") == 0;
    return destroy || strcmp(rq->name, "step") == 0 ? step(p, destroy, out, fault) : ERR_BAD_FIELD;
}

static void write_state(const struct number_rotation *r, struct buffer *out) {
    wire_put_u64(out, NUMBER_ROTATION_KEKS, r->keys_under_previous_kek);
    for (int i = 0; i < 2; i++) {
        const struct rotation *o = &r->of[i];
        if (o->phase == 0)
            continue;
        const uint64_t numbers[] = {o->phase,
                                    o->from_key,
                                    o->to_key,
                                    o->done,
                                    o->total,
                                    o->changed,
                                    (uint64_t)o->begun_ms,
                                    (uint64_t)o->ended_ms};
        size_t mark = wire_begin(out, (uint8_t)(NUMBER_ROTATION_DATA + i));
        for (size_t n = 0; n < NUMBER_ROTATION_BY - 1; n++)
            wire_put_u64(out, (uint8_t)(n + 1), numbers[n]);
        wire_put_str(out, NUMBER_ROTATION_BY, o->by);
        wire_end(out, mark);
    }
}

enum vrs_err area_rotate(struct area *a, struct number_request *rq, struct vrs_fault *fault) {
    struct partition *p = NULL;
    struct number_rotation r = {0};
    struct buffer text;
    size_t wrapped;
    enum vrs_err e = area_room(a, rq->municipality, false, &p, fault);
    if (e == VRS_OK && strcmp(rq->name, "kek") == 0)
        e = keyring_rewrap(a->keys, rq->municipality, &wrapped, fault);
    if (e == VRS_OK)
        e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    e = obey(p, rq, &r, fault);
    if (e == VRS_OK && strcmp(rq->name, "status") != 0)
        e = area_commit(a, p);
    else
        partition_rollback(p);
    r.keys_under_previous_kek = keyring_under_previous(a->keys, rq->municipality);
    buffer_init(&text, 4096);
    write_state(&r, &text);
    if (text.failed)
        e = e == VRS_OK ? ERR_MEMORY : e;
    else
        wire_put(&rq->fields, NUMBER_T_TEXT, text.data, text.len);
    buffer_fini(&text);
    return e;
}
