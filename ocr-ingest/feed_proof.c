#include "ocr-ingest/feed_proof.h"

#include <stdlib.h>
#include <string.h>

#include "ocr-ingest/proof_keys.h"

enum { POSTED = 5, FIRST_ROWS = 1024 };

/* What the terminal itself has to say in a statement, in the order in which it is kept. */
static const char *const posted_names[POSTED] = {"ocr_line", "status", "vaccinated_on", "product",
                                                 "lot"};

struct feed_proof {
    struct proof_keys keys;
    char **posted; /* by row: the texts one after the other, each with its NUL; owned */
    uint64_t cap;
};

static const char *text_of(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

enum vrs_err feed_proof_open(const char *keys_file, struct feed_proof **out,
                             struct vrs_fault *fault) {
    struct feed_proof *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_fail(fault, ERR_MEMORY, "proofs");
    enum vrs_err e = proof_keys_load(&p->keys, keys_file, fault);
    if (e == VRS_OK)
        *out = p;
    else
        feed_proof_close(&p);
    return e;
}

void feed_proof_close(struct feed_proof **pp) {
    struct feed_proof *p = *pp;
    if (p == NULL)
        return;
    for (uint64_t i = 0; i < p->cap; i++)
        free(p->posted[i]);
    free(p->posted);
    free(p);
    *pp = NULL;
}

static bool make_room(struct feed_proof *p, uint64_t row) {
    uint64_t cap = p->cap != 0 ? p->cap : FIRST_ROWS;
    while (cap <= row)
        cap *= 2;
    if (cap == p->cap)
        return true;
    char **posted = reallocarray(p->posted, (size_t)cap, sizeof *posted);
    if (posted == NULL)
        return false;
    memset(posted + p->cap, 0, (size_t)(cap - p->cap) * sizeof *posted);
    p->posted = posted;
    p->cap = cap;
    return true;
}

enum vrs_err feed_proof_keep(struct feed_proof *p, uint64_t row, const json_t *body) {
    size_t n = 0;
    for (size_t i = 0; i < POSTED; i++)
        n += strlen(text_of(body, posted_names[i])) + 1;
    char *texts = make_room(p, row) ? malloc(n) : NULL;
    if (texts == NULL)
        return ERR_MEMORY;
    char *to = texts;
    for (size_t i = 0; i < POSTED; i++)
        to = stpcpy(to, text_of(body, posted_names[i])) + 1;
    free(p->posted[row]);
    p->posted[row] = texts;
    return VRS_OK;
}

void feed_proof_drop(struct feed_proof *p, uint64_t row) {
    if (row >= p->cap)
        return;
    free(p->posted[row]);
    p->posted[row] = NULL;
}

enum feed_proven feed_proof_check(const struct feed_proof *p, uint64_t row, const json_t *answer) {
    const char *posted[POSTED];
    struct log_proof proof;
    const json_t *v = json_object_get(answer, "proof");
    if (v == NULL || json_is_null(v) || row >= p->cap || p->posted[row] == NULL)
        return FEED_PROOF_MISSING;
    posted[0] = p->posted[row];
    for (size_t i = 1; i < POSTED; i++)
        posted[i] = posted[i - 1] + strlen(posted[i - 1]) + 1;
    const struct proof_statement s = {.receipt_id = text_of(answer, "receipt_id"),
                                      .dose_id = text_of(answer, "dose_id"),
                                      .outcome = text_of(answer, "outcome"),
                                      .ocr_line = posted[0],
                                      .status = posted[1],
                                      .vaccinated_on = posted[2],
                                      .product = posted[3],
                                      .lot = posted[4]};
    /* The 18 digits name the municipality whose log it must stand in. */
    bool good = proof_from_json(v, &proof) == VRS_OK && strlen(s.ocr_line) == 18 &&
                strncmp(s.ocr_line + 2, proof.head.municipality, 6) == 0 &&
                proof_keys_check(&p->keys, &proof, &s);
    return good ? FEED_PROOF_GOOD : FEED_PROOF_BAD;
}
