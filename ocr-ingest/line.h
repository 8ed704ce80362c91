/* An OCR line as it was read or typed → a coupon, or the reason why not.
 *
 * Full-width digits, spaces, hyphens and line ends are normalised away; letters that OCR and
 * fingers confuse with digits (O/0, I/1 …) are never corrected silently: they make candidates
 * (repair.h) that a person confirms. */
#ifndef OCR_INGEST_LINE_H
#define OCR_INGEST_LINE_H

#include "ocr-ingest/coupon.h"

/* VRS_OK, ERR_R104 (not 18 digits), ERR_R106 (kind), ERR_R120 (dose number), ERR_R102 (check
 * digit), ERR_R105 (no such municipality; skipped when `known` is NULL).  The fault text says which
 * digits, never the line. */
VRS_CHECK enum vrs_err line_parse(const char *text, const struct municipality_list *known,
                                  struct coupon *out, struct vrs_fault *fault);
/* The normalised characters, at most cap-1 of them: digits, upper-case letters, and '?' for
 * whatever else was read.  The A-D that an NW-7 scanner types around its digits are taken off. */
void line_normalise(const char *text, char *out, size_t cap);

#endif
