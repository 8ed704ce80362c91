/* What area.c, copy.c and rotate.c share. */
#ifndef VRS_SERVER_NUMBER_AREA_PRIVATE_H
#define VRS_SERVER_NUMBER_AREA_PRIVATE_H

#include "partitions/erase.h"
#include "vrs-server/number/area.h"

enum { AREA_PATH = 512 };

struct room {
    char code[7];
    struct partition *partition;
    uint64_t used; /* greater is more recent */
    bool favoured; /* at most one is */
};

struct area {
    const struct store_engine *engine;
    struct keyring *keys;
    char state_dir[AREA_PATH / 2];
    char files_dir[AREA_PATH / 2 + 8];
    char second_dir[AREA_PATH / 2 + 12]; /* of backups */
    size_t max_open, open;
    struct room *rooms; /* max_open of them, the first `open` in use */
    uint64_t clock;     /* counts uses */
    char last[7];       /* used last */
    struct erased gone; /* of the group at work: whose seals must not stay */
    struct {
        uint64_t opens, makes, puts, matches, misses, reveals, erasures, lists, refused, commits,
            commits_failed, commit_us_sum, commit_us_max, backups, restores, rotation_steps;
    } count;
};

/* The municipality's open partition, ready for a transaction.  ERR_NOT_FOUND: no file (A1). */
VRS_CHECK enum vrs_err area_room(struct area *a, const char *code, bool make,
                                 struct partition **out, struct vrs_fault *fault);
void area_leave(struct area *a, const char *code); /* closes its file */
/* After work that goes through the whole nation: it makes no room a favoured one and leaves no cache. */
void area_rest(struct area *a, struct partition *p);

VRS_CHECK enum vrs_err area_commit(struct area *a, struct partition *p); /* counted */
/* The blind index of an opened number row, under the keys of `p`. */
VRS_CHECK enum vrs_err area_index(struct partition *p, struct record *r);

bool area_row_digits(const struct buffer *text, struct personal_number *out);
VRS_CHECK enum vrs_err area_put(struct partition *p, const struct number_request *rq);
VRS_CHECK enum vrs_err area_journal(struct partition *p, const struct number_request *rq);

/* carry.c.  In the group's transaction. */
VRS_CHECK enum vrs_err area_carry_key(struct area *a, struct number_request *rq);
VRS_CHECK enum vrs_err area_carry_out(struct partition *p, struct number_request *rq);
VRS_CHECK enum vrs_err area_carry_in(struct area *a, struct partition *p,
                                     const struct number_request *rq);

/* rotate.c.  In a transaction of its own. */
VRS_CHECK enum vrs_err area_rotate(struct area *a, struct number_request *rq,
                                   struct vrs_fault *fault);

/* copy.c.  Outside any transaction. */
VRS_CHECK enum vrs_err area_backup(struct area *a, const char *code, const char *name,
                                   struct vrs_fault *fault);
/* All keys of the municipality, in its backups, too. */
VRS_CHECK enum vrs_err area_destroy(struct area *a, const char *code, struct vrs_fault *fault);
VRS_CHECK enum vrs_err area_restore(struct area *a, const char *code, const char *name,
                                    struct vrs_fault *fault);

#endif
