/* Any bytes as a request head: no crash, and what is accepted keeps its promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct http_head *h) {
    if (h->path[0] != '/' || h->host[0] == '\0' || (h->chunked && h->has_length))
        abort();
    if (strstr(h->path, "/../") != NULL || strchr(h->path, '\\') != NULL)
        abort();
    for (const char *p = h->path; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            abort();
    }
    if (h->length > 0 && (h->method == ROUTE_GET || h->method == ROUTE_HEAD))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct http_head head;
    struct vrs_fault fault;
    size_t at = 0, again = 0;

    enum http_scan found = http_head_scan(data, size, &at);
    /* In two pieces it finds the same. */
    enum http_scan first = http_head_scan(data, size / 2, &again);
    if (first == HTTP_SCAN_MORE)
        first = http_head_scan(data, size, &again);
    if (first != found || (found == HTTP_SCAN_END && at != again))
        abort();
    if (found != HTTP_SCAN_END)
        return 0;
    char *copy = malloc(at);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, at);
    if (http_head_read(copy, at, &head, &fault) == VRS_OK) {
        check(&head);
        char *query = strdup(head.query);
        if (query != NULL && !http_decode(query, true))
            abort(); /* the gate promised that it can be decoded */
        free(query);
    }
    free(copy);
    return 0;
}
