/* What asking and approving share: the result at the asker with its records, the doses that a
 * provider may send, the 情報提供等の記録 of either side. Inside a partition's transaction. */
#ifndef VRS_SERVER_INQUIRIES_INQUIRY_FLOW_H
#define VRS_SERVER_INQUIRIES_INQUIRY_FLOW_H

#include <stdio.h>

#include "partitions/exchange.h"
#include "partitions/person.h"
#include "vrs-server/request.h"

enum held_state { HELD = 1, APPROVED = 2, REFUSED = 3 };

const char *inquiry_result_name(enum inquiry_state s);
/* Past its time a result is gone, whether the sweep has come by or not. */
bool inquiry_gone(const struct inquiry *q);
/* What the asker sees of an inquiry. */
VRS_CHECK enum vrs_err inquiry_answer(struct inside_request *in, const struct inquiry *q);
VRS_CHECK enum vrs_err inquiry_add_provision(struct partition *p, const struct inquiry *q,
                                             bool asked_here, const char *other,
                                             const struct person *person, const char *user,
                                             const char *result, uint64_t doses);
VRS_CHECK enum vrs_err inquiry_own_person(struct partition *p, const struct inquiry *q,
                                          struct person *out);
VRS_CHECK enum vrs_err inquiry_store_result(struct inside_request *in, struct partition *p,
                                            struct inquiry *q, enum inquiry_state state,
                                            const struct buffer *doses, uint64_t dose_count);
VRS_CHECK enum vrs_err inquiry_collect_doses(const struct inside_request *in, struct partition *p,
                                             const struct inquiry *q, const char *asker,
                                             const struct record_id *person, struct buffer *out,
                                             uint64_t *count);

#endif
