#include "ocr-ingest/reader.h"

#include "ocr-ingest/reader_private.h"

/* What the two networks say of one cell together. */
struct opinion {
    int digit, second; /* CLASS_OTHER: none */
    float sure;        /* the smaller of the two probabilities; 0 when they disagree */
    float other;       /* that it is no digit, by the more hopeful network */
};

/* Both networks are sure that there is no digit. */
static bool nothing(float said[2][CLASSES]) {
    for (int n = 0; n < 2; n++) {
        float v[CLASSES];
        for (int i = 0; i < CLASSES; i++)
            v[i] = said[n][i];
        chances(v);
        if (v[CLASS_OTHER] < 0.98F)
            return false;
    }
    return true;
}

/* Several looks, a little beside each other: a fit is never exact.  One is enough for what is
 * clearly no digit: most of what stands on a page. */
static void look_at(const struct picture *p, const struct line *l, int k, struct opinion *out) {
    static const float aside[][2] = {
        {0, 0}, {-0.05F, 0.03F}, {0.05F, -0.03F}, {0.02F, 0.06F}, {-0.02F, -0.06F}};
    enum { LOOKS = sizeof aside / sizeof *aside };
    const float together = 1.5F; /* five looks are worth more than one, and less than five */
    float mean[2][CLASSES] = {{0}}, patch[PATCH], one[CLASSES];
    int looks = 0;
    *out = (struct opinion){.digit = CLASS_OTHER, .second = CLASS_OTHER, .other = 1};
    for (int a = 0; a < LOOKS; a++) {
        struct cell c;
        line_cell(l, k, &c);
        c.x += 2 * (aside[a][0] * c.ax + aside[a][1] * c.hx);
        c.y += 2 * (aside[a][0] * c.ay + aside[a][1] * c.hy);
        if (!take_patch(p, &c, patch))
            continue;
        looks++;
        for (int n = 0; n < 2; n++) {
            classify(n, patch, one);
            for (int i = 0; i < CLASSES; i++)
                mean[n][i] += one[i];
        }
        if (looks == 1 && nothing(mean))
            break;
    }
    if (looks == 0)
        return;
    float best = -1, next = -1;
    for (int n = 0; n < 2; n++) {
        for (int i = 0; i < CLASSES; i++)
            mean[n][i] *= together / (float)looks;
        chances(mean[n]);
    }
    for (int i = 0; i < CLASSES; i++) {
        float both = mean[0][i] < mean[1][i] ? mean[0][i] : mean[1][i];
        if (both > best) {
            next = best;
            out->second = out->digit;
            best = both;
            out->digit = i;
        } else if (both > next) {
            next = both;
            out->second = i;
        }
    }
    out->sure = best;
    float o0 = mean[0][CLASS_OTHER], o1 = mean[1][CLASS_OTHER];
    out->other = o0 > o1 ? o0 : o1;
}

static bool digit_like(const struct opinion *o) {
    return o->digit != CLASS_OTHER && o->sure > 0.5F;
}

/* The coupon's own rules: kind, turn, and the check digit of the municipality's code. */
static bool fits(const char d[READER_DIGITS]) {
    int sum = 0;
    for (int i = 0; i < 5; i++)
        sum += (d[2 + i] - '0') * (6 - i);
    int check = (11 - sum % 11) % 10;
    if (sum % 11 == 0)
        check = 1;
    return (d[0] == '1' || d[0] == '2') && d[1] != '0' && d[7] - '0' == check;
}

static uint8_t confidence(float sure) {
    return (uint8_t)(sure < 0 ? 0 : sure > 1 ? 255 : sure * 255);
}

/* Of cell k enough is seen to tell that nothing stands there, beside the digit of the next cell: at
 * the picture's edge the networks have nothing to look at. */
static bool paper(const struct picture *p, const struct line *l, int k, int digit) {
    const float even = 0.4F; /* of the digit's spread: noise and shades of the paper */
    struct cell c;
    line_cell(l, digit, &c);
    float ink = spread_in(p, &c);
    line_cell(l, k, &c);
    float here = spread_in(p, &c);
    return here >= 0 && (in_picture(p, &c) || here < even * ink);
}

/* A line's cells, each looked at when it is first asked for: most lines of a page are told to be no
 * coupon's by their ends. */
enum { ROOM = 64, MORE = 6, BESIDE = MORE + 2 }; /* digits beyond an end at most; cells there */
struct cells {
    const struct picture *p;
    const struct line *l;
    bool seen[ROOM];
    struct opinion op[ROOM];
};

static const struct opinion *at_cell(struct cells *c, int k) {
    int i = k - c->l->first + BESIDE;
    if (!c->seen[i])
        look_at(c->p, c->l, k, &c->op[i]);
    c->seen[i] = true;
    return &c->op[i];
}

/* Where a line is blurred, more than one digit is a little unsure.  One alone among clear ones is
 * rather a letter of a font that nobody knew: it has to be surer. */
static void doubt_one_alone(struct reader_result *r) {
    enum { CLEAR = 254, BLURRED = 3, SURE_ALONE = 252 };
    int doubts = 0;
    for (int i = 0; i < READER_DIGITS; i++)
        doubts += r->confidence[i] < CLEAR;
    uint8_t *least = &r->confidence[r->unsure];
    if (doubts < BLURRED && *least < SURE_ALONE && *least >= READER_SURE)
        *least = READER_SURE - 1;
}

/* One line of cells, read. */
static void read_line(const struct picture *p, const struct line *l, struct reader_result *r) {
    struct cells cells = {.p = p, .l = l};
    int from = l->first, to = l->last;
    r->reason = READER_CUT_LINE;
    if (to - from + 1 > ROOM - 2 * BESIDE)
        return;
    /* Digits that the threshold lost stand at the ends; what is no digit there is given back. */
    while (from < to && !digit_like(at_cell(&cells, from)))
        from++;
    while (from < to && !digit_like(at_cell(&cells, to)))
        to--;
    for (int more = 0; more < MORE && digit_like(at_cell(&cells, from - 1)); more++)
        from--;
    for (int more = 0; more < MORE && digit_like(at_cell(&cells, to + 1)); more++)
        to++;
    struct cell c;
    line_cell(l, from, &c);
    r->x0 = c.x, r->y0 = c.y;
    line_cell(l, to, &c);
    r->x1 = c.x, r->y1 = c.y;
    r->height = 2 * __builtin_sqrtf(c.hx * c.hx + c.hy * c.hy);
    if (to - from + 1 != READER_DIGITS)
        return;
    /* Whatever else stands beside it may be the nineteenth digit. */
    for (int side = 0; side < 2; side++) {
        int k = side == 0 ? from - 1 : to + 1;
        if (at_cell(&cells, k)->digit != CLASS_OTHER || !paper(p, l, k, side == 0 ? from : to))
            return;
    }
    r->unsure = 0;
    for (int i = 0; i < READER_DIGITS; i++) {
        const struct opinion *o = at_cell(&cells, from + i);
        r->digits[i] = o->digit == CLASS_OTHER ? '?' : (char)('0' + o->digit);
        r->second[i] = (uint8_t)o->second;
        r->confidence[i] = o->digit == CLASS_OTHER ? 0 : confidence(o->sure);
        if (r->confidence[i] < r->confidence[r->unsure])
            r->unsure = i;
    }
    r->digits[READER_DIGITS] = '\0';
    doubt_one_alone(r);
    if (r->confidence[r->unsure] < READER_SURE)
        r->reason = READER_UNSURE_DIGIT;
    else
        r->reason = fits(r->digits) ? READER_OK : READER_CHECK_DIGIT;
}

static bool same(const char *a, const char *b) {
    for (int i = 0; i < READER_DIGITS; i++) {
        if (a[i] != b[i])
            return false;
    }
    return true;
}

/* Which refusal tells a person more. */
static int telling(enum reader_reason r) {
    static const int rank[] = {
        [READER_OK] = 5,           [READER_TWO_LINES] = 6, [READER_CHECK_DIGIT] = 4,
        [READER_UNSURE_DIGIT] = 3, [READER_CUT_LINE] = 2,  [READER_NO_LINE] = 1,
        [READER_BAD_PICTURE] = 0};
    return rank[r];
}

static void take(struct reader_result *out, const struct reader_result *r) {
    bool both = out->reason == READER_OK && r->reason == READER_OK;
    if (both && !same(out->digits, r->digits))
        out->reason = READER_TWO_LINES;
    else if (telling(r->reason) > telling(out->reason))
        *out = *r;
}

/* Another pass places cells a little differently: that helps a digit too faint to be sure of, not
 * what is no digit. */
static bool worth_another_look(const struct reader_result *r) {
    if (r->reason != READER_UNSURE_DIGIT)
        return false;
    for (int i = 0; i < READER_DIGITS; i++) {
        if (r->digits[i] == '?')
            return false;
    }
    return true;
}

static bool near(const struct line *a, int k, const struct line *b, int j) {
    const float reach = 0.1F; /* of half a digit's height */
    struct cell one, other;
    line_cell(a, k, &one);
    line_cell(b, j, &other);
    float dx = one.x - other.x, dy = one.y - other.y;
    return dx * dx + dy * dy < reach * reach * one.hy * one.hy;
}

/* As many cells between the same ends as a line that is done with. */
static bool known(const struct line *l, const struct line *done, int n) {
    for (int i = 0; i < n; i++) {
        const struct line *d = &done[i];
        if (l->last - l->first == d->last - d->first && near(l, l->first, d, d->first) &&
            near(l, l->last, d, d->last))
            return true;
    }
    return false;
}

enum reader_reason reader_read(void *workspace, const uint8_t *grey, int width, int height,
                               int stride, struct reader_result *out) {
    enum { PASSES = 3 };
    static const struct pass passes[PASSES] = {{14, 9}, {22, 6}, {18, 12}};
    const struct picture p = {grey, width, height, stride};
    *out = (struct reader_result){.reason = READER_NO_LINE};
    if (reader_workspace_bytes(width, height) == 0 || stride < width)
        return out->reason = READER_BAD_PICTURE;
    struct line lines[PASSES * MAX_LINES]; /* first those that are done with */
    int done = 0;
    look_over(workspace, &p);
    for (int i = 0; i < PASSES; i++) {
        int before = done, found = done + find_lines(workspace, &p, &passes[i], &lines[done]);
        for (int j = before; j < found; j++) {
            if (known(&lines[j], lines, before))
                continue;
            struct reader_result r = {.reason = READER_NO_LINE};
            read_line(&p, &lines[j], &r);
            take(out, &r);
            if (!worth_another_look(&r))
                lines[done++] = lines[j];
        }
        if (out->reason == READER_OK || out->reason == READER_TWO_LINES)
            break;
    }
    return out->reason;
}
