/* What the API shows of records, as jansson objects (new references; NULL: out of memory).
 * One place, so that a field never means two things. No view can hold a 個人番号. */
#ifndef VRS_SERVER_VIEWS_H
#define VRS_SERVER_VIEWS_H

#include "lib/json.h"
#include "partitions/claim.h"
#include "partitions/person.h"
#include "vrs-server/server.h"

const char *claim_state_name(enum claim_state s); /* recorded review waiting conflict … */
/* A dose for the own municipality: everything but terminal internals. */
json_t *view_dose(const struct server *s, const struct claim *c);
/* A dose for another municipality or a certificate: just the items the allow-list permits for the
 * business (C92): built from the store, never from the request. */
json_t *view_dose_for(const struct server *s, const struct claim *c, const char *business,
                      const char *asker, const char *provider);
/* The names of those items, space-separated; "" none. */
enum { VIEW_ITEMS_MAX = 200 };
void view_items_for(const struct server *s, const char *business, const char *asker,
                    const char *provider, char out[VIEW_ITEMS_MAX]);
/* A resident; `coupons` (may be NULL) is stolen. */
json_t *view_person(const struct person *p, json_t *coupons);
/* [{code, detail}] from space-separated rule names. */
json_t *view_reasons(const struct server *s, const char *names);
json_t *view_date(struct civil_date d); /* null when not set */
json_t *view_time(int64_t utc_ms);

#endif
