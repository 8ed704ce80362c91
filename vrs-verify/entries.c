/* A person's list of who looked (GET /v1/residents/{id}/access-log as NDJSON): each entry stands in
 * the signed log.  What its words are is the municipality's word; that there was an entry is not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vrs-verify/verify.h"

static bool entry_proven(const struct verifier *v, const json_t *o, const struct log_proof *p) {
    const char *hex = json_string_value(json_object_get(o, "commitment"));
    struct merkle_hash commitment, leaf;
    if (hex == NULL || strlen(hex) != 2 * sizeof commitment.bytes ||
        !crypto_unhex(hex, commitment.bytes, sizeof commitment.bytes) ||
        json_integer_value(json_object_get(o, "sequence")) != (json_int_t)p->entry)
        return false;
    proof_leaf(&commitment, &p->entry_hash, &leaf);
    return merkle_path_check(&leaf, p->entry - 1, p->head.size, p->path, p->path_count,
                             &p->head.root) &&
           proof_keys_head_check(&v->keys, &p->head);
}

void verify_entries(struct verifier *v, const char *path) {
    FILE *f = fopen(path, "rb");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    uint64_t good = 0, unproven = 0, number = 0;
    if (f == NULL) {
        say_bad(v, "%s を読めません。", "%s cannot be read.", path);
        return;
    }
    while ((n = getline(&line, &room, f)) > 0) {
        json_t *o = NULL;
        struct log_proof proof;
        bool read = n <= VERIFY_MAX_LINE && json_parse(line, (size_t)n, &o, NULL) == VRS_OK;
        const json_t *given = json_object_get(o, "proof");
        number++;
        if (read && given == NULL)
            unproven++;
        else if (read && proof_from_json(given, &proof) == VRS_OK && entry_proven(v, o, &proof))
            good++;
        else
            say_bad(v, "%" PRIu64 " 行目の証明を確認できません。",
                    "Line %" PRIu64 ": its proof does not verify.", number);
        json_decref(o);
    }
    free(line);
    (void)fclose(f);
    if (unproven > 0)
        say_note("%" PRIu64 " 件にはまだ証明がありません。",
                 "%" PRIu64 " entries have no proof yet.", unproven);
    if (good > 0)
        say_good("%" PRIu64 " 件が署名付きの記録にあることを確認しました。",
                 "%" PRIu64 " entries stand in the signed log.", good);
    else if (v->bad == 0)
        say_bad(v, "%s に証明付きの記録がありません。", "%s holds no entry with a proof.", path);
}
