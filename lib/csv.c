#include "lib/csv.h"

#include <csv.h>
#include <errno.h>
#include <iconv.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/text.h"

enum {
    MAX_CELLS = 64,
    MAX_CELL_BYTES = 4096,
    SLICE_BYTES = 1024,   /* between two looks at how long the present cell has grown */
    SAMPLE_BYTES = 16384, /* from the first byte above ASCII; half-width kana can look like UTF-8 */
    ROW_BYTES = MAX_CELLS * (MAX_CELL_BYTES + 1),
};

struct csv_reader {
    csv_row_fn *fn;
    void *arg;
    struct csv_parser parser;
    struct buffer raw; /* not decoded yet: a sample, or a character that came in part */
    bool bom_looked_for;
    enum csv_encoding encoding;
    iconv_t from_cp932;
    enum vrs_err error; /* sticky */
    struct buffer text; /* the present row's cells, each with its NUL */
    size_t start[MAX_CELLS];
    size_t cells;
    uint64_t row;
    int last_end; /* the character that ended the row before */
    bool has_gaiji;
};

/* glibc drops a converter that nobody uses, and cannot load it again inside the sandbox: these two
 * stay open for the life of the process. */
static struct { iconv_t to_utf8, to_cp932; } held;
static pthread_once_t held_once = PTHREAD_ONCE_INIT;

static void hold(void) {
    held.to_utf8 = iconv_open("UTF-8", "CP932");
    held.to_cp932 = iconv_open("CP932", "UTF-8");
}

void csv_prepare(void) {
    (void)pthread_once(&held_once, hold);
}

static bool opened(iconv_t cd) {
    return cd != (iconv_t)(intptr_t)-1;
}

/* libcsv trims cells by default; here a space is content. */
static int no_space(unsigned char c) {
    (void)c;
    return 0;
}

struct csv_reader *csv_reader_open(csv_row_fn *fn, void *arg) {
    csv_prepare();
    struct csv_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->fn = fn;
    r->arg = arg;
    buffer_init(&r->raw, 2 * SAMPLE_BYTES);
    buffer_init(&r->text, ROW_BYTES);
    r->from_cp932 = iconv_open("UTF-8", "CP932");
    if (!opened(r->from_cp932)) {
        free(r);
        return NULL;
    }
    if (csv_init(&r->parser, CSV_STRICT | CSV_STRICT_FINI | CSV_REPALL_NL) != 0) {
        (void)iconv_close(r->from_cp932);
        free(r);
        return NULL;
    }
    csv_set_space_func(&r->parser, no_space);
    return r;
}

void csv_reader_close(struct csv_reader **reader) {
    struct csv_reader *r = *reader;
    if (r == NULL)
        return;
    if (r->parser.entry_buf != NULL)
        explicit_bzero(r->parser.entry_buf, r->parser.entry_size);
    csv_free(&r->parser);
    (void)iconv_close(r->from_cp932);
    buffer_fini(&r->raw);
    buffer_fini(&r->text);
    free(r);
    *reader = NULL;
}

enum csv_encoding csv_encoding(const struct csv_reader *r) {
    return r->encoding;
}

static bool holds_gaiji(const char *s, size_t n) {
    for (const char *end = s + n; s < end;) {
        uint32_t c = text_decode(&s, end);
        if ((c >= 0xe000 && c <= 0xf8ff) || (c >= 0xf0000 && c <= 0x10ffff))
            return true;
    }
    return false;
}

static void on_cell(void *cell, size_t n, void *arg) {
    struct csv_reader *r = arg;
    if (r->error != VRS_OK)
        return;
    if (r->cells == MAX_CELLS || n > MAX_CELL_BYTES || memchr(cell, 0, n) != NULL) {
        r->error = ERR_R180;
        return;
    }
    r->start[r->cells++] = r->text.len;
    if (!buffer_put(&r->text, cell, n) || !buffer_put(&r->text, "", 1)) {
        r->error = ERR_MEMORY;
        return;
    }
    r->has_gaiji = r->has_gaiji || holds_gaiji(cell, n);
}

static void on_row(int end, void *arg) {
    struct csv_reader *r = arg;
    if (r->error != VRS_OK)
        return;
    /* libcsv reports CR and LF of one line end both. */
    bool second_half = r->cells == 0 && end == '\n' && r->last_end == '\r';
    r->last_end = end;
    if (second_half)
        return;
    r->row++;
    if (r->cells == 0)
        return; /* an empty line: a spreadsheet counts it */
    char *cell[MAX_CELLS];
    for (size_t i = 0; i < r->cells; i++)
        cell[i] = (char *)r->text.data + r->start[i];
    const struct csv_row row = {
        .number = r->row, .cells = r->cells, .cell = cell, .has_gaiji = r->has_gaiji};
    r->error = r->fn(&row, r->arg);
    r->cells = 0;
    r->has_gaiji = false;
    r->text.len = 0;
}

/* UTF-8 goes to libcsv, in slices, so that a cell without an end is seen before it fills memory. */
static enum vrs_err parse(struct csv_reader *r, const char *p, size_t n) {
    while (n > 0 && r->error == VRS_OK) {
        size_t take = n < SLICE_BYTES ? n : SLICE_BYTES;
        size_t done = csv_parse(&r->parser, p, take, on_cell, on_row, r);
        if (r->error != VRS_OK)
            break;
        if (done != take)
            r->error = csv_error(&r->parser) == CSV_EPARSE ? ERR_R180 : ERR_MEMORY;
        else if (r->parser.entry_pos > MAX_CELL_BYTES + 1) /* libcsv holds a closing quote, too */
            r->error = ERR_R180;
        p += take;
        n -= take;
    }
    return r->error;
}

static size_t ascii_prefix(const uint8_t *p, size_t n) {
    size_t i = 0;
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Bytes of whole characters at the front; *bad when the rest cannot become one. */
static size_t utf8_prefix(const uint8_t *p, size_t n, bool *bad) {
    const char *s = (const char *)p, *end = s + n;
    *bad = false;
    while (s < end) {
        const char *at = s;
        if (text_decode(&s, end) <= 0x10ffff)
            continue;
        size_t left = (size_t)(end - at), whole = 0;
        uint8_t lead = (uint8_t)*at;
        if (lead >= 0xc2 && lead <= 0xf4)
            whole = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        *bad = left >= whole;
        for (size_t i = 1; i < left && !*bad; i++)
            *bad = ((uint8_t)at[i] & 0xc0) != 0x80;
        return (size_t)(at - (const char *)p);
    }
    return n;
}

/* Looks for a BOM, lets ASCII through, and decides by what follows the first byte above it.  With
 * the encoding still undecided afterwards, more bytes are needed. */
static enum vrs_err decide(struct csv_reader *r, bool final) {
    static const uint8_t bom[] = {0xef, 0xbb, 0xbf};
    struct buffer *raw = &r->raw;
    if (!r->bom_looked_for) {
        size_t n = raw->len < sizeof bom ? raw->len : sizeof bom;
        bool like = n > 0 && memcmp(raw->data, bom, n) == 0;
        if (n < sizeof bom && (n == 0 || like) && !final)
            return VRS_OK;
        r->bom_looked_for = true;
        if (like && n == sizeof bom) {
            buffer_drop_front(raw, n);
            r->encoding = CSV_UTF8;
            return VRS_OK;
        }
    }
    if (raw->len > 0) {
        size_t ascii = ascii_prefix(raw->data, raw->len);
        enum vrs_err e = parse(r, (const char *)raw->data, ascii);
        if (e != VRS_OK)
            return e;
        buffer_drop_front(raw, ascii);
    }
    bool bad = false;
    size_t whole = raw->len == 0 ? 0 : utf8_prefix(raw->data, raw->len, &bad);
    if (bad || (final && whole != raw->len))
        r->encoding = CSV_CP932;
    else if (final || raw->len >= SAMPLE_BYTES)
        r->encoding = CSV_UTF8;
    return VRS_OK;
}

static enum vrs_err decode_utf8(struct csv_reader *r) {
    bool bad = false;
    size_t whole = utf8_prefix(r->raw.data, r->raw.len, &bad);
    enum vrs_err e = parse(r, (const char *)r->raw.data, whole);
    if (e != VRS_OK)
        return e;
    buffer_drop_front(&r->raw, whole);
    return bad ? ERR_F007 : VRS_OK;
}

static enum vrs_err decode_cp932(struct csv_reader *r) {
    char *in = (char *)r->raw.data;
    size_t left = r->raw.len;
    for (;;) {
        char utf8[SLICE_BYTES], *out = utf8;
        size_t room = sizeof utf8;
        size_t rc = iconv(r->from_cp932, &in, &left, &out, &room);
        int why = rc == (size_t)-1 ? errno : 0;
        enum vrs_err e = parse(r, utf8, sizeof utf8 - room);
        explicit_bzero(utf8, sizeof utf8);
        if (e != VRS_OK)
            return e;
        if (why == EILSEQ)
            return ERR_F007;
        if (why != E2BIG)
            break;
    }
    buffer_drop_front(&r->raw, r->raw.len - left);
    return VRS_OK;
}

static enum vrs_err pump(struct csv_reader *r, bool final) {
    enum vrs_err e = VRS_OK;
    if (r->encoding == CSV_UNDECIDED)
        e = decide(r, final);
    if (e == VRS_OK && r->encoding != CSV_UNDECIDED && r->raw.len > 0)
        e = r->encoding == CSV_UTF8 ? decode_utf8(r) : decode_cp932(r);
    if (e == VRS_OK && final && r->raw.len > 0)
        e = ERR_F007;
    r->error = e;
    return e;
}

enum vrs_err csv_feed(struct csv_reader *r, const void *p, size_t n) {
    const uint8_t *b = p;
    while (n > 0 && r->error == VRS_OK) {
        size_t take = n < SAMPLE_BYTES / 2 ? n : SAMPLE_BYTES / 2;
        if (!buffer_put(&r->raw, b, take))
            return r->error = ERR_MEMORY;
        (void)pump(r, false);
        b += take;
        n -= take;
    }
    return r->error;
}

enum vrs_err csv_end(struct csv_reader *r) {
    if (r->error != VRS_OK || pump(r, true) != VRS_OK)
        return r->error;
    if (csv_fini(&r->parser, on_cell, on_row, r) != 0 && r->error == VRS_OK)
        r->error = csv_error(&r->parser) == CSV_EPARSE ? ERR_R180 : ERR_MEMORY;
    return r->error;
}

void csv_write_bom(struct buffer *b, enum csv_audience a) {
    if (a == CSV_FOR_PEOPLE)
        (void)buffer_puts(b, "\xef\xbb\xbf");
}

void csv_write_row(struct buffer *b, enum csv_audience a, const char *const *cells, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *s = cells[i] == NULL ? "" : cells[i];
        bool formula = a == CSV_FOR_PEOPLE && s[0] != '\0' && strchr("=+-@\t\r", s[0]) != NULL;
        /* A lone empty cell without quotes would be an empty line. */
        bool quoted = strpbrk(s, "\",\r\n") != NULL || (n == 1 && s[0] == '\0');
        if (i > 0)
            (void)buffer_put(b, ",", 1);
        if (quoted)
            (void)buffer_put(b, "\"", 1);
        if (formula)
            (void)buffer_put(b, "'", 1);
        for (const char *quote; (quote = strchr(s, '"')) != NULL; s = quote + 1) {
            (void)buffer_put(b, s, (size_t)(quote - s));
            (void)buffer_put(b, "\"\"", 2);
        }
        (void)buffer_puts(b, s);
        if (quoted)
            (void)buffer_put(b, "\"", 1);
    }
    (void)buffer_puts(b, "\r\n");
}

enum vrs_err csv_to_cp932(const char *utf8, size_t n, struct buffer *out, size_t *replaced) {
    *replaced = 0;
    if (!text_valid_utf8(utf8, n))
        return ERR_F007;
    csv_prepare();
    iconv_t cd = iconv_open("CP932", "UTF-8");
    if (!opened(cd))
        return ERR_INTERNAL;
    char *in = (char *)(uintptr_t)utf8; /* iconv(3) has no const, but only reads */
    const char *end = utf8 + n;
    for (size_t left = n; left > 0; left = (size_t)(end - in)) {
        char bytes[SLICE_BYTES], *to = bytes;
        size_t room = sizeof bytes;
        size_t rc = iconv(cd, &in, &left, &to, &room);
        int why = rc == (size_t)-1 ? errno : 0;
        (void)buffer_put(out, bytes, sizeof bytes - room);
        if (why == EILSEQ) {
            /* A variation selector is only dropped: its character was written, in its plain form.
             */
            const char *next = in;
            uint32_t c = text_decode(&next, end);
            bool selector = (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0100 && c <= 0xe01ef);
            if (!selector)
                (void)buffer_put(out, "\x81\xac", 2); /* 〓 */
            in += next - in;
            (*replaced)++;
        }
    }
    (void)iconv_close(cd);
    return out->failed ? ERR_MEMORY : VRS_OK;
}
