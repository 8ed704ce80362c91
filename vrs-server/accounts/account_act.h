/* An administrative act on the registry by somebody of a municipality.  Two partitions are part of
 * it, and no log entry means no act (rule 8), so it goes
 *
 *     registry: tried, and undone     a refusal becomes the entry, and ends it here
 *       → municipality: the entry     committed
 *       → registry: done              should it be refused now, that is a second entry
 *
 * A look (accounts, applications) is read in the registry, and shown when its entry is committed. */
#ifndef VRS_SERVER_ACCOUNTS_ACCOUNT_ACT_H
#define VRS_SERVER_ACCOUNTS_ACCOUNT_ACT_H

#include "vrs-server/request.h"

struct account_act {
    inside_fn *apply;                         /* in the registry; fills the answer; may run again */
    inside_fn *look;                          /* instead: sets `shown`; may run again */
    void (*after)(struct inside_request *in); /* loop, when it is committed; may be NULL */
    json_t *shown;
    uint64_t count;    /* for the entry */
    char detail[1200]; /* for the entry: what changes, set by apply or before */
};

/* in->own must begin with a struct account_act; in->act is set. */
void account_act_run(struct inside_request *in);
json_t *account_words(const char *words); /* new: an array of them */
/* An array of names as words, at most cap bytes; ERR_BAD_FIELD. */
VRS_CHECK enum vrs_err account_words_read(const json_t *array, char *out, size_t cap);
/* "field" of a problem. */
void account_field(struct inside_request *in, const char *field);

#endif
