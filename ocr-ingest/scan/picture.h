/* Pages of scanned files as grey pictures, one after the other: PNG (libpng), JPEG (libjpeg-turbo),
 * PNM, multi-page TIFF (libtiff), PDF (poppler's pdftoppm, a process of its own, 300 dpi).
 *
 * The kind is told by the first bytes, never by the name.  A page above SCAN_MAX_SIDE pixels a side
 * is refused.  One source belongs to one thread. */
#ifndef OCR_INGEST_SCAN_PICTURE_H
#define OCR_INGEST_SCAN_PICTURE_H

#include <stdint.h>

#include "lib/err.h"
#include "ocr-ingest/reader.h"

enum { SCAN_MAX_SIDE = READER_MAX_SIDE, SCAN_MAX_PAGES = 10000 };

struct scan_picture {
    int width, height, page; /* page: from 1 */
    uint8_t *grey;           /* width × height; owned: scan_picture_free */
};
void scan_picture_free(struct scan_picture *p);

struct scan_source;
/* ERR_NOT_FOUND no such file, ERR_BAD_MEDIA none of these kinds; the fault text says what to do. */
VRS_CHECK enum vrs_err scan_open(const char *path, struct scan_source **out,
                                 struct vrs_fault *fault);
/* The next page; ERR_NOT_FOUND after the last.  Another error is about this file: no more pages. */
VRS_CHECK enum vrs_err scan_next(struct scan_source *s, struct scan_picture *out,
                                 struct vrs_fault *fault);
void scan_close(struct scan_source **s);

#endif
