/* How every blind index follows from its record: the one list of it, for rotating index keys.  A
 * module that makes a blind column of a table has a row here, or its table stops the rotation. */
#ifndef PARTITIONS_ROTATE_INDEX_H
#define PARTITIONS_ROTATE_INDEX_H

#include "partitions/partition.h"

/* Makes the columns of an opened record anew that stand under `old_key`.  Each recipe is proven on
 * the row itself: under the old key it must give what is stored, else ERR_INTERNAL and nothing is
 * changed.  `moves`: the row's id follows from column 0, so it moves to another one. */
VRS_CHECK enum vrs_err rotate_index_make(struct partition *p, enum store_table t, uint32_t old_key,
                                         struct record *r, bool *moves, struct vrs_fault *fault);

#endif
