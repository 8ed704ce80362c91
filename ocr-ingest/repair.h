/* Candidates for a line that is not valid: each differs by few, plausible confusions, is valid
 * (check digit, municipality exists) and must be confirmed by a person.  Pure; no I/O. */
#ifndef OCR_INGEST_REPAIR_H
#define OCR_INGEST_REPAIR_H

#include "ocr-ingest/line.h"

enum { REPAIR_MAX_CANDIDATES = 8 };

struct repair_candidate {
    char line[19];
    int changes; /* number of changed characters */
    double cost; /* lower is likelier */
};

/* Best first; returns how many.  One inserted or lost character is tried too. */
size_t repair_candidates(const char *text, const struct municipality_list *known,
                         struct repair_candidate out[REPAIR_MAX_CANDIDATES]);

#endif
