/* Suspect-record rules: a table in data/rules.json (id, name, on/off, effect, parameters, message)
 * applied to a claim before it is recorded.  A rule never refuses: it marks for review or warns. */
#ifndef VRS_SERVER_DOSES_RULES_H
#define VRS_SERVER_DOSES_RULES_H

#include "ocr-ingest/vaccine.h"
#include "partitions/claim.h"
#include "partitions/person.h"

struct rule_list;
VRS_CHECK enum vrs_err rule_list_open(const char *json_path, struct rule_list **out,
                                      struct vrs_fault *fault); /* an unknown rule name refuses */
void rule_list_close(struct rule_list **l);
/* The Japanese text of a rule, NULL when unknown. */
const char *rule_message(const struct rule_list *l, const char *name);

struct rule_input {
    const struct claim *claim;        /* the new one */
    const struct person *person;      /* NULL: coupon not registered */
    const struct claim *const *prior; /* the person's other doses in force (recorded, review) */
    size_t priors;
    const struct vaccine_list *vaccines;
    struct civil_date today; /* server's Japanese date */
    bool clock_warning;      /* the outside saw a wrong terminal clock */
};
struct rule_result {
    char names[512]; /* space-separated rule names that fired, review ones first */
    bool review;     /* at least one of effect review */
};
void rules_apply(const struct rule_list *l, const struct rule_input *in, struct rule_result *out);

#endif
