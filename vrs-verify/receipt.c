/* A receipt: statement → leaf → root → signature. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "vrs-verify/verify.h"

static const char *text_of(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

/* The 18 digits; a coupon may also be given by its parts. */
static void ocr_line(const json_t *receipt, char out[64]) {
    const json_t *c = json_object_get(receipt, "coupon");
    const json_t *turn = json_object_get(c, "dose_number");
    char number[24];
    if (!json_is_object(c)) {
        (void)snprintf(out, 64, "%.63s", text_of(receipt, "ocr_line"));
        return;
    }
    (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(turn));
    (void)snprintf(out, 64, "%.1s%.1s%.6s%.10s", text_of(c, "kind"),
                   json_is_string(turn) ? json_string_value(turn) : number,
                   text_of(c, "municipality_code"), text_of(c, "coupon_number"));
}

void verify_receipt(struct verifier *v, const char *path) {
    json_t *receipt = file_json(v, path);
    struct log_proof proof;
    char line[64], at[25];
    if (receipt == NULL)
        return;
    ocr_line(receipt, line);
    const struct proof_statement s = {
        .receipt_id = text_of(receipt, "receipt_id"),
        .dose_id = text_of(receipt, "dose_id"),
        .outcome = text_of(receipt, "outcome"),
        .ocr_line = line,
        .status = text_of(receipt, "status"),
        .vaccinated_on = text_of(receipt, "vaccinated_on"),
        .product = text_of(receipt, "product"),
        .lot = text_of(receipt, "lot"),
    };
    if (proof_from_json(json_object_get(receipt, "proof"), &proof) != VRS_OK) {
        say_bad(v, "受領書に証明（proof）がないか、形式が正しくありません。",
                "The receipt has no proof, or one that is malformed.");
        json_decref(receipt);
        return;
    }
    clock_format_rfc3339(proof.head.signed_ms, at);
    if (proof_keys_check(&v->keys, &proof, &s))
        say_good("%s の操作記録 %llu 件目に、この接種の記録があります（結果 %s、%s 署名）。",
                 "In the log of %s entry %llu is about this dose (outcome %s, signed %s).",
                 proof.head.municipality, (unsigned long long)proof.entry, s.outcome, at);
    else if (proof_keys_head_check(&v->keys, &proof.head))
        say_bad(v, "署名は正しいものの、内容が記録と一致しません（%s の %llu 件目）。",
                "The head is signed, but what the receipt says is not what was recorded (%s, entry "
                "%llu).",
                proof.head.municipality, (unsigned long long)proof.entry);
    else
        say_bad(v, "署名を確認できません（鍵 %s）。",
                "The signature does not verify with the given keys (key %s).", proof.head.key_id);
    json_decref(receipt);
}
