/* An OCR line as any reader or finger may send it: parsing, normalising and repairing keep their
 * promises on all bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ocr-ingest/repair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct municipality_list *known;
    if (known == NULL)
        must(municipality_list_open("data/municipalities.csv", &known, NULL) == VRS_OK);
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    char folded[64];
    char again[64];
    line_normalise(text, folded, sizeof folded);
    must(strspn(folded, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ?") == strlen(folded));

    struct coupon c;
    struct repair_candidate cand[REPAIR_MAX_CANDIDATES];
    bool valid = line_parse(text, known, &c, NULL) == VRS_OK;
    size_t n = repair_candidates(text, known, cand);
    must(n <= REPAIR_MAX_CANDIDATES && !(valid && n > 0));
    if (valid) {
        coupon_format(&c, again);
        must(strcmp(again, folded) == 0);
        must(line_parse(again, known, &c, NULL) == VRS_OK);
    }
    for (size_t i = 0; i < n; i++)
        must(line_parse(cand[i].line, known, &c, NULL) == VRS_OK);
    free(text);
    return 0;
}
