/* Products with their makers, date-effective ages and intervals, codes and lot patterns, from
 * data/vaccines.json (an operator can change it). Read-only after loading; any thread. */
#ifndef OCR_INGEST_VACCINE_H
#define OCR_INGEST_VACCINE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/clock.h"
#include "lib/err.h"

struct json_t;
struct vaccine_list;

struct vaccine {
    const char *id;       /* "comirnaty" */
    const char *maker_ja; /* as the ledger prints it: ファイザー */
    const char *name_ja;
    struct civil_date licensed_from;
};

VRS_CHECK enum vrs_err vaccine_list_open(const char *json_path, struct vaccine_list **out,
                                         struct vrs_fault *fault);
void vaccine_list_close(struct vaccine_list **l);
const struct vaccine *vaccine_find(const struct vaccine_list *l, const char *id);
/* From 製品コード or ワクチンメーカー (ファイザー → comirnaty): NULL when unknown or ambiguous. */
const struct vaccine *vaccine_by_maker(const struct vaccine_list *l, const char *maker_ja);
/* The lot, folded (text_fold_code), fits one of the product's patterns. */
bool vaccine_lot_plausible(const struct vaccine_list *l, const struct vaccine *v, const char *lot);
/* Minimum days between dose n-1 and n as in force on `on`; -1: none known. */
int vaccine_min_days(const struct vaccine_list *l, const struct vaccine *v, int dose_number,
                     struct civil_date on);
/* Ages in years as in force on `on`, both inclusive; -1: unknown or no limit. */
void vaccine_ages(const struct vaccine_list *l, const struct vaccine *v, struct civil_date on,
                  int *min_years, int *max_years);
/* Younger on that day than the years, or for infants the months, in force then. */
bool vaccine_too_young(const struct vaccine_list *l, const struct vaccine *v,
                       struct civil_date birth, struct civil_date on);
/* The document as GET /v1/vaccines gives it (compact JSON, borrowed). */
const char *vaccine_list_json(const struct vaccine_list *l);

#endif
