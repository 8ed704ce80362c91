#include "ocr-ingest/repair.h"

#include <string.h>

/* What a reader takes for what.  Costs are relative: 0.3 a letter that can only be this digit, 1 a
 * common confusion of digits, 3 any other digit.  Only kind, dose number and municipality code are
 * ever doubted digit by digit; the coupon number has no check digit, so a digit in it that was read
 * as a digit is kept. */
enum {
    LINE_DIGITS = 18,
    HEAD_DIGITS = 8, /* kind, dose number, municipality code */
    MAX_UNREAD = 6,  /* letters in one line; more is no coupon */
    MAX_ANY = 2      /* of these, characters that may be any digit */
};
static const double COST_ANY = 3.0;

struct reading {
    char from;
    char to;
    double cost;
};

static const struct reading letters[] = {
    {'O', '0', 0.3}, {'D', '0', 0.4}, {'Q', '0', 0.4}, {'Q', '9', 1.4}, {'U', '0', 1.0},
    {'C', '0', 1.0}, {'C', '6', 1.5}, {'I', '1', 0.3}, {'L', '1', 0.3}, {'J', '1', 1.0},
    {'Z', '2', 0.3}, {'Z', '7', 1.5}, {'S', '5', 0.3}, {'S', '8', 1.8}, {'B', '8', 0.3},
    {'B', '6', 1.3}, {'B', '3', 1.8}, {'G', '6', 0.4}, {'G', '9', 1.2}, {'G', '0', 1.8},
    {'A', '4', 0.6}, {'Y', '4', 1.2}, {'Y', '7', 1.4}, {'T', '7', 0.6}, {'T', '1', 1.4},
    {'E', '3', 1.0}, {'E', '8', 1.2}, {'P', '9', 1.0}, {'F', '7', 1.2}, {'R', '8', 1.2},
    {'H', '4', 1.4},
};

/* Both ways. */
static const struct reading digits[] = {
    {'1', '7', 1.0}, {'1', '4', 1.0}, {'3', '8', 1.0}, {'5', '6', 1.0}, {'6', '8', 1.0},
    {'0', '8', 1.0}, {'4', '9', 1.2}, {'0', '6', 1.2}, {'3', '5', 1.2}, {'8', '9', 1.2},
    {'2', '7', 1.2}, {'0', '9', 1.5}, {'5', '9', 1.5}, {'3', '9', 1.5}, {'5', '8', 1.5},
    {'7', '9', 1.8}, {'2', '3', 2.0},
};

struct search {
    const struct municipality_list *known;
    struct repair_candidate *out;
    size_t count;
    char line[LINE_DIGITS + 1];
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static double digit_cost(char from, char to) {
    for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
        if ((digits[i].from == from && digits[i].to == to) ||
            (digits[i].from == to && digits[i].to == from)) {
            return digits[i].cost;
        }
    }
    return COST_ANY;
}

/* The likeliest digits for a character that is none, best first; 0: it may be any. */
static size_t letter_readings(char c, struct reading out[3]) {
    size_t n = 0;
    for (size_t i = 0; i < sizeof letters / sizeof letters[0] && n < 3; i++) {
        if (letters[i].from == c) {
            out[n++] = letters[i];
        }
    }
    return n;
}

static bool better(const struct repair_candidate *a, const struct repair_candidate *b) {
    return a->cost < b->cost || (a->cost <= b->cost && strcmp(a->line, b->line) < 0);
}

/* Keeps the best ones, each line once, sorted. */
static void offer(struct search *s, int changes, double cost) {
    struct coupon c;
    if (line_parse(s->line, s->known, &c, NULL) != VRS_OK) {
        return;
    }
    struct repair_candidate cand = {.changes = changes, .cost = cost};
    memcpy(cand.line, s->line, sizeof cand.line);
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->out[i].line, cand.line) == 0) {
            if (!better(&cand, &s->out[i])) {
                return;
            }
            memmove(&s->out[i], &s->out[i + 1], (s->count - i - 1) * sizeof s->out[0]);
            s->count--;
            break;
        }
    }
    size_t at = s->count;
    while (at > 0 && better(&cand, &s->out[at - 1])) {
        at--;
    }
    if (at == REPAIR_MAX_CANDIDATES) {
        return;
    }
    size_t kept = s->count < REPAIR_MAX_CANDIDATES ? s->count : REPAIR_MAX_CANDIDATES - 1;
    memmove(&s->out[at + 1], &s->out[at], (kept - at) * sizeof s->out[0]);
    s->out[at] = cand;
    s->count = kept + 1;
}

/* Doubts up to `depth` digits of the head, from position `from` on.  A second doubt is only
 * allowed among common confusions. */
static void doubt(struct search *s, const bool *fixed, size_t from, int depth, double limit,
                  int changes, double cost) {
    for (size_t i = from; i < HEAD_DIGITS; i++) {
        if (fixed[i]) {
            continue;
        }
        char was = s->line[i];
        for (char d = '0'; d <= '9'; d++) {
            double more = d == was ? 0 : digit_cost(was, d);
            if (d == was || more > limit || (i < 2 && more >= COST_ANY)) {
                continue;
            }
            s->line[i] = d;
            offer(s, changes + 1, cost + more);
            if (depth > 1) {
                doubt(s, fixed, i + 1, depth - 1, limit, changes + 1, cost + more);
            }
        }
        s->line[i] = was;
    }
}

/* Every reading of the characters that are no digits; then, where nothing came of it, doubts. */
static void letters_from(struct search *s, bool *fixed, size_t at, int depth, int changes,
                         double cost) {
    while (at < LINE_DIGITS && is_digit(s->line[at])) {
        at++;
    }
    if (at == LINE_DIGITS) {
        if (depth == 0) {
            offer(s, changes, cost);
        } else {
            doubt(s, fixed, 0, depth, depth > 1 ? 1.5 : COST_ANY, changes, cost);
        }
        return;
    }
    char was = s->line[at];
    struct reading r[3];
    size_t n = letter_readings(was, r);
    fixed[at] = true;
    for (size_t i = 0; i < n; i++) {
        s->line[at] = r[i].to;
        letters_from(s, fixed, at + 1, depth, changes + 1, cost + r[i].cost);
    }
    if (n == 0 && at < HEAD_DIGITS) {
        for (char d = '0'; d <= '9'; d++) {
            s->line[at] = d;
            letters_from(s, fixed, at + 1, depth, changes + 1, cost + COST_ANY);
        }
    }
    fixed[at] = false;
    s->line[at] = was;
}

/* How many characters are no digits; more than MAX_UNREAD when the line cannot be mended. */
static int unread_in(const char *line, size_t n) {
    int unread = 0;
    int any = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(line[i])) {
            struct reading r[3];
            unread++;
            any += letter_readings(line[i], r) == 0;
        }
    }
    return any <= MAX_ANY ? unread : MAX_UNREAD + 1;
}

static bool readable(const char *line, size_t n) {
    return unread_in(line, n) <= MAX_UNREAD;
}

/* Doubts multiply with the readings of letters, so the work is bounded by allowing fewer. */
static void of_length(struct search *s, const char *line) {
    int unread = unread_in(line, LINE_DIGITS);
    if (unread > MAX_UNREAD) {
        return;
    }
    int max_doubts = unread == 0 ? 2 : unread <= 2 ? 1 : 0;
    bool fixed[LINE_DIGITS] = {false};
    memcpy(s->line, line, LINE_DIGITS + 1);
    for (int depth = 0; depth <= max_doubts && s->count == 0; depth++) {
        letters_from(s, fixed, 0, depth, 0, 0);
    }
}

/* Kind, dose number and municipality are right as they stand. */
static bool head_valid(const char *line, const struct municipality_list *known) {
    char probe[LINE_DIGITS + 1];
    memcpy(probe, line, HEAD_DIGITS);
    memset(probe + HEAD_DIGITS, '0', LINE_DIGITS - HEAD_DIGITS);
    probe[LINE_DIGITS] = '\0';
    struct coupon c;
    return line_parse(probe, known, &c, NULL) == VRS_OK;
}

/* One character lost: it can be found again only where the check digit and the list of
 * municipalities tell. */
static void one_lost(struct search *s, const char *line) {
    if (!readable(line, LINE_DIGITS - 1) || head_valid(line, s->known)) {
        return;
    }
    for (size_t at = 0; at < HEAD_DIGITS; at++) {
        for (char d = '0'; d <= '9'; d++) {
            char longer[LINE_DIGITS + 1];
            memcpy(longer, line, at);
            longer[at] = d;
            memcpy(longer + at + 1, line + at, LINE_DIGITS - at);
            bool fixed[LINE_DIGITS] = {false};
            memcpy(s->line, longer, sizeof longer);
            letters_from(s, fixed, 0, 0, 1, 2.0);
        }
    }
}

/* One character too many: a mark, a digit read twice, or one at an end. */
static void one_added(struct search *s, const char *line) {
    for (size_t at = 0; at <= LINE_DIGITS; at++) {
        char c = line[at];
        bool twice = at > 0 && line[at - 1] == c;
        double cost = !is_digit(c) ? 0.5 : twice ? 1.0 : at == 0 || at == LINE_DIGITS ? 1.5 : 2.5;
        char shorter[LINE_DIGITS + 1];
        memcpy(shorter, line, at);
        memcpy(shorter + at, line + at + 1, LINE_DIGITS + 1 - at);
        bool fixed[LINE_DIGITS] = {false};
        if (readable(shorter, LINE_DIGITS)) {
            memcpy(s->line, shorter, sizeof shorter);
            letters_from(s, fixed, 0, 0, 1, cost);
        }
    }
}

size_t repair_candidates(const char *text, const struct municipality_list *known,
                         struct repair_candidate out[REPAIR_MAX_CANDIDATES]) {
    char line[64];
    line_normalise(text, line, sizeof line);
    struct search s = {.known = known, .out = out};
    struct coupon c;
    if (line_parse(line, known, &c, NULL) == VRS_OK) {
        return 0;
    }
    switch (strlen(line)) {
    case LINE_DIGITS:
        of_length(&s, line);
        break;
    case LINE_DIGITS - 1:
        one_lost(&s, line);
        break;
    case LINE_DIGITS + 1:
        one_added(&s, line);
        break;
    default:
        break;
    }
    return s.count;
}
