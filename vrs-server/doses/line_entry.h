/* One entry of the inbox, applied in its partition.  On the partition's worker. */
#ifndef VRS_SERVER_DOSES_LINE_ENTRY_H
#define VRS_SERVER_DOSES_LINE_ENTRY_H

#include "tablet-api/line.h"
#include "vrs-server/doses/apply.h"

struct crypto_opener;

/* For the entries of one transaction. */
struct line_work {
    struct server *server;
    struct crypto_opener *opener; /* this worker's */
    struct partition *partition;
    struct tally_batch *tally;
    bool again;              /* of a replay: what people were told then they are not told again */
    struct buffer text, aad; /* scratch */
};

VRS_CHECK enum vrs_err line_work_open(struct line_work *w, struct server *s,
                                      struct crypto_opener *opener, struct partition *p,
                                      bool again);
void line_work_close(struct line_work *w);
/* What cannot be opened or read is answered LINE_PENDING and raises an alarm: it is never dropped
 * and never stops its neighbours.  An error is the transaction's. */
VRS_CHECK enum vrs_err line_entry_run(struct line_work *w, const struct line_entry *e,
                                      struct line_result *result, struct apply_proof *proof);
/* One more that cannot be read: counted. */
void line_entry_unreadable(void);
void line_entry_show(void); /* its metrics, once at start */

#endif
