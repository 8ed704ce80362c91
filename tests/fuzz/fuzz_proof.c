/* Proofs, signed heads and clear texts from outside: what is accepted gives the same bytes again,
 * and stays within its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log_text.h"
#include "ocr-ingest/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

static void wire_form(const uint8_t *data, size_t size) {
    static struct log_proof p, q;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    if (proof_decode(data, size, &p) == VRS_OK && size > 0) {
        must(p.path_count <= MERKLE_MAX_DEPTH && p.entry > 0 && p.entry <= p.head.size);
        proof_encode(&p, &out);
        must(!out.failed && proof_decode(out.data, out.len, &q) == VRS_OK);
        must(memcmp(&p.path, &q.path, p.path_count * sizeof *p.path) == 0 && p.entry == q.entry &&
             p.path_count == q.path_count);
        (void)merkle_path_check(&p.entry_hash, p.entry - 1, p.head.size, p.path, p.path_count,
                                &p.head.root);
        (void)merkle_consistency_check(p.entry, &p.entry_hash, p.head.size, &p.head.root, p.path,
                                       p.path_count);
    }
    if (proof_head_decode(data, size, &p.head) == VRS_OK) {
        buffer_clear(&out);
        proof_head_text(&p.head, &out);
        size_t lines = 0;
        for (size_t i = 0; i < out.len; i++)
            lines += out.data[i] == '\n';
        must(!out.failed && lines == 6); /* nothing in it makes another line */
    }
    buffer_fini(&out);
}

static void json_form(const uint8_t *data, size_t size) {
    static struct log_proof p, q;
    json_t *v = NULL;
    if (json_parse(data, size, &v, NULL) != VRS_OK)
        return;
    if (proof_from_json(v, &p) == VRS_OK) {
        json_t *again = proof_json(&p);
        must(again != NULL && proof_from_json(again, &q) == VRS_OK && p.entry == q.entry &&
             p.path_count == q.path_count && p.head.size == q.head.size);
        json_decref(again);
    }
    (void)!proof_head_from_json(v, &p.head);
    json_decref(v);
}

static void clear_texts(const uint8_t *data, size_t size) {
    struct log_epoch_text e;
    struct log_purge_text p;
    char text[LOG_TEXT_BYTES + 8], again[LOG_TEXT_BYTES];
    if (size >= sizeof text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (log_epoch_parse(text, &e)) {
        log_epoch_text(&e, again);
        must(strcmp(again, text) == 0);
    }
    if (log_purge_parse(text, &p)) {
        log_purge_text(&p, again);
        must(strcmp(again, text) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    wire_form(data, size);
    json_form(data, size);
    clear_texts(data, size);
    return 0;
}
