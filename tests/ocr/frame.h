/* Camera frames of coupons that never existed, for training the reader and for proving it.
 *
 * A page is drawn at 24 pixels a millimetre by the published measures (coupon 33 × 63 mm, OCR line
 * in OCR-B 9 pt with 1 mm of blank below; sticker sheet or A4 form), then seen by a camera: place,
 * turn, perspective, focus, motion, light, glare, noise, a finger.  Everything follows from the
 * seed.  Grades say how hard it is; FRAME_NEGATIVE has no whole coupon line in it at all. */
#ifndef TESTS_OCR_FRAME_H
#define TESTS_OCR_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum { FRAME_WIDTH = 1280, FRAME_HEIGHT = 720, FRAME_DIGITS = 18 };

enum frame_grade {
    FRAME_GOOD,     /* 11–20 px/mm, sharp, even light */
    FRAME_TYPICAL,  /* 8–14 px/mm, a little out of focus, uneven light, turned up to 8° */
    FRAME_POOR,     /* 5.5–9 px/mm, out of focus, shaking, noisy, turned up to 12° */
    FRAME_HARD,     /* may be unreadable: covered, cut, overwritten, other fonts, 3.5–20 px/mm */
    FRAME_NEGATIVE, /* no whole coupon line: other numbers, text, bars, a hand */
    FRAME_LETTERS,  /* a line as long as a coupon's, but some of it is letters; mostly legible */
    FRAME_GRADES
};
extern const char *const frame_grade_name[FRAME_GRADES];

struct frame {
    uint8_t grey[FRAME_WIDTH * FRAME_HEIGHT];
    char truth[FRAME_DIGITS + 1]; /* "" where what is printed is no coupon's line */
    char shown[FRAME_DIGITS + 1]; /* what is printed in the cells, "" none */
    /* Where the digits are, in pixels: centre, half-advance and half-height vectors. */
    struct frame_cell {
        float x, y, ax, ay, hx, hy;
        bool whole; /* not covered, not cut */
    } cell[FRAME_DIGITS];
};

struct frame_maker;
/* Loads the fonts (Debian's fonts-ocr-b, fonts-liberation, fonts-dejavu-core, fonts-ipaexfont-gothic);
 * NULL with a message on stderr when one is missing. */
struct frame_maker *frame_maker_open(void);
void frame_maker_close(struct frame_maker *m);
void frame_make(struct frame_maker *m, enum frame_grade grade, uint64_t seed, struct frame *out);

#endif
