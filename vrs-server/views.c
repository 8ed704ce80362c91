#include "vrs-server/views.h"

#include <stdio.h>
#include <string.h>

#include "vrs-server/inquiries/allow_list.h"

const char *claim_state_name(enum claim_state s) {
    switch (s) {
    case CLAIM_RECORDED:
        return "recorded";
    case CLAIM_REVIEW:
        return "review";
    case CLAIM_WAITING:
        return "waiting_for_coupon";
    case CLAIM_CONFLICT:
        return "conflict";
    case CLAIM_DUPLICATE:
        return "duplicate";
    case CLAIM_VISIT:
        return "visit";
    case CLAIM_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

json_t *view_date(struct civil_date d) {
    char text[11];
    if (!person_date_set(d))
        return json_null();
    clock_format_date(d, text);
    return json_string(text);
}

json_t *view_time(int64_t utc_ms) {
    char text[25];
    clock_format_rfc3339(utc_ms, text);
    return json_string(text);
}

json_t *view_reasons(const struct server *s, const char *names) {
    json_t *list = json_array();
    char copy[512];
    (void)snprintf(copy, sizeof copy, "%s", names);
    for (char *save, *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        const char *text = rule_message(s->rules, w);
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s}", "code", w, "detail", text != NULL ? text : w));
    }
    return list;
}

static const char *maker_of(const struct server *s, const char *product) {
    const struct vaccine *v = vaccine_find(s->vaccines, product);
    return v != NULL ? v->maker_ja : "";
}

json_t *view_dose(const struct server *s, const struct claim *c) {
    char id[33];
    record_id_format(&c->id, id);
    json_t *o =
        json_pack("{s:s,s:I,s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "dose_id",
                  id, "version", (json_int_t)c->version, "state", claim_state_name(c->state),
                  "status", c->given ? "given" : "not_given", "dose_number", c->coupon.dose_number,
                  "municipality_code", c->coupon.municipality.digits, "coupon_number",
                  c->coupon.number.digits, "product", c->product, "maker", maker_of(s, c->product),
                  "lot", c->lot, "site", c->site, "physician", c->physician, "read_by", c->read_by,
                  "origin", c->origin, "terminal", c->terminal, "staff", c->staff);
    if (o == NULL)
        return NULL;
    (void)json_object_set_new(o, "vaccinated_on", view_date(c->vaccinated_on));
    (void)json_object_set_new(o, "recorded_at", view_time(c->registered_ms));
    (void)json_object_set_new(o, "reasons", view_reasons(s, c->reasons));
    if (c->notes[0] != '\0')
        (void)json_object_set_new(o, "notes", json_string(c->notes));
    if (c->has_person) {
        record_id_format(&c->person, id);
        (void)json_object_set_new(o, "resident_id", json_string(id));
    }
    if (c->state == CLAIM_DUPLICATE) {
        record_id_format(&c->duplicate_of, id);
        (void)json_object_set_new(o, "duplicate_of", json_string(id));
    }
    if (c->changed_ms != 0) {
        (void)json_object_set_new(o, "changed_at", view_time(c->changed_ms));
        (void)json_object_set_new(o, "changed_by", json_string(c->changed_by));
        (void)json_object_set_new(o, "change_reason", json_string(c->change_reason));
    }
    return o;
}

/* What a certificate of the own municipality may show: no inquiry, so no allow-list. */
static bool certificate_item(const char *name) {
    static const char *const items[] = {"dose_number", "vaccinated_on", "maker",
                                        "product",     "lot",           "municipality_code"};
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        if (strcmp(items[i], name) == 0)
            return true;
    }
    return false;
}

static bool item_permitted(const struct server *s, const char *name, const char *business,
                           const char *asker, const char *provider) {
    if (strcmp(asker, provider) == 0)
        return certificate_item(name);
    return allow_guard_permits(s->allow, business, asker, provider, name, clock_today_jst()) ==
           VRS_OK;
}

void view_items_for(const struct server *s, const char *business, const char *asker,
                    const char *provider, char out[VIEW_ITEMS_MAX]) {
    static const char *const items[] = {
        "status",  "dose_number", "vaccinated_on",     "maker",
        "product", "lot",         "municipality_code", "coupon_number",
        "site",    "physician",   "recorded_at"};
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        if (item_permitted(s, items[i], business, asker, provider))
            n += (size_t)snprintf(out + n, VIEW_ITEMS_MAX - n, "%s%s", n > 0 ? " " : "", items[i]);
    }
}

json_t *view_dose_for(const struct server *s, const struct claim *c, const char *business,
                      const char *asker, const char *provider) {
    json_t *all = json_pack(
        "{s:s,s:i,s:o,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "status", c->given ? "given" : "not_given",
        "dose_number", c->coupon.dose_number, "vaccinated_on", view_date(c->vaccinated_on), "maker",
        maker_of(s, c->product), "product", c->product, "lot", c->lot, "municipality_code",
        c->coupon.municipality.digits, "coupon_number", c->coupon.number.digits, "site", c->site,
        "physician", c->physician, "recorded_at", view_time(c->registered_ms));
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(all, next, name, value) {
        if (!item_permitted(s, name, business, asker, provider))
            (void)json_object_del(all, name);
    }
    return all;
}

json_t *view_person(const struct person *p, json_t *coupons) {
    char id[33];
    record_id_format(&p->id, id);
    static const char *const sexes[] = {[SEX_MALE] = "male", [SEX_FEMALE] = "female"};
    const char *sex = p->sex == SEX_MALE || p->sex == SEX_FEMALE ? sexes[p->sex] : "unknown";
    json_t *o = json_pack("{s:s,s:I,s:s,s:s,s:s,s:s,s:o,s:s,s:b,s:b}", "resident_id", id, "version",
                          (json_int_t)p->version, "addressee_number", p->addressee, "name", p->name,
                          "name_kana", p->kana, "address", p->address, "birth_date",
                          view_date(p->birth), "sex", sex, "no_auto_answer", (int)p->no_auto_answer,
                          "undisclosed", (int)p->undisclosed);
    if (o == NULL) {
        json_decref(coupons);
        return NULL;
    }
    (void)json_object_set_new(o, "moved_out_on", view_date(p->moved_out_on));
    if (p->moved_out_to[0] != '\0')
        (void)json_object_set_new(o, "moved_out_to", json_string(p->moved_out_to));
    (void)json_object_set_new(o, "died_on", view_date(p->died_on));
    (void)json_object_set_new(o, "removed_on", view_date(p->removed_on));
    if (coupons != NULL)
        (void)json_object_set_new(o, "coupons", coupons);
    return o;
}
