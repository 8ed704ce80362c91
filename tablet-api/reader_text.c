#include "tablet-api/reader_text.h"

#include <stdlib.h>
#include <string.h>

#include "lib/text.h"

static const char magic[] = "VRS1";
enum { MAGIC_BYTES = sizeof magic - 1, SEQUENCE_DIGITS = 12 };

/* What a header's word is called in POST /v1/doses. */
static const struct {
    const char *word, *field;
    const char *otherwise; /* NULL: it must be there */
} words[] = {
    {"product", "product", NULL},  {"lot", "lot", NULL},           {"date", "vaccinated_on", NULL},
    {"site", "site", NULL},        {"physician", "physician", ""}, {"read_by", "read_by", "ocr"},
    {"status", "status", "given"}, {"run", "run", NULL},
};
enum { WORDS = sizeof words / sizeof words[0] };

bool reader_text_is_header(const char *line) {
    return strncmp(line, magic, MAGIC_BYTES) == 0 &&
           (line[MAGIC_BYTES] == ' ' || line[MAGIC_BYTES] == '\0');
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX in place; false: a '%' without two hex digits, a NUL, or no UTF-8. */
static bool decode(char *s) {
    char *to = s;
    for (const char *from = s; *from != '\0'; from++) {
        char c = *from;
        if (c == '%') {
            int high = hex_digit(from[1]);
            int low = high >= 0 ? hex_digit(from[2]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high * 16 + low);
            from += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return text_valid_utf8(s, strlen(s));
}

/* One "word=value" (writable) into the object. */
static enum vrs_err take_word(json_t *fields, char *text, struct vrs_fault *fault) {
    char *value = strchr(text, '=');
    if (value == NULL)
        return err_fail(fault, ERR_BAD_REQUEST, "header");
    *value++ = '\0';
    size_t i = 0;
    while (i < WORDS && strcmp(words[i].word, text) != 0)
        i++;
    if (i == WORDS)
        return err_fail(fault, ERR_UNKNOWN_FIELD, "header");
    if (json_object_get(fields, words[i].field) != NULL || !decode(value) || !text_printable(value))
        return err_fail(fault, ERR_BAD_FIELD, "%s", words[i].word);
    return json_object_set_new(fields, words[i].field, json_string(value)) == 0 ? VRS_OK
                                                                                : ERR_MEMORY;
}

static enum vrs_err take_words(json_t *fields, char *text, struct vrs_fault *fault) {
    char *save = NULL;
    enum vrs_err e = VRS_OK;
    for (char *w = strtok_r(text, " ", &save); w != NULL && e == VRS_OK;
         w = strtok_r(NULL, " ", &save))
        e = take_word(fields, w, fault);
    for (size_t i = 0; i < WORDS && e == VRS_OK; i++) {
        if (json_object_get(fields, words[i].field) != NULL)
            continue;
        if (words[i].otherwise == NULL)
            return err_fail(fault, ERR_MISSING_FIELD, "%s", words[i].word);
        (void)json_object_set_new(fields, words[i].field, json_string(words[i].otherwise));
    }
    return e;
}

/* run= out of the fields, which become the body of a post; the hash is of what is left. */
static enum vrs_err seal_header(struct reader_header *h, struct vrs_fault *fault) {
    if (!intake_key(json_string_value(json_object_get(h->fields, "run")), h->run))
        return err_fail(fault, ERR_BAD_FIELD, "run");
    (void)json_object_del(h->fields, "run");
    char text[3 * READER_TEXT_MAX];
    size_t n = json_dumpb(h->fields, text, sizeof text, JSON_COMPACT | JSON_SORT_KEYS);
    if (n == 0 || n > sizeof text)
        return err_fail(fault, ERR_TOO_LARGE, "header");
    crypto_sha256(text, n, h->hash);
    return VRS_OK;
}

enum vrs_err reader_header_read(const char *line, struct reader_header *out,
                                struct vrs_fault *fault) {
    struct reader_header h = {.fields = json_object()};
    char *copy = strdup(line + MAGIC_BYTES);
    enum vrs_err e = h.fields != NULL && copy != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = take_words(h.fields, copy, fault);
    if (e == VRS_OK)
        e = seal_header(&h, fault);
    free(copy);
    if (e != VRS_OK) {
        reader_header_fini(&h);
        return e;
    }
    reader_header_fini(out);
    *out = h;
    return VRS_OK;
}

void reader_header_fini(struct reader_header *h) {
    json_decref(h->fields);
    h->fields = NULL;
}

bool reader_reading_read(const char *line, struct reader_reading *out) {
    *out = (struct reader_reading){.digits = ""};
    const char *first = line + strspn(line, "0");
    size_t n = strspn(first, "0123456789");
    const char *end = first + n;
    if (n == 0 || n > SEQUENCE_DIGITS)
        return false;
    out->confirmed = *end == '!';
    end += out->confirmed;
    if (*end != ' ')
        return false;
    memcpy(out->sequence, first, n);
    out->digits = end + strspn(end, " ");
    return true;
}

void reader_key(const struct reader_header *h, const char *sequence, char out[INTAKE_KEY_SIZE]) {
    char text[2 * CRYPTO_HASH_BYTES + INTAKE_KEY_SIZE + 32];
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_hex(h->hash, sizeof h->hash, hex);
    int n = snprintf(text, sizeof text, "reader\n%s\n%s\n%s", hex, h->run, sequence);
    crypto_sha256(text, (size_t)n, hash);
    crypto_hex(hash, 16, hex);
    (void)snprintf(out, INTAKE_KEY_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
}

enum vrs_err reader_body(const struct reader_header *h, const struct reader_reading *r,
                         struct buffer *out) {
    json_t *doc = json_copy(h->fields);
    bool made = doc != NULL && json_object_set_new(doc, "ocr_line", json_string(r->digits)) == 0 &&
                (!r->confirmed || json_object_set_new(doc, "confirmed_again", json_true()) == 0) &&
                json_write(out, doc);
    json_decref(doc);
    return made ? VRS_OK : ERR_MEMORY;
}

/* --- answers --- */

static void codes(const char *list, struct buffer *out) {
    char separator = '=';
    for (const char *at = list + strspn(list, " "); *at != '\0'; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        (void)buffer_put(out, &separator, 1);
        (void)buffer_put(out, at, n);
        separator = ',';
        at += n;
    }
}

void reader_text_receipt(const char *sequence, const struct inbox_found *f, bool clock_warning,
                         struct buffer *out) {
    char hex[2 * LINE_RECEIPT_BYTES + 1];
    const char *warnings = f->outcome != LINE_PENDING ? f->warnings
                           : clock_warning            ? "terminal_clock_wrong"
                                                      : "";
    crypto_hex(f->receipt, LINE_RECEIPT_BYTES, hex);
    (void)buffer_printf(out, "%s %s %s", sequence, line_outcome_name(f->outcome), hex);
    if (warnings[0] != '\0') {
        (void)buffer_puts(out, " warnings");
        codes(warnings, out);
    }
    (void)buffer_puts(out, "\n");
}

void reader_text_error(const char *sequence, enum vrs_err e, const struct intake_refusal *no,
                       struct buffer *out) {
    if (e == ERR_SAME_COUPON) {
        (void)buffer_printf(out, "%s ASK %s %s\n", sequence, err_name(e), err_detail_ja(e));
        return;
    }
    (void)buffer_printf(out, "%s%sERR %s", sequence, sequence[0] != '\0' ? " " : "", err_name(e));
    if (no != NULL && no->candidates > 0) {
        (void)buffer_puts(out, " candidates");
        for (size_t i = 0; i < no->candidates; i++)
            (void)buffer_printf(out, "%c%s", i == 0 ? '=' : ',', no->candidate[i].line);
    } else if (no != NULL && no->fault.text[0] != '\0') {
        (void)buffer_printf(out, " field=%s", no->fault.text);
    }
    (void)buffer_printf(out, " %s\n", err_detail_ja(e));
}
