/* Taking the result of an inquiry over into the own record: its doses become claims with their
 * origin, once. */
#include <string.h>

#include "lib/clock.h"
#include "partitions/exchange.h"
#include "partitions/tally.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/inquiry_flow.h"
#include "vrs-server/request.h"

static enum vrs_err claim_from_answer(const struct json_t *dose, const struct inquiry *q,
                                      struct claim *c) {
    const char *code = json_string_value(json_object_get(dose, "municipality_code"));
    const char *number = json_string_value(json_object_get(dose, "coupon_number"));
    const char *day = json_string_value(json_object_get(dose, "vaccinated_on"));
    const char *status = json_string_value(json_object_get(dose, "status"));
    claim_init(c);
    if (code == NULL || number == NULL || day == NULL ||
        !municipality_code_set(&c->coupon.municipality, code) ||
        !coupon_number_set(&c->coupon.number, number) ||
        clock_parse_date(day, &c->vaccinated_on) != VRS_OK)
        return ERR_CORRUPT;
    c->coupon.kind = COUPON_VACCINATION;
    c->coupon.dose_number = (int)json_integer_value(json_object_get(dose, "dose_number"));
    c->given = status == NULL || strcmp(status, "given") == 0;
#define TAKE(field, name) INSIDE_COPY(c->field, json_string_value(json_object_get(dose, name)))
    TAKE(product, "product");
    TAKE(lot, "lot");
    TAKE(site, "site");
    TAKE(physician, "physician");
#undef TAKE
    INSIDE_COPY(c->read_by, "inquiry");
    INSIDE_COPY(c->origin, "inquiry");
    INSIDE_COPY(c->staff, q->user);
    c->registered_ms = clock_now_ms();
    return VRS_OK;
}

static enum vrs_err take_doses(struct inside_request *in, struct partition *p,
                               const struct inquiry *q, const struct person *person,
                               uint64_t *added) {
    struct vrs_fault fault = {0};
    json_t *doses = NULL, *dose;
    size_t i;
    struct tally_batch *tally = tally_batch_open();
    enum vrs_err e = tally != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = json_parse(q->result.data, q->result.len, &doses, &fault);
    json_array_foreach(doses, i, dose) {
        struct claim c;
        bool new_one = false;
        if (e == VRS_OK)
            e = claim_from_answer(dose, q, &c);
        if (e == VRS_OK)
            e = apply_taken_over(in->server, p, &c, person, &in->actor, tally, &new_one);
        *added += new_one;
    }
    if (e == VRS_OK)
        e = tally_batch_flush(tally, p);
    json_decref(doses);
    tally_batch_close(&tally);
    return e;
}

static enum vrs_err take_over_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct inquiry q;
    struct person person;
    uint64_t added = 0;
    const char *addressee = NULL;
    const struct json_field fields[] = {JF_STR("addressee_number", false, 20, &addressee), JF_END};
    inquiry_init(&q);
    memset(&person, 0, sizeof person);
    enum vrs_err e = in->body != NULL ? inside_read(in, fields) : VRS_OK;
    if (e == VRS_OK)
        e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = inquiry_get(p, &id, &q);
    if (e == VRS_OK && inquiry_gone(&q))
        e = ERR_RESULT_GONE;
    if (e == VRS_OK && q.state != INQUIRY_MATCH)
        e = ERR_CONFLICT;
    if (e == VRS_OK && q.has_person)
        e = person_get(p, &q.person, &person);
    else if (e == VRS_OK)
        e = addressee != NULL ? person_by_addressee(p, addressee, &person) : ERR_MISSING_FIELD;
    if (e == VRS_OK)
        e = take_doses(in, p, &q, &person, &added);
    if (e == VRS_OK) {
        q.state = INQUIRY_TAKEN_OVER;
        q.has_person = true;
        q.person = person.id;
        e = inquiry_put(p, &q);
    }
    in->purpose = arena_strdup(http_arena(in->rq), q.purpose);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, added, "ok", NULL);
    char resident[33];
    record_id_format(&person.id, resident);
    if (e == VRS_OK)
        e = inside_json(in, json_pack("{s:s,s:I,s:s}", "result", "taken_over", "doses",
                                      (json_int_t)added, "resident_id", resident));
    person_wipe(&person);
    inquiry_fini(&q);
    return e;
}

void inquiries_take_over(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "inquiry.take_over";
    inside_run(in, take_over_run);
}
