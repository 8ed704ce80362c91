/* The CSV reader: how the bytes are cut into pieces changes nothing, every cell is UTF-8, and what
 * was read is written and read again to the same cells. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/csv.h"
#include "lib/text.h"

static enum vrs_err on_row(const struct csv_row *row, void *arg) {
    struct buffer *out = arg;
    if (row->cells == 0 || row->cells > 64)
        abort();
    for (size_t i = 0; i < row->cells; i++)
        if (strlen(row->cell[i]) > 4096 || !text_valid_utf8(row->cell[i], strlen(row->cell[i])))
            abort();
    csv_write_row(out, CSV_FOR_MACHINES, (const char *const *)row->cell, row->cells);
    return VRS_OK;
}

static enum vrs_err read_all(const uint8_t *data, size_t size, size_t step, struct buffer *out) {
    struct csv_reader *r = csv_reader_open(on_row, out);
    if (r == NULL)
        abort();
    enum vrs_err e = VRS_OK;
    for (size_t at = 0; at < size && e == VRS_OK; at += step)
        e = csv_feed(r, data + at, size - at < step ? size - at : step);
    if (e == VRS_OK)
        e = csv_end(r);
    csv_reader_close(&r);
    return e;
}

static bool same(const struct buffer *a, const struct buffer *b) {
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buffer whole, cut, again, people, bytes;
    const size_t max = 1 << 24;
    buffer_init(&whole, max);
    buffer_init(&cut, max);
    buffer_init(&again, max);
    buffer_init(&people, max);
    buffer_init(&bytes, max);
    enum vrs_err e = read_all(data, size, size + 1, &whole);
    /* With a fault in it, how much comes out before it is seen depends on the pieces. */
    enum vrs_err in_pieces = read_all(data, size, size % 7 + 1, &cut);
    if ((e == VRS_OK) != (in_pieces == VRS_OK))
        abort();
    if (e == VRS_OK) {
        if (!same(&whole, &cut))
            abort();
        /* A BOM in front says that it is UTF-8, whatever it looks like. */
        csv_write_bom(&people, CSV_FOR_PEOPLE);
        (void)buffer_put(&people, whole.data, whole.len);
        if (read_all(people.data, people.len, people.len, &again) != VRS_OK ||
            !same(&whole, &again))
            abort();
        size_t replaced = 0;
        if (csv_to_cp932(buffer_cstr(&whole), whole.len, &bytes, &replaced) != VRS_OK)
            abort();
    }
    buffer_fini(&whole);
    buffer_fini(&cut);
    buffer_fini(&again);
    buffer_fini(&people);
    buffer_fini(&bytes);
    return 0;
}
