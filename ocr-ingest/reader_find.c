/* From a picture to lines of equal cells.
 *
 * Ink is what is darker than the mean of its neighbourhood.  Components of a digit's shape are
 * joined to their right neighbour at a pitch of 0.55 to 1.5 heights; a chain may jump over one or
 * two missing digits.  The cells are then fitted: centres by parabolas in the cell number
 * (perspective), heights by a straight line, outliers dropped. */
#include "ocr-ingest/reader_private.h"

enum { MAX_RUNS = 400000, MAX_SPOTS = 6000, MAX_CHAIN = 40, LINK_NONE = -1, LEAST_NOISE = 16000 };

struct run {
    uint16_t y, x0, x1; /* x1 exclusive */
    int32_t up;         /* union-find parent */
};

struct spot {
    float x, y, w, h;
    int area;
    int32_t right; /* next in the chain */
    bool used;
};

struct box {
    uint16_t x0, y0, x1, y1;
    int32_t area;
};

struct room {
    struct run run[MAX_RUNS];
    struct box box[MAX_RUNS];
    struct spot spot[MAX_SPOTS];
    int32_t order[MAX_SPOTS];
    int runs, spots;
    uint8_t ink[READER_MAX_SIDE]; /* of one row */
};

/* The workspace: struct room, then sums of (width+1) × (height+1), then a smoothed picture. */
size_t reader_workspace_bytes(int width, int height) {
    if (width < READER_MIN_SIDE || height < READER_MIN_SIDE || width > READER_MAX_SIDE ||
        height > READER_MAX_SIDE)
        return 0;
    size_t pixels = (size_t)width * (size_t)height;
    return sizeof(struct room) + ((size_t)width + 1) * ((size_t)height + 1) * sizeof(uint32_t) +
           pixels + 64;
}

static void smooth(const struct picture *p, uint8_t *out) {
    for (int y = 0; y < p->height; y++) {
        const uint8_t *mid = p->grey + (ptrdiff_t)y * p->stride;
        const uint8_t *up = y > 0 ? mid - p->stride : mid;
        const uint8_t *down = y + 1 < p->height ? mid + p->stride : mid;
        uint8_t *o = out + (size_t)y * (size_t)p->width;
        o[0] = mid[0];
        o[p->width - 1] = mid[p->width - 1];
        for (int x = 1; x + 1 < p->width; x++) {
            unsigned s = up[x - 1] + 2U * up[x] + up[x + 1] + 2U * mid[x - 1] + 4U * mid[x] +
                         2U * mid[x + 1] + down[x - 1] + 2U * down[x] + down[x + 1];
            o[x] = (uint8_t)(s >> 4);
        }
    }
}

static void integrate(const uint8_t *grey, int w, int h, uint32_t *sum) {
    for (int x = 0; x <= w; x++)
        sum[x] = 0;
    for (int y = 0; y < h; y++) {
        const uint8_t *g = grey + (ptrdiff_t)y * w;
        const uint32_t *above = sum + (ptrdiff_t)y * (w + 1);
        uint32_t *here = sum + (ptrdiff_t)(y + 1) * (w + 1), row = 0;
        here[0] = 0;
        for (int x = 0; x < w; x++) {
            row += g[x];
            here[x + 1] = above[x + 1] + row;
        }
    }
}

static int32_t top_of(struct run *r, int32_t i) {
    while (r[i].up != i) {
        r[i].up = r[r[i].up].up;
        i = r[i].up;
    }
    return i;
}

static void join(struct run *r, int32_t a, int32_t b) {
    a = top_of(r, a);
    b = top_of(r, b);
    if (a < b)
        r[b].up = a;
    else
        r[a].up = b;
}

/* Which pixels of row y are ink.  Inside, all windows have one size: compilers make vectors of it. */
static void row_ink(uint8_t *ink, const uint8_t *g, int y, int w, int h, const uint32_t *sum,
                    const struct pass *how) {
    const int r = how->radius, y0 = y - r < 0 ? 0 : y - r, y1 = y + r + 1 > h ? h : y + r + 1;
    const uint32_t *low = sum + (ptrdiff_t)y0 * (w + 1), *high = sum + (ptrdiff_t)y1 * (w + 1);
    const uint32_t keep = (uint32_t)(100 - how->percent);
    for (int x = 0; x < w; x++) {
        if (x == r && r < w - r) {
            const uint32_t n = (uint32_t)((2 * r + 1) * (y1 - y0));
            for (; x < w - r; x++) {
                uint32_t s = high[x + r + 1] - high[x - r] - low[x + r + 1] + low[x - r];
                ink[x] = (g[x] * n * 100 < s * keep) & (s > (g[x] + 6U) * n);
            }
        }
        int x0 = x - r < 0 ? 0 : x - r, x1 = x + r + 1 > w ? w : x + r + 1;
        uint32_t s = high[x1] - high[x0] - low[x1] + low[x0];
        uint32_t n = (uint32_t)((x1 - x0) * (y1 - y0));
        ink[x] = (g[x] * n * 100 < s * keep) & (s > (g[x] + 6U) * n);
    }
}

/* Runs of ink of row y, joined to those of the row above (8-connected). */
static void row_runs(struct room *m, int y, int w, int *above_from, int *above_to) {
    const uint8_t *ink = m->ink;
    int from = m->runs;
    for (int x = 0; x < w && m->runs < MAX_RUNS; x++) {
        uint64_t eight;
        if (x + 8 <= w && (__builtin_memcpy(&eight, ink + x, 8), eight == 0)) {
            x += 7; /* most of a page is paper */
            continue;
        }
        if (ink[x] == 0)
            continue;
        int start = x;
        while (x < w && ink[x] != 0)
            x++;
        m->run[m->runs] = (struct run){(uint16_t)y, (uint16_t)start, (uint16_t)x, m->runs};
        m->runs++;
    }
    for (int i = from, a = *above_from; i < m->runs; i++) {
        const struct run *n = &m->run[i];
        while (a < *above_to && m->run[a].x1 < n->x0)
            a++;
        for (int b = a; b < *above_to && m->run[b].x0 <= n->x1; b++)
            join(m->run, b, i);
    }
    *above_from = from;
    *above_to = m->runs;
}

static void boxes(struct room *m) {
    for (int i = 0; i < m->runs; i++)
        m->box[i].area = 0;
    for (int i = 0; i < m->runs; i++) {
        const struct run *r = &m->run[i];
        struct box *b = &m->box[top_of(m->run, i)];
        if (b->area == 0)
            *b = (struct box){r->x0, r->y, r->x1, r->y, 0};
        b->x0 = r->x0 < b->x0 ? r->x0 : b->x0;
        b->x1 = r->x1 > b->x1 ? r->x1 : b->x1;
        b->y1 = r->y;
        b->area += r->x1 - r->x0;
    }
}

/* Components that may be a digit. */
static void spots(struct room *m, int height) {
    m->spots = 0;
    for (int i = 0; i < m->runs && m->spots < MAX_SPOTS; i++) {
        const struct box *b = &m->box[i];
        int w = b->x1 - b->x0, h = b->y1 - b->y0 + 1;
        if (b->area == 0 || h < 7 || h > 110 || h > height / 3 || w < 2 || w > h + h / 4 ||
            b->area < h || b->area * 8 < w * h)
            continue;
        m->spot[m->spots++] = (struct spot){.x = (float)(b->x0 + b->x1) / 2,
                                            .y = (float)(b->y0 + b->y1 + 1) / 2,
                                            .w = (float)w,
                                            .h = (float)h,
                                            .area = b->area,
                                            .right = LINK_NONE};
    }
}

/* Shell sort by x: a few thousand, no recursion. */
static void sort_spots(struct room *m) {
    for (int i = 0; i < m->spots; i++)
        m->order[i] = i;
    for (int gap = m->spots / 2; gap > 0; gap /= 2) {
        for (int i = gap; i < m->spots; i++) {
            int32_t v = m->order[i];
            int j = i;
            for (; j >= gap && m->spot[m->order[j - gap]].x > m->spot[v].x; j -= gap)
                m->order[j] = m->order[j - gap];
            m->order[j] = v;
        }
    }
}

static float size_of(float v) {
    return v < 0 ? -v : v;
}

/* The nearest to the right that could be the next digit. */
static void link_right(struct room *m) {
    for (int i = 0; i < m->spots; i++) {
        struct spot *a = &m->spot[m->order[i]];
        float best = 1e9F;
        for (int j = i + 1; j < m->spots; j++) {
            const struct spot *b = &m->spot[m->order[j]];
            float dx = b->x - a->x, dy = size_of(b->y - a->y), h = a->h > b->h ? a->h : b->h;
            if (dx > 3.6F * h && dx > 3.6F * a->h)
                break;
            if (dx < 0.5F * h || dy > 0.12F * h + 0.36F * dx || a->h * 0.68F > b->h ||
                b->h * 0.68F > a->h || dx > 3.3F * h)
                continue;
            float cost = dx + 2 * dy + 2 * size_of(a->h - b->h);
            if (cost < best) {
                best = cost;
                a->right = m->order[j];
            }
        }
    }
}

static float middle(float *v, int n) {
    for (int i = 1; i < n; i++) {
        float x = v[i];
        int j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
    return v[n / 2];
}

/* Least squares of degree 2 (or 1) in k; false when it is not determined. */
static bool fit(const float *k, const float *v, int n, int degree, float out[3]) {
    float s[5] = {0}, t[3] = {0};
    for (int i = 0; i < n; i++) {
        float p = 1;
        for (int d = 0; d < 5; d++) {
            s[d] += p;
            if (d < 3)
                t[d] += p * v[i];
            p *= k[i];
        }
    }
    out[2] = 0;
    if (degree == 1) {
        float det = s[0] * s[2] - s[1] * s[1];
        if (det < 1e-3F)
            return false;
        out[0] = (t[0] * s[2] - t[1] * s[1]) / det;
        out[1] = (s[0] * t[1] - s[1] * t[0]) / det;
        return true;
    }
    float a = s[2] * s[4] - s[3] * s[3], b = s[1] * s[4] - s[2] * s[3],
          c = s[1] * s[3] - s[2] * s[2];
    float det = s[0] * a - s[1] * b + s[2] * c;
    if (size_of(det) < 1e-3F)
        return false;
    out[0] = (t[0] * a - t[1] * b + t[2] * c) / det;
    out[1] =
        (-t[0] * b + t[1] * (s[0] * s[4] - s[2] * s[2]) - t[2] * (s[0] * s[3] - s[1] * s[2])) / det;
    out[2] =
        (t[0] * c - t[1] * (s[0] * s[3] - s[1] * s[2]) + t[2] * (s[0] * s[2] - s[1] * s[1])) / det;
    return true;
}

void line_cell(const struct line *l, int k, struct cell *out) {
    float q = (float)k, h = (l->high[0] + l->high[1] * q) / 2;
    float ux = l->x[1] + 2 * l->x[2] * q, uy = l->y[1] + 2 * l->y[2] * q;
    float pitch = __builtin_sqrtf(ux * ux + uy * uy);
    out->x = l->x[0] + (l->x[1] + l->x[2] * q) * q;
    out->y = l->y[0] + (l->y[1] + l->y[2] * q) * q;
    out->ax = ux / 2;
    out->ay = uy / 2;
    out->hx = -uy / pitch * h;
    out->hy = ux / pitch * h;
}

static int round_of(float v) {
    return v < 0 ? -(int)(0.5F - v) : (int)(v + 0.5F);
}

/* Cells of a chain; false when it is not one of equal pitch. */
static bool line_of(const struct room *m, const int32_t *chain, int n, struct line *out) {
    float gap[MAX_CHAIN], k[MAX_CHAIN], x[MAX_CHAIN], y[MAX_CHAIN], h[MAX_CHAIN], high[3];
    int many = 0;
    if (n < 2)
        return false;
    for (int i = 0; i + 1 < n; i++)
        gap[many++] = m->spot[chain[i + 1]].x - m->spot[chain[i]].x;
    float pitch = middle(gap, many);
    k[0] = 0;
    for (int i = 0; i < n; i++) {
        const struct spot *s = &m->spot[chain[i]];
        x[i] = s->x;
        y[i] = s->y;
        h[i] = s->h;
        if (i > 0) {
            int step = round_of((x[i] - x[i - 1]) / pitch);
            k[i] = k[i - 1] + (float)(step < 1 ? 1 : step);
        }
    }
    /* Drop what does not fit, twice: a smear joined to the chain, a digit merged with a line. */
    for (int round = 0; round < 3; round++) {
        if (n < 7 || !fit(k, x, n, n >= 10 ? 2 : 1, out->x) ||
            !fit(k, y, n, n >= 10 ? 2 : 1, out->y) || !fit(k, h, n, 1, high))
            return false;
        int kept = 0;
        for (int i = 0; i < n; i++) {
            float dx = x[i] - (out->x[0] + (out->x[1] + out->x[2] * k[i]) * k[i]);
            float dy = y[i] - (out->y[0] + (out->y[1] + out->y[2] * k[i]) * k[i]);
            float dh = h[i] - (high[0] + high[1] * k[i]);
            if (size_of(dx) > 0.27F * pitch || size_of(dy) > 0.12F * h[i] ||
                size_of(dh) > 0.16F * h[i])
                continue;
            k[kept] = k[i], x[kept] = x[i], y[kept] = y[i], h[kept] = h[i];
            kept++;
        }
        if (kept == n)
            break;
        n = kept;
    }
    if (n < 7 || out->x[1] < 3)
        return false;
    out->high[0] = high[0];
    out->high[1] = high[1];
    out->first = (int)k[0];
    out->last = (int)k[n - 1];
    out->seen = n;
    /* A digit's pitch is 0.7 to 1.3 of its height in every font that was tried. */
    int centre = out->last / 2;
    float ratio = out->x[1] / (high[0] + high[1] * (float)centre);
    return ratio > 0.6F && ratio < 1.45F;
}

static uint32_t *sums_in(void *workspace) {
    return (uint32_t *)((struct room *)workspace + 1);
}

static uint8_t *soft_in(void *workspace, const struct picture *p) {
    return (uint8_t *)(sums_in(workspace) + ((size_t)p->width + 1) * ((size_t)p->height + 1));
}

void look_over(void *workspace, const struct picture *p) {
    uint8_t *soft = soft_in(workspace, p);
    smooth(p, soft);
    integrate(soft, p->width, p->height, sums_in(workspace));
}

int find_lines(void *workspace, const struct picture *p, const struct pass *how,
               struct line out[MAX_LINES]) {
    struct room *m = workspace;
    const uint32_t *sum = sums_in(workspace);
    const uint8_t *soft = soft_in(workspace, p);
    int above_from = 0, above_to = 0, lines = 0;
    /* Of the frames of tests/ocr none was read that had more than a run of ink in 44 pixels: with far
     * more it is noise that this pass sees, dear to look through.  A small picture may be all text. */
    const int noise = LEAST_NOISE + p->width * p->height / 24;
    m->runs = 0;
    for (int y = 0; y < p->height; y++) {
        if (m->runs > noise)
            return 0;
        row_ink(m->ink, soft + (ptrdiff_t)y * p->width, y, p->width, p->height, sum, how);
        row_runs(m, y, p->width, &above_from, &above_to);
    }
    boxes(m);
    spots(m, p->height);
    sort_spots(m);
    link_right(m);
    for (int i = 0; i < m->spots && lines < MAX_LINES; i++) {
        int32_t chain[MAX_CHAIN];
        int n = 0;
        for (int32_t at = m->order[i]; at != LINK_NONE && n < MAX_CHAIN && !m->spot[at].used;
             at = m->spot[at].right)
            chain[n++] = at;
        if (n < 9 || !line_of(m, chain, n, &out[lines]))
            continue;
        for (int j = 0; j < n; j++)
            m->spot[chain[j]].used = true;
        lines++;
    }
    return lines;
}
