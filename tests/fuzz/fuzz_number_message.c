/* What a peer of vrs-number could send: any framing, any fields.  What is read must be within its
 * bounds and give an answer that is a message again. */
// needs: vrs-server/number/message.c vrs-server/number/access.c
#include <stdlib.h>
#include <string.h>

#include "lib/local.h"
#include "lib/wire.h"
#include "vrs-server/number/access.h"
#include "vrs-server/number/message.h"

static void must(bool ok) {
    if (!ok)
        abort();
}

static void answer(struct number_request *r) {
    struct buffer out;
    struct wire_reader reader;
    struct wire_field f;
    size_t len, fields = 0;
    bool more;
    buffer_init(&out, 2 * NUMBER_MAX_MESSAGE);
    r->err = number_access_check(r->verb, r->right, r->purpose, r->user);
    if (r->has_row)
        wire_put(&r->fields, NUMBER_T_ROW, r->row.bytes, sizeof r->row.bytes);
    number_answer_write(r, &out);
    must(!out.failed);
    must(local_message_length(out.data, out.len, NUMBER_MAX_MESSAGE, &len) == VRS_OK);
    must(len == out.len - LOCAL_HEAD_BYTES);
    wire_open(&reader, out.data + LOCAL_HEAD_BYTES, len);
    while (wire_next(&reader, &f, &more) == VRS_OK && more)
        fields++;
    must(fields == 3 + (r->err == VRS_OK && r->has_row));
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct number_request r;
    size_t len;
    while (local_message_length(data, size, NUMBER_MAX_MESSAGE, &len) == VRS_OK && len > 0) {
        if (number_request_read(&r, data + LOCAL_HEAD_BYTES, len) == VRS_OK) {
            must(r.verb >= NUMBER_PUT && r.verb <= NUMBER_CARRY_IN);
            must(strlen(r.municipality) == (r.verb == NUMBER_STATUS ? 0 : 6));
            must(strlen(r.user) <= NUMBER_MAX_USER && strlen(r.name) <= NUMBER_MAX_NAME);
            answer(&r);
        }
        number_request_fini(&r);
        data += LOCAL_HEAD_BYTES + len;
        size -= LOCAL_HEAD_BYTES + len;
    }
    return 0;
}
