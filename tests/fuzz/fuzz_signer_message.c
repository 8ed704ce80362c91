/* What a peer of vrs-signer could send: any framing, any fields.  What is read must be within its
 * bounds and give an answer that is a message again. */
// needs: vrs-server/signer/message.c
#include <stdlib.h>
#include <string.h>

#include "lib/local.h"
#include "lib/wire.h"
#include "vrs-server/signer/message.h"

static void must(bool ok) {
    if (!ok)
        abort();
}

static void look(const struct signer_request *r) {
    struct buffer out, text;
    size_t len;
    must(r->verb >= SIGNER_HEAD && r->verb <= SIGNER_LAST);
    must(strlen(r->name) <= SIGNER_MAX_NAME && strlen(r->kind) <= SIGNER_MAX_KIND);
    must(r->days <= SIGNER_MAX_DAYS && r->begins_ms >= 0);
    if (r->verb == SIGNER_HEAD) {
        /* One line each: no other text has the same signature. */
        unsigned lines = 0;
        buffer_init(&text, 1024);
        must(r->head.size > 0 && strlen(r->head.municipality) == 6);
        proof_head_text(&r->head, &text);
        must(!text.failed);
        for (size_t i = 0; i < text.len; i++)
            lines += text.data[i] == '\n';
        must(lines == 6);
        buffer_fini(&text);
    }
    buffer_init(&out, SIGNER_MAX_MESSAGE + LOCAL_HEAD_BYTES);
    signer_answer_write(r, &out);
    must(local_message_length(out.data, out.len, SIGNER_MAX_MESSAGE, &len) == VRS_OK);
    must(len == out.len - LOCAL_HEAD_BYTES);
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct signer_request r;
    size_t len;
    while (local_message_length(data, size, SIGNER_MAX_MESSAGE, &len) == VRS_OK && len > 0) {
        if (signer_request_read(&r, data + LOCAL_HEAD_BYTES, len) == VRS_OK)
            look(&r);
        signer_request_fini(&r);
        data += LOCAL_HEAD_BYTES + len;
        size -= LOCAL_HEAD_BYTES + len;
    }
    return 0;
}
