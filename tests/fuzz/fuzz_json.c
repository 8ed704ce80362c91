/* JSON: what is accepted is not deep, is written and read again to the same value, and a table of
 * fields takes only what fits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *v = NULL, *again = NULL;
    struct vrs_fault fault;
    if (json_parse(data, size, &v, &fault) != VRS_OK) {
        if (v != NULL)
            abort();
        return 0;
    }
    const char *name = NULL;
    int64_t count = 0;
    bool flag = false;
    json_t *object = NULL, *array = NULL;
    const struct json_field fields[] = {
        JF_STR("name", true, 20, &name),  JF_INT("count", false, &count),
        JF_BOOL("flag", false, &flag),    JF_OBJECT("object", false, &object),
        JF_ARRAY("array", false, &array), JF_END,
    };
    if (json_read(v, fields, &fault) == VRS_OK && (strlen(name) > 20 || !text_printable(name)))
        abort();
    struct buffer out;
    buffer_init(&out, 1 << 24);
    if (!json_write(&out, v) || json_parse(out.data, out.len, &again, &fault) != VRS_OK)
        abort();
    if (json_equal(v, again) != 1)
        abort();
    json_decref(v);
    json_decref(again);
    buffer_fini(&out);
    return 0;
}
