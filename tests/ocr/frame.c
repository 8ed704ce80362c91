#include "tests/ocr/frame.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const frame_grade_name[FRAME_GRADES] = {"good", "typical",  "poor",
                                                    "hard", "negative", "letters"};

enum { MM = 24, PAGE_W = 112 * MM, PAGE_H = 68 * MM };

static const char *const font_path[] = {
    "/usr/share/fonts/opentype/ocr-b/OCRB.otf",
    "/usr/share/fonts/opentype/ocr-b/OCRBS.otf",
    "/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/opentype/ipaexfont-gothic/ipaexg.ttf",
};
enum { FONTS = sizeof font_path / sizeof *font_path, FONT_TEXT = FONTS - 1 };

struct frame_maker {
    FT_Library library;
    FT_Face face[FONTS];
    uint8_t page[PAGE_W * PAGE_H];
    uint32_t sum[(PAGE_W + 1) * (PAGE_H + 1)];
    float image[FRAME_WIDTH * FRAME_HEIGHT], other[FRAME_WIDTH * FRAME_HEIGHT],
        less[FRAME_WIDTH * FRAME_HEIGHT];
    uint64_t random;
};

/* --- chance: splitmix64 --- */

static uint64_t next(struct frame_maker *m) {
    uint64_t z = m->random += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static float uniform(struct frame_maker *m, float low, float high) {
    return low + (high - low) * (float)(next(m) >> 40) / (float)(1 << 24);
}

static int below(struct frame_maker *m, int n) {
    return (int)(next(m) % (uint64_t)n);
}

static bool chance(struct frame_maker *m, float p) {
    return uniform(m, 0, 1) < p;
}

/* Irwin-Hall: near enough to normal, unit variance.  Eight pieces of 16 bits, two sums at a time. */
static float normal(struct frame_maker *m) {
    const uint64_t lanes = 0x0000ffff0000ffffU;
    uint64_t z = next(m), y = next(m);
    uint64_t s = (z & lanes) + (z >> 16 & lanes) + (y & lanes) + (y >> 16 & lanes);
    return ((float)(uint32_t)(s + (s >> 32)) / 65536.0F - 4.0F) * 1.2247F;
}

/* --- fonts --- */

struct frame_maker *frame_maker_open(void) {
    struct frame_maker *m = calloc(1, sizeof *m);
    if (m == NULL || FT_Init_FreeType(&m->library) != 0) {
        free(m);
        return NULL;
    }
    for (size_t i = 0; i < FONTS; i++) {
        if (FT_New_Face(m->library, font_path[i], 0, &m->face[i]) != 0) {
            (void)fprintf(stderr, "no font %s\n", font_path[i]);
            frame_maker_close(m);
            return NULL;
        }
    }
    return m;
}

void frame_maker_close(struct frame_maker *m) {
    if (m == NULL)
        return;
    for (size_t i = 0; i < FONTS; i++) {
        if (m->face[i] != NULL)
            FT_Done_Face(m->face[i]);
    }
    FT_Done_FreeType(m->library);
    free(m);
}

/* --- the page --- */

static void ink(struct frame_maker *m, int x, int y, unsigned cover, unsigned dark) {
    if (x < 0 || y < 0 || x >= PAGE_W || y >= PAGE_H)
        return;
    uint8_t *p = &m->page[y * PAGE_W + x];
    unsigned v = (*p * (255 - cover) + dark * cover) / 255;
    *p = (uint8_t)v;
}

static void box(struct frame_maker *m, float x, float y, float w, float h, unsigned dark) {
    for (int j = (int)(y * MM); j < (int)((y + h) * MM); j++) {
        for (int i = (int)(x * MM); i < (int)((x + w) * MM); i++)
            ink(m, i, j, 255, dark);
    }
}

/* One glyph with its pen at (x mm, baseline y mm); returns the advance in mm. */
static float glyph(struct frame_maker *m, int font, unsigned long code, float points, float x,
                   float y, unsigned dark, int bold) {
    FT_Face f = m->face[font];
    if (FT_Set_Char_Size(f, 0, (FT_F26Dot6)(points * 64), 0, (FT_UInt)(MM * 25.4)) != 0 ||
        FT_Load_Char(f, code, FT_LOAD_RENDER | FT_LOAD_NO_HINTING) != 0)
        return 0;
    FT_Bitmap *b = &f->glyph->bitmap;
    int left = (int)(x * MM) + f->glyph->bitmap_left, top = (int)(y * MM) - f->glyph->bitmap_top;
    for (int j = 0; j < (int)b->rows; j++) {
        for (int i = 0; i < (int)b->width; i++) {
            unsigned c = b->buffer[j * b->pitch + i];
            if (c == 0)
                continue;
            for (int k = 0; k <= bold; k++)
                ink(m, left + i + k, top + j, c, dark);
        }
    }
    return (float)f->glyph->advance.x / 64.0F / MM;
}

static unsigned long utf8_next(const char **s) {
    const unsigned char *p = (const unsigned char *)*s;
    unsigned long c = p[0];
    int n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n > 1)
        c &= 0xffU >> (n + 1);
    for (int i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    *s += n;
    return c;
}

static void text(struct frame_maker *m, int font, const char *s, float points, float x, float y) {
    while (*s != '\0')
        x += glyph(m, font, utf8_next(&s), points, x, y, 40, 0);
}

static void digits(struct frame_maker *m, char *out, int n) {
    for (int i = 0; i < n; i++)
        out[i] = (char)('0' + below(m, 10));
    out[n] = '\0';
}

static void coupon_line(struct frame_maker *m, char out[FRAME_DIGITS + 1]) {
    static const int weight[5] = {6, 5, 4, 3, 2};
    int sum = 0;
    digits(m, out, FRAME_DIGITS);
    out[0] = chance(m, 0.9F) ? '2' : '1';
    out[1] = (char)('1' + below(m, 9));
    out[2] = (char)('0' + below(m, 5));
    for (int i = 0; i < 5; i++)
        sum += (out[2 + i] - '0') * weight[i];
    out[7] = (char)('0' + (11 - sum % 11) % 10);
    if (sum % 11 == 0)
        out[7] = '1';
    if (chance(m, 0.7F)) /* numbers are given out in sequence: zeros in front */
        memcpy(out + 8, "0000", (size_t)(1 + below(m, 4)));
}

struct line_style {
    int font;
    float points, pitch; /* mm; 0: the font's own */
    unsigned dark;
    int bold;
};

/* The line with its first cell's left edge at x and its baseline at y (mm); fills cells in page
 * pixels. */
static void ocr_line(struct frame_maker *m, const char *s, const struct line_style *st, float x,
                     float y, struct frame_cell *cell) {
    for (int i = 0; s[i] != '\0'; i++) {
        float a = glyph(m, st->font, (unsigned char)s[i], st->points, x, y, st->dark, st->bold);
        float pitch = st->pitch > 0 ? st->pitch : a;
        if (cell != NULL) {
            FT_GlyphSlot g = m->face[st->font]->glyph;
            float high = st->points * 0.2766F *
                         (st->font < 2    ? 1.0F
                          : st->font == 2 ? 0.86F
                                          : 0.94F);
            (void)g;
            cell[i] = (struct frame_cell){.x = (x + a / 2) * MM,
                                          .y = (y - high / 2) * MM,
                                          .ax = pitch / 2 * MM,
                                          .hy = high / 2 * MM,
                                          .whole = true};
        }
        x += pitch;
    }
}

/* A coupon's frame and words; its OCR line's left and baseline come back. */
static void coupon(struct frame_maker *m, float x, float y, const char *line, float *lx,
                   float *ly) {
    char s[96];
    for (int k = 0; k < 2; k++) {
        box(m, x, y + (float)k * 33, 63, 0.2F, 90);
        box(m, x + (float)k * 63, y, 0.2F, 33, 90);
    }
    text(m, FONT_TEXT, chance(m, 0.5F) ? "券種  接種   回目" : "診察したが接種できない場合", 8,
         x + 2, y + 5);
    text(m, FONT_TEXT, "請求先  東京都港区", 7, x + 2, y + 10);
    (void)snprintf(s, sizeof s, "%.6s", line + 2);
    text(m, chance(m, 0.5F) ? FONT_TEXT : 0, s, 9, x + 40, y + 10);
    (void)snprintf(s, sizeof s, "券番号  %s", line + 8);
    text(m, FONT_TEXT, s, 9, x + 2, y + 16);
    text(m, FONT_TEXT, "氏名  ワクチン  花子", 8, x + 2, y + 22);
    if (chance(m, 0.4F)) { /* NW-7 */
        for (float bx = x + 30; bx < x + 58; bx += uniform(m, 0.4F, 1.1F))
            box(m, bx, y + 12, uniform(m, 0.2F, 0.5F), 6, 30);
    }
    *lx = x + 10.5F + uniform(m, -1, 1);
    *ly = y + 33 - 1.0F - uniform(m, 0.5F, 2.5F);
}

/* --- the camera --- */

struct view {
    float h[9]; /* frame pixel → page pixel */
    float inverse[9];
};

static void project(const float h[9], float x, float y, float *px, float *py) {
    float w = h[6] * x + h[7] * y + h[8];
    *px = (h[0] * x + h[1] * y + h[2]) / w;
    *py = (h[3] * x + h[4] * y + h[5]) / w;
}

static void invert(const float a[9], float o[9]) {
    o[0] = a[4] * a[8] - a[5] * a[7];
    o[1] = a[2] * a[7] - a[1] * a[8];
    o[2] = a[1] * a[5] - a[2] * a[4];
    o[3] = a[5] * a[6] - a[3] * a[8];
    o[4] = a[0] * a[8] - a[2] * a[6];
    o[5] = a[2] * a[3] - a[0] * a[5];
    o[6] = a[3] * a[7] - a[4] * a[6];
    o[7] = a[1] * a[6] - a[0] * a[7];
    o[8] = a[0] * a[4] - a[1] * a[3];
}

/* (cx, cy): the page point (pixels) that stands at (fx, fy) in the frame. */
static void look(struct view *v, float scale, float angle, float tilt_x, float tilt_y, float cx,
                 float cy, float fx, float fy) {
    float k = (float)MM / scale, c = cosf(angle) * k, s = sinf(angle) * k;
    /* frame (relative to fx, fy) → page, with the tilt as the last row */
    float h[9] = {c, -s, 0, s, c, 0, tilt_x, tilt_y, 1};
    float to[9] = {1, 0, -fx, 0, 1, -fy, 0, 0, 1};
    float t[9];
    for (int r = 0; r < 3; r++) {
        for (int q = 0; q < 3; q++)
            t[3 * r + q] = h[3 * r] * to[q] + h[3 * r + 1] * to[3 + q] + h[3 * r + 2] * to[6 + q];
    }
    for (int q = 0; q < 3; q++) {
        t[q] += cx * t[6 + q];
        t[3 + q] += cy * t[6 + q];
    }
    memcpy(v->h, t, sizeof t);
    invert(v->h, v->inverse);
}

static void integrate(struct frame_maker *m) {
    for (int y = 0; y < PAGE_H; y++) {
        uint32_t row = 0;
        for (int x = 0; x < PAGE_W; x++) {
            row += m->page[y * PAGE_W + x];
            m->sum[(y + 1) * (PAGE_W + 1) + x + 1] = m->sum[y * (PAGE_W + 1) + x + 1] + row;
        }
    }
}

static float mean_of(const struct frame_maker *m, float x, float y, float half, float outside) {
    int x0 = (int)(x - half), x1 = (int)(x + half) + 1, y0 = (int)(y - half),
        y1 = (int)(y + half) + 1;
    if (x0 < 0 || y0 < 0 || x1 > PAGE_W || y1 > PAGE_H)
        return outside;
    const uint32_t *s = m->sum;
    const int w = PAGE_W + 1;
    return (float)(s[y1 * w + x1] - s[y0 * w + x1] - s[y1 * w + x0] + s[y0 * w + x0]) /
           (float)((x1 - x0) * (y1 - y0));
}

static void shoot(struct frame_maker *m, const struct view *v, float scale, float outside) {
    float half = fmaxf(0.5F * (float)MM / scale, 0.5F);
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        for (int x = 0; x < FRAME_WIDTH; x++) {
            float px, py;
            project(v->h, (float)x, (float)y, &px, &py);
            m->image[y * FRAME_WIDTH + x] = mean_of(m, px, py, half, outside);
        }
    }
}

/* Means of 2r + 1 pixels along each row. */
static void blur_along(const float *from, float *to, int r) {
    const float n = (float)(2 * r + 1);
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        const float *f = from + (ptrdiff_t)y * FRAME_WIDTH;
        float *t = to + (ptrdiff_t)y * FRAME_WIDTH, s = 0;
        for (int x = -r; x <= r; x++)
            s += f[x < 0 ? 0 : x];
        for (int x = 0; x < FRAME_WIDTH; x++) {
            t[x] = s / n;
            s += f[x + r + 1 >= FRAME_WIDTH ? FRAME_WIDTH - 1 : x + r + 1] -
                 f[x - r < 0 ? 0 : x - r];
        }
    }
}

/* The same down each column: all columns together, a row at a time, as memory likes it. */
static void blur_down(const float *from, float *to, int r) {
    const float n = (float)(2 * r + 1);
    float s[FRAME_WIDTH] = {0};
    for (int y = -r; y <= r; y++) {
        const float *f = from + (ptrdiff_t)(y < 0 ? 0 : y) * FRAME_WIDTH;
        for (int x = 0; x < FRAME_WIDTH; x++)
            s[x] += f[x];
    }
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        int last = y + r + 1 >= FRAME_HEIGHT ? FRAME_HEIGHT - 1 : y + r + 1;
        const float *in = from + (ptrdiff_t)last * FRAME_WIDTH,
                    *out = from + (ptrdiff_t)(y - r < 0 ? 0 : y - r) * FRAME_WIDTH;
        float *t = to + (ptrdiff_t)y * FRAME_WIDTH;
        for (int x = 0; x < FRAME_WIDTH; x++) {
            t[x] = s[x] / n;
            s[x] += in[x] - out[x];
        }
    }
}

static void blend(float *a, const float *b, float t) {
    for (int i = 0; i < FRAME_WIDTH * FRAME_HEIGHT; i++)
        a[i] += (b[i] - a[i]) * t;
}

/* sigma in pixels: two box passes each way; between two boxes it mixes. */
static void blur(struct frame_maker *m, float sx, float sy) {
    for (int dir = 0; dir < 2; dir++) {
        void (*const box_of)(const float *, float *, int) = dir == 0 ? blur_along : blur_down;
        float s = dir == 0 ? sx : sy;
        /* variance of a box of radius r: r(r+1)/3; two passes */
        float want = s * s / 2;
        int r = (int)((sqrtf(1 + 12 * want) - 1) / 2);
        float has = (float)(r * (r + 1)) / 3, more = (float)((r + 1) * (r + 2)) / 3;
        float t = (want - has) / (more - has);
        for (int pass = 0; pass < 2 && s > 0.05F; pass++) {
            box_of(m->image, m->other, r + 1);
            if (r > 0) {
                box_of(m->image, m->less, r);
                memcpy(m->image, m->less, sizeof m->image);
            }
            blend(m->image, m->other, t);
        }
    }
}

struct conditions {
    float scale, angle, tilt_x, tilt_y, focus, move_x, move_y, noise, light, contrast, glare;
    bool fingers;
};

static struct conditions conditions_of(struct frame_maker *m, enum frame_grade g) {
    struct conditions c = {0};
    const float deg = 3.14159265F / 180;
    static const enum frame_grade of_letters[] = {FRAME_TYPICAL, FRAME_POOR, FRAME_POOR,
                                                  FRAME_HARD};
    if (g == FRAME_LETTERS)
        g = of_letters[below(m, sizeof of_letters / sizeof *of_letters)];
    switch (g) {
    case FRAME_GOOD:
        c = (struct conditions){.scale = uniform(m, 11, 20),
                                .angle = uniform(m, -4, 4) * deg,
                                .focus = uniform(m, 0.3F, 0.9F),
                                .noise = uniform(m, 1, 4),
                                .light = 0.1F,
                                .contrast = uniform(m, 0.75F, 1)};
        break;
    case FRAME_TYPICAL:
        c = (struct conditions){.scale = uniform(m, 8, 14),
                                .angle = uniform(m, -8, 8) * deg,
                                .focus = uniform(m, 0.5F, 1.5F),
                                .noise = uniform(m, 2, 7),
                                .light = 0.3F,
                                .contrast = uniform(m, 0.55F, 0.95F),
                                .glare = chance(m, 0.15F) ? 40 : 0};
        if (chance(m, 0.3F))
            c.move_x = uniform(m, 0, 1.2F);
        break;
    case FRAME_POOR:
        c = (struct conditions){.scale = uniform(m, 5.5F, 9),
                                .angle = uniform(m, -12, 12) * deg,
                                .focus = uniform(m, 0.6F, 1.3F),
                                .noise = uniform(m, 4, 10),
                                .light = 0.4F,
                                .contrast = uniform(m, 0.45F, 0.85F),
                                .glare = chance(m, 0.2F) ? 50 : 0};
        if (chance(m, 0.4F))
            c.move_x = uniform(m, 0, 1.3F);
        break;
    default:
        c = (struct conditions){.scale = uniform(m, 3.5F, 20),
                                .angle = uniform(m, -18, 18) * deg,
                                .focus = uniform(m, 0.3F, 4),
                                .noise = uniform(m, 1, 18),
                                .light = 0.6F,
                                .contrast = uniform(m, 0.2F, 1),
                                .glare = chance(m, 0.4F) ? 160 : 0,
                                .fingers = chance(m, 0.35F)};
        if (chance(m, 0.4F))
            c.move_x = uniform(m, 0, 6);
        if (chance(m, 0.3F))
            c.move_y = uniform(m, 0, 4);
        break;
    }
    float tilt = g == FRAME_GOOD ? 3e-5F : g == FRAME_TYPICAL ? 8e-5F : 1.4e-4F;
    c.tilt_x = uniform(m, -tilt, tilt);
    c.tilt_y = uniform(m, -tilt, tilt);
    return c;
}

static void cover(struct frame_maker *m, struct frame *f, float cx, float cy, float rx, float ry,
                  float tone) {
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        for (int x = 0; x < FRAME_WIDTH; x++) {
            float dx = ((float)x - cx) / rx, dy = ((float)y - cy) / ry;
            float d = dx * dx + dy * dy;
            if (d < 1)
                m->image[y * FRAME_WIDTH + x] = tone * (0.8F + 0.2F * (1 - d));
        }
    }
    for (int i = 0; i < FRAME_DIGITS; i++) {
        struct frame_cell *c = &f->cell[i];
        float dx = (c->x - cx) / (rx + fabsf(c->ax)), dy = (c->y - cy) / (ry + fabsf(c->hy));
        if (dx * dx + dy * dy < 1)
            c->whole = false;
    }
}

static void lighten(struct frame_maker *m, const struct conditions *c) {
    float gx = uniform(m, -c->light, c->light), gy = uniform(m, -c->light, c->light);
    float base = uniform(m, 0.65F, 1.0F), curve = uniform(m, 0, c->light);
    for (int y = 0; y < FRAME_HEIGHT; y++) {
        for (int x = 0; x < FRAME_WIDTH; x++) {
            float u = (float)x / FRAME_WIDTH - 0.5F, v = (float)y / FRAME_HEIGHT - 0.5F;
            float l = base * (1 + gx * u + gy * v - curve * (u * u + v * v));
            float *p = &m->image[y * FRAME_WIDTH + x];
            *p = (235 - (235 - *p) * c->contrast) * l;
        }
    }
    if (c->glare > 0) {
        float cx = uniform(m, 0, FRAME_WIDTH), cy = uniform(m, 0, FRAME_HEIGHT),
              r = uniform(m, 60, 320), a = uniform(m, c->glare / 3, c->glare);
        for (int y = 0; y < FRAME_HEIGHT; y++) {
            for (int x = 0; x < FRAME_WIDTH; x++) {
                float dx = ((float)x - cx) / r, dy = ((float)y - cy) / r, d = dx * dx + dy * dy;
                if (d < 4)
                    m->image[y * FRAME_WIDTH + x] += a * expf(-d * 1.5F);
            }
        }
    }
}

/* --- pages of each kind --- */

/* Without O and I: in most fonts nobody can tell them from 0 and 1. */
static const char letters[] = "ABCDEFGHJKLMNPQRSTUVWXYZ-/+<", like_digits[] = "BDGQSZ",
                  most_like[] = "QQQDBSZG";

static char letter(struct frame_maker *m, enum frame_grade g) {
    if (g == FRAME_LETTERS && chance(m, 0.4F))
        return most_like[below(m, sizeof most_like - 1)];
    return chance(m, 0.3F) ? like_digits[below(m, sizeof like_digits - 1)]
                           : letters[below(m, sizeof letters - 1)];
}

static void paper(struct frame_maker *m) {
    int base = 228 + below(m, 24);
    for (size_t i = 0; i < sizeof m->page; i += 8) {
        uint64_t z = next(m);
        for (size_t k = 0; k < 8; k++)
            m->page[i + k] = (uint8_t)(base - (int)(z >> (8 * k) & 3));
    }
}

static struct line_style style_of(struct frame_maker *m, enum frame_grade g) {
    struct line_style s = {.font = chance(m, 0.7F) ? 0 : 1, .points = 9, .dark = 25};
    if (g == FRAME_POOR || g == FRAME_HARD || g == FRAME_LETTERS)
        s.dark = 25 + (unsigned)below(m, 70);
    if ((g == FRAME_HARD && chance(m, 0.25F)) || (g == FRAME_LETTERS && chance(m, 0.6F))) {
        s.font = 2 + below(m, 3);
        s.pitch = 2.29F;
    } else if (g != FRAME_GOOD && chance(m, 0.08F)) {
        s.font = 2 + below(m, 3);
        s.pitch = 2.29F;
        s.points = 9.5F;
    }
    s.bold = below(m, g == FRAME_HARD || g == FRAME_LETTERS ? 5 : 3);
    return s;
}

/* Worn print: specks of ink and of paper. */
static void wear(struct frame_maker *m, float x, float y, float w, float h, int specks) {
    for (int i = 0; i < specks; i++) {
        float sx = x + uniform(m, 0, w), sy = y - uniform(m, 0, h), r = uniform(m, 0.04F, 0.16F);
        box(m, sx, sy, r, r, chance(m, 0.5F) ? 240 : 40);
    }
}

static void to_frame(const struct view *v, struct frame_cell *c) {
    float x, y, ax, ay, hx, hy;
    project(v->inverse, c->x, c->y, &x, &y);
    project(v->inverse, c->x + c->ax, c->y, &ax, &ay);
    project(v->inverse, c->x, c->y + c->hy, &hx, &hy);
    *c = (struct frame_cell){x, y, ax - x, ay - y, hx - x, hy - y, c->whole};
    if (x - fabsf(c->ax) < 0 || x + fabsf(c->ax) >= FRAME_WIDTH || y - fabsf(c->hy) < 0 ||
        y + fabsf(c->hy) >= FRAME_HEIGHT)
        c->whole = false;
}

static void draw_coupons(struct frame_maker *m, enum frame_grade g, struct frame *f,
                         const struct conditions *c, float *cx, float *cy) {
    struct line_style st = style_of(m, g);
    char other[FRAME_DIGITS + 1];
    float lx, ly, x = 24, y = 17;
    coupon_line(m, f->truth);
    coupon(m, x, y, f->truth, &lx, &ly);
    memcpy(f->shown, f->truth, sizeof f->shown);
    /* another number of the same length, with letters */
    if (g == FRAME_LETTERS || (g == FRAME_HARD && chance(m, 0.3F))) {
        int most = g == FRAME_LETTERS && chance(m, 0.5F) ? 2 * FRAME_DIGITS : 9;
        for (int i = 1 + below(m, most); i > 0; i--)
            f->shown[below(m, FRAME_DIGITS)] = letter(m, g);
        f->truth[0] = '\0';
    }
    ocr_line(m, f->shown, &st, lx, ly, f->cell);
    *cx = (lx + 20.5F) * MM;
    *cy = (ly - 1.2F) * MM;
    if (g >= FRAME_POOR)
        wear(m, lx, ly + 0.5F, 42, 3.5F, below(m, g == FRAME_HARD ? 160 : 40));
    if (g == FRAME_HARD &&
        chance(m, 0.2F)) { /* the sheet's next coupon shows, or a cut through it */
        float ox, oy;
        coupon_line(m, other);
        coupon(m, x + (chance(m, 0.5F) ? 64 : -64), y, other, &ox, &oy);
        ocr_line(m, other, &st, ox, oy, NULL);
    }
    if (g == FRAME_HARD && chance(m, 0.15F)) { /* a pen went over it */
        float px = lx + uniform(m, 0, 38), py = ly - uniform(m, 0, 2.6F), w = uniform(m, 0.3F, 4);
        box(m, px, py, w, uniform(m, 0.2F, 0.5F), 50);
        box(m, px + uniform(m, 0, 3), py - 1.5F, 0.35F, uniform(m, 1, 3), 50);
    }
    if (g == FRAME_HARD && chance(m, 0.1F)) /* digits of a neighbour right beside */
        ocr_line(m, "29", &st, lx - 2 * 2.29F * uniform(m, 0.98F, 1.3F), ly, NULL);
    (void)c;
}

static void draw_other_numbers(struct frame_maker *m, float *cx, float *cy) {
    char s[64];
    struct line_style st = style_of(m, FRAME_HARD);
    float y = 10;
    for (int row = 0; row < 5; row++, y += uniform(m, 6, 12)) {
        float x = uniform(m, 5, 40);
        switch (below(m, 9)) {
        case 0:
            digits(m, s, 10);
            break;
        case 1:
            digits(m, s, 17);
            break;
        case 2:
            digits(m, s, 19 + below(m, 4));
            break;
        case 3:
            (void)snprintf(s, sizeof s, "03-%04d-%04d", below(m, 10000), below(m, 10000));
            break;
        case 4: /* as long, but not a coupon's */
            coupon_line(m, s);
            s[7] = (char)('0' + (s[7] - '0' + 1 + below(m, 9)) % 10);
            break;
        case 5: /* one character is none */
            coupon_line(m, s);
            s[below(m, FRAME_DIGITS)] = letter(m, FRAME_NEGATIVE);
            break;
        case 6:
            for (float bx = x; bx < x + 50; bx += uniform(m, 0.4F, 1.4F))
                box(m, bx, y - 6, uniform(m, 0.2F, 0.7F), 6, 30);
            continue;
        case 7:
            text(m, FONT_TEXT, "新型コロナウイルスワクチン接種済証 2021年7月1日", uniform(m, 7, 11),
                 x, y);
            continue;
        default: /* a coupon's line that stops early */
            coupon_line(m, s);
            s[12 + below(m, 6)] = '\0';
            break;
        }
        ocr_line(m, s, &st, x, y, NULL);
    }
    *cx = uniform(m, 35, 75) * MM;
    *cy = uniform(m, 22, 45) * MM;
}

void frame_make(struct frame_maker *m, enum frame_grade g, uint64_t seed, struct frame *f) {
    struct view v;
    float cx, cy, fx = FRAME_WIDTH / 2.0F, fy = FRAME_HEIGHT / 2.0F;
    m->random = seed * 0x2545f4914f6cdd1dU + (uint64_t)g * 0x9e3779b9U + 1;
    memset(f->cell, 0, sizeof f->cell);
    f->truth[0] = f->shown[0] = '\0';
    struct conditions c = conditions_of(m, g);
    paper(m);
    if (g == FRAME_NEGATIVE)
        draw_other_numbers(m, &cx, &cy);
    else
        draw_coupons(m, g, f, &c, &cx, &cy);
    integrate(m);
    /* The whole line is in view, but for hard frames. */
    float room_x = fmaxf(0, (FRAME_WIDTH - 44 * c.scale) / 2 - 12), room_y = 180;
    if (g == FRAME_HARD)
        room_x += 90;
    else if (c.scale * 44 * 1.08F > FRAME_WIDTH - 20)
        room_x = 0;
    fx += uniform(m, -room_x, room_x);
    fy += uniform(m, -room_y, room_y);
    look(&v, c.scale, c.angle, c.tilt_x, c.tilt_y, cx, cy, fx, fy);
    for (int i = 0; i < FRAME_DIGITS && f->shown[0] != '\0'; i++)
        to_frame(&v, &f->cell[i]);
    shoot(m, &v, c.scale, uniform(m, 60, 200));
    if (c.fingers) {
        int at = below(m, FRAME_DIGITS);
        float x = f->shown[0] != '\0' ? f->cell[at].x : uniform(m, 0, FRAME_WIDTH);
        float y = f->shown[0] != '\0' ? f->cell[at].y : uniform(m, 0, FRAME_HEIGHT);
        float r = uniform(m, 2, 9) * c.scale;
        cover(m, f, x + uniform(m, -r, r), y + uniform(m, 0.2F, 1.3F) * r, r, r * 1.4F,
              uniform(m, 90, 190));
    }
    blur(m, sqrtf(c.focus * c.focus + c.move_x * c.move_x),
         sqrtf(c.focus * c.focus + c.move_y * c.move_y));
    lighten(m, &c);
    for (int i = 0; i < FRAME_WIDTH * FRAME_HEIGHT; i++) {
        float p = m->image[i] + c.noise * normal(m);
        f->grey[i] = (uint8_t)(p < 0 ? 0 : p > 255 ? 255 : p);
    }
}
