/* What the service certifies in words: an erasure, a migration. */
#include <stdio.h>
#include <string.h>

#include "vrs-verify/verify.h"

static const char *text_of(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

static bool signed_by(const struct verifier *v, const char *kind, const char *text,
                      const uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    struct buffer b;
    bool good = false;
    buffer_init(&b, VERIFY_MAX_FILE);
    (void)buffer_printf(&b, "%s\n", kind);
    (void)buffer_puts(&b, text);
    for (size_t i = 0; i < v->keys.count && !b.failed; i++)
        good = good || crypto_verify(v->keys.key[i], b.data, b.len, signature) == VRS_OK;
    buffer_fini(&b);
    return good;
}

/* {"kind", "text", "key_id", "signature"}: the signature is over kind, a line end, and text. */
void verify_statement(struct verifier *v, const char *path) {
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    size_t len = 0;
    json_t *statement = file_json(v, path);
    if (statement == NULL)
        return;
    const char *kind = text_of(statement, "kind"), *text = text_of(statement, "text");
    if (kind[0] == '\0' || text[0] == '\0' ||
        !crypto_unbase64(text_of(statement, "signature"), signature, sizeof signature, &len) ||
        len != sizeof signature) {
        say_bad(v, "証明書の形式が正しくありません（kind、text、signature）。",
                "The statement is malformed: kind, text, signature.");
    } else if (!signed_by(v, kind, text, signature)) {
        say_bad(v, "署名を確認できません（種類 %.40s、鍵 %.16s）。",
                "The signature does not verify with the given keys (kind %.40s, key %.16s).", kind,
                text_of(statement, "key_id"));
    } else {
        (void)printf("%s\n", text);
        say_good("署名は正しく、内容は署名されたときのままです（種類 %.40s、鍵 %.16s）。",
                 "The signature verifies: this text is as it was signed (kind %.40s, key %.16s).",
                 kind, text_of(statement, "key_id"));
    }
    json_decref(statement);
}
