/* The reader's door for a page: built to wasm32 without a C library, only for tablets.
 *
 *   p = reader_open(width, height)    where the page puts the grey picture, width × height bytes;
 *                                     0 when the size is not taken or there is no memory
 *   reader_run()                      READER_… of reader.h; the result is at reader_answer():
 *                                     18 digits, a zero, 18 confidences, 18 second digits, unsure
 *
 * The memory grows once for the largest picture and is used again. */
#ifdef __wasm__

#include "ocr-ingest/reader.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

extern unsigned char __heap_base;
enum { PAGE_BYTES = 65536 };

static uint8_t *picture;
static int width, height;
static struct {
    char digits[READER_DIGITS + 1];
    uint8_t confidence[READER_DIGITS], second[READER_DIGITS], unsure;
} answer;

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *t = to;
    for (const unsigned char *f = from; n > 0; n--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int c, size_t n) {
    for (unsigned char *t = to; n > 0; n--)
        *t++ = (unsigned char)c;
    return to;
}

uint8_t *EXPORT(reader_open)(int w, int h) {
    size_t room = reader_workspace_bytes(w, h);
    if (room == 0)
        return NULL;
    size_t start = ((size_t)&__heap_base + 15) & ~(size_t)15;
    size_t end = start + room + (size_t)w * (size_t)h + 16;
    size_t pages = (end + PAGE_BYTES - 1) / PAGE_BYTES, has = __builtin_wasm_memory_size(0);
    if (pages > has && __builtin_wasm_memory_grow(0, pages - has) == (size_t)-1)
        return NULL;
    width = w;
    height = h;
    picture = (uint8_t *)(start + room);
    return picture;
}

int EXPORT(reader_run)(void) {
    struct reader_result r;
    size_t start = ((size_t)&__heap_base + 15) & ~(size_t)15;
    if (picture == NULL)
        return READER_BAD_PICTURE;
    enum reader_reason why = reader_read((void *)start, picture, width, height, width, &r);
    memcpy(answer.digits, r.digits, sizeof answer.digits);
    memcpy(answer.confidence, r.confidence, sizeof answer.confidence);
    memcpy(answer.second, r.second, sizeof answer.second);
    answer.unsure = (uint8_t)r.unsure;
    return (int)why;
}

const void *EXPORT(reader_answer)(void) {
    return &answer;
}

#else
typedef int reader_wasm_is_for_tablets; /* a file must not be empty */
#endif
