/* Rotation of a partition's keys while it works, in small steps (docs/decisions/0007-rotation.md).
 *
 *   prepared ─► walking ─► clean ─► done
 *      │           │         └ the old key is destroyed
 *      │           └ every row is looked at; those that name the old key are sealed anew, or get
 *      │             their index columns anew; again from the start until a pass finds none
 *      └ a new key version: it writes from now on, the old one still opens and is still looked up
 *
 * A step is a part of one transaction and leaves its position in it (TABLE_ROTATION), so a crash
 * costs at most a step.  Business versions do not change: nobody's If-Match goes stale.
 *
 * Data keys: ROTATE_DATA of the area.  The log's rows are in a hash tree and are never sealed again:
 * its new key writes new entries, its old ones stay decrypt-only for ever, and its index key is
 * never rotated.  Index keys: ROTATE_INDEX. */
#ifndef PARTITIONS_ROTATE_H
#define PARTITIONS_ROTATE_H

#include "partitions/partition.h"

enum rotate_what { ROTATE_DATA = 1, ROTATE_INDEX };
enum rotate_phase { ROTATE_PREPARED = 1, ROTATE_WALKING, ROTATE_CLEAN, ROTATE_DONE };

struct rotation {
    enum rotate_what what;
    enum key_area area;
    enum rotate_phase phase;
    uint32_t from_key, to_key; /* to_key 0: not made yet */
    uint64_t done, total;      /* rows looked at in the first pass, rows there were at its begin */
    uint64_t changed;          /* rows sealed anew */
    int64_t begun_ms, ended_ms;
    char by[64];
    /* The position: */
    uint32_t pass, table;
    uint64_t found; /* in this pass */
    struct record_id after;
    bool inside; /* `after` counts */
};

enum { ROTATE_STEP_ROWS = 200 }; /* changed in a step; ten times as many are looked at */

/* ERR_NOT_FOUND: never rotated. */
VRS_CHECK enum vrs_err rotate_get(struct partition *p, enum rotate_what what, enum key_area area,
                                  struct rotation *out);
/* Records the intent; the steps do the work.  One that is under way goes on instead. */
VRS_CHECK enum vrs_err rotate_begin(struct partition *p, enum rotate_what what, enum key_area area,
                                    const char *by, struct rotation *out);
/* One step of a rotation under way; `r` is what rotate_get gave and afterwards what is stored.  The
 * step from clean destroys r->from_key: the caller keeps the record of it (C76).  ERR_TAMPERED and
 * the like for a row that does not open, ERR_INTERNAL for a blind column without a recipe
 * (rotate_index.h): the old key then stays, and the step can be repeated. */
VRS_CHECK enum vrs_err rotate_step(struct partition *p, struct rotation *r,
                                   struct vrs_fault *fault);
/* Stores one that is not worked at here: what is known of the numbers' rotation, in vrs-server. */
VRS_CHECK enum vrs_err rotate_note(struct partition *p, const struct rotation *r);
const char *rotate_phase_name(enum rotate_phase phase);

#endif
