/* One turn of a rotation at one municipality; inside rotation*.c. */
#ifndef VRS_SERVER_OPERATION_ROTATION_TURN_H
#define VRS_SERVER_OPERATION_ROTATION_TURN_H

#include "vrs-server/operation/rotation.h"

struct rotation_turn {
    unsigned order; /* to begin with */
    const char *by;
    bool more; /* came of it */
};
/* On the worker; `p` NULL: the municipality has keys but no partition. */
VRS_CHECK enum vrs_err rotation_turn(struct server *s, unsigned worker, const char *municipality,
                                     struct partition *p, struct rotation_turn *t,
                                     struct vrs_fault *fault);

/* What all municipalities are to do, as the registry keeps it. */
struct rotation_all {
    unsigned order; /* 0: nothing */
    char by[64];
    char after[7]; /* the last one that is done */
    int64_t begun_ms, ended_ms;
};
VRS_CHECK enum vrs_err rotation_all_get(struct partition *registry, struct rotation_all *out);
VRS_CHECK enum vrs_err rotation_all_put(struct partition *registry, const struct rotation_all *all);

#endif
