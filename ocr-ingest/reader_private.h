/* Inside the reader only: what its three files say to each other. */
#ifndef OCR_INGEST_READER_PRIVATE_H
#define OCR_INGEST_READER_PRIVATE_H

#include <stdbool.h>

#include "ocr-ingest/reader.h"

enum { PATCH_W = 14, PATCH_H = 20, PATCH = PATCH_W * PATCH_H, CLASSES = 11, CLASS_OTHER = 10 };

struct picture {
    const uint8_t *grey;
    int width, height, stride;
};

/* A line of equal cells: cell k has its centre at (x, y), going along (ux, uy). */
struct line {
    float x[3], y[3]; /* centre of cell k: x[0] + x[1] k + x[2] k² */
    float high[2];    /* digit height at cell k: high[0] + high[1] k */
    int first, last;  /* cells with a component */
    int seen;         /* how many cells have one */
};
struct cell {
    float x, y;   /* centre */
    float ax, ay; /* half the pitch, along the line */
    float hx, hy; /* half the digit's height, across */
};
void line_cell(const struct line *l, int k, struct cell *out);

enum { MAX_LINES = 24 };
struct pass {
    int radius;  /* of the window of the local mean */
    int percent; /* darker than the mean by so much is ink */
};
/* Before the first pass over a picture. */
void look_over(void *workspace, const struct picture *p);
/* Lines of nine components or more, seven of which fit; returns how many. */
int find_lines(void *workspace, const struct picture *p, const struct pass *how,
               struct line out[MAX_LINES]);

/* The patch of this cell is. */
bool in_picture(const struct picture *p, const struct cell *c);
/* How much brightness varies in what the picture has of the cell; below 0 when it has too little. */
float spread_in(const struct picture *p, const struct cell *c);
/* A patch of 1.3 pitches by 1.45 heights, brightness and contrast made equal: values about -2 … 2.
 * False where it leaves the picture or has no contrast (`flat`). */
bool take_patch(const struct picture *p, const struct cell *c, float out[PATCH]);
/* What network 0 or 1 says, as logits: means of several looks are taken before chances(). */
void classify(int network, const float patch[PATCH], float out[CLASSES]);
/* Logits → probabilities, in place. */
void chances(float v[CLASSES]);

#endif
