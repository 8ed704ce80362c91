#include "tests/load/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asks {
    const struct load_options *options;
    struct buffer lines; /* NUL after each */
    size_t *line;        /* where each begins */
    size_t count;
};

enum { LINES_MAX = 256 << 20 };

static enum vrs_err read_lines(struct asks *a, const char *path, struct vrs_fault *fault) {
    FILE *f = fopen(path, "re");
    char *row = NULL;
    size_t cap = 0, room = 0;
    enum vrs_err e = VRS_OK;
    if (f == NULL)
        return err_fail(fault, ERR_CONFIG, "cannot open %s", path);
    while (e == VRS_OK && getline(&row, &cap, f) > 0) {
        if (a->count == room) {
            room = room == 0 ? 4096 : 2 * room;
            size_t *grown = realloc(a->line, room * sizeof *grown);
            if (grown == NULL) {
                e = err_fail(fault, ERR_MEMORY, "bodies");
                break;
            }
            a->line = grown;
        }
        row[strcspn(row, "\n")] = '\0';
        a->line[a->count++] = a->lines.len;
        (void)buffer_put(&a->lines, row, strlen(row) + 1);
    }
    free(row);
    (void)fclose(f);
    if (e == VRS_OK && (a->count == 0 || a->lines.failed))
        e = err_fail(fault, ERR_CONFIG, "%s holds nothing, or too much", path);
    return e;
}

enum vrs_err asks_open(const struct load_options *o, struct asks **out, struct vrs_fault *fault) {
    struct asks *a = calloc(1, sizeof *a);
    enum vrs_err e = VRS_OK;
    *out = a;
    if (a == NULL)
        return err_fail(fault, ERR_MEMORY, "requests");
    a->options = o;
    buffer_init(&a->lines, LINES_MAX);
    if (o->bodies != NULL)
        e = read_lines(a, o->bodies, fault);
    if (e != VRS_OK)
        asks_close(out);
    return e;
}

void asks_close(struct asks **a) {
    if (*a == NULL)
        return;
    buffer_fini(&(*a)->lines);
    free((*a)->line);
    free(*a);
    *a = NULL;
}

void asks_write(const struct asks *a, uint64_t n, const char *host, const char *header,
                const char *key, struct buffer *out) {
    if (a->count == 0) {
        (void)buffer_printf(out, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", a->options->get, host,
                            header);
        return;
    }
    const char *body = (const char *)a->lines.data + a->line[n % a->count];
    (void)buffer_printf(out,
                        "POST %s HTTP/1.1\r\nHost: %s\r\n%sIdempotency-Key: %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        a->options->post, host, header, key, strlen(body), body);
}

bool asks_right(const struct asks *a, int status, const char *text, size_t len) {
    const char *expected = a->options->expect;
    if (expected == NULL)
        return true;
    return status >= 200 && status < 300 && memmem(text, len, expected, strlen(expected)) != NULL;
}
