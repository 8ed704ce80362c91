/* Readers of the wire encoding: nothing outside the input is touched, and what is read can be
 * written again to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire.h"

enum { MAX_DEPTH = 4 };

/* Writes again what it reads; false when the input is not a sequence of fields. */
static bool copy(struct wire_reader *r, struct buffer *out, int depth) {
    struct wire_field f;
    bool more = true;
    while (true) {
        if (wire_next(r, &f, &more) != VRS_OK)
            return false;
        if (!more)
            return true;
        uint64_t number = 0;
        uint8_t fixed[16];
        char text[64];
        if (wire_str(&f, text, sizeof text) && strlen(text) != f.len)
            abort();
        if (wire_fixed(&f, fixed, sizeof fixed) && f.len != sizeof fixed)
            abort();
        struct wire_reader inner;
        wire_nested(&inner, &f);
        size_t before = out->len;
        if (depth < MAX_DEPTH) {
            size_t mark = wire_begin(out, f.tag);
            if (copy(&inner, out, depth + 1)) {
                wire_end(out, mark);
                continue;
            }
            out->len = before;
        }
        if (wire_u64(&f, &number))
            wire_put_u64(out, f.tag, number);
        else
            wire_put(out, f.tag, f.data, f.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_reader r;
    struct buffer out;
    buffer_init(&out, size);
    wire_open(&r, data, size);
    if (copy(&r, &out, 0) &&
        (out.failed || out.len != size || (size > 0 && memcmp(out.data, data, size) != 0)))
        abort();
    buffer_fini(&out);
    return 0;
}
