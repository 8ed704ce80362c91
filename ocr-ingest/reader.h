/* The OCR line of a coupon, from a picture: 18 digits with a confidence each, or the reason why not.
 *
 * It refuses rather than guesses: a line is given only when exactly 18 cells of one pitch were
 * found with nothing beside them, every digit was sure to two classifiers, and the municipality's
 * check digit fits.  Ten of the digits have no check digit, so sureness is all there
 * is; callers still want two equal readings of a camera (docs/decisions/0008).
 *
 * One source for scans (native) and tablets (wasm32): no library, no allocation, no file, no
 * global state but constants.  A workspace belongs to one call at a time.
 *
 *   grey ─► smooth, local threshold ─► components ─► chains of equal pitch ─► a fitted line of cells
 *        reader_find.c                                                              │
 *   18 digits ◄─ sure? check digit? ◄─ two small networks on grey patches ◄─────────┘
 *        reader.c                           reader_digit.c, reader_weights.h (made by tests/ocr) */
#ifndef OCR_INGEST_READER_H
#define OCR_INGEST_READER_H

#include <stddef.h>
#include <stdint.h>

enum {
    READER_DIGITS = 18,
    READER_MIN_SIDE = 64,
    READER_MAX_SIDE = 8192,
    READER_SURE = 250 /* confidences below are refused */
};

enum reader_reason {
    READER_OK,
    READER_NO_LINE,      /* nothing like 18 digits in a row */
    READER_CUT_LINE,     /* it runs out of the picture, or is longer or shorter than 18 */
    READER_UNSURE_DIGIT, /* `unsure` says which is the worst */
    READER_CHECK_DIGIT,  /* sure, but the municipality's check digit or the kind does not fit */
    READER_TWO_LINES,    /* two different lines in one picture */
    READER_BAD_PICTURE   /* sides out of bounds */
};

struct reader_result {
    enum reader_reason reason;
    char digits[READER_DIGITS + 1];    /* READER_OK, READER_UNSURE_DIGIT, READER_CHECK_DIGIT */
    uint8_t confidence[READER_DIGITS]; /* 0 … 255 */
    uint8_t second[READER_DIGITS];     /* the next best digit: for the coupon doctor */
    int unsure;                        /* index of the least sure digit */
    float x0, y0, x1, y1, height; /* centres of the first and last cell, digit height: pixels */
};

/* Bytes that reader_read needs for a picture of these sides; 0 when it takes none of that size. */
size_t reader_workspace_bytes(int width, int height);
/* grey: 0 black … 255 white, `stride` bytes a row.  Never writes the picture. */
enum reader_reason reader_read(void *workspace, const uint8_t *grey, int width, int height,
                               int stride, struct reader_result *out);

#endif
